"""Cases gathered into a workspace and planned: nnU-Net's raw folder, fingerprint, folds and plans.

How each is made is told in the other modules of this package; here is in which order, and what is refused.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError, DatasetError, GeometryError, RecipeError
from lesionlab.core.files import write_json, write_text
from lesionlab.core.grid import require_same_grid
from lesionlab.core.inputs import network_input, network_place, network_truth
from lesionlab.core.recipe import Recipe, dump_recipe, load_recipe
from lesionlab.core.splits import OfficialFolds, Split
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import Workspace, nothing_left
from lesionlab.networks.registry import fitting_patch, network_entry
from lesionlab.plan.coarse import CASCADE, COARSE
from lesionlab.plan.fingerprint import Fingerprint
from lesionlab.plan.folds import (
    Folds,
    OwnFolds,
    official_splits,
    patient_folds,
    require_lesion_free,
    require_lesions,
)
from lesionlab.plan.leaks import Seen, Settled, Twin, find_twins, look, places_of, settle

SaveVolume = Callable[[Volume, Path], None]
DRAWN = "drawn by patient"
"""What cases.json says of folds that are not a data set's own."""
CHANNEL_NAMES = {"fixed": "noNorm", "none": "noNorm", "ct": "CT"}
"""What nnU-Net's dataset.json calls a channel decides how stock planning would normalise it."""


@dataclass(frozen=True)
class Gathered:
    """A workspace with its raw folder, fingerprint and folds, before any network is planned on it."""

    workspace: Workspace
    patients: dict[str, str]
    folds: Folds
    failed: dict[str, str]
    dropped: tuple[str, ...] = ()
    twins: tuple[Twin, ...] = ()

    def planned(self, plans: dict[str, Any]) -> Plan:
        """The workspace with a network planned on it."""
        told = self.failed, self.dropped, self.twins
        return Plan(self.workspace, self.patients, self.folds, plans, *told)


@dataclass(frozen=True)
class Plan:
    """A planned workspace: its cases with their patients, its folds, nnU-Net's plans.

    `failed` maps the cases that could not be used to the reason; `dropped` are copies that were left out, and
    `twins` all cases that look the same.
    """

    workspace: Workspace
    patients: dict[str, str]
    folds: Folds
    plans: dict[str, Any]
    failed: dict[str, str]
    dropped: tuple[str, ...] = ()
    twins: tuple[Twin, ...] = ()


@dataclass(frozen=True)
class Trained:
    """The cases of a training that is here already: patients by case, and the copies that were left out."""

    patients: dict[str, str]
    dropped: frozenset[str]

    def knows(self, name: str, patient: str) -> bool:
        """True for a case that was there when the training was planned."""
        return name in self.dropped or self.patients.get(name) == patient


def plan_dataset(
    cases: Iterable[Case], recipe: Recipe, root: Path, save: SaveVolume, progress: Progress = silent
) -> Plan:
    """Write nnU-Net's raw folder from standardised cases, plan, split by patient and preprocess.

    `gather_dataset`, then `plan_gathered`; raises what they do. A new workspace that is refused is not left
    behind.
    """
    require_fit(recipe)
    with nothing_left(root):
        found = gather_dataset(cases, recipe, root, save)
        plans = plan_gathered(found.workspace, recipe, list(found.patients), progress)
    return found.planned(plans)


def require_fit(recipe: Recipe) -> None:
    """Raise RecipeError for a network that no data could fit: before a case is read, and nothing is written.

    It is not for slices, or volumes; it does not heed a setting; its pinned patch has a size that it cannot
    take; the spacing of a low resolution is set that it has not; the file of weights that it starts from is
    missing. What depends on the voxels of the data is checked when they are known, by `plan_gathered`.
    """
    if recipe.method != "network":
        return
    recipe.start_file()
    own = recipe.network.configuration
    if recipe.network.lowres_spacing_mm is not None and own not in (COARSE, CASCADE):
        found = f"network.lowres_spacing_mm for {own}"
        raise RecipeError(recipe.name, found, f"the configuration {CASCADE} or {COARSE}")
    for name in recipe.steps:
        settings = recipe.step(name).network
        dimensions = 2 if settings.configuration == "2d" else 3
        entry = network_entry(settings, dimensions, recipe.name)
        if entry is not None and entry.one_size and min(recipe.training.progressive) < 1:
            found = f"training.progressive for {settings.architecture}"
            raise RecipeError(recipe.name, found, "a network that takes patches of several sizes")
        if entry is not None and entry.stages is None and settings.patch_size is not None:
            wanted = list(settings.patch_size)
            padding = [entry.cells * (entry.multiple or 1)] * (dimensions - len(wanted))
            fitting_patch(entry, settings, [*wanted, *padding][:dimensions], recipe.name)


def plan_gathered(
    workspace: Workspace, recipe: Recipe, case_ids: list[str], progress: Progress = silent
) -> dict[str, Any]:
    """Plan the recipe's network on a gathered workspace and preprocess the cases; returns nnU-Net's plans."""
    from lesionlab.plan.nnunet import make_plans, preprocess

    plans = make_plans(workspace, recipe)
    preprocess(workspace, recipe, case_ids, progress)
    write_text(workspace.recipe_file, dump_recipe(recipe))
    return plans


def gather_dataset(
    cases: Iterable[Case],
    recipe: Recipe,
    root: Path,
    save: SaveVolume,
    *,
    official: OfficialFolds | OwnFolds | None = None,
) -> Gathered:
    """Write nnU-Net's raw folder from standardised cases, its fingerprint and the folds by patient.

    `save` writes a volume as NIfTI. The raw file of a `fixed` channel already holds the scaled
    values and the plan says NoNormalization, so that stock nnU-Net computes the same. Cases are
    taken one at a time; one without a truth, with a label that the recipe does not know or with a
    truth on another grid is left out and listed. `official` folds, or folds of the study's own, are taken
    instead of drawn ones, and cases that look the same are treated as `training.duplicates` says. Raises
    DatasetError when two cases share an id, when no case is left, a label is in no case or a fold has no
    lesion, for a leak that the recipe does not settle, and for a workspace with a training of other cases,
    images or folds, or of another recipe.
    """
    workspace = Workspace(root, recipe.name)
    failed: dict[str, str] = {}
    try:
        return _gathered(cases, recipe, (workspace, save), official, failed)
    except DatasetError as error:
        raise among(error, failed) from None


def among(error: DatasetError, failed: Mapping[str, str]) -> DatasetError:
    """The error with what was left out of the data, which may be why the rest is too little."""
    if not failed:
        return error
    found = f"{error.found} ({len(failed)} left out, such as {next(iter(failed.values()))})"
    return DatasetError(error.subject, found, error.needed)


def _gathered(
    cases: Iterable[Case],
    recipe: Recipe,
    place: tuple[Workspace, SaveVolume],
    official: OfficialFolds | OwnFolds | None,
    failed: dict[str, str],
) -> Gathered:
    """What `gather_dataset` does; cases that failed are added to `failed` with their reasons."""
    workspace, save = place
    root = workspace.root
    trained = _trained(workspace, recipe)
    with Fingerprint(workspace.preprocessed) as fingerprint:
        seen = _write_cases(cases, recipe, workspace, save, (fingerprint, trained, failed))
        if not seen:
            raise DatasetError(root, "no case", "cases with a truth")
        twins = find_twins(list(seen.values()))
        settled = settle(list(seen.values()), twins, recipe.training.duplicates, root)
        patients = {name: one.patient for name, one in seen.items() if name not in settled.dropped}
        if trained is not None and trained.patients != patients:
            raise _other_training(root)
        lesions = set(recipe.predicted_labels.values())
        with_lesion = {name: not lesions.isdisjoint(seen[name].labels) for name in patients}
        _require_labels([seen[name].labels for name in patients], recipe, root)
        folds = _folds({name: settled.patients[name] for name in patients}, with_lesion, recipe, official)
        splits = workspace.preprocessed / "splits_final.json"
        if trained is not None and json.loads(splits.read_text(encoding="utf-8")) != folds:
            raise _other_training(root)
        _drop_strangers(workspace, patients)
        write_json(workspace.preprocessed / "dataset_fingerprint.json", fingerprint.result(patients))
    write_json(workspace.raw / "dataset.json", dataset_json(recipe, len(patients)))
    write_json(splits, folds)
    record = _record(patients, with_lesion, settled, twins, official)
    write_json(workspace.cases_file, {**record, **places_of([seen[name] for name in patients])})
    return Gathered(workspace, patients, folds, failed, settled.dropped, tuple(twins))


def _write_cases(
    cases: Iterable[Case],
    recipe: Recipe,
    workspace: Workspace,
    save: SaveVolume,
    state: tuple[Fingerprint, Trained | None, dict[str, str]],
) -> dict[str, Seen]:
    """Write the raw files of all cases and remember each by name.

    `state`: the fingerprint, which grows; the cases of a training; why cases failed, which grows.
    """
    fingerprint, trained, failed = state
    seen: dict[str, Seen] = {}
    for case in cases:
        name = nnunet_id(case.id)
        if name in seen:
            raise DatasetError(case.id, f"a second case named {name!r}", "case ids that differ")
        try:
            labels = _labels_of(case, recipe)
            volumes, truth = _as_seen(case, recipe)
        except (DatasetError, GeometryError, BundleError) as error:
            failed[case.id] = str(error)
            continue
        if trained is not None and not trained.knows(name, case.patient_id):
            raise _other_training(workspace.root)
        if trained is None or name not in trained.dropped:
            _write_case(name, (*volumes, truth), workspace, save, trained is not None)
        fingerprint.add(name, [v.array for v in volumes], truth.array, volumes[0].geometry.spacing)
        bits = look(case.channels[case.reference].array)
        told = (case.patient_id, labels, case.diagnosis, bits, case.spacing_known)
        seen[name] = Seen(name, *told, network_place(case, recipe))
    return seen


def _folds(
    patients: dict[str, str],
    with_lesion: dict[str, bool],
    recipe: Recipe,
    official: OfficialFolds | OwnFolds | None,
) -> Folds:
    if isinstance(official, OwnFolds):
        folds = official.split(patients)
    elif official is not None and official.splits:
        renamed = tuple(
            Split(*(tuple(map(nnunet_id, side)) for side in (split.train, split.val)))
            for split in official.splits
        )
        folds = official_splits(replace(official, splits=renamed), patients)
    else:
        training = recipe.training
        folds = patient_folds(patients, training.folds, training.seed, with_lesion=with_lesion)
    require_lesions(folds, with_lesion)
    require_lesion_free(folds, with_lesion, recipe.training.lesion_free_share)
    return folds


def _name_of(official: OfficialFolds | OwnFolds | None) -> str:
    """What cases.json calls the folds."""
    if official is None or (isinstance(official, OfficialFolds) and not official.splits):
        return DRAWN
    return official.name


def _record(
    patients: dict[str, str],
    with_lesion: dict[str, bool],
    settled: Settled,
    twins: list[Twin],
    official: OfficialFolds | OwnFolds | None,
) -> dict[str, Any]:
    """What cases.json holds."""
    joined = {case: settled.patients[case] for case in patients if settled.patients[case] != patients[case]}
    return {
        "patients": patients,
        "with_lesion": with_lesion,
        "folds": _name_of(official),
        "look_the_same": [asdict(twin) for twin in twins],
        "dropped": settled.dropped,
        "joined": joined,
    }


def _require_labels(labels: Sequence[frozenset[int]], recipe: Recipe, root: Path) -> None:
    """Raise DatasetError for a data set without any lesion, or with a label of the recipe in no case."""
    found = frozenset[int]().union(*labels)
    if not found - {recipe.ignored}:
        raise DatasetError(root, f"{len(labels)} cases without any lesion", "at least one with a lesion")
    for name, label in recipe.labels.items():
        if label not in found:
            needed = "a case with each label of the recipe"
            raise DatasetError(root, f"label {name!r} ({label}) in none of {len(labels)} cases", needed)


def _trained(workspace: Workspace, recipe: Recipe) -> Trained | None:
    """The cases of a training that is here already, None where there is none.

    Planning anew under a training of something else is refused before anything is written: its weights
    would look like the new plan's, and know patients that the new folds hold out.
    """
    if next(workspace.root.glob("results/*/*/fold_*/checkpoint_*.pth"), None) is None:
        return None
    if load_recipe(workspace.recipe_file) != recipe:
        raise _other_training(workspace.root)
    record = json.loads(workspace.cases_file.read_text(encoding="utf-8"))
    return Trained(record["patients"], frozenset(record["dropped"]))


def _other_training(root: Path) -> DatasetError:
    return DatasetError(
        root, "a training of other cases, images or folds, or of another recipe", "a new workspace"
    )


def _drop_strangers(workspace: Workspace, patients: dict[str, str]) -> None:
    """Delete raw files that an earlier plan left of cases that are no longer there."""
    for file in workspace.raw.glob("*Tr/*.nii.gz"):
        name = file.name.removesuffix(".nii.gz")
        if (name if file.parent.name == "labelsTr" else name[:-5]) not in patients:
            file.unlink()


def dataset_json(recipe: Recipe, cases: int) -> dict[str, Any]:
    """nnU-Net's dataset.json for a recipe and a number of training cases."""
    return {
        "channel_names": {
            str(i): CHANNEL_NAMES.get(channel.normalisation, name)
            for i, (name, channel) in enumerate(recipe.channels.items())
        },
        "labels": {"background": 0, **recipe.labels},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        "name": recipe.name,
        "description": recipe.description,
    }


def nnunet_id(case_id: str) -> str:
    """The case id with only characters that nnU-Net's file names survive, without the end of its labels'."""
    return re.sub(r"_(?=seg$)", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", case_id))


def _labels_of(case: Case, recipe: Recipe) -> frozenset[int]:
    """The labels in a case's truth; DatasetError without a truth, or for a label that the recipe lacks."""
    if case.truth is None:
        raise DatasetError(case.id, "no truth", "a mask or contour for training")
    require_same_grid(f"truth of {case.id}", case.channels[case.reference], case.truth)
    found = frozenset(int(label) for label in np.unique(case.truth.array)) - {0}
    unknown = found - set(recipe.labels.values())
    if unknown:
        raise DatasetError(case.id, f"labels {sorted(unknown)}", f"labels of the recipe {recipe.labels}")
    return found


def _as_seen(case: Case, recipe: Recipe) -> tuple[tuple[Volume, ...], Volume]:
    """A case's channels, and its labels (uint8), as the network will see them."""
    if case.truth is None:
        raise DatasetError(case.id, "no truth", "a mask or contour for training")
    truth = network_truth(case.truth, recipe)
    return network_input(case, recipe), truth.with_array(truth.array.astype(np.uint8))


def _write_case(
    name: str, volumes: Sequence[Volume], workspace: Workspace, save: SaveVolume, trained: bool
) -> None:
    """Write one case's raw files: its channels, then its labels.

    Where there is a training, files that are there stay, and must be what would be written now: else raises
    DatasetError.
    """
    names = [f"imagesTr/{name}_{number:04d}" for number in range(len(volumes) - 1)]
    for part, volume in zip([*names, f"labelsTr/{name}"], volumes, strict=True):
        file = workspace.raw / f"{part}.nii.gz"
        if not (trained and file.is_file()):
            save(volume, file)
            continue
        again = file.with_name(f".{file.name}")
        save(volume, again)
        # unpacked: the same voxels may be packed differently
        same = gzip.decompress(again.read_bytes()) == gzip.decompress(file.read_bytes())
        again.unlink()
        if not same:
            raise _other_training(workspace.root)
