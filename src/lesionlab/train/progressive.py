"""Progressive resizing: a training that begins on smaller, coarser patches and ends on the full ones.

The first steps learn what a coarse picture can teach, in a fraction of the time (Tan and Le 2021,
EfficientNetV2, arXiv:2104.00298, section 4). The shares are `TrainingSettings.progressive`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

LEAST_CELLS = 2
"""Of the network's coarsest grid, so many cells lie along an edge, or what the full patch has: normalisation
by instance needs more than one value."""


def share_at(shares: Sequence[float], done: float) -> float:
    """The share of a patch's edges when a part `done` (0 to 1) of the training is over."""
    return shares[min(int(done * len(shares)), len(shares) - 1)]


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
