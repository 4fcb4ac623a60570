"""All chosen families of the image biomarker standard for one lesion, and what their columns mean.

The order of the work. Preparing is in `chain` and `levels`, each formula with its family.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import numpy as np

from lesionlab.core.recipe import Aggregation, Family, RadiomicsSettings
from lesionlab.core.results import Column
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.measure.ibsi import (
    histogram,
    local,
    morphology,
    spatial,
    statistics,
    texture,
    volume_histogram,
)
from lesionlab.measure.ibsi.chain import Box, prepare
from lesionlab.measure.ibsi.feature import Feature, unit_of
from lesionlab.measure.ibsi.levels import bins_of, levels_of
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, Region, tight

FEATURES: Final[Mapping[Family, tuple[Feature, ...]]] = {
    "morphology": morphology.FEATURES,
    "spatial": spatial.FEATURES,
    "local": local.FEATURES,
    "statistics": statistics.FEATURES,
    "histogram": histogram.FEATURES,
    "volume_histogram": volume_histogram.FEATURES,
    "glcm": texture.FEATURES["glcm"],
    "glrlm": texture.FEATURES["glrlm"],
    "glszm": texture.FEATURES["glszm"],
    "gldzm": texture.FEATURES["gldzm"],
    "ngtdm": texture.FEATURES["ngtdm"],
    "ngldm": texture.FEATURES["ngldm"],
}
NEED_LEVELS: Final[tuple[Family, ...]] = ("histogram", *texture.FEATURES)

MOST_LEVELS: Final = 2048
"""With more grey levels than this, texture is not computed: matrices grow with their square."""

MOST_LISTED: Final = 6
"""A note names so many features one by one."""

USE_INTENSITY: Final = ("morph_com", "morph_integ_int", "morph_moran_i", "morph_geary_c")
"""Morphological features that look at intensities too."""

HOW: Final[Mapping[str, str]] = {
    "2D_avg": "mean over the slices' directions",
    "2D_comb": "directions merged in each slice, mean over slices",
    "2_5D_avg": "slices merged in each direction, mean over directions",
    "2_5D_comb": "directions and slices merged",
    "3D_avg": "mean over the 13 directions in 3D",
    "3D_comb": "the 13 directions in 3D merged",
    "2D": "mean over slices",
    "2_5D": "slices merged",
    "3D": "in 3D",
}

REASONS: Final[tuple[tuple[str, str], ...]] = (
    ("stat_cov", "the mean intensity is 0"),
    ("stat_qcod", "the quartiles of intensity add up to 0"),
    ("stat_rmad", "no intensity lies from the 10th to the 90th percentile"),
    ("ih_rmad", "no grey level lies from the 10th to the 90th percentile"),
    ("ih_", "there is one grey level"),
    ("ivh_", "the intensity-volume histogram has one intensity"),
    ("morph_com", "the intensities add up to 0"),
    ("morph_moran_i", "one voxel, or constant intensity"),
    ("morph_geary_c", "one voxel, or constant intensity"),
    ("morph_", "the voxel centres of the lesion lie in one plane"),
    ("", "one grey level, or no two voxels that are neighbours"),
)
"""Beginning of a tag, and why such a feature is NaN where the lesion has intensities to measure."""


def radiomics(
    image: Volume, mask: BoolArray, settings: RadiomicsSettings, box: Box | None = None
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The chosen families' features of one lesion, by tag, and notes that say why a value is NaN.

    `mask` (z, y, x) covers the image or, where given, its `box`. The tags are those of `feature_columns`, in
    its order. Nothing about a lesion raises: empty or single-voxel lesions, constant intensity and voxels
    that are not finite give NaN for what they leave undefined. Source: arXiv 1612.07003v11.
    """
    values = dict.fromkeys(feature_names(settings), math.nan)
    notes: list[str] = []
    if not mask.any():
        return values, ("no radiomics: the lesion has no voxel",)
    region = prepare(image, mask, settings, box)
    lesion = tight(region)
    if not lesion.morphological.any():
        return values, ("no radiomics: the lesion is too small for the interpolated grid",)
    explained: set[str] = set()
    inside = lesion.inside
    problem = _problem(lesion, inside)
    if "morphology" in settings.families:
        values |= morphology.morphology(_without_intensity(lesion) if problem else lesion)
    if problem:
        notes.append(f"no features of intensity, histogram or texture: {problem}")
        explained.update(tag for tag in values if not tag.startswith("morph_"))
        explained.update(USE_INTENSITY)
    else:
        if "local" in settings.families:
            values |= local.local_peaks(region)
        if "spatial" in settings.families:
            values |= spatial.spatial(lesion)
        values |= _intensity_families(inside, settings)
        more, crowd = _level_families(lesion, inside, settings)
        values |= more
        if crowd:
            notes.append(f"no features of histogram or texture: {crowd}")
            explained.update(_names(NEED_LEVELS, settings.aggregations))
    return values, (*notes, *_reasons(values, explained))


def _problem(lesion: Region, inside: FloatArray) -> str:
    """What keeps all intensity features from being computed, if anything does."""
    if np.isfinite(inside.sum()) and len(inside) == np.count_nonzero(lesion.morphological):
        return ""
    drawn = lesion.values[lesion.morphological]
    broken = np.count_nonzero(~np.isfinite(drawn))
    if broken:
        return f"{broken} of {len(drawn)} voxels are not finite numbers"
    return "" if len(inside) else "re-segmentation leaves no voxel"


def _without_intensity(lesion: Region) -> Region:
    return replace(lesion, intensity=np.zeros_like(lesion.intensity))


def _intensity_families(inside: FloatArray, settings: RadiomicsSettings) -> dict[str, float]:
    chosen = settings.families
    values: dict[str, float] = {}
    if "statistics" in chosen or "volume_histogram" in chosen:
        ordered = statistics.ordered(inside)
        if "statistics" in chosen:
            values |= statistics.statistics_of_ordered(ordered)
        if "volume_histogram" in chosen:
            values |= volume_histogram.volume_histogram_of_ordered(ordered, settings)
    return values


def _level_families(
    lesion: Region, inside: FloatArray, settings: RadiomicsSettings
) -> tuple[dict[str, float], str]:
    """Histogram and texture, and what kept them from being computed, if anything did."""
    if not set(settings.families).intersection(NEED_LEVELS):
        return {}, ""
    bins = bins_of(inside, settings)
    if bins.count > MOST_LEVELS:
        return {}, f"{bins.count} grey levels are more than {MOST_LEVELS}"
    levels = levels_of(lesion, inside, bins)
    values: dict[str, float] = {}
    if "histogram" in settings.families:
        values |= histogram.histogram(levels)
    textures = [family for family in texture.FEATURES if family in settings.families]
    if textures:
        values |= texture.textures(levels, textures, settings.aggregations)
    return values, ""


def _reasons(values: Mapping[str, float], explained: set[str]) -> list[str]:
    """A note for the NaN that no other note explains, those of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for tag in [tag for tag, value in values.items() if value != value and tag not in explained]:
        reason = next(why for beginning, why in REASONS if tag.startswith(beginning))
        by_reason.setdefault(reason, []).append(tag)
    return [f"{_listed(tags)} undefined: {reason}" for reason, tags in by_reason.items()]


def _listed(tags: Sequence[str]) -> str:
    """Some tags for a note: each by name, or how many and which features or families, whatever the ending."""
    if len(tags) <= MOST_LISTED:
        return f"{', '.join(tags)} {'is' if len(tags) == 1 else 'are'}"
    ending = re.compile(r"_(2D|2_5D|3D)(_avg|_comb)?$")
    features = dict.fromkeys(ending.sub("", tag) for tag in tags)
    if len(features) > MOST_LISTED:
        features = dict.fromkeys(f"{tag.split('_')[0]}_*" for tag in tags)
    return f"{len(tags)} features ({', '.join(features)}) are"


def feature_names(settings: RadiomicsSettings) -> tuple[str, ...]:
    """The tags that the settings ask for, in the order of the catalogue."""
    return _names(settings.families, settings.aggregations)


def feature_columns(settings: RadiomicsSettings, unit: str) -> tuple[Column, ...]:
    """The columns of the chosen features for an image of this UCUM unit, with codes as "IBSI:Q4LE"."""
    columns = []
    for name, feature, how in _chosen(settings.families, settings.aggregations):
        own = unit_of(feature, unit)
        if settings.volume_histogram_bins is not None and feature.name.startswith("ivh_"):
            own = ONE  # bin numbers
        meaning = f"{feature.formula}; {how}" if how else feature.formula
        columns.append(Column(name, own, meaning, f"IBSI:{feature.code}"))
    return tuple(columns)


@lru_cache(maxsize=16)
def _names(families: tuple[Family, ...], aggregations: tuple[Aggregation, ...]) -> tuple[str, ...]:
    return tuple(name for name, _, _ in _chosen(families, aggregations))


def _chosen(
    families: tuple[Family, ...], aggregations: tuple[Aggregation, ...]
) -> list[tuple[str, Feature, str]]:
    """Full tag, feature and, for texture, how its matrices are combined."""
    endings: dict[Family, tuple[str, ...]] = {
        family: texture.suffixes(family, aggregations) for family in texture.FEATURES
    }
    chosen = []
    for family, features in FEATURES.items():
        if family not in families:
            continue
        for suffix in endings.get(family, ("",)):
            for feature in features:
                name = f"{feature.name}_{suffix}" if suffix else feature.name
                chosen.append((name, feature, HOW.get(suffix, "")))
    return chosen
