"""What follows from a set of cases: folds, and nnU-Net's raw folder, fingerprint and plans."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError, DatasetError, GeometryError
from lesionlab.core.files import write_json, write_text
from lesionlab.core.grid import require_same_grid
from lesionlab.core.inputs import network_input
from lesionlab.core.recipe import Recipe, dump_recipe, load_recipe
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import Workspace
from lesionlab.plan.fingerprint import CaseFingerprint, fingerprint_case, fingerprint_dataset
from lesionlab.plan.folds import patient_folds

__all__ = ["Gathered", "Plan", "gather_dataset", "patient_folds", "plan_dataset", "plan_gathered"]

SaveVolume = Callable[[Volume, Path], None]
CHANNEL_NAMES = {"fixed": "noNorm", "none": "noNorm", "ct": "CT"}
"""What nnU-Net's dataset.json calls a channel decides how stock planning would normalise it."""


@dataclass(frozen=True)
class Gathered:
    """A workspace with its raw folder, fingerprint and folds, before any network is planned on it."""

    workspace: Workspace
    patients: dict[str, str]
    folds: list[dict[str, list[str]]]
    failed: dict[str, str]


@dataclass(frozen=True)
class Plan:
    """A planned workspace: its cases with their patients, its folds, nnU-Net's plans.

    `failed` maps the cases that could not be used to the reason.
    """

    workspace: Workspace
    patients: dict[str, str]
    folds: list[dict[str, list[str]]]
    plans: dict[str, Any]
    failed: dict[str, str]


def plan_dataset(
    cases: Iterable[Case], recipe: Recipe, root: Path, save: SaveVolume, progress: Progress = silent
) -> Plan:
    """Write nnU-Net's raw folder from standardised cases, plan, split by patient and preprocess.

    `gather_dataset`, then `plan_gathered`; raises what they do.
    """
    found = gather_dataset(cases, recipe, root, save)
    plans = plan_gathered(found.workspace, recipe, list(found.patients), progress)
    return Plan(found.workspace, found.patients, found.folds, plans, found.failed)


def plan_gathered(
    workspace: Workspace, recipe: Recipe, case_ids: list[str], progress: Progress = silent
) -> dict[str, Any]:
    """Plan the recipe's network on a gathered workspace and preprocess the cases; returns nnU-Net's plans."""
    from lesionlab.plan.nnunet import make_plans, preprocess

    plans = make_plans(workspace, recipe)
    preprocess(workspace, recipe, case_ids, progress)
    write_text(workspace.recipe_file, dump_recipe(recipe))
    return plans


def gather_dataset(cases: Iterable[Case], recipe: Recipe, root: Path, save: SaveVolume) -> Gathered:
    """Write nnU-Net's raw folder from standardised cases, its fingerprint and the folds by patient.

    `save` writes a volume as NIfTI. The raw file of a `fixed` channel already holds the scaled
    values and the plan says NoNormalization, so that stock nnU-Net computes the same. Cases are
    taken one at a time; one without a truth, with a label that the recipe does not know or with a
    truth on another grid is left out and listed. Raises DatasetError when two cases share an id,
    when no case is left or none has a lesion, and for a workspace with a training of other
    cases or another recipe.
    """
    workspace = Workspace(root, recipe.name)
    trained = _trained_patients(workspace, recipe)
    prints: list[CaseFingerprint] = []
    patients: dict[str, str] = {}
    with_lesion: dict[str, bool] = {}
    failed: dict[str, str] = {}
    for case in cases:
        name = nnunet_id(case.id)
        if name in patients:
            raise DatasetError(case.id, f"a second case named {name!r}", "case ids that differ")
        if trained is not None and trained.get(name) != case.patient_id:
            raise _other_training(root)
        try:
            prints.append(_write_case(case, name, recipe, workspace, save))
        except (DatasetError, GeometryError, BundleError) as error:
            failed[case.id] = str(error)
            continue
        patients[name] = case.patient_id
        with_lesion[name] = bool(prints[-1].foreground[0].size)
    if not prints:
        raise DatasetError(root, next(iter(failed.values()), "no case"), "cases with a truth")
    if trained is not None and trained != patients:
        raise _other_training(root)
    _drop_strangers(workspace, patients)
    fingerprint = fingerprint_dataset(prints)
    folds = patient_folds(patients, recipe.training.folds, recipe.training.seed, with_lesion=with_lesion)
    write_json(workspace.raw / "dataset.json", dataset_json(recipe, len(patients)))
    write_json(workspace.preprocessed / "dataset_fingerprint.json", fingerprint)
    write_json(workspace.preprocessed / "splits_final.json", folds)
    write_json(workspace.cases_file, {"patients": patients, "with_lesion": with_lesion})
    return Gathered(workspace, patients, folds, failed)


def _trained_patients(workspace: Workspace, recipe: Recipe) -> dict[str, str] | None:
    """Patients by case of a training that is here already, None where there is none.

    Planning anew under a training of something else is refused before anything is written: its weights
    would look like the new plan's.
    """
    if next(workspace.root.glob("results/*/*/fold_*/checkpoint_*.pth"), None) is None:
        return None
    if load_recipe(workspace.recipe_file) != recipe:
        raise _other_training(workspace.root)
    patients: dict[str, str] = json.loads(workspace.cases_file.read_text(encoding="utf-8"))["patients"]
    return patients


def _other_training(root: Path) -> DatasetError:
    return DatasetError(root, "a training of other cases or another recipe", "a new workspace")


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
    """The case id with only characters that nnU-Net's file names survive."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", case_id)


def _write_case(
    case: Case, name: str, recipe: Recipe, workspace: Workspace, save: SaveVolume
) -> CaseFingerprint:
    if case.truth is None:
        raise DatasetError(case.id, "no truth", "a mask or contour for training")
    require_same_grid(f"truth of {case.id}", case.channels[case.reference], case.truth)
    found = {int(label) for label in np.unique(case.truth.array)} - {0}
    unknown = found - set(recipe.labels.values())
    if unknown:
        raise DatasetError(case.id, f"labels {sorted(unknown)}", f"labels of the recipe {recipe.labels}")
    volumes = network_input(case, recipe)
    for channel, volume in enumerate(volumes):
        save(volume, workspace.raw / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
    save(
        case.truth.with_array(case.truth.array.astype(np.uint8)),
        workspace.raw / "labelsTr" / f"{name}.nii.gz",
    )
    return fingerprint_case([v.array for v in volumes], case.truth.array, case.geometry.spacing)
