"""Held-out predictions of a study against the truth, after the post-processing chosen without that truth.

For test fold k the choice sees predictions of the patients of the other folds, each by the network that had
not seen him, or of the inner part of fold k's own training patients. It never sees a case of fold k. The
networks of the other folds were trained on patients of fold k, as in all cross-validation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Volume
from lesionlab.evaluate import score_case, score_missing, without_ignored
from lesionlab.pipeline.record import part
from lesionlab.study.bench import Bench, Run
from lesionlab.study.choose import Choice, Chooser, HeldOut, cut, drawn, lowest
from lesionlab.study.data import Kept, key_of
from lesionlab.study.held_out import load_held_out

SCORED = "scored"
"""Folder of scores, by content address."""
ALL = "all"
"""What the foreground of all labels together is called beside the labels."""
RULES = 3
"""To be raised when the same predictions are to be scored by other rules, so that they are scored again."""


def score_runs(
    bench: Bench, runs: Sequence[Run], progress: Progress = silent
) -> list[Outcome[dict[str, Any]]]:
    """The scores of finished runs, those that were scored before read back.

    A value holds the `choice` in words, its `settings`, its mean score on what it was chosen on with and
    without it (`chosen`, `start`), and `cases`: case to label to metric to value.
    """
    choosers: dict[str, Chooser] = {}
    tasks, truth = [], bench.study.settings.truth
    for number, run in enumerate(runs):
        learn = learning_cases(bench, run, runs)
        inputs = {
            "run": bench.key(run),
            "refine": run.variant.recipe.refine.model_dump(mode="json"),
            "post_processing": bench.study.settings.post_processing.model_dump(mode="json"),
            "learnt_on": sorted((name, bench.key(one)) for name, one in learn.items()),
            "rules": RULES,
            **({} if truth is None else {"truth": truth, "source": bench.data(run.recipe).source}),
        }
        owners = learn if bench.study.learns_inside else owners_of(bench, run, runs)
        share = part(progress, number / len(runs), (number + 1) / len(runs))
        work = partial(_score_run, bench, run, learn, partial(_chooser, bench, run, owners, choosers), share)
        tasks.append(Task("scores", work, inputs))
    return run_tasks(tasks, store=bench.root / SCORED, progress=silent)


def owners_of(bench: Bench, run: Run, runs: Sequence[Run]) -> dict[str, Run]:
    """Every case that a run's variant and seed predicted held out, with the run that did."""
    splits = bench.data(run.recipe).splits
    same = [one for one in runs if (one.variant.name, one.seed) == (run.variant.name, run.seed)]
    return {name: one for one in same for name in splits[one.fold].test if _file(bench, one, name).is_file()}


def learning_cases(bench: Bench, run: Run, runs: Sequence[Run]) -> dict[str, Run]:
    """The cases that the post-processing of a run is chosen on, each with the run that predicted it.

    Empty where nothing is to be chosen, or no other fold is finished; never a case of a patient who has one
    in the run's test fold (folds by scanner may hold out another scan of his).
    """
    data = bench.data(run.recipe)
    split = data.splits[run.fold]
    if not bench.study.settings.post_processing.choose:
        return {}
    if bench.study.learns_inside:
        return {name: run for name in split.inner if _file(bench, run, name).is_file()}
    tested = {data.patients[name] for name in split.test}
    owners = owners_of(bench, run, runs)
    return {name: one for name, one in owners.items() if data.patients[name] not in tested}


def _score_run(
    bench: Bench, run: Run, learn: Mapping[str, Run], chooser: Callable[[], Chooser], progress: Progress
) -> dict[str, Any]:
    """Choose, then score every case of the test fold."""
    title = f"scoring {run.title}"
    progress(title, 0.0)
    choice, chosen, start = Choice(run.variant.recipe.refine), math.nan, math.nan
    if learn:
        choice, chosen, start = chooser().choose(sorted(learn), choice.refine)
    cases, tested = bench.cases(run.recipe), bench.data(run.recipe).splits[run.fold].test
    scored = {}
    for number, name in enumerate(tested):
        progress(title, 0.5 + 0.5 * number / len(tested))
        scored[name] = score_held_out(cases.get(name), _file(bench, run, name), choice, run.recipe)
    return {
        "choice": choice.words,
        "settings": {"threshold": choice.threshold, "refine": choice.refine.model_dump(mode="json")},
        "learnt_on": len(learn),
        "chosen": chosen,
        "start": start,
        "cases": scored,
    }


def _chooser(bench: Bench, run: Run, owners: Mapping[str, Run], known: dict[str, Chooser]) -> Chooser:
    """The chooser of a variant and seed: its folds share most of the cases that they learn from."""
    key = key_of(run.variant.name, run.seed, run.fold if bench.study.learns_inside else None)
    if key not in known:
        known.clear()
        known[key] = chooser_of(bench, run, owners)
    return known[key]


def chooser_of(bench: Bench, run: Run, owners: Mapping[str, Run]) -> Chooser:
    """A chooser on the held-out predictions of cases, each with the run that made it."""
    settings, cases = bench.study.settings.post_processing, bench.cases(run.recipe)
    least, ignored = lowest(settings.thresholds), run.recipe.ignored

    def load(name: str) -> HeldOut:
        truth = _truth(cases.get(name))
        mask, probability = load_held_out(_file(bench, owners[name], name))
        counted = None if ignored is None else truth.array != ignored
        return cut(mask, probability, truth.array, truth.geometry.voxel_ml, least, counted)

    kept = Kept(load, lambda case: case.mask.nbytes + case.truth.nbytes)
    return Chooser(kept.get, settings, len(run.recipe.predicted_labels))


def score_held_out(case: Case, file: Path, choice: Choice, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Metrics by label of a held-out case, `all` for the foreground; a missing prediction is an empty one."""
    truth = _truth(case)
    if file.is_file():
        labels = drawn(*load_held_out(file), choice, truth.geometry.voxel_ml)
    else:
        labels = np.zeros(truth.array.shape, dtype=np.uint8)
    predicted = recipe.predicted_labels
    numbers = {ALL: None} | (predicted if len(predicted) > 1 else {})
    score = score_case if file.is_file() else _missing
    mask, truth = without_ignored(truth.with_array(labels), truth, recipe.ignored)
    return {name: dict(score(case.id, mask, truth, label=n).values) for name, n in numbers.items()}


def _missing(case_id: str, mask: Volume, truth: Volume, *, label: int | None) -> Scores:
    return score_missing(case_id, truth, label=label)


def _truth(case: Case) -> Volume:
    if case.truth is None:
        raise DatasetError(case.id, "no truth any more", "the truth that the study was begun with")
    return case.truth


def _file(bench: Bench, run: Run, name: str) -> Path:
    return bench.predictions(run) / f"{name}.npz"
