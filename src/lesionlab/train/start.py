"""Starting from trained weights instead of random ones: from another data set, or from published weights.

A tensor is taken where name and shape are the network's. What is left (a head for other labels, a decoder)
starts at random, as in nnU-Net with `-pretrained_weights`. A file with too little in common is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lesionlab.core.errors import TrainingError
from lesionlab.core.files import sha256_of
from lesionlab.networks.plain import plain_load

NESTED = ("network_weights", "state_dict", "model")
"""Under one of these names a checkpoint keeps its tensors: nnU-Net's, and what others use."""
LEAST = 0.5
"""Share of the network's numbers that must be found."""


@dataclass(frozen=True)
class Taken:
    """What a network took from a file: the file's name and hash, the share of its numbers, what is random."""

    file: str
    sha256: str
    share: float
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        left = f"; random: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{self.file} ({self.sha256[:12]}), {100 * self.share:.0f} % of all weights{left}"


def start_network(network: nn.Module, file: Path) -> Taken:
    """Put a file's weights into a network, in place.

    The first convolution may have been trained for another number of channels: its kernels are averaged over
    theirs and scaled, so that an image repeated in each channel gives what it gave. A network whose class has
    `own_name` translates published names. Raises TrainingError when less than half of the network is in the
    file, and BundleError when that is no file of tensors.
    """
    given = _tensors(file)
    if hasattr(network, "own_name"):
        given = {network.own_name(name) or name: tensor for name, tensor in given.items()}
    own = network.state_dict()
    firsts = _first_convolution(network)
    fresh, found = [], 0
    for name, tensor in own.items():
        fitting = _fitting(given.get(name), tensor, widened=name in firsts)
        if fitting is None:
            fresh.append(name)
        else:
            tensor.copy_(fitting)
            found += tensor.numel()
    share = found / sum(tensor.numel() for tensor in own.values())
    if share < LEAST:
        needed = f"weights of this network ({type(network).__name__})"
        raise TrainingError(file, f"{100 * share:.0f} % of the network's weights", needed)
    parts = dict.fromkeys(name.rpartition(".")[0] for name in fresh)
    return Taken(file.name, sha256_of([file]), share, tuple(parts))


def _tensors(file: Path) -> dict[str, Tensor]:
    found: Any = plain_load(file)
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    named = isinstance(found, Mapping) and {str(k): v for k, v in found.items() if isinstance(v, Tensor)}
    if not named:
        raise TrainingError(file, "no named tensors", "a checkpoint or a file of named tensors")
    return named


def _first_convolution(network: nn.Module) -> set[str]:
    """All names of the first convolution's weights; some networks hold a part under several names."""
    everything = list(network.named_parameters(remove_duplicate=False))
    first = next((p for _, p in everything if p.ndim >= 4), None)
    return {name for name, parameter in everything if parameter is first}


def _fitting(given: Tensor | None, wanted: Tensor, *, widened: bool) -> Tensor | None:
    """The given tensor in the wanted shape, None where it does not fit."""
    if given is None or given.shape == wanted.shape:
        return given
    others = [size for axis, size in enumerate(wanted.shape) if axis != 1]
    if not widened or [size for axis, size in enumerate(given.shape) if axis != 1] != others:
        return None
    mean = given.mean(1, keepdim=True) * (given.shape[1] / wanted.shape[1])
    return mean.expand_as(wanted)
