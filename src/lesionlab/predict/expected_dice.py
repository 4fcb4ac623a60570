"""For each scan, of all masks that its probabilities could give, the one with the largest expected Dice.

A threshold is the same for every scan; this is the threshold of one scan. Which of the two a recipe wants is
`prediction.threshold`; how logits become probabilities is `decide.py`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

LEVELS: Final = 256
"""Steps of a probability."""
SURE: Final = 0.5
"""Where no voxel is as likely lesion as not, nothing is drawn: an empty scan's expected Dice is always 0."""


def levels(probability: NDArray[Any]) -> NDArray[np.uint8]:
    """Probabilities in [0, 1] in whole steps of 1/256, downwards; 1 becomes 255."""
    steps: NDArray[np.uint8] = np.minimum(np.floor(probability * LEVELS), LEVELS - 1).astype(np.uint8)
    return steps


def largest_expected_dice(steps: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The mask, of the shape of `steps`, which are those of `levels`; all False where none reaches 0.5.

    Among the masks "every step of at least this", that with the largest 2 x (sum of p inside) / (voxels
    inside + sum of p everywhere), which comes near the expected Dice of a truth drawn from the probabilities
    where lesions have many voxels: the plug-in rule of Dai and Li, Journal of Machine Learning Research
    24(224), 2023. Step 255 counts as 1, so that what is certain is drawn.
    """
    counts = np.bincount(steps.ravel(), minlength=LEVELS)[::-1].astype(np.float64)
    voxels = np.cumsum(counts)
    if not voxels[LEVELS - 1 - int(SURE * LEVELS)]:
        return np.zeros(steps.shape, dtype=np.bool_)
    chance = np.arange(LEVELS)[::-1] / LEVELS
    chance[0] = 1.0
    inside = np.cumsum(counts * chance)
    expected = 2 * inside / (voxels + inside[-1])
    mask: NDArray[np.bool_] = steps >= LEVELS - 1 - int(np.argmax(expected))
    return mask
