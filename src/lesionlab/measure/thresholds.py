"""Metabolic volumes drawn again by threshold within a lesion, and points of its intensity-volume curve.

Each delineation is one SUVbw level per lesion. Which masks there are is decided before; a lesion is never
found here. The names of the columns belong to `clinic`.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core.components import Box, regions_of
from lesionlab.core.recipe import BiomarkerSettings, Delineation
from lesionlab.core.volume import Volume
from lesionlab.measure.references import References

PERCIST_LIVER: Final = (1.5, 2.0)
"""Baseline uptake that PERCIST 1.0 asks for: 1.5 x liver SUL mean + 2 SD (Wahl et al., J Nucl Med 2009, doi
10.2967/jnumed.108.057307)."""
PERCIST_BLOOD: Final = (2.0, 2.0)
"""In its place where the liver is diseased: 2.0 x blood pool SUL mean + 2 SD (the same source)."""


def percist_level(references: References) -> float:
    """PERCIST's threshold in the references' unit: from the liver, else from the blood pool, else NaN.

    SUL is SUVbw times one factor per scan, so the level drawn in SUVbw is the level drawn in SUL.
    """
    if references.liver is not None:
        return PERCIST_LIVER[0] * references.liver.mean + PERCIST_LIVER[1] * references.liver.sd
    if references.blood is not None:
        return PERCIST_BLOOD[0] * references.blood.mean + PERCIST_BLOOD[1] * references.blood.sd
    return math.nan


def level_of(
    delineation: Delineation, maximum: float, biomarkers: BiomarkerSettings, references: References
) -> float:
    """The SUVbw at and above which a voxel belongs; NaN where the reference region for it is not known."""
    if delineation == "fixed":
        return biomarkers.fixed_suv
    if delineation == "percist":
        return percist_level(references)
    if delineation == "liver":
        if references.liver is None:
            return math.nan
        liver = references.liver
        return biomarkers.liver_factor * liver.mean + biomarkers.liver_deviations * liver.sd
    return {"41": 0.41, "50": 0.50}[delineation] * maximum


def voxels_above(
    image: Volume, numbers: NDArray[Any], lesion: tuple[int, Box], level: float, reach_mm: float
) -> NDArray[Any]:
    """The values of one lesion's voxels at or above a level.

    `lesion` is its number in `numbers` and its box. With a reach, voxels outside count too that are no
    farther than `reach_mm` from the lesion, nearer to it than to any other, and connected (26) through
    such voxels to one of its own, so that no voxel counts for two lesions.
    """
    number, box = lesion
    if reach_mm <= 0:
        values = image.array[box]
        own: NDArray[Any] = values[(numbers[box] == number) & (values >= level)]
        return own
    spacing = image.geometry.spacing
    margin = [math.ceil(2 * reach_mm / s) for s in spacing]
    wide = tuple(
        slice(max(0, s.start - m), min(n, s.stop + m))
        for s, m, n in zip(box, margin, image.array.shape, strict=True)
    )
    inside = numbers[wide] == number
    others = (numbers[wide] > 0) & ~inside
    distance = scipy.ndimage.distance_transform_edt(~inside, sampling=spacing)
    near = (distance <= reach_mm) & ~others
    if others.any():
        near &= distance < scipy.ndimage.distance_transform_edt(~others, sampling=spacing)
    values = image.array[wide]
    hot = near & (values >= level)
    regions = regions_of(hot)
    kept = np.zeros(int(regions.max()) + 1, dtype=bool)
    kept[np.unique(regions[inside & hot])] = True
    kept[0] = False
    chosen: NDArray[Any] = values[kept[regions]]
    return chosen


def volume_at(values: NDArray[Any], suv: float, voxel_ml: float) -> float:
    """V: ml of a lesion's voxels (their values) at or above an SUVbw."""
    return float(np.count_nonzero(values >= suv)) * voxel_ml


def suv_at(values: NDArray[Any], share: float) -> float:
    """I: the SUVbw that the hottest `share` (0 to 1] of a lesion's voxels reach; NaN without voxels.

    The highest value that at least this share of the voxels is at or above, so that it is always one of the
    lesion's values and defined for one voxel too.
    """
    if not values.size:
        return math.nan
    # the subtraction keeps 0.1 x 30 = 3.0000000000000004 from becoming 4 voxels
    rank = max(1, math.ceil(share * values.size - 1e-9))
    return float(np.partition(values, values.size - rank)[values.size - rank])
