"""A voxel and its neighbours: the difference from their mean (NGTDM), and how many are alike (NGLDM).

Both look at the neighbours at Chebyshev distance 1 that lie in the lesion, with coarseness parameter 0, and
are counted in the same sweep. Source: IBSI reference manual, sections 3.10 and 3.11 (arXiv 1612.07003v11).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import FloatArray
from lesionlab.measure.ibsi.texture_emphases import NUMBER, dependence_features
from lesionlab.measure.ibsi.texture_voxels import (
    Dimension,
    GreyArray,
    IndexArray,
    LongArray,
    Voxels,
    mean_where_defined,
    steps_back,
)

# n_i: voxels of level i with a neighbour, N of them in all levels; p_i = n_i / N; N_p levels with p_i > 0;
# s_i: sum over them of |i - mean level of the neighbours|
TONE_FEATURES: Final[tuple[Feature, ...]] = (
    Feature("ngt_coarseness", "QCDE", "1", "1 / sum_i p_i s_i, at most 10^6"),
    Feature(
        "ngt_contrast", "65HE", "1", "sum_ij p_i p_j (i - j)^2 / (N_p (N_p - 1)) sum_i s_i / N; 0 if N_p = 1"
    ),
    Feature("ngt_busyness", "NQ30", "1", "sum_i p_i s_i / sum_ij |i p_i - j p_j|; 0 if N_p = 1"),
    Feature("ngt_complexity", "HDEZ", "1", "1/N sum_ij |i - j| (p_i s_i + p_j s_j) / (p_i + p_j)"),
    Feature("ngt_strength", "1X9X", "1", "sum_ij (p_i + p_j)(i - j)^2 / sum_i s_i; 0 if the latter is"),
)
# s_ij: voxels of level i with j - 1 neighbours of that level; s_i, s_j its marginals; N_s voxels
DEPENDENCE_FEATURES: Final[tuple[Feature, ...]] = (
    Feature("ngl_lde", "SODN", "1", "1/N_s sum_j s_j / j^2"),
    Feature("ngl_hde", "IMOQ", "1", "1/N_s sum_j s_j j^2"),
    Feature("ngl_lgce", "TL9H", "1", "1/N_s sum_i s_i / i^2"),
    Feature("ngl_hgce", "OAE7", "1", "1/N_s sum_i s_i i^2"),
    Feature("ngl_ldlge", "EQ3F", "1", "1/N_s sum_ij s_ij / (i^2 j^2)"),
    Feature("ngl_ldhge", "JA6D", "1", "1/N_s sum_ij s_ij i^2 / j^2"),
    Feature("ngl_hdlge", "NBZI", "1", "1/N_s sum_ij s_ij j^2 / i^2"),
    Feature("ngl_hdhge", "9QMG", "1", "1/N_s sum_ij s_ij i^2 j^2"),
    Feature("ngl_glnu", "FP8K", "1", "1/N_s sum_i s_i^2"),
    Feature("ngl_glnu_norm", "5SPA", "1", "1/N_s^2 sum_i s_i^2"),
    Feature("ngl_dcnu", "Z87G", "1", "1/N_s sum_j s_j^2"),
    Feature("ngl_dcnu_norm", "OKJI", "1", "1/N_s^2 sum_j s_j^2"),
    Feature("ngl_dc_perc", "6XV8", "1", "N_s / N_v = 1, as every voxel counts"),
    Feature("ngl_gl_var", "1PFV", "1", "sum_ij (i - m)^2 p_ij"),
    Feature("ngl_dc_var", "DNX2", "1", "sum_ij (j - m)^2 p_ij"),
    Feature("ngl_dc_entr", "FCBV", "1", "-sum_ij p_ij log2 p_ij"),
    Feature("ngl_dc_energy", "CAS9", "1", "sum_ij p_ij^2"),
)
FEATURES: Final[tuple[Feature, ...]] = TONE_FEATURES + DEPENDENCE_FEATURES

TONES: Final = 5
BLOCK: Final = 2048
"""Places swept at a time; what a block needs stays in the fastest cache."""
MOST: Final = 27
"""The largest dependence: a voxel and its 26 neighbours."""
COARSEST: Final = 1e6
"""What the standard sets coarseness to where no voxel differs from its neighbours."""


def neighbour_features(
    voxels: Voxels, dimensions: tuple[Dimension, ...]
) -> dict[Dimension, tuple[FloatArray, FloatArray]]:
    """NGTDM (5,) and NGLDM (17,) features per dimension; NaN without a voxel.

    NGTDM features are NaN when no voxel has a neighbour; such slices leave the average over slices.
    """
    results: dict[Dimension, tuple[FloatArray, FloatArray]] = {}
    for name in dimensions:
        back = steps_back(voxels.shape, name)
        steps = np.concatenate((-back, back))
        slabs = voxels.slabs if name == "2D" else voxels.whole
        tones, alike = np.empty((len(slabs) - 1, TONES)), np.empty((len(slabs) - 1, NUMBER))
        for slab in range(len(slabs) - 1):
            part = voxels.positions[slabs[slab] : slabs[slab + 1]]
            dependences = np.zeros((voxels.highest + 1, MOST + 1), dtype=np.int64)
            having = np.zeros(voxels.highest + 1, dtype=np.int64)
            differences = np.zeros(voxels.highest + 1)
            count_neighbours(voxels.grey, part, steps, dependences, having, differences)
            _tone_features(having, differences, voxels.base, tones[slab])
            alike[slab] = dependence_features(dependences, voxels.base, len(part))
        results[name] = mean_where_defined(tones), mean_where_defined(alike)
    return results


@njit(cache=True, nogil=True)
def count_neighbours(
    grey: GreyArray,
    positions: IndexArray,
    steps: LongArray,
    dependences: LongArray,
    having: LongArray,
    differences: FloatArray,
) -> None:
    """Add voxels to the dependence matrix (levels + 1, 28), and to n_i and s_i of the tone differences.

    Block by block along the flattened box: the sums over neighbours are plain array sweeps, which the
    processor does many voxels at a time; only then is each voxel of the lesion looked at.
    """
    total = np.zeros(BLOCK, dtype=np.uint32)
    number, alike = np.zeros(BLOCK, dtype=np.uint16), np.zeros(BLOCK, dtype=np.uint16)
    reach = steps.max()
    done = 0
    while done < len(positions):
        start = int(positions[done])
        length = min(BLOCK, int(positions[len(positions) - 1]) + 1 - start)
        _sweep_block(grey[start - reach : start + length + reach], length, steps, total, number, alike)
        while done < len(positions) and positions[done] < start + length:
            place = np.uint64(int(positions[done]) - start)
            level = grey[positions[done]]
            dependences[level, alike[place] + np.uint16(1)] += 1
            if number[place] > 0:
                having[level] += 1
                differences[level] += abs(np.float64(level) - np.float64(total[place]) / number[place])
            done += 1


@njit(cache=True, nogil=True)
def _sweep_block(
    grey: GreyArray,
    length: int,
    steps: LongArray,
    total: IndexArray,
    number: GreyArray,
    alike: GreyArray,
) -> None:
    """Over the neighbours of each place of a block: sum of their levels, how many, how many of its level.

    `grey` holds the block of `length` places and, on either side, as many as the farthest step reaches.
    """
    for place in range(length):
        total[place] = 0
        number[place] = 0
        alike[place] = 0
    start = (len(grey) - length) // 2
    centre = grey[start : start + length]
    for step in steps:
        other = grey[start + step : start + step + length]
        for place in range(length):
            total[place] += other[place]
            number[place] += np.uint16(other[place] > 0)
            alike[place] += np.uint16(other[place] == centre[place])


@njit(cache=True, nogil=True)
def _tone_features(having: LongArray, differences: FloatArray, base: int, features: FloatArray) -> None:
    """The 5 features of n_i and s_i per stored level; NaN when no voxel has a neighbour."""
    total = 0.0
    present = 0
    weighted = 0.0
    summed = 0.0
    for level in range(len(having)):
        total += having[level]
        present += 1 if having[level] > 0 else 0
        weighted += having[level] * differences[level]
        summed += differences[level]
    if present == 0:
        features.fill(np.nan)
        return
    spread = busy = complexity = strength = 0.0
    for i in range(len(having)):
        if having[i] == 0:
            continue
        first = np.float64(having[i])
        for j in range(i + 1, len(having)):
            if having[j] == 0:
                continue
            second = np.float64(having[j])
            apart = np.float64(j - i)
            spread += first * second * apart * apart
            # whole numbers, so that equal products cancel exactly
            busy += abs((i + base) * first - (j + base) * second)
            complexity += apart * (first * differences[i] + second * differences[j]) / (first + second)
            strength += (first + second) * apart * apart
    weighted /= total
    features[0] = min(COARSEST, 1.0 / weighted) if weighted > 0.0 else COARSEST
    features[1] = 0.0
    features[2] = 0.0
    if present > 1:
        features[1] = 2.0 * spread / (total * total) / (present * (present - 1)) * summed / total
        features[2] = weighted / (2.0 * busy / total) if busy > 0.0 else np.nan
    features[3] = 2.0 * complexity / total
    features[4] = 2.0 * strength / total / summed if summed > 0.0 else 0.0
