"""The runs of a study and what they share: its data by kind of recipe, cases in memory, where things are.

A run's result is addressed by what it depends on, so that the same run in another study file of the same
folder, or under another name, is not repeated. Running them is `run.py`'s.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlab.core.case import Case
from lesionlab.core.errors import LesionLabError
from lesionlab.core.files import sha256_of
from lesionlab.core.learning import TrainingSettings
from lesionlab.core.recipe import BiomarkerSettings, RadiomicsSettings, Recipe, RefineSettings
from lesionlab.core.tasks import Progress, Task, silent
from lesionlab.study.data import Kept, StudyData, data_key, data_recipe, gather, kept_cases, key_of
from lesionlab.study.load import Study, Variant
from lesionlab.study.together import alone

Result = Mapping[str, Any]
FINISHED = "finished"
"""Folder of the results of runs, by content address."""


@dataclass(frozen=True)
class Run:
    """One variant, seed and fold; `recipe` is what is trained, without the clean-up of masks.

    That of an ensemble has no seed: its `members` are the runs of its variants and all seeds in this fold.
    """

    variant: Variant
    seed: int | None
    fold: int
    recipe: Recipe
    members: tuple[Run, ...] = ()

    @property
    def title(self) -> str:
        """Variant, fold and seed in words."""
        return f"{self.variant.name}, {self.place}"

    @property
    def place(self) -> str:
        """Fold and seed in words."""
        return f"fold {self.fold}" + ("" if self.seed is None else f", seed {self.seed}")


@dataclass(frozen=True)
class Finished:
    """A run with what it cost and what it scored."""

    run: Run
    cost: Result
    scores: Result


class Bench:
    """What the runs of a study share: its data by kind of recipe, cases in memory, where things are."""

    def __init__(self, study: Study, root: Path, device: str = "auto", progress: Progress = silent) -> None:
        self.study, self.root, self.device, self.progress = study, root, device, progress
        self._data: dict[str, StudyData | LesionLabError] = {}
        self._cases: dict[str, Kept[Case]] = {}
        self._keys: dict[tuple[str, int | None, int], str] = {}

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
        for variant in self.study.trained:
            try:
                self.data(variant.recipe)
            except LesionLabError as error:
                problems.append(error)
        if len(problems) == len(self.study.trained):
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
        if run.members:
            decision = run.recipe.prediction.threshold
            return {"mean_of": sorted(self.key(one) for one in run.members), "threshold": decision}
        data, settings = self.data(run.recipe), self.study.settings
        network = run.recipe.method == "network"
        return {
            "recipe": by_content(run.recipe).sha256,
            "data": data.sha256,
            "fold": run.fold,
            "split": data.splits[run.fold].__dict__,
            "protocol": [settings.protocol, run.variant.amount] if network else None,
        }

    def key(self, run: Run) -> str:
        """Content address of a run's result; asked for with every case, and start files are large."""
        name = (run.variant.name, run.seed, run.fold)
        if name not in self._keys:
            self._keys[name] = key_of(self.inputs(run))
        return self._keys[name]

    def predictions(self, run: Run) -> Path:
        """The folder of a run's held-out predictions."""
        return self.root / "held_out" / self.key(run)

    def network_key(self, run: Run) -> str:
        """Content address of what a run trains, for all folds of a variant and seed.

        Variants that differ only in the sizes that they predict at share it.
        """
        data, settings = self.data(run.recipe), self.study.settings
        splits = [split.__dict__ for split in data.splits]
        recipe = by_content(network_recipe(run.recipe)).sha256
        return key_of(recipe, data.sha256, splits, settings.protocol, run.variant.amount)

    def place(self, run: Run) -> Path:
        """The workspace of a run: one for each `network_key`, named after the variant that came first."""
        key, folder = self.network_key(run), self.root / "trained"
        name = re.sub(r"[^A-Za-z0-9]+", "-", run.variant.name).strip("-")
        return next(iter(sorted(folder.glob(f"*-{key}"))), folder / f"{name}-{key}")

    def kept(self, run: Run) -> dict[str, Any] | None:
        """What a run left when it finished; None where it has not."""
        file = self.root / FINISHED / f"{Task('run', dict, self.inputs(run)).key}.json"
        found: dict[str, Any] | None = None
        if file.is_file():
            found = json.loads(file.read_text(encoding="utf-8"))
        return found


def by_content(recipe: Recipe) -> Recipe:
    """The recipe with the hash of the weights that it starts from in place of their file's path.

    Raises RecipeError when there is no such file.
    """
    start = recipe.start_file()
    return recipe if start is None else recipe.changed(training={"start_from": sha256_of([start])})


def network_recipe(recipe: Recipe) -> Recipe:
    """What of a run's recipe decides its networks: all but the sizes that pictures are predicted at."""
    return recipe.changed(prediction={"scales": [1.0]})


def runs_of(study: Study) -> list[Run]:
    """Every run of a study, fold by fold, so that variants can be compared after the first fold already.

    Those of ensembles come last.
    """
    runs = [
        Run(variant, seed, fold, trained_recipe(study, variant.recipe, seed))
        for seed in study.settings.seeds
        for fold in study.test_folds
        for variant in study.trained
    ]
    ensembles = [variant for variant in study.variants if variant.members]
    return runs + [ensemble_run(variant, fold, runs) for fold in study.test_folds for variant in ensembles]


def ensemble_run(variant: Variant, fold: int, runs: Sequence[Run]) -> Run:
    """The run of an ensemble in a fold, with those of `runs` that are its members."""
    members = tuple(one for one in runs if one.variant.name in variant.members and one.fold == fold)
    first = next(one for one in members if one.variant.name == variant.members[0])
    return Run(variant, None, fold, first.recipe, members)


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
