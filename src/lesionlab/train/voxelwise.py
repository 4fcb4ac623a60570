"""Binary cross-entropy and its focal form for each class, with their slope worked out beside them.

For a class with the probability p in a voxel, q is p where the class is and 1 - p where it is not, and the
loss is -(1 - q) ** focus x ln q; focus 0 is the binary cross-entropy. Value and slope are computed in one
walk over the voxels, in pieces that stay in a processor's cache: several times faster than leaving the slope
to torch. Which terms a loss consists of is `losses.py`.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor

Activation = Literal["softmax", "sigmoid"]
PIECE = 1 << 15
"""Voxels that a processor takes at a time."""
TINIEST = 1024.0
"""So many times the smallest number, so that a share of it is still one."""


def voxelwise(
    logits: Tensor,
    truth: Tensor,
    activation: Activation,
    focus: float,
    *,
    weights: Tensor | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """-(1 - q) ** focus x ln q, mean over foreground classes and over voxels that are `valid`; 0 with none.

    Logits (b, 1 + c, ...), background first; truth (b, 1, ...) of labels; `weights` (c,) multiply the voxels
    of their class; `valid` (b, 1, ...) is 1 or 0. p is that of the softmax, or the sigmoid of a logit less
    the background's; both are the same for one class. A q below 1e-35 (in float32) counts as about that, a
    loss of 80: its slope stays, and only how it is shared among the other classes is no longer exact.

    Focal: Lin et al., ICCV 2017, https://doi.org/10.1109/ICCV.2017.324, without its factor alpha_t, whose
    part `weights` play.
    """
    total = cast(Tensor, _Voxelwise.apply(logits, truth[:, 0], weights, valid, (activation, focus)))
    classes = logits.shape[1] - 1
    if valid is None:
        return total / (truth[:, 0].numel() * classes)
    return total / (valid.sum() * classes).clamp_min(1)


class _Voxelwise(torch.autograd.Function):  # type: ignore[misc]
    """The sum over voxels and classes."""

    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        labels: Tensor,
        weights: Tensor | None,
        valid: Tensor | None,
        kind: tuple[Activation, float],
    ) -> Tensor:
        with torch.autocast(logits.device.type, enabled=False):
            total, slope = _walk(logits, labels, weights, valid, kind)
        ctx.save_for_backward(slope)
        return total

    @staticmethod
    def backward(ctx: Any, *upper: Tensor) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * upper[0], None, None, None, None


def _walk(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None,
    valid: Tensor | None,
    kind: tuple[Activation, float],
) -> tuple[Tensor, Tensor]:
    """The sum over voxels and classes, and its slope (b, 1 + c, ...)."""
    activation, focus = kind
    coupled = activation == "softmax" and logits.shape[1] > 2
    flat, slope = logits.flatten(2), torch.empty_like(logits)
    into, lines = slope.flatten(2), labels.flatten(1)
    kept = None if valid is None else valid.flatten(1)
    weights = None if weights is None else weights.view(-1, 1)
    names = torch.arange(1, logits.shape[1], device=logits.device, dtype=logits.dtype).view(-1, 1)
    step = PIECE if logits.device.type == "cpu" else max(1, flat.shape[2])
    total = logits.new_zeros(())
    for image in range(flat.shape[0]):
        for start in range(0, flat.shape[2], step):
            part = slice(start, start + step)
            # 1 where a label is the class's: for whole numbers quicker than comparing
            here = (names - lines[image, part]).abs_().neg_().add_(1).clamp_min_(0)
            factor = None if weights is None else torch.addcmul(here.new_ones(()), here, weights - 1)
            if kept is not None:
                factor = kept[image, part] if factor is None else factor * kept[image, part]
            walk = _coupled if coupled else _apart
            total -= walk(flat[image, :, part], here, factor, focus, into[image, :, part])
    return total, slope


def _apart(logits: Tensor, here: Tensor, factor: Tensor | None, focus: float, slope: Tensor) -> Tensor:
    """Each class against the background (1 + c, v): returns the sum of (1 - q) ** focus x ln q.

    `here` (c, v) is 1 where the class is, else 0. The slope of the loss, minus that sum, goes into `slope`.
    """
    sign = here.mul_(2).sub_(1)
    right = torch.sigmoid((logits[1:] - logits[:1]).mul_(sign)).clamp_min_(torch.finfo(logits.dtype).tiny)
    value, by_odds = _loss(right, factor, focus)
    torch.mul(by_odds, sign, out=slope[1:])
    torch.sum(slope[1:], 0, out=slope[0]).neg_()
    return value


def _coupled(logits: Tensor, here: Tensor, factor: Tensor | None, focus: float, slope: Tensor) -> Tensor:
    """Each class against all others, whose probabilities are those of one softmax; else as `_apart`.

    1 - p is the sum of the other probabilities, so that it is exact where p is near 1. With g the slope by
    the log-odds of a class, that by logit j is g_j - p_j x the sum over other classes of g / (1 - p).
    """
    share = (logits - logits.amax(0)).exp_().clamp_min_(TINIEST * torch.finfo(logits.dtype).tiny)
    all_but_one = 1 - torch.eye(len(share), dtype=share.dtype, device=share.device)
    rest = all_but_one @ share
    whole = (rest[0] + share[0]).reciprocal_()
    share, rest = share.mul_(whole), rest.mul_(whole)[1:]
    right = torch.addcmul((1 - here).mul_(rest), here, share[1:])
    value, by_odds = _loss(right, factor, focus)
    by_odds.mul_(here.mul_(2).sub_(1))
    torch.mul(all_but_one[:, 1:] @ (by_odds / rest), share, out=slope).neg_()
    slope[1:].add_(by_odds)
    return value


def _loss(right: Tensor, factor: Tensor | None, focus: float) -> tuple[Tensor, Tensor]:
    """From q (c, v): the sum of (1 - q) ** focus x ln q, and minus its slope by the log-odds of q (c, v)."""
    logarithm, wrong = right.log(), (1 - right).clamp_min_(0)
    if focus == 0:
        if factor is None:
            return logarithm.sum(), wrong.neg_()
        return torch.dot(logarithm.flatten(), factor.expand_as(wrong).flatten()), wrong.neg_().mul_(factor)
    power = wrong * wrong if focus == 2 else wrong.pow(focus)
    by_odds = torch.addcmul(wrong.neg(), right, logarithm, value=focus)
    if factor is not None:
        power = power * factor
    return torch.dot(power.flatten(), logarithm.flatten()), by_odds.mul_(power)
