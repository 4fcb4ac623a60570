"""How sure a mean over patients is, and whether two methods differ: bootstrap, paired tests, Holm, subgroups.

Works on numbers per case, whatever they are. The patient is the unit of chance: the cases of one patient are
drawn, and change sign, together. An undefined value (NaN) is left out and counted, never replaced.
Which metrics and models are compared is decided in `comparison.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from lesionlab.core.errors import DatasetError

Floats = NDArray[np.float64]
Statistic = Literal["mean", "median"]
CHUNK: Final = 2_000_000
"""Random numbers held at a time."""
EXACT_SIGNED_RANKS: Final = 50
EXACT_SIGN_FLIPS: Final = 14
"""Up to so many patients the tests count every possibility; above, they approximate."""
UNKNOWN: Final = "(unknown)"


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


@dataclass(frozen=True, slots=True)
class PairedTest:
    """Two methods on the same cases: the mean of second - first with its interval, and two tests.

    `n` cases had a value from both; `undefined` had not. `p_signed_rank` is Wilcoxon's, `p_sign_flip` that
    of the permutation test on the mean; `p_holm` is the latter after Holm's correction over the family
    of tests that was computed together. NaN where there is nothing to test.
    """

    metric: str
    first: str
    second: str
    difference: Interval
    p_signed_rank: float
    p_sign_flip: float
    p_holm: float = math.nan


@dataclass(frozen=True, slots=True)
class Subgroup:
    """A metric's mean in the cases that share one value of a column."""

    column: str
    value: str
    metric: str
    mean: Interval


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
    _check(settings)
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


def group_numbers(patients: Sequence[str] | None, cases: int) -> NDArray[np.int64]:
    """A number for the patient of each case; DatasetError unless there is a patient for each."""
    if patients is None:
        return np.arange(cases, dtype=np.int64)
    if len(patients) != cases:
        raise DatasetError("statistics", f"{len(patients)} patients for {cases} cases", "one for each case")
    return np.unique(np.asarray(patients, dtype=str), return_inverse=True)[1].astype(np.int64)


def signed_rank(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; NaN without a difference that is defined.

    Zeros are dropped and ties share their mean rank, as Wilcoxon had it. Up to 50 differences the p is exact,
    with ties too (every choice of signs is counted); above, scipy's normal approximation with continuity
    correction. All zero gives 1.
    """
    given = np.asarray(differences, dtype=np.float64)
    given = given[~np.isnan(given)]
    used = given[given != 0.0]
    if not len(given):
        return math.nan
    if not len(used):
        return 1.0
    if len(used) > EXACT_SIGNED_RANKS:
        return float(stats.wilcoxon(used, method="approx", correction=True).pvalue)
    doubled = np.rint(2.0 * stats.rankdata(np.abs(used))).astype(np.int64)  # whole numbers despite ties
    share = np.zeros(int(doubled.sum()) + 1)
    share[0] = 1.0
    for rank in doubled:
        share[rank:] = 0.5 * (share[rank:] + share[: len(share) - rank])
        share[:rank] *= 0.5
    positive = int(doubled[used > 0.0].sum())
    extreme = min(positive, len(share) - 1 - positive)
    return float(min(1.0, 2.0 * share[: extreme + 1].sum()))


def sign_flip(
    differences: ArrayLike, patients: Sequence[str] | None = None, *, settings: Bootstrap = STANDARD
) -> float:
    """Two-sided p that the mean difference is zero, by flipping the sign of whole patients.

    Exact up to 14 patients (every choice of signs); above, `settings.resamples` random choices and
    (hits + 1) / (choices + 1), never 0 (Phipson and Smyth, Stat Appl Genet Mol Biol 2010, doi
    10.2202/1544-6115.1585). NaN without a defined difference.
    """
    _check(settings)
    given = np.asarray(differences, dtype=np.float64)
    groups = group_numbers(patients, len(given))
    known = ~np.isnan(given)
    if not known.any():
        return math.nan
    sums = np.bincount(np.unique(groups[known], return_inverse=True)[1], weights=given[known])
    # what rounding may take from a sum that is as large must not make it smaller
    bar = abs(float(sums.sum())) - 1e-12 * float(np.abs(sums).sum())
    if len(sums) <= EXACT_SIGN_FLIPS:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=len(sums))))
        return float((np.abs(signs @ sums) >= bar).mean())
    random = np.random.default_rng(settings.seed)
    hits, left, step = 0, settings.resamples, max(1, CHUNK // len(sums))
    while left:
        now = min(left, step)
        signs = 2.0 * random.integers(0, 2, (now, len(sums))) - 1.0
        hits += int((np.abs(signs @ sums) >= bar).sum())
        left -= now
    return (hits + 1) / (settings.resamples + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values in the given order (Scand J Stat 1979, 6:65-70); NaN stays NaN.

    A NaN is no test and does not count in the size of the family.
    """
    adjusted = [math.nan] * len(p_values)
    order = sorted((p, k) for k, p in enumerate(p_values) if not math.isnan(p))
    largest = 0.0
    for step, (p, k) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - step) * p))
        adjusted[k] = largest
    return adjusted


def paired_tests(
    table: Mapping[str, Mapping[str, ArrayLike]],
    patients: Sequence[str] | None = None,
    *,
    settings: Bootstrap = STANDARD,
) -> tuple[PairedTest, ...]:
    """Every pair of models in every metric, with Holm's correction over all of them together.

    `table[metric][model]` holds a value per case, the same cases in the same order everywhere. A case counts
    where both have a value (pairwise complete). With several cases per patient the signed-rank test
    takes patient means, the others whole patients. Fewer than two models give no test.
    Raises DatasetError where the columns differ in length.
    """
    found: list[tuple[str, str, str, Floats]] = []
    for metric, models in table.items():
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in models.items()}
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            raise DatasetError(f"paired tests of {metric}", f"cases {lengths}", "the same cases of each")
        found += [(metric, a, b, columns[b] - columns[a]) for a, b in itertools.combinations(columns, 2)]
    if not found:
        return ()
    between = intervals(np.column_stack([row[3] for row in found]), patients, settings=settings)
    flips = [sign_flip(row[3], patients, settings=settings) for row in found]
    ranks = [signed_rank(_patient_means(row[3], patients)) for row in found]
    return tuple(
        PairedTest(metric, first, second, interval, rank, flip, corrected)
        for (metric, first, second, _), interval, rank, flip, corrected in zip(
            found, between, ranks, flips, holm(flips), strict=True
        )
    )


def subgroups(
    table: Mapping[str, ArrayLike],
    columns: Mapping[str, Sequence[str]],
    patients: Sequence[str] | None = None,
    *,
    settings: Bootstrap = STANDARD,
) -> tuple[Subgroup, ...]:
    """Mean and interval of every metric within every value of every column, in order of appearance.

    `table[metric]` and `columns[name]` have an entry per case; an empty entry of a column is "(unknown)".
    """
    metrics = list(table)
    if not metrics:
        return ()
    array = np.column_stack([np.asarray(table[name], dtype=np.float64) for name in metrics])
    whose = list(patients) if patients is not None else [str(k) for k in range(len(array))]
    found: list[Subgroup] = []
    for column, entries in columns.items():
        if len(entries) != len(array):
            raise DatasetError(
                f"subgroups by {column}", f"{len(entries)} entries for {len(array)} cases", "one each"
            )
        named = [entry or UNKNOWN for entry in entries]
        for value in dict.fromkeys(named):
            inside = [k for k, entry in enumerate(named) if entry == value]
            means = intervals(array[inside], [whose[k] for k in inside], settings=settings)
            found += [Subgroup(column, value, m, one) for m, one in zip(metrics, means, strict=True)]
    return tuple(found)


def _check(settings: Bootstrap) -> None:
    if settings.resamples < 1 or not 0.0 < settings.confidence < 1.0:
        found = f"{settings.resamples} resamples at confidence {settings.confidence:g}"
        raise DatasetError("bootstrap", found, "at least 1, and a confidence between 0 and 1")


def _patient_means(values: Floats, patients: Sequence[str] | None) -> Floats:
    groups = group_numbers(patients, len(values))
    known = ~np.isnan(values)
    of_patient = np.unique(groups[known], return_inverse=True)[1]
    return np.asarray(np.bincount(of_patient, weights=values[known]) / np.maximum(np.bincount(of_patient), 1))


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
    of_weights = _means if statistic == "mean" else _medians
    replicates = np.concatenate([of_weights(values, of_patient, w) for w in _draws(people, settings)])
    tail = (1.0 - settings.confidence) / 2.0
    left_out = _means_without(values, of_patient) if method == "bca" else None
    found = []
    for k, estimate in enumerate(estimates):
        tails = (tail, 1.0 - tail)
        if left_out is not None:
            tails = _bca_tails(estimate, replicates[:, k], left_out[:, k], tails)
        low, high = np.quantile(replicates[:, k], tails)
        found.append(Interval(float(estimate), float(low), float(high), cases, 0, people, method))
    return found


def _draws(patients: int, settings: Bootstrap) -> Iterator[Floats]:
    """How often each patient is in each resample, as tables (some resamples, patients)."""
    random = np.random.default_rng(settings.seed)
    step = max(1, CHUNK // patients)
    for start in range(0, settings.resamples, step):
        rows = min(step, settings.resamples - start)
        drawn = random.integers(0, patients, (rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)


def _means(values: Floats, of_patient: NDArray[Any], weights: Floats) -> Floats:
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
    below = ((replicates < estimate).mean() + (replicates <= estimate).mean()) / 2.0
    away = left_out.mean() - left_out
    spread = float((away**2).sum()) ** 1.5
    if not 0.0 < below < 1.0 or spread == 0.0:
        return tails  # every value the same, or nearly: nothing to correct by
    bias = stats.norm.ppf(below)
    acceleration = float((away**3).sum()) / (6.0 * spread)
    shifted = bias + stats.norm.ppf(tails)
    low, high = stats.norm.cdf(bias + shifted / (1.0 - acceleration * shifted))
    return float(low), float(high)
