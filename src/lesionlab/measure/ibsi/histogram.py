"""Intensity histogram (IBSI 3.4, family ZVCW): 23 features of the grey levels, computed from their counts."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from lesionlab.core.units import ONE
from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import FloatArray, Levels

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("ih_mean", "X6K6", ONE, "mean of the levels = sum(i p_i), p_i = share of level i"),
    Feature("ih_var", "CH89", ONE, "variance = sum((i - mean)^2 p_i)"),
    Feature("ih_skew", "88K1", ONE, "skewness = m3 / m2^1.5 of the central moments; 0 where m2 = 0"),
    Feature("ih_kurt", "C3I7", ONE, "excess kurtosis = m4 / m2^2 - 3; 0 where m2 = 0"),
    Feature("ih_median", "WIFQ", ONE, "median level"),
    Feature("ih_min", "1PR8", ONE, "lowest level present"),
    Feature("ih_p10", "GPMT", ONE, "10th percentile, linear between order statistics"),
    Feature("ih_p90", "OZ0C", ONE, "90th percentile, linear between order statistics"),
    Feature("ih_max", "3NCY", ONE, "highest level present"),
    Feature("ih_mode", "AMMC", ONE, "most frequent level; of several, the one nearest to the mean"),
    Feature("ih_iqr", "WR0O", ONE, "interquartile range = p75 - p25"),
    Feature("ih_range", "5Z3W", ONE, "highest minus lowest level"),
    Feature("ih_mad", "D2ZX", ONE, "mean absolute deviation = sum(|i - mean| p_i)"),
    Feature("ih_rmad", "WRZB", ONE, "mean absolute deviation of the levels from p10 to p90"),
    Feature("ih_medad", "4RNL", ONE, "mean absolute deviation from the median"),
    Feature("ih_cov", "CWYJ", ONE, "coefficient of variation = sqrt(variance) / mean"),
    Feature("ih_qcod", "SLWD", ONE, "quartile coefficient of dispersion = (p75 - p25) / (p75 + p25)"),
    Feature("ih_entropy", "TLU2", ONE, "entropy = -sum(p_i log2 p_i)"),
    Feature("ih_uniformity", "BJ5W", ONE, "uniformity = sum(p_i^2)"),
    Feature(
        "ih_max_grad",
        "12CE",
        ONE,
        "largest gradient (n_(i+1) - n_(i-1)) / 2 of the counts, one-sided at ends",
    ),
    Feature("ih_max_grad_g", "8E6O", ONE, "level of the largest gradient"),
    Feature("ih_min_grad", "VQB3", ONE, "smallest gradient of the counts"),
    Feature("ih_min_grad_g", "RHQZ", ONE, "level of the smallest gradient"),
)


def histogram(levels: Levels) -> dict[str, float]:
    """The 23 histogram features of grey levels; all NaN when there are none.

    Levels between 1 and `levels.count` that no voxel has belong to the histogram with a count of 0. The four
    gradients are NaN where the discretisation allows for a single level, `ih_rmad` where no level lies
    from p10 to p90 (two voxels).
    """
    counts = np.bincount(levels.array.ravel(), minlength=levels.count + 1)[1:].astype(np.float64)
    n = float(counts.sum())
    if n == 0:
        return {feature.name: math.nan for feature in FEATURES}
    i = np.arange(1, len(counts) + 1, dtype=np.float64)
    p = counts / n
    mean = float(np.dot(i, p))
    deviation = i - mean
    squared = deviation * deviation
    present = np.flatnonzero(counts)
    low, high = float(present[0] + 1), float(present[-1] + 1)
    variance = float(np.dot(squared, p)) if high > low else 0.0
    skew = kurt = 0.0
    if variance > 0:
        skew = float(np.dot(squared * deviation, p)) / variance**1.5
        kurt = float(np.dot(squared * squared, p)) / variance**2 - 3.0
    p10, p25, median, p75, p90 = _percentiles(counts, (0.1, 0.25, 0.5, 0.75, 0.9))
    found = p[present]
    return {
        "ih_mean": mean,
        "ih_var": variance,
        "ih_skew": skew,
        "ih_kurt": kurt,
        "ih_median": median,
        "ih_min": low,
        "ih_p10": p10,
        "ih_p90": p90,
        "ih_max": high,
        "ih_mode": _mode(counts, mean),
        "ih_iqr": p75 - p25,
        "ih_range": high - low,
        "ih_mad": float(np.dot(np.abs(deviation), p)),
        "ih_rmad": _robust_deviation(counts, p10, p90),
        "ih_medad": float(np.dot(np.abs(i - median), p)),
        "ih_cov": math.sqrt(variance) / mean,
        "ih_qcod": (p75 - p25) / (p75 + p25),
        # + 0.0 turns the -0.0 of a single level into 0.0
        "ih_entropy": -float(np.dot(found, np.log2(found))) + 0.0,
        "ih_uniformity": float(np.dot(p, p)),
        **_gradients(counts),
    }


def _percentiles(counts: FloatArray, shares: tuple[float, ...]) -> list[float]:
    """Quantiles of the levels behind the counts, linear between the two nearest order statistics."""
    upto = np.cumsum(counts)
    where = np.asarray(shares) * (upto[-1] - 1)
    below = np.floor(where)
    first = np.searchsorted(upto, below, side="right") + 1.0
    second = np.searchsorted(upto, np.minimum(below + 1, upto[-1] - 1), side="right") + 1.0
    return [float(value) for value in first + (where - below) * (second - first)]


def _robust_deviation(counts: FloatArray, p10: float, p90: float) -> float:
    """Mean absolute deviation of the levels from p10 to p90; NaN when there is none."""
    first, last = math.ceil(p10), math.floor(p90)
    middle = counts[first - 1 : last]
    n = middle.sum()
    if n == 0:
        return math.nan
    i = np.arange(first, last + 1, dtype=np.float64)
    return float(np.dot(np.abs(i - np.dot(i, middle) / n), middle) / n)


def _mode(counts: FloatArray, mean: float) -> float:
    candidates = np.flatnonzero(counts == counts.max()) + 1
    return float(candidates[np.argmin(np.abs(candidates - mean))])


def _gradients(counts: FloatArray) -> dict[str, float]:
    if len(counts) < 2:
        return dict.fromkeys(("ih_max_grad", "ih_max_grad_g", "ih_min_grad", "ih_min_grad_g"), math.nan)
    gradient = np.gradient(counts)
    highest, lowest = int(np.argmax(gradient)), int(np.argmin(gradient))
    return {
        "ih_max_grad": float(gradient[highest]),
        "ih_max_grad_g": float(highest + 1),
        "ih_min_grad": float(gradient[lowest]),
        "ih_min_grad_g": float(lowest + 1),
    }
