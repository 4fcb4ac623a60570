"""All texture families of the image biomarker standard: one call, or one family at a time.

This is where families and aggregations get their names; counting and formulas are in `texture_*`.
Directional families (GLCM, GLRLM) come under up to six aggregations, the others under three dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, Literal

from lesionlab.core.recipe import Aggregation
from lesionlab.measure.ibsi import texture_glcm, texture_glrlm, texture_neighbours, texture_zones
from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import FloatArray, Levels
from lesionlab.measure.ibsi.texture_directions import directional_features
from lesionlab.measure.ibsi.texture_neighbours import neighbour_features
from lesionlab.measure.ibsi.texture_voxels import Dimension, gather
from lesionlab.measure.ibsi.texture_zones import zone_features

TextureFamily = Literal["glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm"]

FEATURES: Final[Mapping[TextureFamily, tuple[Feature, ...]]] = MappingProxyType(
    {
        "glcm": texture_glcm.FEATURES,
        "glrlm": texture_glrlm.FEATURES,
        "glszm": texture_zones.SIZE_FEATURES,
        "gldzm": texture_zones.DISTANCE_FEATURES,
        "ngtdm": texture_neighbours.TONE_FEATURES,
        "ngldm": texture_neighbours.DEPENDENCE_FEATURES,
    }
)
"""The features of each family, named without the aggregation."""

DIRECTIONAL: Final[frozenset[TextureFamily]] = frozenset({"glcm", "glrlm"})
"""Families with a matrix per direction; the others have one per slice or volume."""


def suffixes(family: TextureFamily, aggregations: Iterable[Aggregation]) -> tuple[str, ...]:
    """What a family's tags end in under some aggregations: themselves, or their dimensions, each once."""
    if family in DIRECTIONAL:
        return tuple(dict.fromkeys(aggregations))
    return _dimensions(aggregations)


def _dimensions(aggregations: Iterable[Aggregation]) -> tuple[Dimension, ...]:
    names: dict[Aggregation, Dimension] = {
        "2D_avg": "2D",
        "2D_comb": "2D",
        "2_5D_avg": "2_5D",
        "2_5D_comb": "2_5D",
        "3D_avg": "3D",
        "3D_comb": "3D",
    }
    return tuple(dict.fromkeys(names[aggregation] for aggregation in aggregations))


def textures(
    levels: Levels, families: Iterable[TextureFamily], aggregations: Iterable[Aggregation]
) -> dict[str, float]:
    """Features of some families under some aggregations, tag (`cm_joint_max_3D_avg`) -> value.

    Families that share a sweep over the voxels get it once, so ask for all at once. Where the standard
    gives no value (no voxel; for co-occurrence no two neighbours, for correlation one single level) the value
    is NaN; an average over slices or directions is over those that have one. Source: IBSI reference
    manual, sections 3.6 to 3.11 (arXiv 1612.07003v11).
    """
    wanted = set(families)
    chosen = tuple(dict.fromkeys(aggregations))
    dimensions = _dimensions(chosen)
    voxels = gather(levels)
    found: dict[TextureFamily, dict[str, FloatArray]] = {name: {} for name in FEATURES}
    if wanted & DIRECTIONAL:
        for aggregation, (pairs, runs) in directional_features(voxels, chosen).items():
            found["glcm"][aggregation], found["glrlm"][aggregation] = pairs, runs
    if wanted & {"glszm", "gldzm"}:
        for dimension, (sizes, distances) in zone_features(voxels, dimensions, "gldzm" in wanted).items():
            found["glszm"][dimension], found["gldzm"][dimension] = sizes, distances
    if wanted & {"ngtdm", "ngldm"}:
        for dimension, (tones, dependences) in neighbour_features(voxels, dimensions).items():
            found["ngtdm"][dimension], found["ngldm"][dimension] = tones, dependences
    result: dict[str, float] = {}
    for family in FEATURES:
        if family in wanted:
            for suffix in suffixes(family, chosen):
                result.update(zip(_tags(family, suffix), found[family][suffix].tolist(), strict=False))
    return result


@lru_cache(maxsize=64)
def _tags(family: TextureFamily, suffix: str) -> tuple[str, ...]:
    return tuple(f"{feature.name}_{suffix}" for feature in FEATURES[family])


def _alone(levels: Levels, family: TextureFamily, aggregation: Aggregation, suffix: str) -> dict[str, float]:
    tagged = textures(levels, (family,), (aggregation,))
    return {tag.removesuffix(f"_{suffix}"): value for tag, value in tagged.items()}


def glcm(levels: Levels, aggregation: Aggregation) -> dict[str, float]:
    """The 25 co-occurrence features, tag without aggregation -> value; NaN as in `textures`."""
    return _alone(levels, "glcm", aggregation, aggregation)


def glrlm(levels: Levels, aggregation: Aggregation) -> dict[str, float]:
    """The 16 run length features, tag without aggregation -> value; NaN without a voxel."""
    return _alone(levels, "glrlm", aggregation, aggregation)


_ANY: Final[Mapping[Dimension, Aggregation]] = MappingProxyType(
    {"2D": "2D_comb", "2_5D": "2_5D_comb", "3D": "3D_comb"}
)


def glszm(levels: Levels, dimension: Dimension) -> dict[str, float]:
    """The 16 zone size features, tag without dimension -> value; NaN without a voxel."""
    return _alone(levels, "glszm", _ANY[dimension], dimension)


def gldzm(levels: Levels, dimension: Dimension) -> dict[str, float]:
    """The 16 zone distance features, tag without dimension -> value; NaN without a voxel.

    Distances are to the edge of the morphological mask, `levels.mask`, whose box must hold all of it:
    beyond the box counts as outside.
    """
    return _alone(levels, "gldzm", _ANY[dimension], dimension)


def ngtdm(levels: Levels, dimension: Dimension) -> dict[str, float]:
    """The 5 neighbourhood difference features, tag without dimension -> value; NaN without neighbours."""
    return _alone(levels, "ngtdm", _ANY[dimension], dimension)


def ngldm(levels: Levels, dimension: Dimension) -> dict[str, float]:
    """The 17 neighbour dependence features, tag without dimension -> value; NaN without a voxel."""
    return _alone(levels, "ngldm", _ANY[dimension], dimension)
