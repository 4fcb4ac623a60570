"""The data of a study, read once: raw folder, folds, and workspaces that share what they can.

Variants that want the same channels share one raw folder; those whose plans preprocess alike share the
preprocessed cases. A variant's own workspace holds links to both, its plans and its trainings.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError
from lesionlab.core.files import jsonable, sha256_of, write_json, write_text
from lesionlab.core.recipe import Recipe, dump_recipe
from lesionlab.core.registry import STUDIES, find_study
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.workspace import Workspace, persons_of
from lesionlab.pipeline.datasets import check_dataset, convert_dataset
from lesionlab.pipeline.files import stamp
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.record import part
from lesionlab.pipeline.training import SOURCES_FILE, gather_cohort
from lesionlab.plan import OwnFolds, patient_folds
from lesionlab.study.groups import folds_by_column
from lesionlab.study.load import Study

GATHERED = "gathered.json"
DATA_NAME = "study"
"""What recipes are called as data are gathered and networks trained: studies of any name share both."""
OF_TRAINING = (
    "name",
    "description",
    "method",
    "threshold",
    "network",
    "locate",
    "loss",
    "training",
    "prediction",
    "refine",
    "biomarkers",
    "kinetics",
    "ultrasound",
    "margin",
    "radiomics",
)
"""Sections of a recipe that the raw data do not depend on."""
OF_FOLDS = ("official_folds", "duplicates")
"""What of the training section decides which cases are in which fold."""
NOT_PREPROCESSING = (
    "architecture",
    "batch_size",
    "patch_size",
    "batch_dice",
    "data_identifier",
    "lesionlab_recipe",
)
"""Entries of a configuration in nnU-Net's plans that preprocessing does not depend on."""
Pace = Callable[[Recipe, int], Recipe]
"""A recipe with the length of its training, given the batch size of its plan."""
CACHED_BYTES = 1 << 30
"""So much of standardised cases is kept in memory."""


def key_of(*parts: Any) -> str:
    """A short hash of JSON values."""
    text = json.dumps(jsonable(list(parts)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Split:
    """One test fold: case ids trained on, kept from training for choices (`inner`), and tested."""

    train: tuple[str, ...]
    inner: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def watched(self) -> tuple[str, ...]:
        """What the trainer sees as validation: the inner part where there is one, else the test fold.

        The latter only for its curves: nothing is decided by them.
        """
        return self.inner or self.test


@dataclass(frozen=True)
class StudyData:
    """Gathered cases: where they are, whose they are, their folds, and a hash of all of it.

    Patients whose cases look the same, and were put together for that, are one. `source` is the mark of
    the folder that the cases were read from, the contours of all readers included. The pixel spacing of the
    cases in `spacing_unknown` is not known.
    """

    workspace: Workspace
    patients: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    splits: tuple[Split, ...]
    failed: Mapping[str, str]
    sha256: str
    source: str
    spacing_unknown: frozenset[str] = frozenset()


def gather(study: Study, recipe: Recipe, root: Path, progress: Progress = silent) -> StudyData:
    """The study's data as a recipe's channels want it, read anew only where the source has changed.

    Raises ReadError for a source without scans and DatasetError where too few patients are left.
    """
    source = _converted(study, root, part(progress, 0.0, 0.5))
    plain = data_recipe(study, recipe).changed(training={"seed": study.settings.fold_seed})
    workspace = Workspace(root / "data" / data_key(study, recipe), plain.name)
    record, mark = workspace.root / GATHERED, stamp(source)
    if not record.is_file() or json.loads(record.read_text(encoding="utf-8"))["source"] != mark:
        own = _own_folds(study)
        found = gather_cohort(source, plain, workspace.root, folds=own, progress=part(progress, 0.5, 1.0))
        files = sorted(p for kind in ("imagesTr", "labelsTr") for p in (workspace.raw / kind).iterdir())
        content = sha256_of(files)
        kept = {"source": mark, "failed": found.failed, "folds": found.folds}
        write_json(record, {**kept, "sha256": key_of(content, found.patients, found.folds)})
    noted = json.loads(record.read_text(encoding="utf-8"))
    cases = json.loads(workspace.cases_file.read_text(encoding="utf-8"))
    sources = json.loads((workspace.root / SOURCES_FILE).read_text(encoding="utf-8"))["cases"]
    folds, by = noted["folds"], study.settings.folds_by
    if len(folds) != study.settings.folds:
        whence = "that the data set comes with" if by is None else f"by {by.column}"
        name, found_folds = study.settings.name, f"{len(folds)} folds {whence}"
        file = f"a copy of {find_study(name)}" if name in STUDIES else "the study"
        raise DatasetError(name, found_folds, f"folds = {len(folds)} in {file}")
    persons = persons_of(cases)
    splits = splits_of(study, folds, persons, cases["with_lesion"])
    unknown = frozenset(cases.get("spacing_unknown", ()))
    return StudyData(workspace, persons, sources, splits, noted["failed"], noted["sha256"], mark, unknown)


def _own_folds(study: Study) -> OwnFolds | None:
    """The folds that the study takes from a column of its table, where it names one."""
    by = study.settings.folds_by
    return None if by is None else OwnFolds(f"by {by.column}", partial(folds_by_column, study.source, by))


def _converted(study: Study, root: Path, progress: Progress) -> Path:
    """The folder of cases: the study's own, or where its public data set was converted to.

    Files that are missing, or not as the data set should be, are left out; `dataset.json` lists them.
    """
    name = study.settings.dataset
    if name is None:
        return study.source
    target = root / "converted" / name
    record, mark = root / "converted" / f"{name}.txt", stamp(study.source)
    if not record.is_file() or record.read_text(encoding="utf-8") != mark:
        checked = check_dataset(name, study.source, progress=part(progress, 0.0, 0.3))
        outcomes = convert_dataset(checked, target, progress=part(progress, 0.3, 1.0))
        wrong = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
        if wrong:
            raise DatasetError(target, f"{len(wrong)} cases not converted ({wrong[0]})", "all of them")
        write_text(record, mark)
    return target


def data_recipe(study: Study, recipe: Recipe) -> Recipe:
    """The recipe with the study's folds and no name of its own, as data are gathered and networks planned."""
    return recipe.changed(name=DATA_NAME, description="", training={"folds": study.settings.folds})


def data_key(study: Study, recipe: Recipe) -> str:
    """Hash of what the raw data depend on: source, folds, and the recipe's reading and standardising."""
    settings = {k: v for k, v in recipe.model_dump(mode="json").items() if k not in OF_TRAINING}
    folds = (study.settings.folds, study.settings.fold_seed)
    kept = {name: getattr(recipe.training, name) for name in OF_FOLDS}
    by = study.settings.folds_by
    own = () if by is None else (by.model_dump(),)
    return key_of(settings, str(study.source.absolute()), study.settings.dataset, folds, kept, *own)


def splits_of(
    study: Study,
    folds: Sequence[Mapping[str, Sequence[str]]],
    patients: Mapping[str, str],
    with_lesion: Mapping[str, bool],
) -> tuple[Split, ...]:
    """The folds, with an inner part of the training patients taken out where the study needs one."""
    found = []
    for number, fold in enumerate(folds):
        train, inner = list(fold["train"]), []
        if study.inner:
            own = {case: patients[case] for case in train}
            parts = study.settings.post_processing.inner_folds
            if (known := len(set(own.values()))) < parts:
                needed = f"at least {parts}, one of so many parts is kept from training (inner_folds)"
                raise DatasetError(f"fold {number}", f"{known} patients to train on", needed)
            first = patient_folds(own, parts, number, with_lesion={case: with_lesion[case] for case in own})[
                0
            ]
            train, inner = first["train"], first["val"]
        found.append(Split(tuple(train), tuple(inner), tuple(fold["val"])))
    return tuple(found)


def prepare(
    data: StudyData, recipe: Recipe, pace: Pace, root: Path, progress: Progress = silent
) -> Workspace:
    """A planned workspace of one recipe on gathered data, sharing raw and preprocessed files.

    `pace` gives the recipe the length of its training once the plan's batch size is known. Raises what
    planning raises: RecipeError for a network that does not fit.
    """
    from lesionlab.plan.nnunet import make_plans, preprocess

    workspace = Workspace(root, recipe.name)
    if workspace.recipe_file.is_file():
        return workspace
    workspace.preprocessed.mkdir(parents=True, exist_ok=True)
    for kind in ("imagesTr", "labelsTr"):
        _link(workspace.raw / kind, data.workspace.raw / kind)
    shutil.copyfile(data.workspace.raw / "dataset.json", workspace.raw / "dataset.json")
    fingerprint = "dataset_fingerprint.json"
    shutil.copyfile(data.workspace.preprocessed / fingerprint, workspace.preprocessed / fingerprint)
    shutil.copyfile(data.workspace.cases_file, workspace.cases_file)
    folds = [{"train": split.train, "val": split.watched} for split in data.splits]
    write_json(workspace.preprocessed / "splits_final.json", folds)
    progress("planning", 0.0)
    plans = make_plans(workspace, recipe)
    shared = data.workspace.root / "preprocessed_by_plan" / data.sha256
    keys = {}
    for name, configuration in plans["configurations"].items():
        if "data_identifier" in configuration:
            keys[name] = preprocessing_key(plans, configuration)
            place = workspace.preprocessed / configuration["data_identifier"]
            _link(place, shared / f"{name}-{keys[name]}")
    for step in recipe.steps:
        owner = _preprocessed_as(plans["configurations"], step)
        done = shared / f"{owner}-{keys[owner]}.done"
        if not done.is_file():
            preprocess(workspace, recipe, list(data.patients), progress, steps=(step,))
            write_text(done, "all cases\n")
    write_text(workspace.recipe_file, dump_recipe(pace(recipe, batch_size_of(workspace, recipe))))
    return workspace


def batch_size_of(workspace: Workspace, recipe: Recipe) -> int:
    """Patches in a training step of the recipe's network, from nnU-Net's plans."""
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text(encoding="utf-8"))
    configuration = plans["configurations"][recipe.network.configuration]
    while "batch_size" not in configuration:
        configuration = plans["configurations"][configuration["inherits_from"]]
    return int(configuration["batch_size"])


def _preprocessed_as(configurations: Mapping[str, Any], name: str) -> str:
    """The configuration whose preprocessed cases one of nnU-Net's plans uses: its own, or one it inherits."""
    while "data_identifier" not in configurations[name]:
        name = configurations[name]["inherits_from"]
    return name


def preprocessing_key(plans: Mapping[str, Any], configuration: Mapping[str, Any]) -> str:
    """Hash of what decides how nnU-Net preprocesses a case of a configuration."""
    kept = {k: v for k, v in configuration.items() if k not in NOT_PREPROCESSING}
    wide = {k: plans.get(k) for k in ("transpose_forward", "foreground_intensity_properties_per_channel")}
    return key_of(kept, wide)


def _link(link: Path, target: Path) -> None:
    """A symbolic link to a folder, made anew."""
    target.mkdir(parents=True, exist_ok=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    link.symlink_to(target.absolute(), target_is_directory=True)


T = TypeVar("T")


class Kept(Generic[T]):
    """Things loaded by name, the last used ones kept in memory up to a limit of bytes."""

    def __init__(self, load: Callable[[str], T], size: Callable[[T], int], limit: int = CACHED_BYTES) -> None:
        self.load, self.size, self.limit = load, size, limit
        self.kept: OrderedDict[str, T] = OrderedDict()
        self.bytes = 0

    def get(self, name: str) -> T:
        """The thing of that name, loaded where it is not there any more."""
        if name not in self.kept:
            self.kept[name] = self.load(name)
            self.bytes += self.size(self.kept[name])
            while self.bytes > self.limit and len(self.kept) > 1:
                self.bytes -= self.size(self.kept.popitem(last=False)[1])
        self.kept.move_to_end(name)
        return self.kept[name]


def kept_cases(data: StudyData, recipe: Recipe) -> Kept[Case]:
    """Standardised cases with their truth, by their id in the workspace."""

    def load(name: str) -> Case:
        item = data.sources[name]
        return open_standardised(item["source"], recipe, case_id=item["case_id"])

    def size(case: Case) -> int:
        truth = 0 if case.truth is None else case.truth.array.nbytes
        return truth + sum(volume.array.nbytes for volume in case.channels.values())

    return Kept(load, size)
