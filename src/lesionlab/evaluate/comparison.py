"""Several methods on the same cases: means with intervals, differences with tests, subgroups; as tables.

Begins where `Scores` exist for every method. The statistics are `statistics.py`, reading and writing files
`pipeline/comparison.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from lesionlab.core.errors import DatasetError
from lesionlab.core.results import Scores
from lesionlab.evaluate.bootstrap import STANDARD, Bootstrap, Floats, Interval, intervals
from lesionlab.evaluate.empty import METRICS
from lesionlab.evaluate.statistics import UNKNOWN, PairedTest, Subgroup, paired_tests, subgroups

COMPARED: Final = ("dice", "fp_volume_ml", "fn_volume_ml")
"""What is tested unless told otherwise: the three measures that autoPET ranks by."""
RULE: Final = (
    "A missing prediction is scored as an empty one. An undefined value is left out of a mean, and a case in "
    "which either of two models has none is left out of their difference; both are counted. Intervals draw "
    "patients. p_holm corrects p_sign_flip over all tests of this comparison."
)


@dataclass(frozen=True, slots=True)
class ModelMean:
    """One model's mean of one metric."""

    model: str
    metric: str
    mean: Interval


@dataclass(frozen=True, slots=True)
class ModelSubgroup:
    """One model's mean of one metric in a part of the cases."""

    model: str
    group: Subgroup


@dataclass(frozen=True)
class ModelComparison:
    """Several models on one truth.

    `means` hold every metric that any model has; `tests` every pair of models in the `tested` metrics;
    `groups` the tested metrics in every part of the cases. `missing` counts by model the cases without
    a prediction (scored as empty), `absent` names those that could not be scored at all.
    """

    models: tuple[str, ...]
    tested: tuple[str, ...]
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    means: tuple[ModelMean, ...]
    tests: tuple[PairedTest, ...]
    groups: tuple[ModelSubgroup, ...]
    missing: Mapping[str, int]
    absent: Mapping[str, tuple[str, ...]]
    settings: Bootstrap

    def mean(self, model: str, metric: str) -> Interval:
        """That model's mean of that metric; KeyError where there is none."""
        for one in self.means:
            if (one.model, one.metric) == (model, metric):
                return one.mean
        raise KeyError((model, metric))


def comparison(
    models: Mapping[str, Sequence[Scores]],
    *,
    tested: Sequence[str] | None = None,
    patients: Mapping[str, str] | None = None,
    columns: Mapping[str, Mapping[str, str]] | None = None,
    settings: Bootstrap = STANDARD,
) -> ModelComparison:
    """Compare the scores of several models case by case.

    `tested` are the metrics to test (default: those of `COMPARED` that are there): choose them before
    looking, as each one more costs power. `patients` maps case to patient (default: each case its own);
    `columns` maps a column's name to case to value, for subgroups; numbers of more than six kinds become
    thirds. A single model gives means and no tests. Raises DatasetError without a model or case, for a
    case twice, and for an unknown metric.
    """
    by_case = {name: _by_case(name, scores) for name, scores in models.items()}
    cases = tuple(sorted({case for one in by_case.values() for case in one}))
    if not cases:
        raise DatasetError("comparison", f"{len(models)} models and no case", "scores of one model at least")
    metrics = list(dict.fromkeys(m for one in by_case.values() for s in one.values() for m in s.values))
    wanted = tuple(m for m in COMPARED if m in metrics) if tested is None else tuple(tested)
    unknown = [m for m in wanted if m not in metrics]
    if unknown:
        raise DatasetError("comparison", f"no metric {', '.join(unknown)}", f"some of {', '.join(metrics)}")
    whose = [(patients or {}).get(case, case) for case in cases]
    tables = {name: _table(one, cases, metrics) for name, one in by_case.items()}
    means = tuple(
        ModelMean(name, metric, mean)
        for name, table in tables.items()
        for metric, mean in zip(metrics, intervals(table, whose, settings=settings), strict=True)
    )
    chosen = {m: {n: table[:, metrics.index(m)] for n, table in tables.items()} for m in wanted}
    entries = {c: thirds([v.get(case, "") for case in cases]) for c, v in (columns or {}).items()}
    groups = tuple(
        ModelSubgroup(name, group)
        for name in models
        for group in subgroups({m: chosen[m][name] for m in wanted}, entries, whose, settings=settings)
    )
    return ModelComparison(
        models=tuple(models),
        tested=wanted,
        cases=cases,
        patients=tuple(whose),
        means=means,
        tests=paired_tests(chosen, whose, settings=settings),
        groups=groups,
        missing={n: _missing(one) for n, one in by_case.items()},
        absent={n: tuple(case for case in cases if case not in one) for n, one in by_case.items()},
        settings=settings,
    )


def thirds(entries: Sequence[str]) -> list[str]:
    """Entries as group names: as they are, or thirds where they are numbers of more than six kinds.

    Thirds are cut at the 33rd and 67th percentile and named by their number and bounds. An entry that is
    empty becomes "(unknown)".
    """
    numbers = [number_of(entry) for entry in entries]
    known = [n for n in numbers if not math.isnan(n)]
    if len(set(known)) <= 6 or any(
        math.isnan(n) and entry for n, entry in zip(numbers, entries, strict=True)
    ):
        return [entry or UNKNOWN for entry in entries]
    low, high = (float(q) for q in np.quantile(known, (1 / 3, 2 / 3)))
    names = (f"1: up to {low:.4g}", f"2: {low:.4g} to {high:.4g}", f"3: above {high:.4g}")
    return [UNKNOWN if math.isnan(n) else names[(n > low) + (n > high)] for n in numbers]


def mean_rows(found: ModelComparison) -> list[dict[str, Any]]:
    """A row per model and metric: mean, interval, and how many cases are in it."""
    return [{"model": one.model, "metric": one.metric, **_interval("mean", one.mean)} for one in found.means]


def difference_rows(found: ModelComparison) -> list[dict[str, Any]]:
    """A row per test: difference second - first, interval, p values, and whether more of it is better."""
    better = {metric.name: metric.higher_is_better for metric in METRICS}
    return [
        {
            "metric": one.metric,
            "first": one.first,
            "second": one.second,
            **_interval("difference", one.difference),
            "p_signed_rank": one.p_signed_rank,
            "p_sign_flip": one.p_sign_flip,
            "p_holm": one.p_holm,
            "higher_is_better": better.get(one.metric),
        }
        for one in found.tests
    ]


def group_rows(found: ModelComparison) -> list[dict[str, Any]]:
    """A row per model, part of the cases and tested metric."""
    return [
        {
            "model": one.model,
            "column": one.group.column,
            "value": one.group.value,
            "metric": one.group.metric,
            **_interval("mean", one.group.mean),
        }
        for one in found.groups
    ]


def comparison_record(found: ModelComparison) -> dict[str, Any]:
    """All of it as plain data, with the rule for missing and undefined values in words."""
    return {
        "models": list(found.models),
        "cases": len(found.cases),
        "patients": len(set(found.patients)),
        "tested": list(found.tested),
        "missing_predictions": dict(found.missing),
        "not_scored": {name: list(cases) for name, cases in found.absent.items()},
        "rule": RULE,
        "intervals": asdict(found.settings),
        "means": mean_rows(found),
        "tests": difference_rows(found),
        "groups": group_rows(found),
    }


def _by_case(model: str, scores: Sequence[Scores]) -> dict[str, Scores]:
    found: dict[str, Scores] = {}
    for one in scores:
        if one.case_id in found:
            raise DatasetError(f"{model}: {one.case_id}", "this case twice", "every case once")
        found[one.case_id] = one
    return found


def _table(by_case: Mapping[str, Scores], cases: Sequence[str], metrics: Sequence[str]) -> Floats:
    nothing: Mapping[str, float] = {}
    rows = [by_case[case].values if case in by_case else nothing for case in cases]
    return np.array([[row.get(metric, math.nan) for metric in metrics] for row in rows], dtype=np.float64)


def _missing(by_case: Mapping[str, Scores]) -> int:
    return sum(one.values.get("prediction_missing", 0.0) == 1.0 for one in by_case.values())


def number_of(cell: str) -> float:
    """A cell's number; NaN where it holds none, or infinity, as other tools write of an empty mask."""
    try:
        # Python reads 2021_03 as 202103, but in a table it is a code
        value = math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _interval(name: str, one: Interval) -> dict[str, Any]:
    return {name: one.estimate, "low": one.low, "high": one.high, "n": one.n, "undefined": one.undefined}
