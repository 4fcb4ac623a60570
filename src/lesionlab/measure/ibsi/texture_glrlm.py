"""Grey level run lengths: how many voxels in a row share a level; 16 features of one matrix.

Only names and the reading of a table of runs; the formulas are those of `texture_emphases`, counting is in
`texture_directions`. Source: IBSI reference manual, section 3.7 (arXiv 1612.07003v11).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import FloatArray, IntArray
from lesionlab.measure.ibsi.texture_emphases import SUMS, add_cell, finish

NUMBER: Final = 16

# r_ij: runs of level i and length j; r_i, r_j its marginals; p_ij = r_ij / N_s; m the mean that belongs
FEATURES: Final[tuple[Feature, ...]] = (
    Feature("rlm_sre", "22OV", "1", "1/N_s sum_j r_j / j^2"),
    Feature("rlm_lre", "W4KF", "1", "1/N_s sum_j r_j j^2"),
    Feature("rlm_lgre", "V3SW", "1", "1/N_s sum_i r_i / i^2"),
    Feature("rlm_hgre", "G3QZ", "1", "1/N_s sum_i r_i i^2"),
    Feature("rlm_srlge", "HTZT", "1", "1/N_s sum_ij r_ij / (i^2 j^2)"),
    Feature("rlm_srhge", "GD3A", "1", "1/N_s sum_ij r_ij i^2 / j^2"),
    Feature("rlm_lrlge", "IVPO", "1", "1/N_s sum_ij r_ij j^2 / i^2"),
    Feature("rlm_lrhge", "3KUM", "1", "1/N_s sum_ij r_ij i^2 j^2"),
    Feature("rlm_glnu", "R5YN", "1", "1/N_s sum_i r_i^2"),
    Feature("rlm_glnu_norm", "OVBL", "1", "1/N_s^2 sum_i r_i^2"),
    Feature("rlm_rlnu", "W92Y", "1", "1/N_s sum_j r_j^2"),
    Feature("rlm_rlnu_norm", "IC23", "1", "1/N_s^2 sum_j r_j^2"),
    Feature("rlm_r_perc", "9ZK5", "1", "N_s / N_v, N_v summed over merged matrices"),
    Feature("rlm_gl_var", "8CE5", "1", "sum_ij (i - m)^2 p_ij"),
    Feature("rlm_rl_var", "SXLW", "1", "sum_ij (j - m)^2 p_ij"),
    Feature("rlm_rl_entr", "HJ9O", "1", "-sum_ij p_ij log2 p_ij"),
)


@njit(cache=True, nogil=True)
def run_features(reached: IntArray, base: int, voxels: int, features: FloatArray) -> None:
    """The 16 features, in the order of FEATURES, of a table of how many runs reach a length.

    `reached` (levels + 1, longest + 2): runs of stored level i that are at least j long; row 0 is background
    and ignored, the last column 0. True level = stored + `base`; `voxels` is N_v, summed over what was
    merged. No run gives NaN throughout.
    """
    levels = np.zeros(reached.shape[0], dtype=np.int64)
    levels[0] = base
    extents = np.zeros(reached.shape[1], dtype=np.int64)
    sums = np.zeros(SUMS)
    for level in range(1, reached.shape[0]):
        length = 1
        while reached[level, length] > 0:
            runs = reached[level, length] - reached[level, length + 1]
            if runs > 0:
                add_cell(sums, levels, extents, level, length, runs)
            length += 1
    result = np.empty(NUMBER + 1)
    finish(sums, levels, extents, voxels, result)
    for k in range(NUMBER):
        features[k] = result[k]
