"""Where a lesion's voxels and intensities lie: centres, principal axes and mean, in one pass.

Positions are voxel centres in mm. Shape proper (surface, hull) is in the other morphology files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np

from lesionlab.measure.ibsi.region import BoolArray, FloatArray, Region


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Voxels inside; variances along the principal axes in mm2, ascending, and the axes in rows (3, 3).

    Variances divide by count - 1, as the reference values of the standard do; for one voxel they are 0.
    `centre_shift` in mm and `mean_intensity` are NaN where the intensity mask is empty, the shift also where
    the intensities sum to 0; variances are NaN for no voxel.
    """

    count: int
    variances: FloatArray
    axes: FloatArray
    centre_shift: float
    mean_intensity: float


def moments(region: Region) -> Moments:
    """Moments of a lesion: positions of the morphological, intensities of the intensity mask."""
    nan = float("nan")
    sums, weighted, intensity, inside = _sums(region.values, region.morphological, region.intensity)
    count = int(sums[0])
    if count == 0:
        return Moments(0, np.full(3, nan), np.full((3, 3), nan), nan, nan)
    spacing = np.asarray(region.spacing)
    # whole numbers: n sum(zy) - sum(z) sum(y) without rounding, so that a flat lesion is exactly flat
    whole = [int(value) for value in sums]
    pairs = dict(zip(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)), whole[4:], strict=True))
    matrix = np.empty((3, 3))
    for (i, j), product in pairs.items():
        matrix[i, j] = matrix[j, i] = float(count * product - whole[i + 1] * whole[j + 1])
    matrix *= np.outer(spacing, spacing) / (count * max(count - 1, 1))
    variances, axes = np.linalg.eigh(matrix)
    variances[variances < 1e-12 * variances[-1]] = 0.0
    shift = nan
    if intensity != 0:
        shift = float(np.linalg.norm((weighted / intensity - sums[1:4] / count) * spacing))
    return Moments(count, variances, axes.T, shift, intensity / inside if inside else nan)


@nb.njit(cache=True, nogil=True)
def _sums(
    values: FloatArray, morphological: BoolArray, intensity: BoolArray
) -> tuple[FloatArray, FloatArray, float, int]:
    """Sums over voxels of 1, z, y, x, zz, zy, zx, yy, yx, xx; of value times z, y, x; of values; voxels."""
    depth, height, width = morphological.shape
    sums = np.zeros(10)
    weighted = np.zeros(3)
    total = 0.0
    inside = 0
    for z in range(depth):
        for y in range(height):
            n, nx, nxx = 0, 0, 0
            row, row_x = 0.0, 0.0
            for x in range(width):
                if morphological[z, y, x]:
                    n += 1
                    nx += x
                    nxx += x * x
                if intensity[z, y, x]:
                    inside += 1
                    row += values[z, y, x]
                    row_x += values[z, y, x] * x
            if n == 0:
                continue
            sums += np.array((n, n * z, n * y, nx, n * z * z, n * z * y, nx * z, n * y * y, nx * y, nxx))
            weighted += np.array((row * z, row * y, row_x))
            total += row
    return sums, weighted, total, inside
