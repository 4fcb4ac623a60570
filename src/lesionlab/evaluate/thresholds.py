"""What a threshold could reach at best: the bar that a trained model has to clear.

Uses the truth, so it is a yardstick and never a method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lesionlab.core.components import labels_of
from lesionlab.core.grid import require_same_grid
from lesionlab.core.volume import Volume


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """The threshold (in the volume's unit) whose mask `volume >= threshold` has the highest Dice."""

    threshold: float
    dice: float


def best_threshold(volume: Volume, truth: Volume, *, subject: str = "best threshold") -> BestThreshold:
    """The best of all fixed thresholds for one patient, chosen with knowledge of the truth; exact.

    Every distinct voxel value is tried, by one sort. Of equally good thresholds the highest is given. Voxels
    that are not finite are never in a mask. An empty truth gives NaN for both, as Dice is undefined
    there. Raises GeometryError where the grids differ.
    """
    require_same_grid(subject, truth, volume)
    true = labels_of(subject, truth) > 0
    n_true = int(np.count_nonzero(true))
    finite = np.isfinite(volume.array)
    inside = volume.array[true & finite]
    if n_true == 0 or not len(inside):
        return BestThreshold(math.nan, math.nan if n_true == 0 else 0.0)
    # Below the lowest true voxel a lower threshold only adds false voxels.
    worth = finite & (volume.array >= inside.min())
    values, is_true = volume.array[worth], true[worth]
    order = np.argsort(values, kind="stable")[::-1]
    values, hits = values[order], np.cumsum(is_true[order])
    # A threshold takes all voxels of its value, so only the last of equal values ends a mask.
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    dice = 2.0 * hits[last] / (last + 1 + n_true)
    best = int(np.argmax(dice))
    return BestThreshold(float(values[last[best]]), float(dice[best]))
