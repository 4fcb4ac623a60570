"""Running a study: every variant, fold and seed once, wherever an earlier run stopped.

A run trains one network (or takes a method without weights), predicts the patients it has not seen and keeps
the predictions. Its result is addressed by what it depends on, so that the same run in another study file of
the same folder, or under another name, is not repeated. Scores and tables are made of these in `scores.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, LesionLabError
from lesionlab.core.files import sha256_of
from lesionlab.core.learning import TrainingSettings
from lesionlab.core.recipe import BiomarkerSettings, RadiomicsSettings, Recipe, RefineSettings
from lesionlab.core.tasks import Outcome, Progress, Task, silent
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline.record import part
from lesionlab.pipeline.steps import train_first_step
from lesionlab.pipeline.training import fold_bundle
from lesionlab.predict import Bundle
from lesionlab.study.data import (
    Kept,
    StudyData,
    batch_size_of,
    data_key,
    data_recipe,
    gather,
    kept_cases,
    key_of,
    prepare,
)
from lesionlab.study.held_out import NO_COST, cost_of, paced, predict_held_out
from lesionlab.study.settings import Study, Variant
from lesionlab.study.together import alone, run_together
from lesionlab.train import train_fold

LOG_FILE = "study.log"
LOG_EVERY_S = 30.0
FINISHED = "finished"
"""Folder of the results of runs, by content address."""


Note = Callable[[str], None]
"""Adds a line to the log."""


@dataclass(frozen=True)
class Run:
    """One variant, seed and fold; `recipe` is what is trained, without the clean-up of masks."""

    variant: Variant
    seed: int
    fold: int
    recipe: Recipe


class Bench:
    """What the runs of a study share: its data by kind of recipe, cases in memory, where things are."""

    def __init__(self, study: Study, root: Path, device: str = "auto", progress: Progress = silent) -> None:
        self.study, self.root, self.device, self.progress = study, root, device, progress
        self._data: dict[str, StudyData | LesionLabError] = {}
        self._cases: dict[str, Kept[Case]] = {}

    def data(self, recipe: Recipe) -> StudyData:
        """The data as a recipe wants them; raises again what went wrong with them before."""
        key = data_key(self.study, recipe)
        if key not in self._data:
            try:
                with alone(self.root, "reading", self.progress):
                    self._data[key] = gather(self.study, recipe, self.root, self.progress)
            except LesionLabError as error:
                self._data[key] = error
        found = self._data[key]
        if isinstance(found, LesionLabError):
            raise found
        return found

    def require_data(self) -> None:
        """Raise what went wrong with the data where no variant has any, before anything is run."""
        problems = []
        for variant in self.study.variants:
            try:
                self.data(variant.recipe)
            except LesionLabError as error:
                problems.append(error)
        if len(problems) == len(self.study.variants):
            raise problems[0]

    def cases(self, recipe: Recipe) -> Kept[Case]:
        """The standardised cases of a recipe's data, kept for the last kind of data asked for.

        Their truth is what is scored against, which may be another reader's than the recipe learns from.
        """
        key = data_key(self.study, recipe)
        if key not in self._cases:
            wanted, truth = data_recipe(self.study, recipe), self.study.settings.truth
            if truth is not None:
                wanted = wanted.changed(standardise={"truth": truth})
            self._cases = {key: kept_cases(self.data(recipe), wanted)}
        return self._cases[key]

    def inputs(self, run: Run) -> dict[str, Any]:
        """All that a run's result depends on."""
        data, settings = self.data(run.recipe), self.study.settings
        network = run.recipe.method == "network"
        return {
            "recipe": by_content(run.recipe).sha256,
            "data": data.sha256,
            "fold": run.fold,
            "split": data.splits[run.fold].__dict__,
            "protocol": [settings.protocol, settings.amount] if network else None,
        }

    def key(self, run: Run) -> str:
        """Content address of a run's result."""
        return key_of(self.inputs(run))

    def predictions(self, run: Run) -> Path:
        """The folder of a run's held-out predictions."""
        return self.root / "held_out" / self.key(run)


def by_content(recipe: Recipe) -> Recipe:
    """The recipe with the hash of the weights that it starts from in place of their file's path.

    Raises RecipeError when there is no such file.
    """
    start = recipe.start_file()
    return recipe if start is None else recipe.changed(training={"start_from": sha256_of([start])})


def runs_of(study: Study) -> list[Run]:
    """Every run of a study, fold by fold, so that variants can be compared after the first fold already."""
    return [
        Run(variant, seed, fold, trained_recipe(study, variant.recipe, seed))
        for seed in study.settings.seeds
        for fold in study.test_folds
        for variant in study.variants
    ]


def trained_recipe(study: Study, recipe: Recipe, seed: int) -> Recipe:
    """What of a variant's recipe decides its training and prediction, all else at its default.

    Variants that differ only in clean-up or biomarkers so share their runs; those without a network do not
    depend on the training section either.
    """
    network = recipe.method == "network"
    training = {"seed": seed} if network else TrainingSettings().model_dump(mode="json")
    changed = recipe.changed(
        refine=RefineSettings(connectivity=recipe.refine.connectivity).model_dump(mode="json"),
        biomarkers=BiomarkerSettings(kinetics=recipe.biomarkers.kinetics).model_dump(mode="json"),
        radiomics=RadiomicsSettings().model_dump(mode="json"),
        training=training,
    )
    return data_recipe(study, changed)


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
        outcomes = run_together(tasks, root, root / FINISHED, watched)
        failed = sum(outcome.error is not None for outcome in outcomes)
        note(f"all runs done, {failed} failed")
    return outcomes


def task_of(
    bench: Bench, run: Run, number: int, of: int, note: Note, progress: Progress
) -> Task[dict[str, Any]]:
    """The task of one run; data that could not be gathered make a task that says so."""
    name = f"{run.variant.name}, fold {run.fold}, seed {run.seed}"
    share = part(progress, 0.02 + 0.98 * number / of, 0.02 + 0.98 * (number + 1) / of, name)

    def work() -> dict[str, Any]:
        start = time.monotonic()
        note(f"run {number + 1} of {of}: {name}")
        try:
            done = run_one(bench, run, share)
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


def _raise(error: LesionLabError) -> dict[str, Any]:
    raise error


def run_one(bench: Bench, run: Run, progress: Progress) -> dict[str, Any]:
    """Train where there is something to train, predict the held-out cases, and say what it cost."""
    data, settings = bench.data(run.recipe), bench.study.settings
    if not data.splits[run.fold].train:
        raise DatasetError(f"fold {run.fold}", "no case to train on", "patients on both sides of the split")
    cost, bundle = NO_COST, Bundle(run.recipe.name, run.recipe, None, (), run.recipe.sha256)
    if run.recipe.method == "network":
        root = bench.root / "trained" / place_of(bench, run)
        pace = partial(_paced, settings.protocol, settings.amount)
        with alone(bench.root, "planning", progress):
            prepare(data, run.recipe, pace, root, part(progress, 0.0, 0.1))
        with alone(bench.root, root.name, progress):
            first = train_first_step(root, device=bench.device, progress=part(progress, 0.1, 0.5))
        begun = 0.5 if first else 0.1
        train_fold(root, run.fold, device=bench.device, progress=part(progress, begun, 0.85))
        workspace, recipe = open_workspace(root)
        for step in recipe.steps:
            folder = workspace.model(step) / f"fold_{run.fold}"
            cost += cost_of(folder, recipe, batch_size_of(workspace, recipe.step(step)))
        bundle = fold_bundle(workspace, recipe, run.fold)
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


def place_of(bench: Bench, run: Run) -> str:
    """The name of a run's workspace, the same for all folds of a variant and seed."""
    settings, data = bench.study.settings, bench.data(run.recipe)
    splits = [split.__dict__ for split in data.splits]
    key = key_of(run.recipe.sha256, data.sha256, splits, settings.protocol, settings.amount)
    return f"{re.sub(r'[^A-Za-z0-9]+', '-', run.variant.name).strip('-')}-{key}"


def _paced(protocol: str, amount: float, recipe: Recipe, batch_size: int) -> Recipe:
    return paced(recipe, protocol, amount, batch_size)


@contextmanager
def logged(file: Path, progress: Progress) -> Iterator[tuple[Note, Progress]]:
    """A function that adds a line with the time to a file, and the progress, a line there now and then."""
    file.parent.mkdir(parents=True, exist_ok=True)
    last = time.monotonic()

    def note(text: str) -> None:
        with file.open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {text}\n")

    def watched(message: str, share: float) -> None:
        nonlocal last
        if time.monotonic() - last >= LOG_EVERY_S:
            last = time.monotonic()
            note(f"{share:4.0%} {message}")
        progress(message, share)

    try:
        yield note, watched
    except BaseException as error:
        note(f"stopped: {type(error).__name__} {error}".rstrip())
        raise
