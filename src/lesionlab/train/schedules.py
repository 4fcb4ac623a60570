"""Optimisers and learning rates, as a recipe's training section names them; nothing of a network or data.

The rate is a function of the epoch alone, so that a training that goes on needs no memory of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch

from lesionlab.core.learning import TrainingSettings

SECOND_BETA = 0.999
"""Decay of the Adams' second moment; Kingma and Ba, ICLR 2015, https://arxiv.org/abs/1412.6980."""


def make_optimiser(parameters: Iterable[torch.Tensor], settings: TrainingSettings) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (plain SGD where the momentum is 0), Adam or AdamW."""
    rate, decay, momentum = settings.learning_rate, settings.weight_decay, settings.inertia
    if settings.optimiser == "sgd":
        return torch.optim.SGD(parameters, rate, momentum=momentum, weight_decay=decay, nesterov=momentum > 0)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimiser]
    return kind(parameters, rate, betas=(momentum, SECOND_BETA), weight_decay=decay)


def learning_rate(settings: TrainingSettings, epoch: float) -> float:
    """The rate of an epoch, counted from 0; between whole ones where the schedule follows the time.

    The first `warm_up_epochs` W rise to it linearly, epoch e with (e + 1) / (W + 1) of it. The schedule then
    runs over the epochs that are left. `cosine_restarts` is SGDR, Loshchilov and Hutter, ICLR 2017,
    https://arxiv.org/abs/1608.03983.
    """
    warm = settings.warm_up_epochs
    if epoch < warm:
        return settings.learning_rate * (epoch + 1) / (warm + 1)
    return settings.learning_rate * _share(settings, epoch - warm, settings.epochs - warm)


def _share(settings: TrainingSettings, epoch: float, epochs: float) -> float:
    """What is left of the rate after `epoch` of `epochs`."""
    if settings.schedule == "poly":
        return float((1 - min(epoch / epochs, 1.0)) ** settings.poly_power)
    if settings.schedule == "constant":
        return 1.0
    length = epochs
    epoch = min(epoch, epochs)
    if settings.schedule == "cosine_restarts":
        length = settings.restart_epochs
        while epoch >= length:
            epoch, length = epoch - length, length * settings.restart_factor
    return (1 + math.cos(math.pi * epoch / length)) / 2


class Schedule:
    """Sets the optimiser's rate at the beginning of each epoch; has the one method that nnU-Net calls.

    `place` tells where in the schedule an epoch is; by default at its own number.
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        settings: TrainingSettings,
        place: Callable[[int], float] = float,
    ) -> None:
        self.optimiser, self.settings, self.place = optimiser, settings, place

    def step(self, epoch: int) -> None:
        """Set the rate of an epoch, counted from 0."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.settings, self.place(epoch))
