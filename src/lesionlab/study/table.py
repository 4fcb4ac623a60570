"""The table of a study, from the scores of its runs: a row per variant, ranks, tests, what failed.

Plain numbers only; the page and the files are `report/study.py`'s. A case counts by its mean over the seeds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lesionlab.core.errors import DatasetError
from lesionlab.core.tasks import Outcome
from lesionlab.evaluate.bootstrap import Floats, Interval, intervals
from lesionlab.evaluate.comparison import thirds
from lesionlab.evaluate.ranking import Ranking, against, pairwise_p, rank_stability
from lesionlab.evaluate.statistics import subgroups
from lesionlab.study.bench import Bench, Finished, Result, Run
from lesionlab.study.facts import facts_of, left_out, lengths
from lesionlab.study.groups import case_table
from lesionlab.study.load import Study
from lesionlab.study.scores import ALL

METRICS = ("dice", "iou", "lesion_sensitivity", "fp_volume_ml")


@dataclass(frozen=True)
class StudyTable:
    """All numbers of a study. `rows` are sorted, the best mean Dice first; `pairs` follows their order.

    `classes` has a row per variant and label where there are several labels, `groups` one per variant and
    subgroup. `failed` names the variants that are left out with the reason, `waiting` those still to run.
    """

    facts: Mapping[str, str]
    rows: tuple[Result, ...]
    classes: tuple[Result, ...]
    groups: tuple[Result, ...]
    pairs: Floats
    tau: float
    failed: Mapping[str, str]
    waiting: tuple[str, ...]


def tabulate(bench: Bench, finished: Sequence[Finished], failed: Mapping[str, str]) -> StudyTable:
    """The table of finished runs; variants in `failed` (name to reason) are left out and listed.

    Variants are compared on the test folds that all of the others have finished, and on the cases that all of
    them could read. Raises DatasetError where there is no such fold, or case.
    """
    study = bench.study
    names = [v.name for v in study.variants if v.name not in failed]
    folds = {name: _whole_folds(study, name, finished) for name in names}
    ready = [name for name in names if folds[name]]
    common = sorted(set.intersection(*(folds[name] for name in ready))) if ready else []
    if not common:
        first = next((f"; {name}: {reason}" for name, reason in failed.items()), "")
        found = f"no test fold that is finished in every variant ({len(failed)} failed{first})"
        raise DatasetError(study.settings.name, found, "finished runs; `lesionlab study run` makes them")
    used = {n: [f for f in finished if f.run.variant.name == n and f.run.fold in common] for n in ready}
    tested = [{case for one in used[name] for case in one.scores["cases"]} for name in ready]
    cases = sorted(set.intersection(*tested))
    if not cases:
        raise DatasetError(
            study.settings.name, "no case that every variant could read", "one, to compare them"
        )
    data = bench.data(used[ready[0]][0].run.recipe)
    whose = [data.patients[case] for case in cases]
    dice = np.column_stack([_column(used[name], cases, ALL, "dice") for name in ready])
    order = sorted(range(len(ready)), key=lambda k: -mean_of(dice[:, k], instead=-1.0))
    ready, dice = [ready[k] for k in order], dice[:, order]
    ranking, tests = rank_stability(dice, whose), against(dice, 0, whose)
    rows = [
        {
            "variant": name,
            **_metrics(used[name], cases, ALL, whose),
            "p_wilcoxon": tests[0][k],
            "p_holm": tests[1][k],
            **_ranks(ranking, k),
            **_empties(used[name], cases),
            **_costs(used[name]),
            "not_predicted": _not_predicted(used[name], cases),
            "seed_sd": _seed_sd(used[name], cases),
            "post_processing": _choices(used[name]),
        }
        for k, name in enumerate(ready)
    ]
    return StudyTable(
        facts={
            **facts_of(study, common, (cases, whose), [one for runs in used.values() for one in runs]),
            **lengths(data.spacing_unknown, cases),
            **left_out(bench, used, set().union(*tested) - set(cases)),
        },
        rows=tuple(rows),
        classes=tuple(_classes({name: used[name] for name in ready}, cases, whose)),
        groups=tuple(_groups(study, data.sources, cases, whose, dict(zip(ready, dice.T, strict=True)))),
        pairs=pairwise_p(dice, whose),
        tau=ranking.tau,
        failed=failed,
        waiting=tuple(name for name in names if name not in ready),
    )


def _classes(
    used: Mapping[str, Sequence[Finished]], cases: Sequence[str], whose: Sequence[str]
) -> list[dict[str, Any]]:
    """A row for each label and each variant that has it; none where the foreground is all that is scored."""
    known = {name: list(next(iter(runs[0].scores["cases"].values()))) for name, runs in used.items()}
    return [
        {"variant": name, "label": label, **_metrics(runs, cases, label, whose)}
        for label in dict.fromkeys(label for own in known.values() for label in own if label != ALL)
        for name, runs in used.items()
        if label in known[name]
    ]


def failures(runs: Sequence[Run], outcomes: Sequence[Outcome[Any]]) -> dict[str, str]:
    """The first reason of each variant of which a run failed, with its place."""
    found: dict[str, str] = {}
    for run, outcome in zip(runs, outcomes, strict=True):
        if outcome.error is not None:
            found.setdefault(run.variant.name, f"{run.place}: {outcome.error}")
    return found


def _whole_folds(study: Study, name: str, finished: Sequence[Finished]) -> set[int]:
    """The folds of a variant that every seed has finished."""
    done = [one.run for one in finished if one.run.variant.name == name]
    found = Counter(run.fold for run in done)
    needed = 1 if done and done[0].members else len(study.settings.seeds)
    return {fold for fold in study.test_folds if found[fold] == needed}


def _column(runs: Sequence[Finished], cases: Sequence[str], label: str, metric: str) -> Floats:
    """A metric of every case, the mean over seeds; NaN where a seed has none."""
    seeds = list(dict.fromkeys(one.run.seed for one in runs))
    found = {
        (one.run.seed, case): values[label].get(metric)
        for one in runs
        for case, values in one.scores["cases"].items()
    }
    table = [[found.get((seed, case)) for seed in seeds] for case in cases]
    return np.asarray(np.array(table, dtype=np.float64).mean(axis=1), dtype=np.float64)


def _metrics(
    runs: Sequence[Finished], cases: Sequence[str], label: str, whose: Sequence[str]
) -> dict[str, Any]:
    table = np.column_stack([_column(runs, cases, label, metric) for metric in METRICS])
    found: dict[str, Any] = {"cases": len(cases)}
    for metric, one in zip(METRICS, intervals(table, whose), strict=True):
        found |= _interval(metric, one)
    return found


def _interval(name: str, one: Interval) -> dict[str, Any]:
    return {name: one.estimate, f"{name}_low": one.low, f"{name}_high": one.high, f"{name}_n": one.n}


def _ranks(ranking: Ranking, k: int) -> dict[str, float]:
    one = ranking.ranks[k]
    return {"rank": one.rank, "rank_low": one.low, "rank_high": one.high, "first_share": one.first}


def _empties(runs: Sequence[Finished], cases: Sequence[str]) -> dict[str, Any]:
    """Of the lesion-free cases (over all seeds), how many were left empty."""
    values = [one.scores["cases"][case][ALL] for one in runs for case in cases if case in one.scores["cases"]]
    free = [one for one in values if one["truth_ml"] == 0.0]
    left = sum(one["predicted_ml"] == 0.0 for one in free)
    share = left / len(free) if free else math.nan
    return {"lesion_free": len(free), "left_empty": left, "left_empty_share": share}


def _costs(runs: Sequence[Finished]) -> dict[str, Any]:
    """Means over folds and seeds; the parameters are the same in all."""
    mean = {
        name: float(np.mean([one.cost[name] for one in runs])) for name in ("minutes", "patches", "epochs")
    }
    seconds = np.array([one.cost["seconds_per_case"] for one in runs], dtype=np.float64)
    return {
        "parameters": max(one.cost["parameters"] for one in runs),
        **mean,
        "seconds_per_case": mean_of(seconds),
    }


def _not_predicted(runs: Sequence[Finished], cases: Sequence[str]) -> int:
    """Of the cases compared (over all seeds), how many the network failed on; they count as empty."""
    return sum(len(set(one.cost["failed"]) & set(cases)) for one in runs)


def _seed_sd(runs: Sequence[Finished], cases: Sequence[str]) -> float:
    """Standard deviation (n - 1) over seeds of the mean Dice; NaN with one seed."""
    seeds = list(dict.fromkeys(one.run.seed for one in runs))
    own = [[one for one in runs if one.run.seed == seed] for seed in seeds]
    means = [mean_of(_column(one, cases, ALL, "dice")) for one in own]
    return float(np.std(means, ddof=1)) if len(means) > 1 else math.nan


def _choices(runs: Sequence[Finished]) -> str:
    """The post-processing that was chosen, with how many folds chose it."""
    counts = Counter(str(one.scores["choice"]) for one in runs)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{words} ({count}x)" for words, count in counts.most_common())


def mean_of(values: Floats, instead: float = math.nan) -> float:
    """The mean of the defined values; `instead` where there is none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else instead


def _groups(
    study: Study,
    sources: Mapping[str, Mapping[str, str]],
    cases: Sequence[str],
    whose: Sequence[str],
    dice: Mapping[str, Floats],
) -> list[dict[str, Any]]:
    """Mean Dice by subgroup, from the columns of the study's table of cases."""
    wanted = study.settings.subgroups
    if wanted is None:
        return []
    table = case_table(study.source / wanted.file, wanted.case, wanted.columns)
    entries = {c: thirds([table.get(case, {}).get(c, "") for case in cases]) for c in wanted.columns}
    return [
        {"variant": name, "column": one.column, "value": one.value, **_interval("dice", one.mean)}
        for name, values in dice.items()
        for one in subgroups({"dice": values}, entries, whose)
    ]


def table_record(table: StudyTable) -> dict[str, Any]:
    """The table as JSON values."""
    return {key: value for key, value in asdict(table).items() if key != "pairs"} | {
        "pairs": table.pairs.tolist()
    }
