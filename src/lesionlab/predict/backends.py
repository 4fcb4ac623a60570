"""What runs one tile through one network: torch anywhere, OpenVINO on the processor.

A backend holds the weights of one fold. Tiles, flips and averaging belong to `engine.py`, finding model
folders to `nnunet.py`. Torch is loaded by the backend that needs it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import BundleError

if TYPE_CHECKING:
    import torch

BuildNetwork = Callable[[], "torch.nn.Module"]
"""Builds the network of one fold in evaluation mode, with its weights, on the CPU."""
FloatArray = NDArray[np.float32]


class Backend(Protocol):
    """One network that turns tiles into logits.

    Logits are numpy arrays where the network runs on a CPU, and torch's tensors on a GPU, which stay there.
    """

    name: str
    """What ran, for the record: backend, device and precision."""
    classes: int
    """Number of logits per voxel, background included."""
    device: str
    """Where the logits are left, `cpu` for numpy arrays."""
    work: int
    """Bytes of main memory that the next run takes beyond what is held; 0 from the second run on."""
    keeps: bool
    """True where that memory stays taken, False where the next backend may have it."""

    def run(self, batch: FloatArray) -> Any:
        """Logits (n, classes, z, y, x) float32 of a batch (n, c, z, y, x), which lies in one piece.

        The result may be overwritten by the next call.
        """

    def held(self, array: FloatArray) -> Any:
        """An array of the kind and in the place of the logits; on a CPU the same."""


@dataclass(frozen=True)
class Wish:
    """What is asked of the backends: kind, precision, device, tile, and where conversions may be kept."""

    backend: str
    precision: str
    device: str
    channels: int
    classes: int
    patch: tuple[int, int, int]
    flat: bool
    """True for a 2D network, which sees (n, c, y, x)."""
    caches: tuple[Path, ...] = ()


class TurnedBackend:
    """Another backend for tiles whose axes (z, y, x) stand in another order: `axes` says which is where."""

    def __init__(self, inner: Backend, axes: tuple[int, int, int]) -> None:
        self.inner, self.held = inner, inner.held
        self.name, self.classes, self.device = inner.name, inner.classes, inner.device
        self.work, self.keeps = inner.work, inner.keeps
        self.there = tuple(axis + 2 for axis in axes)
        self.back = [0, 1, *(axes.index(axis) + 2 for axis in range(3))]

    def run(self, batch: FloatArray) -> Any:
        """See `Backend.run`."""
        logits = self.inner.run(np.ascontiguousarray(batch.transpose(self.back)))
        # numpy and torch both know this name
        return _library(logits).moveaxis(logits, self.there, (2, 3, 4))


def flipped(array: Any, axes: Sequence[int]) -> Any:
    """Logits of either kind turned around along some axes."""
    return _library(array).flip(array, tuple(axes))


def copied(array: Any) -> Any:
    """Logits of either kind in memory of their own."""
    return array.copy() if isinstance(array, np.ndarray) else array.clone()


def fetched(array: Any) -> FloatArray:
    """Logits of either kind in main memory."""
    found: FloatArray = array if isinstance(array, np.ndarray) else array.cpu().numpy()
    return found


def _library(array: Any) -> Any:
    if isinstance(array, np.ndarray):
        return np
    import torch

    return torch


def work_of(backends: Sequence[Backend]) -> int:
    """Bytes that a first tile takes: torch gives them back after each fold, OpenVINO keeps them."""
    passing = max((backend.work for backend in backends if not backend.keeps), default=0)
    return passing + sum(backend.work for backend in backends if backend.keeps)


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
        return _in_torch(builders, wish), []
    from lesionlab.predict.openvino import OpenVinoBackend

    try:
        found: list[Backend] = [
            OpenVinoBackend(build, name, wish) for build, name in zip(builders, names, strict=True)
        ]
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        note = f"OpenVINO could not take this network ({reason}), so torch runs it"
        return _in_torch(builders, wish), [note]
    return found, list(dict.fromkeys(note for b in found for note in getattr(b, "notes", ())))


def _in_torch(builders: Sequence[BuildNetwork], wish: Wish) -> list[Backend]:
    from lesionlab.predict.torch_backend import TorchBackend

    return [TorchBackend(build(), wish) for build in builders]


def wants_openvino(wish: Wish) -> bool:
    """True where a wish comes down to OpenVINO; BundleError where it is asked for and cannot be had."""
    installed = importlib.util.find_spec("openvino") is not None
    if wish.backend == "openvino":
        if not installed:
            raise BundleError("backend", "no openvino", "pip install 'lesionlab[nn]', or the backend torch")
        if wish.device != "cpu":
            raise BundleError("backend", f"openvino on {wish.device}", "the device cpu, or the backend torch")
    return wish.backend == "openvino" or (wish.backend == "auto" and installed and wish.device == "cpu")


def user_cache() -> Path:
    """The user's folder for what can be made again (XDG_CACHE_HOME, or LOCALAPPDATA on Windows)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return (Path(base) if base else Path.home() / ".cache") / "lesionlab" / "converted"
