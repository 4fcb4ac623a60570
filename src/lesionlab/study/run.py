"""Running a study: every variant, fold and seed once, wherever an earlier run stopped.

A run trains one network (or takes a method without weights), predicts the patients it has not seen and keeps
the predictions; one of an ensemble takes the mean of what its members predicted. What a run is, and where its
result lies, is `bench.py`'s; scores and tables are made of them in `scores.py`.
"""

from __future__ import annotations

import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from lesionlab.core.errors import DatasetError, LesionLabError
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Outcome, Progress, Task, silent
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline.record import part
from lesionlab.pipeline.steps import train_first_step
from lesionlab.pipeline.training import fold_bundle
from lesionlab.predict import Bundle
from lesionlab.study.bench import FINISHED, Bench, Run, network_recipe, runs_of
from lesionlab.study.data import batch_size_of, prepare
from lesionlab.study.held_out import NO_COST, Cost, cost_of, mean_held_out, paced, predict_held_out
from lesionlab.study.load import Study
from lesionlab.study.log import LOG_FILE, Note, logged
from lesionlab.study.together import alone, run_together
from lesionlab.train import train_fold


def run_study(
    study: Study, root: str | Path, *, device: str = "auto", progress: Progress = silent
) -> list[Outcome[dict[str, Any]]]:
    """Every run of a study in the folder `root`, those that are finished already read back.

    Outcomes are in the order of `runs_of`; one that failed holds the reason, and the rest went on. What
    happens when is noted in `root/study.log`. Other processes may run the same study in the same folder; see
    `run_together`. Raises what is wrong with the data where no variant can be run on them.
    """
    root = Path(root)
    with logged(root / LOG_FILE, progress) as (note, watched):
        note(f"study {study.settings.name}: {len(study.variants)} variants, {len(runs_of(study))} runs")
        bench = Bench(study, root, device, part(watched, 0.0, 0.02, "data"))
        bench.require_data()
        runs = runs_of(study)
        tasks = [task_of(bench, run, number, len(runs), note, watched) for number, run in enumerate(runs)]
        locks = [lock_of(bench, run, task) for run, task in zip(runs, tasks, strict=True)]
        trained, store = sum(not run.members for run in runs), root / FINISHED
        outcomes = run_together(tasks[:trained], locks[:trained], root, store, watched)
        outcomes += run_together(tasks[trained:], locks[trained:], root, store, watched)
        failed = sum(outcome.error is not None for outcome in outcomes)
        note(f"all runs done, {failed} failed")
    return outcomes


def task_of(
    bench: Bench, run: Run, number: int, of: int, note: Note, progress: Progress
) -> Task[dict[str, Any]]:
    """The task of one run; data that could not be gathered make a task that says so."""
    name = run.title
    share = part(progress, 0.02 + 0.98 * number / of, 0.02 + 0.98 * (number + 1) / of, name)

    def work() -> dict[str, Any]:
        start = time.monotonic()
        note(f"run {number + 1} of {of}: {name}")
        try:
            done = (run_ensemble if run.members else run_one)(bench, run, share)
        except Exception as error:
            note(f"failed: {name}: {error}")
            raise
        note(f"done: {name} in {time.monotonic() - start:.0f} s, of training {60 * done['minutes']:.0f} s")
        return done

    try:
        inputs = bench.inputs(run)
    except LesionLabError as error:
        return Task(name, partial(_raise, error))
    return Task("run", work, inputs)


def lock_of(bench: Bench, run: Run, task: Task[dict[str, Any]]) -> str:
    """What another process must not be at while a run is done: its network, which other runs may share."""
    if run.members or run.recipe.method != "network" or not task.inputs:
        return task.key
    return f"{bench.network_key(run)}-fold_{run.fold}"


def _raise(error: LesionLabError) -> dict[str, Any]:
    raise error


def run_one(bench: Bench, run: Run, progress: Progress) -> dict[str, Any]:
    """Train where there is something to train, predict the held-out cases, and say what it cost."""
    data, settings = bench.data(run.recipe), bench.study.settings
    if not data.splits[run.fold].train:
        raise DatasetError(f"fold {run.fold}", "no case to train on", "patients on both sides of the split")
    cost, bundle = NO_COST, Bundle(run.recipe.name, run.recipe, None, (), run.recipe.sha256)
    if run.recipe.method == "network":
        root = bench.place(run)
        pace = partial(_paced, settings.protocol, run.variant.amount)
        with alone(bench.root, "planning", progress):
            prepare(data, network_recipe(run.recipe), pace, root, part(progress, 0.0, 0.1))
        with alone(bench.root, root.name, progress):
            first = train_first_step(root, device=bench.device, progress=part(progress, 0.1, 0.5))
        begun = 0.5 if first else 0.1
        train_fold(root, run.fold, device=bench.device, progress=part(progress, begun, 0.85))
        workspace, recipe = open_workspace(root)
        for step in recipe.steps:
            folder = workspace.model(step) / f"fold_{run.fold}"
            cost += cost_of(folder, recipe, batch_size_of(workspace, recipe.step(step)))
        sizes = {"scales": run.recipe.prediction.scales}
        bundle = fold_bundle(workspace, recipe.changed(prediction=sizes), run.fold)
    names = (*data.splits[run.fold].test, *data.splits[run.fold].inner)
    timed = predict_held_out(
        bench.cases(run.recipe),
        names,
        bundle,
        bench.predictions(run),
        bench.device,
        part(progress, 0.85, 1.0),
    )
    return {**cost.record(), **timed.record()}


def run_ensemble(bench: Bench, run: Run, progress: Progress) -> dict[str, Any]:
    """The mean of what the members predicted, and what they cost together, a shared network once."""
    split = bench.data(run.recipe).splits[run.fold]
    names, cost, counted = (*split.test, *split.inner), NO_COST, set()
    for member in run.members:
        kept = bench.kept(member)
        if kept is None:
            raise DatasetError(run.title, f"no predictions of {member.title}", "members that finished")
        own = bench.data(member.recipe).splits[run.fold]
        if sorted(names) != sorted((*own.test, *own.inner)):
            found = f"other cases in {member.title}"
            raise DatasetError(run.title, found, "members that predict the same cases")
        if (place := bench.place(member)) not in counted:
            cost += Cost(*(kept[field.name] for field in fields(Cost)))
        counted.add(place)
    folders = [bench.predictions(member) for member in run.members]
    decision = run.recipe.prediction
    timed = mean_held_out(folders, names, bench.predictions(run), decision, progress)
    return {**cost.record(), **timed.record()}


def _paced(protocol: str, amount: float, recipe: Recipe, batch_size: int) -> Recipe:
    return paced(recipe, protocol, amount, batch_size)
