"""The PET columns that a recipe or a reference region adds to the lesion table, with their definitions.

Volumes by threshold, intensity-volume points, ratios to liver and blood pool. The columns that every table
has are in `catalogue`; how a level, a region or a point is found is in `thresholds` and `references`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.components import Box
from lesionlab.core.recipe import BiomarkerSettings, Delineation
from lesionlab.core.results import Column
from lesionlab.core.volume import Volume
from lesionlab.measure.references import References
from lesionlab.measure.thresholds import (
    PERCIST_BLOOD,
    PERCIST_LIVER,
    level_of,
    suv_at,
    volume_at,
    voxels_above,
)

Row = Mapping[str, float]


def lesion_values(
    image: Volume,
    numbers: NDArray[Any],
    lesion: tuple[int, Box],
    row: Row,
    choice: tuple[BiomarkerSettings, References],
) -> dict[str, float]:
    """The chosen PET columns of one lesion; `row` holds its SUVmax and SUVpeak, NaN where it has none.

    `numbers` are the lesions' numbers in the image, `lesion` the number and box of this one. Values that
    need a reference region which is not known are NaN, and so are all where SUVmax is.
    """
    biomarkers, references = choice
    number, box = lesion
    known = not math.isnan(row["SUVmax"])
    ml = image.geometry.voxel_ml
    result: dict[str, float] = {}
    for name in dict.fromkeys(biomarkers.delineations):
        level = level_of(name, row["SUVmax"], biomarkers, references)
        volume = glycolysis = math.nan
        if known and not math.isnan(level):
            voxels = voxels_above(image, numbers, lesion, level, biomarkers.delineation_reach_mm)
            volume, glycolysis = len(voxels) * ml, float(voxels.sum(dtype="float64")) * ml
        result |= {f"MTV_{name}": volume, f"TLG_{name}": glycolysis}
    values = image.array[box][numbers[box] == number]
    for suv in biomarkers.volume_at_suv:
        result[_volume_name(suv)] = volume_at(values, suv, ml) if known else math.nan
    for share in biomarkers.suv_at_share:
        result[_share_name(share)] = suv_at(values, share) if known else math.nan
    for region, reference in (("liver", references.liver), ("blood", references.blood)):
        if reference is not None:
            usable = reference.mean > 0
            result |= {
                f"{name}_to_{region}": row[name] / reference.mean if usable else math.nan
                for name in ("SUVmax", "SUVpeak")
            }
    return result


def lesion_columns(biomarkers: BiomarkerSettings, references: References) -> tuple[Column, ...]:
    """The columns of `lesion_values`, in its order."""
    columns = []
    for name in dict.fromkeys(biomarkers.delineations):
        rule = delineation_words(name, biomarkers)
        columns += [
            Column(f"MTV_{name}", units.MILLILITRE, f"volume of the voxels {rule}"),
            Column(f"TLG_{name}", units.GRAM, f"sum of SUVbw x voxel volume over the voxels {rule}"),
        ]
    columns += [
        Column(_volume_name(suv), units.MILLILITRE, f"volume of the lesion's voxels with SUVbw >= {suv:g}")
        for suv in dict.fromkeys(biomarkers.volume_at_suv)
    ]
    columns += [
        Column(
            _share_name(share),
            units.SUVBW,
            f"highest SUVbw that at least {100 * share:g} % of the lesion's voxels reach",
        )
        for share in dict.fromkeys(biomarkers.suv_at_share)
    ]
    for region, words, reference in (
        ("liver", "the liver", references.liver),
        ("blood", "the blood pool", references.blood),
    ):
        if reference is not None:
            columns += [
                Column(f"{name}_to_{region}", units.ONE, f"{name} / mean SUVbw of {words}, {reference.where}")
                for name in ("SUVmax", "SUVpeak")
            ]
    return tuple(columns)


def delineation_words(name: Delineation, biomarkers: BiomarkerSettings) -> str:
    """The rule of a delineation in words that follow "the voxels"."""
    liver, blood = PERCIST_LIVER, PERCIST_BLOOD
    factor, deviations = biomarkers.liver_factor, biomarkers.liver_deviations
    level = {
        "fixed": f"SUVbw {biomarkers.fixed_suv:g}",
        "41": "41 % of the lesion's SUVmax",
        "50": "50 % of the lesion's SUVmax",
        "percist": f"{liver[0]:g} x liver mean + {liver[1]:g} SD (without a liver reference "
        f"{blood[0]:g} x blood pool mean + {blood[1]:g} SD; PERCIST 1.0)",
        "liver": f"{factor:g} x liver mean + {deviations:g} SD",
    }[name]
    reach = biomarkers.delineation_reach_mm
    if reach <= 0:
        return f"of the lesion at or above {level}"
    return f"at or above {level}, of the lesion and connected with it up to {reach:g} mm around it"


def totals(
    rows: Sequence[Row], biomarkers: BiomarkerSettings, references: References
) -> tuple[dict[str, float], list[str]]:
    """The patient's values of the columns of `total_columns`, and a note for each that is undefined."""
    result: dict[str, float] = {}
    notes = []
    for name in dict.fromkeys(biomarkers.delineations):
        result[f"TMTV_{name}"] = math.fsum(row[f"MTV_{name}"] for row in rows)
        result[f"TLG_{name}"] = math.fsum(row[f"TLG_{name}"] for row in rows)
        if math.isnan(level_of(name, 1.0, biomarkers, references)):
            wanted = "a liver" if name == "liver" else "a liver or blood pool"
            notes.append(f"MTV_{name} and TLG_{name} need {wanted} reference; none was given")
    for region, reference in (("liver", references.liver), ("blood", references.blood)):
        if reference is not None:
            result |= {f"{region}_SUVmean": reference.mean, f"{region}_SUVsd": reference.sd}
            if reference.mean <= 0 and rows:
                notes.append(f"no ratio to {region}: its mean is {reference.mean:g}")
    return result, notes


def total_columns(biomarkers: BiomarkerSettings, references: References) -> tuple[Column, ...]:
    """The columns of `totals`, in its order."""
    columns = []
    for name in dict.fromkeys(biomarkers.delineations):
        columns += [
            Column(f"TMTV_{name}", units.MILLILITRE, f"sum of MTV_{name} over the lesions"),
            Column(f"TLG_{name}", units.GRAM, f"sum of TLG_{name} over the lesions"),
        ]
    for region, words, reference in (
        ("liver", "liver", references.liver),
        ("blood", "blood pool", references.blood),
    ):
        if reference is not None:
            where = f"{words} reference, {reference.where}"
            columns += [
                Column(f"{region}_SUVmean", units.SUVBW, f"mean SUVbw of the {where}"),
                Column(f"{region}_SUVsd", units.SUVBW, f"standard deviation of SUVbw in the {where}"),
            ]
    return tuple(columns)


def _volume_name(suv: float) -> str:
    return f"V_suv{suv:g}"


def _share_name(share: float) -> str:
    return f"I_{100 * share:g}"
