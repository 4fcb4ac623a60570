"""Grey level co-occurrence: how often two levels are neighbours; 25 features of one symmetric matrix.

Only formulas. Counting, and how directions and slices are combined, is in `texture_directions`.
Source: IBSI reference manual, section 3.6 (arXiv 1612.07003v11).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import FloatArray, IntArray
from lesionlab.measure.ibsi.texture_voxels import COUNT_LOG

NUMBER: Final = 25

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("cm_joint_max", "GYBY", "1", "max p_ij"),
    Feature("cm_joint_avg", "60VM", "1", "mu = sum_ij i p_ij"),
    Feature("cm_joint_var", "UR99", "1", "sum_ij (i - mu)^2 p_ij"),
    Feature("cm_joint_entr", "TU9B", "1", "HXY = -sum_ij p_ij log2 p_ij"),
    Feature("cm_diff_avg", "TF7R", "1", "m = sum_k k d_k, with d_k = sum of p_ij over |i-j| = k"),
    Feature("cm_diff_var", "D3YU", "1", "sum_k (k - m)^2 d_k"),
    Feature("cm_diff_entr", "NTRS", "1", "-sum_k d_k log2 d_k"),
    Feature("cm_sum_avg", "ZGXS", "1", "sum_k k s_k, with s_k = sum of p_ij over i+j = k; = 2 mu"),
    Feature("cm_sum_var", "OEEB", "1", "sum_k (k - 2 mu)^2 s_k"),
    Feature("cm_sum_entr", "P6QZ", "1", "-sum_k s_k log2 s_k"),
    Feature("cm_energy", "8ZQL", "1", "sum_ij p_ij^2"),
    Feature("cm_contrast", "ACUI", "1", "sum_ij (i - j)^2 p_ij"),
    Feature("cm_dissimilarity", "8S9J", "1", "sum_ij |i - j| p_ij"),
    Feature("cm_inv_diff", "IB1Z", "1", "sum_ij p_ij / (1 + |i - j|)"),
    Feature("cm_inv_diff_norm", "NDRX", "1", "sum_ij p_ij / (1 + |i - j| / N_g)"),
    Feature("cm_inv_diff_mom", "WF0Z", "1", "sum_ij p_ij / (1 + (i - j)^2)"),
    Feature("cm_inv_diff_mom_norm", "1QCO", "1", "sum_ij p_ij / (1 + (i - j)^2 / N_g^2)"),
    Feature("cm_inv_var", "E8JP", "1", "sum over i != j of p_ij / (i - j)^2"),
    Feature("cm_corr", "NI2N", "1", "sum_ij (i - mu)(j - mu) p_ij / sum_i (i - mu)^2 p_i"),
    Feature("cm_auto_corr", "QWB0", "1", "sum_ij i j p_ij"),
    Feature("cm_clust_tend", "DG8W", "1", "sum_ij (i + j - 2 mu)^2 p_ij"),
    Feature("cm_clust_shade", "7NFM", "1", "sum_ij (i + j - 2 mu)^3 p_ij"),
    Feature("cm_clust_prom", "AE86", "1", "sum_ij (i + j - 2 mu)^4 p_ij"),
    Feature("cm_info_corr1", "R8DG", "1", "(HXY - HXY1) / HX, HXY1 = -sum_ij p_ij log2(p_i p_j)"),
    Feature(
        "cm_info_corr2", "JN9H", "1", "sqrt(1 - exp(-2 (HXY2 - HXY))), HXY2 = -sum_ij p_i p_j log2(p_i p_j)"
    ),
)


@njit(cache=True, nogil=True)
def cooccurrence_features(pairs: IntArray, base: int, count: int) -> FloatArray:
    """Features (matrices, 25), in the order of FEATURES, of neighbouring pairs counted once in either order.

    `pairs` (matrices, levels + 1, levels + 1): how often stored level j follows i; row and column 0 are
    background and ignored; the symmetric matrix is `pairs` plus its transpose. True level = stored + `base`;
    `count` is N_g. No pair at all gives NaN throughout; one single level leaves correlation and the first
    information correlation NaN (0 / 0).
    """
    features = np.empty((len(pairs), NUMBER))
    for matrix in range(len(pairs)):
        _features(pairs[matrix], base, count, features[matrix])
    return features


@njit(cache=True, nogil=True)
def _features(pairs: IntArray, base: int, count: int, features: FloatArray) -> None:
    size = pairs.shape[0]
    rows = np.zeros(size)
    differences = np.zeros(size)
    sums = np.zeros(2 * size)
    total, largest, squares, logs = _gather_marginals(pairs, rows, differences, sums)
    if total == 0.0:
        features.fill(np.nan)
        return
    features[0] = largest / total
    # one single cell: exactly 0, without rounding
    joint_entropy = np.log2(total) - logs / total if squares < total * total else 0.0
    features[3] = joint_entropy
    features[10] = squares / (total * total)
    row_entropy = _entropy(rows, total)
    _difference_features(differences, total, count, features)
    _sum_features(sums, total, base, features)
    mean = features[1]
    tendency, contrast = features[20], features[11]
    features[2] = (tendency + contrast) / 4.0
    covariance = (tendency - contrast) / 4.0
    features[18] = covariance / features[2] if features[2] > 0.0 else np.nan
    features[19] = covariance + mean * mean
    # the matrix is symmetric, so HXY1 = HXY2 = 2 HX
    features[23] = (joint_entropy - 2.0 * row_entropy) / row_entropy if row_entropy > 0.0 else np.nan
    features[24] = np.sqrt(max(0.0, 1.0 - np.exp(-2.0 * (2.0 * row_entropy - joint_entropy))))


@njit(cache=True, nogil=True)
def _gather_marginals(
    pairs: IntArray, rows: FloatArray, differences: FloatArray, sums: FloatArray
) -> tuple[float, float, float, float]:
    """Marginals over rows, |i - j| and i + j; total, largest entry, sum of squares, sum of c log2 c."""
    total = 0.0
    largest = 0
    squares = 0.0
    logs = 0.0
    for i in range(1, pairs.shape[0]):
        row = 0.0
        for j in range(i, pairs.shape[0]):
            entry = pairs[i, j] + pairs[j, i]
            if entry == 0:
                continue
            copies = 1.0 if i == j else 2.0
            weight = np.float64(entry)
            largest = max(largest, entry)
            squares += copies * weight * weight
            logs += copies * (COUNT_LOG[entry] if entry < len(COUNT_LOG) else weight * np.log2(weight))
            row += weight
            if i != j:
                rows[j] += weight
            total += copies * weight
            differences[j - i] += copies * weight
            sums[i + j] += copies * weight
        rows[i] += row
    return total, np.float64(largest), squares, logs


@njit(cache=True, nogil=True)
def _entropy(counts: FloatArray, total: float) -> float:
    logs = 0.0
    nonzero = 0
    for count in counts:
        if count > 0.0:
            nonzero += 1
            logs += count * np.log2(count)
    return np.log2(total) - logs / total if nonzero > 1 else 0.0


@njit(cache=True, nogil=True)
def _difference_features(differences: FloatArray, total: float, levels: int, features: FloatArray) -> None:
    """Everything that depends on |i - j| alone."""
    sums = np.zeros(7)
    for k in range(len(differences)):
        if differences[k] > 0.0:
            weight = differences[k] / total
            step = np.float64(k)
            share = step / levels
            sums[0] += step * weight
            sums[1] += step * step * weight
            sums[2] += weight / (1.0 + step)
            sums[3] += weight / (1.0 + share)
            sums[4] += weight / (1.0 + step * step)
            sums[5] += weight / (1.0 + share * share)
            sums[6] += weight / (step * step) if k > 0 else 0.0
    spread = 0.0
    for k in range(len(differences)):
        spread += (k - sums[0]) ** 2 * differences[k] / total
    features[4] = sums[0]
    features[5] = spread
    features[6] = _entropy(differences, total)
    features[11] = sums[1]
    features[12] = sums[0]
    for k in range(5):
        features[13 + k] = sums[2 + k]


@njit(cache=True, nogil=True)
def _sum_features(sums: FloatArray, total: float, base: int, features: FloatArray) -> None:
    """Everything that depends on i + j alone; the joint average is half of the sum average."""
    mean = 0.0
    for k in range(len(sums)):
        mean += k * (sums[k] / total)
    second = third = fourth = 0.0
    for k in range(len(sums)):
        if sums[k] > 0.0:
            weight = sums[k] / total
            distance = k - mean
            square = distance * distance
            second += square * weight
            third += square * distance * weight
            fourth += square * square * weight
    features[1] = mean / 2.0 + base
    features[7] = mean + 2.0 * base
    features[8] = second
    features[9] = _entropy(sums, total)
    features[20] = second
    features[21] = third
    features[22] = fourth
