"""Intensity-based statistics (IBSI 3.3, family UHIW): 18 features of the intensities as they are."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from lesionlab.core.units import ONE
from lesionlab.measure.ibsi.feature import INTENSITY, INTENSITY_SQUARED, Feature
from lesionlab.measure.ibsi.region import FloatArray

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("stat_mean", "Q4LE", INTENSITY, "mean = sum(x) / n"),
    Feature("stat_var", "ECT3", INTENSITY_SQUARED, "variance = sum((x - mean)^2) / n"),
    Feature("stat_skew", "KE2A", ONE, "skewness = m3 / m2^1.5 of the central moments; 0 where m2 = 0"),
    Feature("stat_kurt", "IPH6", ONE, "excess kurtosis = m4 / m2^2 - 3; 0 where m2 = 0"),
    Feature("stat_median", "Y12H", INTENSITY, "median"),
    Feature("stat_min", "1GSF", INTENSITY, "minimum"),
    Feature("stat_p10", "QG58", INTENSITY, "10th percentile, linear between order statistics"),
    Feature("stat_p90", "8DWT", INTENSITY, "90th percentile, linear between order statistics"),
    Feature("stat_max", "84IY", INTENSITY, "maximum"),
    Feature("stat_iqr", "SALO", INTENSITY, "interquartile range = p75 - p25"),
    Feature("stat_range", "2OJQ", INTENSITY, "range = maximum - minimum"),
    Feature("stat_mad", "4FUA", INTENSITY, "mean absolute deviation = sum(|x - mean|) / n"),
    Feature("stat_rmad", "1128", INTENSITY, "mean absolute deviation of the values from p10 to p90"),
    Feature("stat_medad", "N72L", INTENSITY, "mean absolute deviation from the median"),
    Feature("stat_cov", "7TET", ONE, "coefficient of variation = sqrt(variance) / mean"),
    Feature("stat_qcod", "9S40", ONE, "quartile coefficient of dispersion = (p75 - p25) / (p75 + p25)"),
    Feature("stat_energy", "N8CA", INTENSITY_SQUARED, "energy = sum(x^2)"),
    Feature("stat_rms", "5ZWQ", INTENSITY, "root mean square = sqrt(sum(x^2) / n)"),
)


COUNTED_FROM: Final = 2000
"""Fewer values than this are sorted in less time than it takes to look at them."""


def statistics(values: FloatArray) -> dict[str, float]:
    """The 18 statistics of intensities (n,), which must be finite; all NaN for n = 0.

    A quotient whose divisor is 0 is NaN: `stat_cov` for a mean of 0, `stat_qcod` where the quartiles
    add up to 0, `stat_rmad` where no value lies from p10 to p90 (two voxels).
    """
    return statistics_of_ordered(ordered(values))


def statistics_of_ordered(x: FloatArray) -> dict[str, float]:
    """`statistics` of values that `ordered` returned."""
    n = len(x)
    if n == 0:
        return {feature.name: math.nan for feature in FEATURES}
    low, high = float(x[0]), float(x[-1])
    mean = _mean(x)
    deviation = x - mean
    squared = deviation * deviation
    variance = float(squared.mean())
    skew = kurt = 0.0
    if variance > 0:
        skew = float(np.dot(squared, deviation)) / n / variance**1.5
        kurt = float(np.dot(squared, squared)) / n / variance**2 - 3.0
    p10, p25, median, p75, p90 = (percentile(x, share) for share in (0.1, 0.25, 0.5, 0.75, 0.9))
    middle = x[np.searchsorted(x, p10, side="left") : np.searchsorted(x, p90, side="right")]
    energy = float(np.dot(x, x))
    return {
        "stat_mean": mean,
        "stat_var": variance,
        "stat_skew": skew,
        "stat_kurt": kurt,
        "stat_median": median,
        "stat_min": low,
        "stat_p10": p10,
        "stat_p90": p90,
        "stat_max": high,
        "stat_iqr": p75 - p25,
        "stat_range": high - low,
        "stat_mad": float(np.abs(deviation, out=deviation).mean()),
        "stat_rmad": float(np.abs(middle - _mean(middle)).mean()) if len(middle) else math.nan,
        "stat_medad": float(np.abs(x - median).mean()),
        "stat_cov": math.sqrt(variance) / mean if mean else math.nan,
        "stat_qcod": (p75 - p25) / (p75 + p25) if p75 + p25 else math.nan,
        "stat_energy": energy,
        "stat_rms": math.sqrt(energy / n),
    }


def _mean(x: FloatArray) -> float:
    """The mean of ascending values; that of equal ones is their value, which a rounded sum may miss."""
    if len(x) and x[0] == x[-1]:
        return float(x[0])
    return float(x.mean()) if len(x) else math.nan


def percentile(ordered: FloatArray, share: float) -> float:
    """The quantile at `share` of ascending values (n >= 1), linear between the two nearest of them."""
    where = share * (len(ordered) - 1)
    k = int(where)
    low = float(ordered[k])
    if k + 1 >= len(ordered):
        return low
    return low + (where - k) * (float(ordered[k + 1]) - low)


def ordered(values: FloatArray) -> FloatArray:
    """Finite values (n,) in ascending order; whole numbers, as of CT, are counted, which is faster."""
    if len(values) >= COUNTED_FROM:
        low, high = values.min(), values.max()
        if high - low < len(values) and np.array_equal(np.rint(values), values):
            counts = np.bincount((values - low).astype(np.int64))
            return np.repeat(low + np.arange(len(counts)), counts)
    return np.sort(values)
