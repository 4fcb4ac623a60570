"""Rank correlation over cases with an interval in which whole patients are drawn.

For showing whether something known without truth (a quality flag, a probability) goes with the true scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lesionlab.evaluate.bootstrap import CHUNK, STANDARD, Bootstrap, Floats, Interval, check, group_numbers


def spearman(
    first: ArrayLike,
    second: ArrayLike,
    patients: Sequence[str] | None = None,
    *,
    settings: Bootstrap = STANDARD,
) -> Interval:
    """Spearman's rank correlation of two values per case, with its percentile bootstrap interval.

    Equal values share their mean rank. Cases where either is NaN are left out and counted. NaN where a side
    does not vary or below three cases; resamples in which a side does not vary are left out. Deterministic
    for a seed. Raises DatasetError where the sides or patients differ in number.
    """
    check(settings)
    pairs = np.column_stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])
    known = ~np.isnan(pairs).any(axis=1)
    values = pairs[known]
    groups = np.unique(group_numbers(patients, len(pairs))[known], return_inverse=True)[1]
    people = int(groups.max()) + 1 if len(groups) else 0
    estimate = _rho(values[None, :, 0], values[None, :, 1])[0] if len(values) > 2 else math.nan
    low = high = math.nan
    if people > 2 and not math.isnan(estimate):
        drawn = _resampled(values, groups, people, settings)
        drawn = drawn[~np.isnan(drawn)]
        tail = (1.0 - settings.confidence) / 2.0
        low, high = np.quantile(drawn, (tail, 1.0 - tail)) if len(drawn) else (math.nan, math.nan)
    return Interval(
        float(estimate),
        float(low),
        float(high),
        n=len(values),
        undefined=len(pairs) - len(values),
        patients=people,
        method="percentile",
    )


def _resampled(values: Floats, groups: np.ndarray, people: int, settings: Bootstrap) -> Floats:
    """The correlation in every resample of patients."""
    random = np.random.default_rng(settings.seed)
    members = [np.flatnonzero(groups == patient) for patient in range(people)]
    order = np.concatenate(members)
    found = np.empty(settings.resamples)
    step = max(1, CHUNK // people)
    for start in range(0, settings.resamples, step):
        part = found[start : start + step]
        drawn = random.integers(0, people, (len(part), people))
        if len(values) == people:  # every case its own patient: many resamples at once
            rows = order[drawn]
            part[:] = _rho(values[rows, 0], values[rows, 1])
            continue
        for number, patients in enumerate(drawn):
            rows = np.concatenate([members[patient] for patient in patients])
            part[number] = _rho(values[None, rows, 0], values[None, rows, 1])[0]
    return found


def _rho(first: Floats, second: Floats) -> Floats:
    """Spearman's correlation along the last axis; NaN where a side does not vary."""
    a, b = (stats.rankdata(side, axis=-1) for side in (first, second))
    a, b = (side - side.mean(axis=-1, keepdims=True) for side in (a, b))
    scale = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    product = (a * b).sum(axis=-1)
    return np.asarray(np.divide(product, scale, out=np.full_like(product, math.nan), where=scale > 0.0))
