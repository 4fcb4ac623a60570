"""How much memory a torch network's activations take, counted before it runs.

Each operation's results live until the last operation that reads them: the largest sum of what lives at once.
What else a prediction needs is in `need.py`; OpenVINO's networks are counted in `openvino_graph.py`.
"""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TORCH_SHARE = 1.6
"""Torch takes this much more than lives, for its convolutions' own layouts and holes in freed memory:
measured on a 3D U-Net of 31 million weights with patches of 128 x 128 x 128."""


def torch_bytes(network: torch.nn.Module, shape: tuple[int, ...], element_bytes: int = 4) -> int:
    """Bytes of activations of one forward pass of `shape`, 0 where the network cannot be followed.

    The pass runs on tensors without memory (torch's meta device), so nothing is computed.
    """
    named = [*network.named_parameters(), *network.named_buffers()]
    tensors = {name: tensor.detach().to("meta") for name, tensor in named}
    living = _Living()
    # Without ties: nnU-Net registers each layer under two names, and putting both back leaves the second's
    # tensor without memory in the network.
    given = (torch.empty(shape, device="meta"),)
    try:
        with torch.no_grad(), living:
            torch.func.functional_call(network, tensors, given, tie_weights=False)
    except Exception:
        # a network that looks at its values cannot be followed without them, and need not be: it still runs
        return 0
    return int(living.peak * TORCH_SHARE * element_bytes / 4)


class _Living(TorchDispatchMode):  # type: ignore[misc]
    """Counts the bytes of all tensors that are made under it and still live."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in (leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)):
            storage = tensor.untyped_storage()
            if storage._cdata in self.known:
                continue
            self.known.add(storage._cdata)
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return out

    def _gone(self, name: int, size: int) -> None:
        self.known.discard(name)
        self.now -= size
