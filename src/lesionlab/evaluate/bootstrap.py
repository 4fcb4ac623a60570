"""Bootstrap intervals of means, medians and ratios over cases, in which whole patients are drawn.

Works on numbers per case, whatever they are. An undefined value (NaN) is left out and counted, never
replaced. Tests are in `statistics.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlab.core.errors import DatasetError

Floats = NDArray[np.float64]
Statistic = Literal["mean", "median"]
NORMAL: Final = NormalDist()
CHUNK: Final = 2_000_000
"""Random numbers held at a time."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """How intervals are found: "bca" or "percentile", how many resamples, which confidence and seed."""

    method: Literal["bca", "percentile"] = "bca"
    resamples: int = 10_000
    confidence: float = 0.95
    seed: int = 0


STANDARD: Final = Bootstrap()


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate over cases with its confidence interval; all NaN without a defined value.

    `low` and `high` are NaN below two patients. `n` cases of `patients` patients had a value, `undefined`
    cases had none and are in neither.
    """

    estimate: float
    low: float
    high: float
    n: int
    undefined: int
    patients: int
    method: str


def bootstrap_interval(
    values: ArrayLike,
    patients: Sequence[str] | None = None,
    *,
    statistic: Statistic = "mean",
    settings: Bootstrap = STANDARD,
) -> Interval:
    """Mean or median over cases with its bootstrap interval; whole patients are drawn.

    `values` (cases) may hold NaN; `patients` names the patient of each case (default: every case its own).
    BCa is corrected for bias and acceleration (Efron, J Am Stat Assoc 1987, doi
    10.1080/01621459.1987.10478410), the acceleration by leaving out one patient at a time. A median always
    gets a percentile interval, as that acceleration does not hold for it. Deterministic for a seed. Raises
    DatasetError where values and patients differ in number, and for settings that cannot be.
    """
    column = np.asarray(values, dtype=np.float64)[:, None]
    return intervals(column, patients, statistic=statistic, settings=settings)[0]


def intervals(
    table: ArrayLike,
    patients: Sequence[str] | None = None,
    *,
    statistic: Statistic = "mean",
    settings: Bootstrap = STANDARD,
) -> list[Interval]:
    """`bootstrap_interval` for every column of a table (cases, columns); those defined alike share draws."""
    array = np.asarray(table, dtype=np.float64)
    check(settings)
    groups = group_numbers(patients, len(array))
    known = ~np.isnan(array)
    alike: dict[bytes, list[int]] = {}
    for column in range(array.shape[1]):
        alike.setdefault(known[:, column].tobytes(), []).append(column)
    found: dict[int, Interval] = {}
    for columns in alike.values():
        rows = known[:, columns[0]]
        of_patient = np.unique(groups[rows], return_inverse=True)[1]
        results = _intervals(array[rows][:, columns], of_patient, statistic, settings)
        undefined = int(np.count_nonzero(~rows))
        found |= {k: replace(one, undefined=undefined) for k, one in zip(columns, results, strict=True)}
    return [found[k] for k in range(array.shape[1])]


def ratio_interval(
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str] | None = None,
    *,
    settings: Bootstrap = STANDARD,
) -> Interval:
    """Mean of `first` over mean of `second`, paired by case, with its interval; whole patients are drawn.

    Cases where either is NaN are left out. NaN where the mean of `second` is 0; no bounds where that of a
    resample is. Raises as `bootstrap_interval` does.
    """
    check(settings)
    pairs = np.column_stack([np.asarray(side, dtype=np.float64) for side in (first, second)])
    known = ~np.isnan(pairs).any(axis=1)
    of_patient = np.unique(group_numbers(patients, len(pairs))[known], return_inverse=True)[1]
    values, people = pairs[known], len(np.unique(of_patient))
    counts = {"n": len(values), "undefined": len(pairs) - len(values), "patients": people}
    bare = Interval(math.nan, math.nan, math.nan, **counts, method=settings.method)
    over = values.mean(axis=0) if len(values) else np.zeros(2)
    if over[1] == 0.0 or people < 2:
        return replace(bare, estimate=float(over[0] / over[1]) if over[1] else math.nan)
    drawn = np.concatenate(
        [weighted_means(values, of_patient, weights) for weights in draws(people, settings)]
    )
    without = _means_without(values, of_patient) if settings.method == "bca" else np.ones((1, 2))
    estimate = float(over[0] / over[1])
    if not drawn[:, 1].all() or not without[:, 1].all():
        return replace(bare, estimate=estimate)
    left_out = without[:, 0] / without[:, 1] if settings.method == "bca" else None
    low, high = _bounds(estimate, drawn[:, 0] / drawn[:, 1], left_out, settings)
    return replace(bare, estimate=estimate, low=low, high=high)


def group_numbers(patients: Sequence[str] | None, cases: int) -> NDArray[np.int64]:
    """A number for the patient of each case; DatasetError unless there is a patient for each."""
    if patients is None:
        return np.arange(cases, dtype=np.int64)
    if len(patients) != cases:
        raise DatasetError("statistics", f"{len(patients)} patients for {cases} cases", "one for each case")
    return np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1].astype(np.int64)


def check(settings: Bootstrap) -> None:
    """DatasetError unless there is a resample to draw and the confidence is a share."""
    if settings.resamples < 1 or not 0.0 < settings.confidence < 1.0:
        found = f"{settings.resamples} resamples at confidence {settings.confidence:g}"
        raise DatasetError("bootstrap", found, "at least 1, and a confidence between 0 and 1")


def _intervals(
    values: Floats, of_patient: NDArray[Any], statistic: Statistic, settings: Bootstrap
) -> list[Interval]:
    """Intervals of the columns of a table without gaps (cases, columns)."""
    method = settings.method if statistic == "mean" else "percentile"
    cases, columns = values.shape
    people = int(of_patient.max()) + 1 if cases else 0
    if not cases:
        return [Interval(math.nan, math.nan, math.nan, 0, 0, 0, method)] * columns
    estimates = values.mean(axis=0) if statistic == "mean" else np.median(values, axis=0)
    if people < 2:
        return [Interval(float(one), math.nan, math.nan, cases, 0, people, method) for one in estimates]
    of_weights = weighted_means if statistic == "mean" else _medians
    replicates = np.concatenate([of_weights(values, of_patient, w) for w in draws(people, settings)])
    left_out = _means_without(values, of_patient) if method == "bca" else None
    found = []
    for k, estimate in enumerate(estimates):
        without = None if left_out is None else left_out[:, k]
        low, high = _bounds(float(estimate), replicates[:, k], without, settings)
        found.append(Interval(float(estimate), low, high, cases, 0, people, method))
    return found


def _bounds(
    estimate: float, replicates: Floats, left_out: Floats | None, settings: Bootstrap
) -> tuple[float, float]:
    """The interval's ends: percentiles of the replicates, corrected where `left_out` is given (BCa)."""
    tail = (1.0 - settings.confidence) / 2.0
    tails = (tail, 1.0 - tail)
    if left_out is not None:
        tails = _bca_tails(estimate, replicates, left_out, tails)
    low, high = np.quantile(replicates, tails)
    return float(low), float(high)


def draws(patients: int, settings: Bootstrap) -> Iterator[Floats]:
    """How often each patient is in each resample, as tables (some resamples, patients)."""
    random = np.random.default_rng(settings.seed)
    step = max(1, CHUNK // patients)
    for start in range(0, settings.resamples, step):
        rows = min(step, settings.resamples - start)
        drawn = random.integers(0, patients, (rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)


def weighted_means(values: Floats, of_patient: NDArray[Any], weights: Floats) -> Floats:
    """Means over cases for each row of patient weights: every case counts as often as its patient."""
    sums = np.column_stack([np.bincount(of_patient, weights=column) for column in values.T])
    return np.asarray((weights @ sums) / (weights @ np.bincount(of_patient))[:, None])


def _means_without(values: Floats, of_patient: NDArray[Any]) -> Floats:
    """Means over cases without each patient in turn (patients, columns)."""
    sums = np.column_stack([np.bincount(of_patient, weights=column) for column in values.T])
    return np.asarray((sums.sum(axis=0) - sums) / (len(values) - np.bincount(of_patient))[:, None])


def _medians(values: Floats, of_patient: NDArray[Any], weights: Floats) -> Floats:
    """Medians over the cases that each row of patient weights draws, repeated ones repeated."""
    found = np.empty((len(weights), values.shape[1]))
    for k, column in enumerate(values.T):
        order = np.argsort(column, kind="stable")
        ordered, upto = column[order], np.cumsum(weights[:, of_patient[order]], axis=1)
        whole = upto[:, -1:]
        lower = (upto >= np.floor((whole + 1) / 2)).argmax(axis=1)
        upper = (upto >= np.floor(whole / 2) + 1).argmax(axis=1)
        found[:, k] = (ordered[lower] + ordered[upper]) / 2.0
    return found


def _bca_tails(
    estimate: float, replicates: Floats, left_out: Floats, tails: tuple[float, float]
) -> tuple[float, float]:
    """The percentiles that BCa reads instead of the plain ones."""
    # resamples that tie with the estimate count half; rounding must not decide on which side they are
    slack = 1e-10 * float(np.abs(replicates).max())
    below = ((replicates < estimate - slack).mean() + (replicates <= estimate + slack).mean()) / 2.0
    away = left_out.mean() - left_out
    spread = float((away**2).sum()) ** 1.5
    if not 0.0 < below < 1.0 or spread == 0.0:
        return tails  # every value the same, or nearly: nothing to correct by
    bias = NORMAL.inv_cdf(float(below))
    acceleration = float((away**3).sum()) / (6.0 * spread)
    low, high = (_shifted(bias, acceleration, tail) for tail in tails)
    return low, high


def _shifted(bias: float, acceleration: float, tail: float) -> float:
    away = bias + NORMAL.inv_cdf(tail)
    return NORMAL.cdf(bias + away / (1.0 - acceleration * away))
