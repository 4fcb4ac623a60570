"""Loops over surface elements, compiled: find them, and their nearest neighbours on another surface.

Loaded only where distances are computed, because numba takes a moment to start. What the distances mean is in
`surface.py`. A surface is a list of cells in array order: `starts` says where each row (z, y) of cells
begins, `columns` holds the x of each cell.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@nb.njit(cache=True, nogil=True)
def find_elements(
    mask: NDArray[np.uint8], layers: int, cut: NDArray[np.bool_]
) -> tuple[IntArray, NDArray[np.int32], NDArray[np.uint8]]:
    """Starts, columns and shapes of the cells that a mask's surface cuts.

    Cell (z, y, x) lies between the voxels before and at (z, y, x), outside counting as empty; `layers` of
    them along z, one more than voxels along y and x. `cut` tells for the 256 shapes, numbered as in
    `core.mesh`, whether they hold surface.
    """
    _, height, width = mask.shape
    filled = _filled_rows(mask)
    starts = np.zeros(layers * (height + 1) + 1, dtype=np.int64)
    columns, shapes = np.empty(1024, dtype=np.int32), np.empty(1024, dtype=np.uint8)
    column = np.zeros(width + 2, dtype=np.uint8)
    n, row = 0, 0
    for z in range(layers):
        for y in range(height + 1):
            if filled[z, y] or filled[z, y + 1] or filled[z + 1, y] or filled[z + 1, y + 1]:
                column[:] = 0
                for corner in range(4):
                    down, along = z - 1 + corner // 2, y - 1 + corner % 2
                    if filled[down + 1, along + 1]:
                        line, bit = mask[down, along], np.uint8(1 << corner)
                        for x in range(width):
                            column[x + 1] |= line[x] * bit
                if n + width + 1 > len(columns):
                    columns = np.concatenate((columns, np.empty(len(columns) + width, dtype=np.int32)))
                    shapes = np.concatenate((shapes, np.empty(len(shapes) + width, dtype=np.uint8)))
                for x in range(width + 1):
                    shape = column[x] | np.uint8(column[x + 1] << 4)
                    columns[n], shapes[n] = (
                        x,
                        shape,
                    )  # without a branch: the next one overwrites what is not cut
                    n += cut[shape]
            row += 1
            starts[row] = n
    return starts, columns[:n].copy(), shapes[:n].copy()


@nb.njit(cache=True, nogil=True)
def _filled_rows(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows (z, y) of a mask hold a voxel, with an empty row before the first and after the last."""
    filled = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.bool_)
    for z in range(mask.shape[0]):
        for y in range(mask.shape[1]):
            found = np.uint8(0)
            for x in range(mask.shape[2]):
                found |= mask[z, y, x]  # without a branch, many voxels at a time
            filled[z + 1, y + 1] = found != 0
    return filled


@nb.njit(cache=True, nogil=True)
def near_squares(
    queries: tuple[IntArray, NDArray[np.int32]],
    surface: tuple[IntArray, NDArray[np.int32]],
    rows: int,
    steps: IntArray,
    squares: FloatArray,
    width_mm: float,
) -> FloatArray:
    """Squared distance in mm2 from each query cell to the nearest cell of the surface; NaN where not near.

    `rows` is the number of rows in a layer. `steps` (k, 2) are the neighbouring rows that are searched, by
    rising squared distance `squares`, whose last entry is that of a step not taken.
    """
    starts, columns = queries
    other_starts, other_columns = surface
    out = np.empty(len(columns))
    layers = (len(starts) - 1) // rows
    for row in range(len(starts) - 1):
        z, y = row // rows, row % rows
        for n in range(starts[row], starts[row + 1]):
            x, best = columns[n], np.inf
            for k in range(len(steps)):
                if squares[k] >= best:
                    break
                other_z, other_y = z + steps[k, 0], y + steps[k, 1]
                if not (0 <= other_z < layers and 0 <= other_y < rows):
                    continue
                low, high = other_starts[other_z * rows + other_y], other_starts[other_z * rows + other_y + 1]
                if low == high:
                    continue
                gap = _gap(other_columns[low:high], x) * width_mm
                best = min(best, squares[k] + gap * gap)
            out[n] = best if best <= squares[-1] else np.nan
    return out


@nb.njit(cache=True, nogil=True, inline="always")
def _gap(columns: NDArray[np.int32], x: int) -> int:
    """Distance in cells from x to the nearest of ascending columns, at least one."""
    low, high = 0, len(columns)
    while low < high:
        middle = (low + high) // 2
        if columns[middle] < x:
            low = middle + 1
        else:
            high = middle
    if low == len(columns):
        return int(x - columns[low - 1])
    after = int(columns[low] - x)
    return after if low == 0 else min(after, int(x - columns[low - 1]))


@nb.njit(cache=True, nogil=True)
def grid_squares(
    surface: tuple[IntArray, NDArray[np.int32]],
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
) -> FloatArray:
    """Squared distance in mm2 from every cell of a grid to the nearest cell of a surface that has one.

    The time depends on the grid alone: one pass along each axis, the later two by the lower envelope of
    parabolas (Felzenszwalb and Huttenlocher, Theory Comput 8(19), 2012).
    """
    starts, columns = surface
    out = np.full(shape, np.inf)
    for row in range(len(starts) - 1):
        if starts[row] < starts[row + 1]:
            _fill_row(
                out[row // shape[1], row % shape[1]], columns[starts[row] : starts[row + 1]], spacing[2]
            )
    for z in range(shape[0]):
        _envelopes(out[z], spacing[1])
    for y in range(shape[1]):
        _envelopes(out[:, y], spacing[0])
    return out


@nb.njit(cache=True, nogil=True)
def _fill_row(row: FloatArray, columns: NDArray[np.int32], step_mm: float) -> None:
    """Squared distance along a row to the nearest of its ascending columns."""
    k = 0
    for x in range(len(row)):
        while k + 1 < len(columns) and abs(columns[k + 1] - x) <= abs(columns[k] - x):
            k += 1
        row[x] = ((columns[k] - x) * step_mm) ** 2


@nb.njit(cache=True, nogil=True)
def _envelopes(plane: FloatArray, step_mm: float) -> None:
    """In place and for each column of a plane, the lowest of the parabolas that stand on its values."""
    n = len(plane)
    foot, height, until = np.empty(n), np.empty(n), np.empty(n)
    for x in range(plane.shape[1]):
        k = -1
        for i in range(n):
            if plane[i, x] == np.inf:
                continue
            at, value = i * step_mm, plane[i, x]
            crossing = -np.inf
            while k >= 0:
                crossing = (value + at * at - height[k] - foot[k] * foot[k]) / (2.0 * (at - foot[k]))
                if k == 0 or crossing > until[k - 1]:
                    break
                k -= 1
            if k >= 0:
                until[k] = crossing
            k += 1
            foot[k], height[k] = at, value
        if k < 0:
            continue
        last, k = k, 0
        for i in range(n):
            at = i * step_mm
            while k < last and until[k] < at:
                k += 1
            plane[i, x] = (at - foot[k]) ** 2 + height[k]
