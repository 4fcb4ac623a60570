"""The sixteen features that run lengths, zones and dependences share: emphases, non-uniformities, spread.

All four families are matrices of counts over (grey level i, extent j), the extent being a run length, a zone
size, a zone distance or a dependence count, and take the same formulas. A matrix is never stored densely
here: its cells are fed one by one, its marginals kept, so zone sizes may reach millions. How each family's
counts are read into cells stands here too: a compiled function is only sure to be compiled again when its
own file changes, so those that call one another stay in one file.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from lesionlab.measure.ibsi.region import FloatArray, IntArray
from lesionlab.measure.ibsi.texture_voxels import COUNT_LOG, LongArray

NUMBER: Final = 17
"""Features computed: the sixteen, then the energy that only dependences have."""
SUMS: Final = 6
"""Running sums over cells: four joint emphases, sum of c log2 c, sum of c^2."""


@njit(cache=True, nogil=True)
def add_cell(
    sums: FloatArray, levels: LongArray, extents: LongArray, level: int, extent: int, count: int
) -> None:
    """Count `count` entries at (level, extent) into the marginals and the sums; call once per cell.

    `levels[0]` carries the difference between true and stored levels; index 0 of both marginals is free.
    """
    levels[level] += count
    extents[extent] += count
    true = np.float64(level + levels[0])
    low = 1.0 / (true * true)
    high = true * true
    long = np.float64(extent) * np.float64(extent)
    short = 1.0 / long
    weight = np.float64(count)
    sums[0] += weight * low * short
    sums[1] += weight * high * short
    sums[2] += weight * low * long
    sums[3] += weight * high * long
    sums[4] += COUNT_LOG[count] if count < len(COUNT_LOG) else weight * np.log2(weight)
    sums[5] += weight * weight


@njit(cache=True, nogil=True)
def finish(
    sums: FloatArray, levels: LongArray, extents: LongArray, voxels: int, features: FloatArray
) -> None:
    """The features of the counted cells; `voxels` is N_v, summed over the matrices that were merged.

    Order: short, long, low, high emphasis; the four joint ones; grey level non-uniformity and normalised;
    extent non-uniformity and normalised; percentage; grey level variance; extent variance; entropy; energy.
    Nothing counted gives NaN throughout.
    """
    base = levels[0]
    total = 0.0
    level_sums = np.zeros(4)  # 1/i^2, i^2, i, r^2
    for index in range(1, len(levels)):
        if levels[index] > 0:
            count = np.float64(levels[index])
            value = np.float64(index + base)
            total += count
            level_sums[0] += count / (value * value)
            level_sums[1] += count * value * value
            level_sums[2] += count * value
            level_sums[3] += count * count
    if total == 0.0:
        features.fill(np.nan)
        return
    extent_sums = np.zeros(4)
    for index in range(1, len(extents)):
        if extents[index] > 0:
            count = np.float64(extents[index])
            value = np.float64(index)
            extent_sums[0] += count / (value * value)
            extent_sums[1] += count * value * value
            extent_sums[2] += count * value
            extent_sums[3] += count * count
    features[0] = extent_sums[0] / total
    features[1] = extent_sums[1] / total
    features[2] = level_sums[0] / total
    features[3] = level_sums[1] / total
    for index in range(4):
        features[4 + index] = sums[index] / total
    features[8] = level_sums[3] / total
    features[9] = level_sums[3] / (total * total)
    features[10] = extent_sums[3] / total
    features[11] = extent_sums[3] / (total * total)
    features[12] = total / voxels
    features[13] = _variance(levels, base, level_sums[2] / total, total)
    features[14] = _variance(extents, 0, extent_sums[2] / total, total)
    # one single cell: exactly 0, without rounding
    features[15] = np.log2(total) - sums[4] / total if sums[5] < total * total else 0.0
    features[16] = sums[5] / (total * total)


@njit(cache=True, nogil=True)
def _variance(counts: LongArray, base: int, mean: float, total: float) -> float:
    spread = 0.0
    for index in range(1, len(counts)):
        if counts[index] > 0:
            spread += counts[index] * (index + base - mean) ** 2
    return spread / total


@njit(cache=True, nogil=True)
def run_features(reached: IntArray, base: int, voxels: int) -> FloatArray:
    """Features (matrices, 16) of tables of how many runs reach a length.

    `reached` (matrices, levels + 1, longest + 2): runs of stored level i that are at least j long; row 0 is
    background and ignored, the last column 0. True level = stored + `base`; `voxels` is N_v of a matrix,
    summed over what was merged. No run gives NaN throughout.
    """
    features = np.empty((len(reached), NUMBER))
    for matrix in range(len(reached)):
        levels = np.zeros(reached.shape[1], dtype=np.int64)
        levels[0] = base
        extents = np.zeros(reached.shape[2], dtype=np.int64)
        sums = np.zeros(SUMS)
        for level in range(1, reached.shape[1]):
            length = 1
            while reached[matrix, level, length] > 0:
                runs = reached[matrix, level, length] - reached[matrix, level, length + 1]
                if runs > 0:
                    add_cell(sums, levels, extents, level, length, runs)
                length += 1
        finish(sums, levels, extents, voxels, features[matrix])
    return features[:, : NUMBER - 1]


@njit(cache=True, nogil=True)
def dependence_features(dependences: LongArray, base: int, voxels: int) -> FloatArray:
    """Features (17,) of a dependence matrix (levels + 1, most + 1); row and column 0 are ignored."""
    levels = np.zeros(dependences.shape[0], dtype=np.int64)
    levels[0] = base
    extents = np.zeros(dependences.shape[1], dtype=np.int64)
    sums = np.zeros(SUMS)
    for level in range(1, dependences.shape[0]):
        for extent in range(1, dependences.shape[1]):
            if dependences[level, extent] > 0:
                add_cell(sums, levels, extents, level, extent, dependences[level, extent])
    features = np.empty(NUMBER)
    finish(sums, levels, extents, voxels, features)
    return features


@njit(cache=True, nogil=True)
def zone_features(zones: IntArray, column: int, bounds: LongArray, base: int) -> FloatArray:
    """Features (17,) of zones over (level, column), averaged over slabs of them; NaN without a zone.

    `zones` (n, 3) are level, size and distance, `bounds` says where each slab begins and the last ends.
    """
    means = np.zeros(NUMBER)
    one = np.zeros(NUMBER)
    slabs = 0
    for slab in range(len(bounds) - 1):
        part = zones[bounds[slab] : bounds[slab + 1]]
        if len(part) > 0:
            _features_of_zones(part, column, base, one)
            slabs += 1
            for k in range(NUMBER):
                means[k] += one[k]
    for k in range(NUMBER):
        means[k] = means[k] / slabs if slabs > 0 else np.nan
    return means


@njit(cache=True, nogil=True)
def _features_of_zones(zones: IntArray, column: int, base: int, features: FloatArray) -> None:
    highest = 0
    longest = 0
    voxels = 0
    for k in range(len(zones)):
        highest = max(highest, zones[k, 0])
        longest = max(longest, zones[k, column])
        voxels += zones[k, 1]
    levels = np.zeros(highest + 1, dtype=np.int64)
    levels[0] = base
    extents = np.zeros(longest + 1, dtype=np.int64)
    sums = np.zeros(SUMS)
    # by level (a counting sort), then how many zones of that level share an extent
    begins = np.zeros(highest + 2, dtype=np.int64)
    for k in range(len(zones)):
        begins[zones[k, 0] + 1] += 1
    for level in range(1, highest + 2):
        begins[level] += begins[level - 1]
    ordered = np.zeros(len(zones), dtype=np.int64)
    for k in range(len(zones)):
        ordered[begins[zones[k, 0]]] = zones[k, column]
        begins[zones[k, 0]] += 1
    sharing = np.zeros(longest + 1, dtype=np.int64)
    start = 0
    for level in range(1, highest + 1):
        stop = begins[level]
        for k in range(start, stop):
            sharing[ordered[k]] += 1
        for k in range(start, stop):
            if sharing[ordered[k]] > 0:
                add_cell(sums, levels, extents, level, ordered[k], sharing[ordered[k]])
                sharing[ordered[k]] = 0
        start = stop
    finish(sums, levels, extents, voxels, features)
