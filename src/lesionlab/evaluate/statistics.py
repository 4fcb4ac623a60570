"""Whether methods differ on the same cases: paired tests, Holm's correction, subgroups.

Works on numbers per case, whatever they are. The patient is the unit of chance: the cases of one patient are
drawn, and change sign, together. An undefined value (NaN) is left out and counted, never replaced.
How intervals are found is `bootstrap.py`; which metrics and models are compared, `comparison.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import (
    CHUNK,
    STANDARD,
    Bootstrap,
    Floats,
    Interval,
    bootstrap_interval,
    check,
    group_numbers,
    intervals,
)

__all__ = [
    "STANDARD",
    "Bootstrap",
    "Interval",
    "PairedTest",
    "Subgroup",
    "bootstrap_interval",
    "holm",
    "intervals",
    "paired_tests",
    "sign_flip",
    "signed_rank",
    "subgroups",
]

EXACT_SIGNED_RANKS: Final = 50
EXACT_SIGN_FLIPS: Final = 14
"""Up to so many patients the tests count every possibility; above, they approximate."""
DIGITS: Final = 9
"""Differences are told apart to so many digits of the largest: scores that are equal on paper differ by what
rounding leaves, which is more of a small difference than of the scores."""
UNKNOWN: Final = "(unknown)"


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


def signed_rank(differences: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test; NaN without a difference that is defined.

    Zeros are dropped and ties share their mean rank, as Wilcoxon had it. Up to 50 differences the p is exact,
    with ties too (every choice of signs is counted); above, scipy's normal approximation with continuity
    correction. All zero gives 1. What differs by less than 1e-9 of the largest is a tie, or zero.
    """
    given = np.asarray(differences, dtype=np.float64)
    given = _levelled(given[~np.isnan(given)])
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
    10.2202/1544-6115.1585). NaN without a defined difference, and with an infinite one.
    """
    check(settings)
    given = np.asarray(differences, dtype=np.float64)
    groups = group_numbers(patients, len(given))
    known = ~np.isnan(given)
    if not known.any() or np.isinf(given).any():
        return math.nan
    sums = np.bincount(np.unique(groups[known], return_inverse=True)[1], weights=given[known])
    # what rounding may take from a sum that is as large must not make it smaller
    bar = abs(float(sums.sum())) - 10.0**-DIGITS * float(np.abs(sums).sum())
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
    ranks = [signed_rank(patient_means(row[3], patients)) for row in found]
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
    """Mean and interval of every metric within every value of every column; values sorted, unknown last.

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
        for value in sorted(set(named), key=lambda one: (one == UNKNOWN, one)):
            inside = [k for k, entry in enumerate(named) if entry == value]
            means = intervals(array[inside], [whose[k] for k in inside], settings=settings)
            found += [Subgroup(column, value, m, one) for m, one in zip(metrics, means, strict=True)]
    return tuple(found)


def _levelled(differences: Floats) -> Floats:
    """Differences as shares of the largest, those equal that rounding alone parts."""
    largest = float(np.abs(differences[np.isfinite(differences)]).max(initial=0.0))
    return np.round(differences / (largest or 1.0), DIGITS)


def patient_means(values: Floats, patients: Sequence[str] | None) -> Floats:
    """The mean of each patient's defined values; a patient without any is left out."""
    groups = group_numbers(patients, len(values))
    known = ~np.isnan(values)
    of_patient = np.unique(groups[known], return_inverse=True)[1]
    return np.asarray(np.bincount(of_patient, weights=values[known]) / np.maximum(np.bincount(of_patient), 1))
