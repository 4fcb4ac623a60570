"""The losses: pure functions of a network's output and the truth, and their sum as a recipe weighs them.

Logits are (b, 1 + c, ...) with the background first, the truth (b, 1, ...) holds integer labels, everything
per foreground class is (b, c, ...). All is computed in float32, whatever the precision of the logits.
Formulas and papers are in docs/reference/training.md; the terms that are taken voxel by voxel and class by
class are in `voxelwise.py`, the optimiser is in `schedules.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from lesionlab.core.learning import LossSettings, Weighted
from lesionlab.train.spread import summed
from lesionlab.train.voxelwise import Activation, voxelwise

NetworkLoss = Callable[[Tensor | Sequence[Tensor], Tensor], Tensor]
NOTHING_IGNORED = -100
"""torch's own label that never occurs."""
SMALLEST = 1e-8
"""Below the resolution of 1 - index in float32; keeps the slope of a fractional power finite."""


class Overlap(NamedTuple):
    """Sums over voxels, (b, c), or (c,) over the whole batch: intersection, prediction, truth."""

    both: Tensor
    predicted: Tensor
    true: Tensor


def one_hot(truth: Tensor, classes: int) -> Tensor:
    """The truth as (b, classes, ...) of 0 and 1, background left out; an ignored label is 0 throughout."""
    labels = torch.arange(1, classes + 1, device=truth.device, dtype=truth.dtype)
    return (truth == labels.view(1, -1, *[1] * (truth.ndim - 2))).float()


def probabilities(logits: Tensor, activation: Activation) -> Tensor:
    """Foreground probabilities (b, c, ...): of the softmax, or sigmoids of logits less the background's."""
    if activation == "softmax":
        return torch.softmax(logits, 1)[:, 1:]
    return torch.sigmoid(logits[:, 1:] - logits[:, :1])


def overlap(probability: Tensor, true: Tensor, valid: Tensor | None, over_batch: bool) -> Overlap:
    """Soft intersection and sizes of prediction and truth over the voxels that are `valid` (b, 1, ...).

    `true` must be 0 where it is not valid, as `one_hot` makes it.
    """
    if valid is not None:
        probability = probability * valid
    axes = tuple(range(2, probability.ndim))
    sums = [(probability * true).sum(axes), probability.sum(axes), true.sum(axes)]
    return Overlap(*(summed(s.sum(0)) for s in sums)) if over_batch else Overlap(*sums)


def dice(found: Overlap, smooth: float) -> Tensor:
    """Soft Dice, (2 both + smooth) / (predicted + true + smooth); 1 where all are empty.

    Dice on volumes as a loss: Milletari et al., 3DV 2016, https://doi.org/10.1109/3DV.2016.79.
    """
    return (2 * found.both + smooth) / (found.predicted + found.true + smooth)


def tversky_index(
    found: Overlap, fp_weight: float, fn_weight: float, smooth: float, weights: Tensor | None = None
) -> Tensor:
    """TP / (TP + fp_weight FP + fn_weight FN), smoothed as Dice is; 0.5 and 0.5 make it Dice.

    `weights`, per class, multiply the truth's voxels, that is TP and FN. Salehi et al., MLMI 2017,
    https://doi.org/10.1007/978-3-319-67389-9_44.
    """
    weight = 1.0 if weights is None else weights
    hit = weight * found.both
    # Sums of the same voxels in another order may differ in the last bit.
    false_positive = (found.predicted - found.both).clamp_min(0)
    false_negative = weight * (found.true - found.both).clamp_min(0)
    return (hit + smooth) / (hit + fp_weight * false_positive + fn_weight * false_negative + smooth)


def focal_tversky(index: Tensor, focus: float) -> Tensor:
    """(1 - index) ** focus. Abraham and Khan, ISBI 2019, https://doi.org/10.1109/ISBI.2019.8759329.

    That paper writes the exponent 1 / gamma with gamma = 4 / 3: `focus` is the exponent itself, 0.75 there.
    """
    return (1 - index).clamp_min(SMALLEST) ** focus


def cross_entropy(logits: Tensor, truth: Tensor, weights: Tensor | None, ignore: int | None) -> Tensor:
    """-ln of the true label's softmax probability times its class's weight (c,), mean over valid voxels."""
    labels = truth[:, 0].long()
    ignored = NOTHING_IGNORED if ignore is None else ignore
    every = None if weights is None else torch.cat([weights.new_ones(1), weights])
    total = functional.cross_entropy(logits, labels, weight=every, ignore_index=ignored, reduction="sum")
    return total / (labels != ignored).sum().clamp_min(1)


def class_weights(true: Tensor, valid: Tensor | None, positive_weight: float | Literal["batch"]) -> Tensor:
    """The weight (c,) of each class's voxels; `batch`: its negatives over its positives among valid voxels.

    A class without positives, or without negatives, weighs 1.
    """
    if positive_weight != "batch":
        return true.new_full((true.shape[1],), float(positive_weight))
    positives = summed(true.sum((0, *range(2, true.ndim))))
    voxels = summed(true.new_tensor(true[:, 0].numel()) if valid is None else valid.sum())
    negatives = voxels - positives
    balanced = (positives > 0) & (negatives > 0)
    return torch.where(balanced, negatives / positives.clamp_min(1), torch.ones_like(positives))


def loss_terms(
    logits: Tensor, truth: Tensor, settings: LossSettings, over_batch: bool, ignore: int | None = None
) -> dict[str, Tensor]:
    """Each term of the loss whose weight is above 0, unweighted, by the name of its setting.

    `ignore` is the label whose voxels do not count. The Dice term is minus Dice, as in nnU-Net, the Tversky
    term 1 - index. With no valid voxel at all the voxel-wise terms are 0.
    """
    logits = logits.float()
    valid = None if ignore is None else (truth != ignore).float()
    true = weights = None
    if settings.dice or settings.tversky or settings.focal_tversky or settings.positive_weight != 1:
        true = one_hot(truth, logits.shape[1] - 1)
    if true is not None and settings.positive_weight != 1:
        weights = class_weights(true, valid, settings.positive_weight)

    def weights_of(term: Weighted) -> Tensor | None:
        return weights if settings.weighted_terms == "all" or term in settings.weighted_terms else None

    terms = {}
    if true is not None and (settings.dice or settings.tversky or settings.focal_tversky):
        found = overlap(probabilities(logits, settings.activation), true, valid, over_batch)
        terms["dice"] = -dice(found, settings.smooth).mean()
        costs = (settings.fp_weight, settings.fn_weight, settings.smooth)
        terms["tversky"] = (1 - tversky_index(found, *costs, weights_of("tversky"))).mean()
        index = tversky_index(found, *costs, weights_of("focal_tversky"))
        terms["focal_tversky"] = focal_tversky(index, settings.focus).mean()
    if settings.cross_entropy:
        terms["cross_entropy"] = cross_entropy(logits, truth, weights_of("cross_entropy"), ignore)
    if settings.binary_cross_entropy:
        kept = weights_of("binary_cross_entropy")
        terms["binary_cross_entropy"] = voxelwise(
            logits, truth, settings.activation, 0.0, weights=kept, valid=valid
        )
    if settings.focal:
        kept = weights_of("focal")
        terms["focal"] = voxelwise(
            logits, truth, settings.activation, settings.focal_focus, weights=kept, valid=valid
        )
    return {name: term for name, term in terms.items() if getattr(settings, name) > 0}


def supervision_weights(outputs: int) -> tuple[float, ...]:
    """nnU-Net's weights of deep supervision, finest first: halved each time, the coarsest 0, summing to 1."""
    if outputs == 1:
        return (1.0,)
    raw = [0.5**number for number in range(outputs - 1)] + [0.0]
    return tuple(weight / sum(raw) for weight in raw)


def make_loss(settings: LossSettings, over_batch: bool, ignore: int | None = None) -> NetworkLoss:
    """The loss of a recipe: takes logits, or a list of them finest first, and the truth at the finest grid.

    `over_batch` is what `batch_overlap = None` stands for. For coarser outputs the truth is taken at the
    voxel nearest to each of theirs, as nnU-Net does.
    """
    batch = over_batch if settings.batch_overlap is None else settings.batch_overlap

    def loss(outputs: Tensor | Sequence[Tensor], truth: Tensor) -> Tensor:
        several: list[Tensor] = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
        total = torch.zeros((), device=several[0].device)
        weights = supervision_weights(len(several))
        if several[0].shape == several[-1].shape:
            # heads of one resolution (U-Net++) are peers
            weights = (1 / len(several),) * len(several)
        for weight, logits in zip(weights, several, strict=True):
            if weight:
                terms = loss_terms(logits, _at(truth, logits), settings, batch, ignore)
                total = total + weight * sum(getattr(settings, name) * term for name, term in terms.items())
        return total

    return loss


def _at(truth: Tensor, logits: Tensor) -> Tensor:
    """The truth on the grid of the logits."""
    if truth.shape[2:] == logits.shape[2:]:
        return truth
    nearest = functional.interpolate(truth.float(), logits.shape[2:], mode="nearest-exact")
    return nearest.to(truth.dtype)
