"""Progressive resizing: a training that begins on smaller, coarser patches and ends on the full ones.

The first steps learn what a coarse picture can teach, in a fraction of the time (Tan and Le 2021,
EfficientNetV2, arXiv:2104.00298, section 4). The shares are `TrainingSettings.progressive`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from lesionlab.core.errors import TrainingError
from lesionlab.core.learning import TrainingSettings
from lesionlab.networks.registry import edge_multiples
from lesionlab.train.curves import EpochRow

LEAST_CELLS = 2
"""Of the network's coarsest grid, so many cells lie along an edge, or what the full patch has: normalisation
by instance needs more than one value."""


def at_its_size(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """A batch at the size that this step of a `RecipeTrainer` is made at.

    Raises TrainingError for a network that takes one size of patch only.
    """
    recipe, plan = trainer.recipe, trainer.configuration_manager
    size, share = tuple(plan.patch_size), share_at(recipe.training.progressive, trainer.done())
    if share == 1:
        return batch
    multiples = edge_multiples(plan.configuration["architecture"], len(size))
    if multiples is None:
        found = f"progressive patches for {recipe.network.architecture}"
        raise TrainingError(recipe.name, found, "a network that takes patches of several sizes")
    data, target = resized(batch["data"], batch["target"], smaller_edges(size, multiples, share))
    return {**batch, "data": data, "target": target}


def share_at(shares: Sequence[float], done: float) -> float:
    """The share of a patch's edges when a part `done` (0 to 1) of the training is over."""
    return shares[min(int(done * len(shares)), len(shares) - 1)]


def since_full(rows: Sequence[EpochRow], settings: TrainingSettings) -> list[EpochRow]:
    """The last epochs that began with full patches: only these tell whether a training has converged."""
    found: list[EpochRow] = []
    seconds = 0.0
    for row in rows:
        minutes = settings.minutes
        done = row.epoch / settings.epochs if minutes is None else seconds / (60.0 * minutes)
        if share_at(settings.progressive, done) == 1:
            found.append(row)
        else:
            found.clear()
        seconds += row.seconds
    return found


def smaller_edges(size: Sequence[int], multiples: Sequence[int], share: float) -> tuple[int, ...]:
    """The edges of a patch of `size` at a share of it, rounded to the multiples that the network takes."""
    edges = []
    for edge, multiple in zip(size, multiples, strict=True):
        least = min(edge, LEAST_CELLS * multiple)
        edges.append(min(edge, max(least, round(edge * share / multiple) * multiple)))
    return tuple(edges)


def resized(
    data: torch.Tensor, target: torch.Tensor, size: Sequence[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patches (n, channels, ...) averaged down to `size`; labels (n, 1, ...) of the nearest voxel."""
    if tuple(data.shape[2:]) == tuple(size):
        return data, target
    labels = functional.interpolate(target.float(), tuple(size), mode="nearest-exact")
    return functional.interpolate(data, tuple(size), mode="area"), labels.to(target.dtype)
