"""Training a network as a recipe says."""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.errors import TrainingError
from lesionlab.core.memory import keep_freed_memory
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.workspace import open_workspace
from lesionlab.train.curves import EpochRow, read_curves, write_curves
from lesionlab.train.spread import first_process, under_torchrun

__all__ = ["EpochRow", "first_process", "read_curves", "train_fold", "write_curves"]


def train_fold(
    root: Path,
    fold: int | str,
    *,
    step: str | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Path:
    """Train one fold (0, 1, ... or "all") of the workspace planned at `root`.

    `step` is the configuration to train, of a recipe with several (`Recipe.steps`); the last when None.

    Goes on where an interrupted training stopped; a finished fold is returned at once. Returns the
    fold's folder, with `checkpoint_final.pth` and `curves.csv`. Raises TrainingError for a fold that the plan
    does not have, a recipe of two steps under torchrun, or a loss that is not finite; DatasetError for a
    folder that was not planned, a training set without a lesion, or a label that the data set does not name.
    """
    workspace, recipe = open_workspace(root)
    if isinstance(fold, int) and not 0 <= fold < workspace.folds:
        raise TrainingError(root, f"fold {fold}", f"0 to {workspace.folds - 1}, or all")
    if len(recipe.steps) > 1 and under_torchrun():
        raise TrainingError(root, "two steps in several processes", "one process for them; no torchrun")
    keep_freed_memory()
    from lesionlab.train.nnunet import train_network

    chosen = recipe if step is None else recipe.step(step)
    return train_network(workspace, chosen, fold, device, progress)
