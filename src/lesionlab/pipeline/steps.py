"""Training in two steps: the first network's folds, and what each finds in the cases it has not seen.

The second network is trained on that: a cascade sees the first one's masks, one that refines sees crops where
the first one was wrong. What is finished is kept, so that an interrupted run goes on.
"""

from __future__ import annotations

import json
from pathlib import Path

from lesionlab.core.files import sha256_of, write_text
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.workspace import Workspace, open_workspace
from lesionlab.pipeline.curves import leave_curves
from lesionlab.pipeline.record import part
from lesionlab.predict import Bundle
from lesionlab.predict.bundle import CHECKPOINTS, after, bundle_of
from lesionlab.train import train_fold

TRAINING_SHARE = 0.85
"""Share of the progress bar for training the first network; the rest is for its predictions."""


def train_first_step(root: str | Path, *, device: str = "auto", progress: Progress = silent) -> list[Path]:
    """Train every fold of a recipe's first network and predict every case by the fold that has not seen it.

    Returns the folds' folders, with curves.png; none for a recipe of one step. Masks are left where nnU-Net
    looks for them. A case's mask is made again when the weights or the plan have changed. Raises what
    training and prediction do.
    """
    workspace, recipe = open_workspace(Path(root))
    if len(recipe.steps) == 1:
        return []
    first, count = recipe.steps[0], len(_splits(workspace))
    folders = []
    for fold in range(count):
        share = part(progress, TRAINING_SHARE * fold / count, TRAINING_SHARE * (fold + 1) / count)
        folders.append(train_fold(Path(root), fold, step=first, device=device, progress=share))
        leave_curves(folders[-1])
    _predict_between(workspace, recipe, device, part(progress, TRAINING_SHARE, 1.0))
    return folders


def _predict_between(workspace: Workspace, recipe: Recipe, device: str, progress: Progress) -> None:
    """Every case's mask by the first network, for the second."""
    from lesionlab.predict.training_cases import Between, predict_training_case

    first, second = recipe.steps
    plans_file = workspace.preprocessed / f"{workspace.plans_name}.json"
    plans = json.loads(plans_file.read_text(encoding="utf-8"))["configurations"]
    folders = [workspace.preprocessed / _identifier(plans, name) for name in recipe.steps]
    masks = workspace.model(first) / "predicted_next_stage" / second
    places = Between(folders[0], folders[1], masks, recipe.locate)
    splits = _splits(workspace)
    names = sorted({name for split in splits for part in ("train", "val") for name in split[part]})
    planned = sha256_of([plans_file])
    for number, name in enumerate(names):
        progress(f"first step's masks: {name}", number / len(names))
        bundle = step_bundle(workspace, recipe.step(first), _unseen_by(name, splits))
        prepared = sha256_of([folders[0] / f"{name}.b2nd", folders[1] / f"{name}_seg.b2nd"])
        stamp = f"{planned} {prepared} {bundle.sha256} {recipe.sha256}"
        kept = workspace.preprocessed / "stamps" / masks.name / "first" / f"{name}.txt"
        done = kept.is_file() and (masks / f"{name}.b2nd").is_file()
        if done and kept.read_text(encoding="utf-8") == stamp:
            continue
        kept.unlink(missing_ok=True)
        predict_training_case(name, bundle, places, device=device)
        write_text(kept, stamp)


def _unseen_by(name: str, splits: list[dict[str, list[str]]]) -> int:
    """The fold that holds a case out, else the first one not trained on it, else 0, as all have seen it."""
    held_out = [fold for fold, split in enumerate(splits) if name in split["val"]]
    left_out = [fold for fold, split in enumerate(splits) if name not in split["train"]]
    return [*held_out, *left_out, 0][0]


def _splits(workspace: Workspace) -> list[dict[str, list[str]]]:
    """The planned folds: the cases that each trains on and those that it has not seen."""
    found: list[dict[str, list[str]]] = json.loads(
        (workspace.preprocessed / "splits_final.json").read_text(encoding="utf-8")
    )
    return found


def _identifier(plans: dict[str, dict[str, str]], name: str) -> str:
    """The folder of a configuration's preprocessed cases, which it may inherit."""
    configuration = plans[name]
    if "data_identifier" in configuration:
        return configuration["data_identifier"]
    return _identifier(plans, configuration["inherits_from"])


def steps_bundle(workspace: Workspace, recipe: Recipe, fold: int | str) -> Bundle:
    """One finished fold of a workspace as a bundle, without copying it, first networks included.

    The first network is that of the same fold, which has not seen the same patients; for `all`, which has no
    such fold, it is every fold together.
    """
    last = step_bundle(workspace, recipe, fold)
    if len(recipe.steps) == 1:
        return last
    folds = [fold] if isinstance(fold, int) else list(range(len(_splits(workspace))))
    return after(step_bundle(workspace, recipe.step(recipe.steps[0]), *folds), last)


def step_bundle(workspace: Workspace, recipe: Recipe, *folds: int | str) -> Bundle:
    """Finished folds of one network of a workspace as a bundle; `recipe` is that of the step."""
    folder = workspace.model(recipe.network.configuration)
    checkpoints = tuple(folder / f"fold_{fold}" / CHECKPOINTS[0] for fold in folds)
    name = f"{recipe.name} fold {' '.join(map(str, folds))}"
    return bundle_of(name, recipe, folder, checkpoints)
