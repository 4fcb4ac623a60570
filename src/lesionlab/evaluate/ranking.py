"""How firmly several methods are ranked: ranks over bootstrap resamples of patients, and who beats whom.

Works on a table of one number per case and method, higher is better. Intervals and tests of single methods
are `bootstrap.py` and `statistics.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import (
    STANDARD,
    Bootstrap,
    Floats,
    check,
    draws,
    group_numbers,
    weighted_means,
)
from lesionlab.evaluate.statistics import holm, patient_means, signed_rank


@dataclass(frozen=True, slots=True)
class Rank:
    """A method's rank by its mean (1 is best, ties share the mean of their ranks), and how firm it is.

    `low` and `high` hold the middle part of its ranks over the resamples, `first` the share of resamples that
    it leads; where several lead together they share it.
    """

    rank: float
    low: float
    high: float
    first: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """The ranks of all methods, and Kendall's tau between them and those of a resample, on average.

    `cases` of `patients` patients had a value of every method; only those count. tau is NaN for one method.
    """

    ranks: tuple[Rank, ...]
    tau: float
    cases: int
    patients: int


def rank_stability(
    table: ArrayLike, patients: Sequence[str] | None = None, *, settings: Bootstrap = STANDARD
) -> Ranking:
    """Ranks of the columns of a table (cases, methods) by their means, over resamples of whole patients.

    After Wiesenfarth et al., Sci Rep 2021, doi 10.1038/s41598-021-82017-6. NaN ranks where no case has a
    value of every method. Raises DatasetError where cases and patients differ in number.
    """
    array = np.asarray(table, dtype=np.float64)
    check(settings)
    groups = group_numbers(patients, len(array))
    whole = ~np.isnan(array).any(axis=1)
    values, of_patient = array[whole], np.unique(groups[whole], return_inverse=True)[1]
    methods = array.shape[1]
    if not len(values):
        return Ranking((Rank(math.nan, math.nan, math.nan, math.nan),) * methods, math.nan, 0, 0)
    people = int(of_patient.max()) + 1
    observed = _ranks(values.mean(axis=0)[None])[0]
    drawn = np.concatenate(
        [_ranks(weighted_means(values, of_patient, weights)) for weights in draws(people, settings)]
    )
    tail = (1.0 - settings.confidence) / 2.0
    low, high = np.quantile(drawn, (tail, 1.0 - tail), axis=0)
    lead = drawn == drawn.min(axis=1, keepdims=True)
    first = (lead / lead.sum(axis=1, keepdims=True)).mean(axis=0)
    ranks = tuple(Rank(*map(float, one)) for one in zip(observed, low, high, first, strict=True))
    return Ranking(ranks, _mean_tau(observed, drawn), len(values), people)


def pairwise_p(table: ArrayLike, patients: Sequence[str] | None = None) -> Floats:
    """Wilcoxon's p of every pair of columns (cases, methods), Holm-corrected over all pairs; NaN diagonal.

    A case counts where both have a value; with several cases per patient the test takes patient means.
    """
    array = np.asarray(table, dtype=np.float64)
    methods = array.shape[1]
    pairs = list(itertools.combinations(range(methods), 2))
    adjusted = holm([signed_rank(patient_means(array[:, b] - array[:, a], patients)) for a, b in pairs])
    found = np.full((methods, methods), math.nan)
    for (a, b), p in zip(pairs, adjusted, strict=True):
        found[a, b] = found[b, a] = p
    return found


def against(
    table: ArrayLike, best: int, patients: Sequence[str] | None = None
) -> tuple[list[float], list[float]]:
    """Wilcoxon's p of every column against the column `best`, plain and Holm-corrected; NaN for itself."""
    array = np.asarray(table, dtype=np.float64)
    if not 0 <= best < array.shape[1]:
        raise DatasetError("comparison", f"method {best} of {array.shape[1]}", "one of the methods")
    plain = [
        math.nan if k == best else signed_rank(patient_means(array[:, k] - array[:, best], patients))
        for k in range(array.shape[1])
    ]
    return plain, holm(plain)


def _ranks(means: Floats) -> Floats:
    """Ranks within each row, 1 for the highest; means that rounding alone parts are equal."""
    return np.asarray(stats.rankdata(-np.round(means, 12), axis=1), dtype=np.float64)


def _mean_tau(observed: Floats, drawn: Floats) -> float:
    """Mean Kendall's tau-a of resampled ranks with the observed ones."""
    if len(observed) < 2:
        return math.nan
    i, j = np.triu_indices(len(observed), 1)
    agree = np.sign(observed[i] - observed[j]) * np.sign(drawn[:, i] - drawn[:, j])
    return float(agree.mean())
