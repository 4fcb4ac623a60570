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
    half = np.abs(rows).max(axis=0)
    low = np.array([s.start for s in box])
    high = np.array([s.stop for s in box])
    start, stop = np.maximum(low - half, 0), np.minimum(high + half, region.values.shape)
    around = region.values[start[0] : stop[0], start[1] : stop[1], start[2] : stop[2]]
    whole = bool((stop - start == high - low + 2 * half).all())
    known = whole and bool(np.isfinite(around).all())
    highest = float(region.values[box].max(where=region.intensity[box], initial=-np.inf))
    local, everywhere = _peaks(region.values, region.intensity, (low, high, half), rows, highest, known)
    return {"loc_peak_loc": local, "loc_peak_glob": everywhere}


def _sphere_rows(spacing: tuple[float, float, float]) -> IntArray:
    """The sphere's voxels as rows along x (n, 3): offsets in z and y, and how far the row reaches in x."""
    half = [int(PEAK_RADIUS_MM / s) for s in spacing]
    dz, dy = np.meshgrid(np.arange(-half[0], half[0] + 1), np.arange(-half[1], half[1] + 1), indexing="ij")
    left = PEAK_RADIUS_MM**2 - (dz * spacing[0]) ** 2 - (dy * spacing[1]) ** 2
    inside = left >= 0
    reach = np.floor(np.sqrt(left[inside]) / spacing[2])
    return np.stack([dz[inside], dy[inside], reach], axis=1).astype(np.int32)


@numba.njit(cache=True, nogil=True)
def _peaks(
    values: FloatArray,
    mask: BoolArray,
    box: tuple[IntArray, IntArray, IntArray],
    rows: IntArray,
    highest: float,
    known: bool,
) -> tuple[float, float]:
    """The highest sphere mean at voxels of the value `highest`, and at any voxel of the mask.

    `box` is first, last + 1 and the sphere's half size, each (z, y, x). `known` says that all values in the
    box and around it exist and are finite. Sums along x are kept for the planes that a sphere spans.
    """
    low, high, half = box
    size = high - low
    span = 2 * half[0] + 1
    sums = np.zeros((span, size[1] + 2 * half[1], size[2] + 2 * half[2] + 1))
    counts = np.zeros((1, 1, 1)) if known else np.zeros(sums.shape)
    total, covered = np.empty(size[2]), np.full(size[2], float(np.sum(2 * rows[:, 2] + 1)))
    local, everywhere = -np.inf, -np.inf
    for front in range(low[0] - half[0], high[0] + half[0]):
        _sum_rows(values, (front, low[1] - half[1], low[2] - half[2]), sums[front % span], False)
        if not known:
            _sum_rows(values, (front, low[1] - half[1], low[2] - half[2]), counts[front % span], True)
        z = front - half[0]
        for y in range(size[1] if z >= low[0] else 0):
            inside = np.flatnonzero(mask[z, low[1] + y, low[2] : high[2]])
            if len(inside) == 0:
                continue
            first, last = inside[0], inside[-1] + 1
            _add_rows(sums, rows, (z, y + half[1], first + half[2]), total[first:last])
            if not known:
                _add_rows(counts, rows, (z, y + half[1], first + half[2]), covered[first:last])
            for x in inside:
                mean = total[x] / covered[x]
                everywhere = max(everywhere, mean)
                if values[z, low[1] + y, low[2] + x] == highest:
                    local = max(local, mean)
    return local, everywhere


@numba.njit(cache=True, nogil=True)
def _sum_rows(values: FloatArray, start: tuple[int, int, int], out: FloatArray, count: bool) -> None:
    """Sums along x up to and without each voxel of a plane (y, x + 1) that begins at `start`.

    Of the values, or of 1 for each that exists and is finite; others count nothing.
    """
    z = start[0]
    for j in range(out.shape[0]):
        y = start[1] + j
        out[j, 0] = 0.0
        exists = 0 <= z < values.shape[0] and 0 <= y < values.shape[1]
        for i in range(out.shape[1] - 1):
            x = start[2] + i
            add = 0.0
            if exists and 0 <= x < values.shape[2] and np.isfinite(values[z, y, x]):
                add = 1.0 if count else values[z, y, x]
            out[j, i + 1] = out[j, i] + add


@numba.njit(cache=True, nogil=True)
def _add_rows(sums: FloatArray, rows: IntArray, centre: tuple[int, int, int], out: FloatArray) -> None:
    """The sphere's sums around each voxel of a row, from `centre` on, out of sums along x.

    Plane z of the image is plane z modulo their number of `sums`.
    """
    out[:] = 0.0
    n = len(out)
    for r in range(rows.shape[0]):
        line = sums[(centre[0] + rows[r, 0]) % sums.shape[0], centre[1] + rows[r, 1]]
        ahead = line[centre[2] + rows[r, 2] + 1 :]
        behind = line[centre[2] - rows[r, 2] :]
        for x in range(n):
            out[x] += ahead[x] - behind[x]
