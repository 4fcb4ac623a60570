"""What runs one tile through one network: torch anywhere, OpenVINO on the processor.

A backend holds the weights of one fold. Tiles, flips and averaging belong to `engine.py`, finding model
folders to `nnunet.py`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from lesionlab.core.errors import BundleError
from lesionlab.core.memory import keep_freed_memory
from lesionlab.networks.device import autocast_dtype
from lesionlab.predict.live import torch_bytes

BuildNetwork = Callable[[], torch.nn.Module]
"""Builds the network of one fold in evaluation mode, with its weights, on the CPU."""


class Backend(Protocol):
    """One network that turns tiles into logits."""

    name: str
    """What ran, for the record: backend, device and precision."""
    classes: int
    """Number of logits per voxel, background included."""
    device: torch.device
    """Where the logits are left."""
    work: int
    """Bytes of main memory that the next run takes beyond what is held; 0 from the second run on."""

    def run(self, batch: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, z, y, x) float32 of a batch (n, c, z, y, x) float32 on the CPU.

        The result may be overwritten by the next call.
        """


@dataclass(frozen=True)
class Wish:
    """What is asked of the backends: kind, precision, device, tile, and where conversions may be kept."""

    backend: str
    precision: str
    device: torch.device
    channels: int
    classes: int
    patch: tuple[int, int, int]
    flat: bool
    """True for a 2D network, which sees (n, c, y, x)."""
    caches: tuple[Path, ...] = ()


class TorchBackend:
    """A torch module on any device, under autocast unless the precision is float32."""

    def __init__(self, network: torch.nn.Module, wish: Wish) -> None:
        self.device, self.classes, self.flat = wish.device, wish.classes, wish.flat
        self.dtype = autocast_dtype(wish.precision, wish.device)
        self.layout = torch.channels_last if wish.flat else torch.channels_last_3d
        self.network = network.to(wish.device).eval()
        self.packed = wish.device.type == "cuda" and self.dtype is not None
        if self.packed:
            self.network = self.network.to(memory_format=self.layout)
        self.work = 0
        if wish.device.type == "cpu":
            keep_freed_memory()
            shape = (1, wish.channels, *(wish.patch[1:] if wish.flat else wish.patch))
            self.work = torch_bytes(self.network, shape, 4 if self.dtype is None else 2)
        words = {None: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
        self.name = f"torch on {wish.device} in {words[self.dtype]}"

    def run(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend.run`."""
        tile = (batch[:, :, 0] if self.flat else batch).to(self.device)
        if self.packed:
            tile = tile.contiguous(memory_format=self.layout)
        with torch.inference_mode(), torch.autocast(self.device.type, self.dtype, self.dtype is not None):
            logits = self.network(tile).float()
        self.work = 0
        return logits[:, :, None] if self.flat else logits


class TurnedBackend:
    """Another backend for tiles whose axes (z, y, x) stand in another order: `axes` says which is where."""

    def __init__(self, inner: Backend, axes: tuple[int, int, int]) -> None:
        self.inner = inner
        self.name, self.classes, self.device, self.work = inner.name, inner.classes, inner.device, inner.work
        self.there = [0, 1, *(axis + 2 for axis in axes)]
        self.back = [0, 1, *(axes.index(axis) + 2 for axis in range(3))]

    def run(self, batch: torch.Tensor) -> torch.Tensor:
        """See `Backend.run`."""
        return self.inner.run(batch.permute(self.back).contiguous()).permute(self.there)


def work_of(backends: Sequence[Backend]) -> int:
    """Bytes that a first tile takes: torch gives them back after each fold, OpenVINO keeps them."""
    passing = [backend.work for backend in backends if isinstance(backend, TorchBackend)]
    kept = [backend.work for backend in backends if not isinstance(backend, TorchBackend)]
    return max(passing, default=0) + sum(kept)


def make_backends(
    builders: Sequence[BuildNetwork], names: Sequence[str], wish: Wish
) -> tuple[list[Backend], list[str]]:
    """A backend for each fold, and notes of what could not be had.

    `names` are the folds' content hashes, under which converted networks are kept in the first of the wish's
    `caches` that can be written. `auto` is OpenVINO on a CPU where it is installed and torch otherwise; a
    network that OpenVINO cannot convert runs in torch, with a note. Raises BundleError when OpenVINO is asked
    for and is not installed, or for another device than the CPU.
    """
    if not wants_openvino(wish):
        return [TorchBackend(build(), wish) for build in builders], []
    from lesionlab.predict.openvino import OpenVinoBackend

    try:
        found: list[Backend] = [
            OpenVinoBackend(build, name, wish) for build, name in zip(builders, names, strict=True)
        ]
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        note = f"OpenVINO could not take this network ({reason}), so torch runs it"
        return [TorchBackend(build(), wish) for build in builders], [note]
    return found, list(dict.fromkeys(note for b in found for note in getattr(b, "notes", ())))


def wants_openvino(wish: Wish) -> bool:
    """True where a wish comes down to OpenVINO; BundleError where it is asked for and cannot be had."""
    installed = importlib.util.find_spec("openvino") is not None
    if wish.backend == "openvino":
        if not installed:
            raise BundleError("backend", "no openvino", "pip install 'lesionlab[nn]', or the backend torch")
        if wish.device.type != "cpu":
            raise BundleError("backend", f"openvino on {wish.device}", "the device cpu, or the backend torch")
    return wish.backend == "openvino" or (wish.backend == "auto" and installed and wish.device.type == "cpu")


def user_cache() -> Path:
    """The user's folder for what can be made again (XDG_CACHE_HOME, or LOCALAPPDATA on Windows)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "lesionlab" / "converted"
