"""Local intensity (IBSI 3.2, family 9ST6): the mean in a 1 cm3 sphere around voxels of the lesion.

Whole voxels count, those whose centre lies in the sphere, as the standard has it. The clinic's SUVpeak,
whose voxels weigh by their share in the sphere, is in `measure/uptake.py`.
"""

from __future__ import annotations

import math
from typing import Final

import numba
import numpy as np

from lesionlab.measure.ibsi.chain import PEAK_RADIUS_MM
from lesionlab.measure.ibsi.feature import INTENSITY, Feature
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, IntArray, Region, tight_box

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        "loc_peak_loc",
        "VJGA",
        INTENSITY,
        "mean of the voxels within 6.2 mm (1 cm3) of the brightest voxel; of several, the highest such mean",
    ),
    Feature(
        "loc_peak_glob",
        "0F91",
        INTENSITY,
        "highest mean of the voxels within 6.2 mm of any voxel of the lesion",
    ),
)


def local_peaks(region: Region) -> dict[str, float]:
    """The local and the global intensity peak of a region; both NaN for an empty intensity mask.

    Centres are the voxels of the intensity mask, which must be finite; the spheres reach beyond it. Voxels
    beyond the image, or not finite, are left out of the mean.
    """
    box = tight_box(region.intensity)
    if box[0].stop == 0:
        return {feature.name: math.nan for feature in FEATURES}
    rows = _sphere_rows(region.spacing)
    values, known = _with_margin(region, box, rows)
    mask = np.ascontiguousarray(region.intensity[box])
    counts = None if known is None else _row_sums(known.astype(np.float64))
    highest = float(region.values[box][mask].max())
    local, everywhere = _peaks(values, _row_sums(values), counts, mask, rows, highest)
    return {"loc_peak_loc": local, "loc_peak_glob": everywhere}


def _sphere_rows(spacing: tuple[float, float, float]) -> IntArray:
    """The sphere's voxels as rows along x (n, 3): offsets in z and y, and how far the row reaches in x."""
    half = [int(PEAK_RADIUS_MM / s) for s in spacing]
    dz, dy = np.meshgrid(np.arange(-half[0], half[0] + 1), np.arange(-half[1], half[1] + 1), indexing="ij")
    left = PEAK_RADIUS_MM**2 - (dz * spacing[0]) ** 2 - (dy * spacing[1]) ** 2
    inside = left >= 0
    reach = np.floor(np.sqrt(left[inside]) / spacing[2])
    return np.stack([dz[inside], dy[inside], reach], axis=1).astype(np.int32)


def _with_margin(
    region: Region, box: tuple[slice, slice, slice], rows: IntArray
) -> tuple[FloatArray, BoolArray | None]:
    """The values of the box and a sphere's reach around it, 0 where unknown; and where they are known.

    None instead of the latter says that all are.
    """
    margin = [int(n) for n in np.abs(rows).max(axis=0)]
    cut, place = [], []
    for s, m, n in zip(box, margin, region.values.shape, strict=True):
        low, high = max(0, s.start - m), min(n, s.stop + m)
        cut.append(slice(low, high))
        place.append(slice(low - s.start + m, high - s.start + m))
    shape = [s.stop - s.start + 2 * m for s, m in zip(box, margin, strict=True)]
    part = region.values[tuple(cut)]
    finite = np.isfinite(part)
    if part.shape == tuple(shape) and finite.all():
        return np.ascontiguousarray(part), None
    values, known = np.zeros(shape), np.zeros(shape, dtype=bool)
    values[tuple(place)] = np.where(finite, part, 0.0)
    known[tuple(place)] = finite
    return values, known


def _row_sums(values: FloatArray) -> FloatArray:
    """Sums along x up to and without each voxel: (z, y, x) to (z, y, x + 1)."""
    sums = np.zeros((*values.shape[:2], values.shape[2] + 1))
    np.cumsum(values, axis=2, out=sums[:, :, 1:])
    return sums


@numba.njit(cache=True, nogil=True)
def _peaks(
    values: FloatArray,
    sums: FloatArray,
    counts: FloatArray | None,
    mask: BoolArray,
    rows: IntArray,
    highest: float,
) -> tuple[float, float]:
    """The highest sphere mean at voxels of the value `highest`, and at any voxel of the mask.

    `counts` are the row sums of 1 where voxels are known, None where all are.
    """
    margin = (np.array(values.shape) - np.array(mask.shape)) // 2
    total, covered = np.empty(mask.shape[2]), np.empty(mask.shape[2])
    covered[:] = np.sum(2 * rows[:, 2] + 1)
    local, everywhere = -np.inf, -np.inf
    for z in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            inside = np.flatnonzero(mask[z, y])
            if len(inside) == 0:
                continue
            first, last = inside[0], inside[-1] + 1
            _add_rows(sums, rows, margin, (z, y, first), total[first:last])
            if counts is not None:
                _add_rows(counts, rows, margin, (z, y, first), covered[first:last])
            for x in inside:
                mean = total[x] / covered[x]
                everywhere = max(everywhere, mean)
                if values[z + margin[0], y + margin[1], x + margin[2]] == highest:
                    local = max(local, mean)
    return local, everywhere


@numba.njit(cache=True, nogil=True)
def _add_rows(
    sums: FloatArray, rows: IntArray, margin: IntArray, start: tuple[int, int, int], out: FloatArray
) -> None:
    """The sphere's sums around each voxel of a row of the mask, from `start` on, from sums along x."""
    out[:] = 0.0
    n = len(out)
    for r in range(rows.shape[0]):
        line = sums[start[0] + margin[0] + rows[r, 0], start[1] + margin[1] + rows[r, 1]]
        centre = start[2] + margin[2]
        ahead = line[centre + rows[r, 2] + 1 :]
        behind = line[centre - rows[r, 2] :]
        for x in range(n):
            out[x] += ahead[x] - behind[x]
