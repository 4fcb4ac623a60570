"""A moving average of a network's weights over the steps of its training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn


def averaged_tensors(network: nn.Module) -> list[Tensor]:
    """What is averaged of a network: its parameters, and the running statistics of its batch normalisations,
    without which averaged weights would be normalised by another network's.
    """
    return [*network.parameters(), *(b for b in network.buffers() if b.is_floating_point())]


class WeightAverage:
    """The exponential moving average of some parameters; with a decay of 0 nothing is kept or changed."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: list[Tensor] | None = None
        self.steps = 0

    def update(self, parameters: Iterable[Tensor]) -> None:
        """Take in the parameters after a step.

        A young average forgets faster, so that it does not remember the random start: step n decays by
        (1 + n) / (10 + n) at most.
        """
        if self.decay == 0:
            return
        weights = [p.detach() for p in parameters]
        self.steps += 1
        if self.weights is None:
            self.weights = [w.clone() for w in weights]
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.weights, weights, 1 - decay)

    @contextlib.contextmanager
    def applied(self, parameters: Iterable[Tensor]) -> Iterator[None]:
        """Put the average into the parameters, and what they were back afterwards."""
        if self.weights is None:
            yield
            return
        weights = [p.data for p in parameters]
        kept = [w.clone() for w in weights]
        torch._foreach_copy_(weights, self.weights)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, kept)
