"""From logits to labels on the case's grid, slab by slab: what a logit means, and where it is asked.

Logits are interpolated and then decided, as nnU-Net does, but only where the answer can be other than
background. How they were computed is `engine.py`, which grids there are `space.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.resize_stream import resize_rows

FloatArray = NDArray[np.float32]
Labels = NDArray[np.uint8]


@dataclass(frozen=True)
class Rule:
    """How logits (k, z, y, x) become labels (z, y, x), and the probability of each (label, z, y, x).

    `candidates` is true where a voxel, or any mixture of it with others that are not candidates, may become
    something else than background: a mixture of voxels that are none must stay background.
    """

    candidates: Callable[[FloatArray], NDArray[np.bool_]]
    labels: Callable[[FloatArray], Labels]
    probability: Callable[[FloatArray], FloatArray]


def _sigmoid(difference: FloatArray) -> FloatArray:
    # large negative differences overflow exp to inf, and 1 / inf is the right answer
    with np.errstate(over="ignore"):
        share: FloatArray = np.float32(1) / (np.float32(1) + np.exp(-difference))
    return share


def _above_background(logits: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((logits[1:] > logits[:1]).any(axis=0))


def _softmax(logits: FloatArray) -> FloatArray:
    powers = np.exp(logits - logits.max(axis=0))
    share: FloatArray = powers[1:] / powers.sum(axis=0)
    return share


def difference_rule(threshold: float) -> Rule:
    """One channel, the lesion's logit less that of the background: a lesion above that of `threshold`."""
    limit = logit(threshold)

    def above(difference: FloatArray) -> NDArray[np.bool_]:
        return np.asarray(difference[0] > limit)

    return Rule(above, lambda difference: above(difference).astype(np.uint8), _sigmoid)


def logit(probability: float) -> float:
    """ln(p / (1 - p)) of a probability within 0 and 1; exactly 0 at one half."""
    return math.log(probability / (1.0 - probability))


DIFFERENCE = difference_rule(0.5)
LARGEST = Rule(_above_background, lambda logits: logits.argmax(axis=0).astype(np.uint8), _softmax)
"""A channel for each label, background first: the largest wins."""


def regions_rule(order: Sequence[int], threshold: float = 0.5) -> Rule:
    """The rule for regions, which may overlap: channel i is a region of its own, a sigmoid above `threshold`.

    `order` is nnU-Net's `regions_class_order`: the label that each region paints, one after another, so that
    later ones lie on top. The probabilities are those of the regions.
    """

    def labels(logits: FloatArray) -> Labels:
        painted = np.zeros(logits.shape[1:], np.uint8)
        for number, label in enumerate(order):
            painted[_sigmoid(logits[number]) > threshold] = label
        return painted

    limit = logit(threshold)
    return Rule(lambda logits: np.asarray((logits > limit).any(axis=0)), labels, _sigmoid)


def rule_of(channels: int) -> Rule:
    """The rule for logits as the engine leaves them: one difference, or all classes."""
    return DIFFERENCE if channels == 1 else LARGEST


def decide(
    rows: Iterable[FloatArray],
    old: Sequence[int],
    labels: Labels,
    rule: Rule,
    *,
    separate_axis: int | None = None,
    probability: FloatArray | None = None,
) -> None:
    """Fill `labels` (z, y, x) and `probability` (n, z, y, x) of the first n labels, all zero on entry.

    `rows` are logits (k, n, y, x) that follow one another, together (k, *old); they are interpolated linearly
    to the shape of `labels` (nearest plane across `separate_axis`). A label without a logit, one to ignore,
    has the probability 0. Without a probability nothing is computed where only background can come out.
    """
    needed = rule.candidates if probability is None else None
    for box, values in resize_rows(rows, old, labels.shape, separate_axis=separate_axis, needed=needed):
        labels[box] = rule.labels(values)
        if probability is not None:
            found = rule.probability(values)[: len(probability)]
            probability[(slice(len(found)), *box)] = found
