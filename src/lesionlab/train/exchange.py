"""A sum over processes that gradients flow through; used where `spread.py` finds several."""

from __future__ import annotations

from typing import Any

from torch import Tensor, autograd, distributed


class SumOverProcesses(autograd.Function):  # type: ignore[misc]
    """Each process's values, summed; on the way back, each process's gradients of the sum, summed."""

    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        """The sum, the same in every process."""
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, slope: Tensor) -> Tensor:
        """The gradient with respect to this process's values."""
        total = slope.clone()
        distributed.all_reduce(total)
        return total
