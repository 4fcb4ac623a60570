"""Which device computes, with how many threads, and in which precision it does so natively.

Torch is loaded only where nothing else can tell: importing it takes longer than examining a small scan.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from lesionlab.core.errors import TrainingError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
log = logging.getLogger(__name__)
_lost: dict[str, str] = {}
"""Kinds of device that failed in this process, each with the sentence that says so."""
GPU_FILES = ("dev/nvidia*", "dev/nvhost*", "dev/nvmap", "dev/kfd", "dev/dxg", "proc/driver/nvidia")
"""What Linux shows of a GPU that torch can use: NVIDIA's drivers (desktop, Jetson), AMD's, that of WSL."""
NVIDIA = "0x10de"
"""NVIDIA's number on the PCI bus; its driver may make its files only when first used."""
CPU_FILE = Path("/proc/cpuinfo")
"""What Linux says of the processor."""


def pick_device(name: str) -> torch.device:
    """`device_name` as torch's own object."""
    import torch

    return torch.device(device_name(name))


def device_name(name: str) -> str:
    """`auto` takes CUDA, then MPS, then the CPU; a named device must exist (TrainingError otherwise).

    A device that failed in this process (`on_device`) is not picked again: the CPU takes its place.
    """
    kind = name.split(":")[0]
    if kind == "cpu" or kind in _lost or (name == "auto" and not _torch_decides()):
        return "cpu"
    import torch

    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(k for k in ("cuda", "mps", "cpu") if has[k] and k not in _lost)
    if not has.get(kind, False):
        present = ", ".join(kind for kind, there in has.items() if there)
        raise TrainingError("device", name, f"one of auto, {present}")
    return name


def _torch_decides() -> bool:
    """False where there is no GPU for torch to find, or it would have to be loaded to say so."""
    return "torch" in sys.modules or may_have_gpu()


def may_have_gpu(root: Path = Path("/")) -> bool:
    """False on a Linux machine (whose files are in `root`) that shows no trace of a GPU; True elsewhere."""
    if not sys.platform.startswith("linux"):
        return True
    if any(next(root.glob(pattern), None) for pattern in GPU_FILES):
        return True
    vendors = root.glob("sys/bus/pci/devices/*/vendor")
    return any(file.read_text().strip() == NVIDIA for file in vendors)


def thread_count() -> int:
    """How many threads torch computes with, or would if it were loaded.

    One for each core that this process may use, a core that runs two threads counting once; fewer where
    MKL_NUM_THREADS or, without it, OMP_NUM_THREADS says so.
    """
    if "torch" in sys.modules or not sys.platform.startswith("linux"):
        import torch

        return int(torch.get_num_threads())
    cores = len({_core(number) for number in os.sched_getaffinity(0)})
    for variable in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        first = os.environ.get(variable, "").split(",")[0].strip()
        if first.isdecimal() and int(first) > 0:
            return min(int(first), cores)
    return cores


def _core(number: int) -> str:
    """The processors that share a core with this one, itself included; Linux only."""
    try:
        return Path(f"/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(number)


def bf16_is_quicker(file: Path | None = None) -> bool:
    """False on an Intel processor without matrix units (virtual machines may hide them), else True.

    There bfloat16 exists as vector instructions, at half the rate of float32's: convolutions and matrix
    products take 1.5 to 1.9 times as long (docs/explanation/performance.md). AMD's run at the full rate.
    `file` is laid out as /proc/cpuinfo, which only Linux has.
    """
    try:
        words = (file or CPU_FILE).read_text().split("\n\n", 1)[0]
    except OSError:
        return True
    return "GenuineIntel" not in words or "amx_bf16" in words.split()


def on_device(name: str, run: Callable[[str], T]) -> tuple[T, tuple[str, ...]]:
    """What `run` gives on the device called `name`, or on the CPU where that device fails; and notes of it.

    A failure is torch's RuntimeError: the GPU is gone, in error or out of memory. It is logged once; from
    then on this process uses the CPU. What fails on the CPU is raised.
    """
    device = device_name(name)
    kind = device.split(":")[0]
    reason = None
    try:
        if device == "cpu":
            return run(device), () if name == "cpu" else tuple(_lost.values())
        return run(device), ()
    except RuntimeError as error:
        if device == "cpu":
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    # outside of the handler, which keeps alive what the failed run held
    _lost[kind] = f"{kind} failed ({reason}), so the CPU ran the network"
    log.warning("%s", _lost[kind])
    return run("cpu"), tuple(_lost.values())


def autocast_dtype(wanted: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype for a precision of the recipe, None for float32.

    `auto`: bfloat16 where the device computes in it natively and faster, else float16 on CUDA, else float32.
    """
    if wanted == "fp32" or (wanted == "auto" and device.type == "mps"):
        return None
    import torch

    if wanted != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return torch.bfloat16 if native and bf16_is_quicker() else None
