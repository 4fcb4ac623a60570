"""Grey level run lengths: how many voxels in a row share a level; 16 features of one matrix.

Only names; the formulas are those of `texture_emphases`, counting is in `texture_directions`.
Source: IBSI reference manual, section 3.7 (arXiv 1612.07003v11).
"""

from __future__ import annotations

from typing import Final

from lesionlab.measure.ibsi.feature import Feature

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
