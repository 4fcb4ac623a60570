"""Which device computes, and in which precision it does so natively."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import torch

from lesionlab.core.errors import TrainingError

T = TypeVar("T")
log = logging.getLogger(__name__)
_lost: dict[str, str] = {}
"""Kinds of device that failed in this process, each with the sentence that says so."""


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; a named device must exist (TrainingError otherwise).

    A device that failed in this process (`on_device`) is not picked again: the CPU takes its place.
    """
    if name.split(":")[0] in _lost:
        return torch.device("cpu")
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(k for k in ("cuda", "mps", "cpu") if has[k] and k not in _lost))
    if not has.get(name.split(":")[0], False):
        present = ", ".join(kind for kind, there in has.items() if there)
        raise TrainingError("device", name, f"one of auto, {present}")
    return torch.device(name)


def on_device(name: str, run: Callable[[torch.device], T]) -> tuple[T, tuple[str, ...]]:
    """What `run` gives on the device called `name`, or on the CPU where that device fails; and notes of it.

    A failure is torch's RuntimeError: the GPU is gone, in error or out of memory. It is logged once; from
    then on this process uses the CPU. What fails on the CPU is raised.
    """
    device = pick_device(name)
    reason = None
    try:
        if device.type == "cpu":
            return run(device), () if name == "cpu" else tuple(_lost.values())
        return run(device), ()
    except RuntimeError as error:
        if device.type == "cpu":
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    # outside of the handler, which keeps alive what the failed run held
    _lost[device.type] = f"{device.type} failed ({reason}), so the CPU ran the network"
    log.warning("%s", _lost[device.type])
    return run(torch.device("cpu")), tuple(_lost.values())


def autocast_dtype(wanted: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype for a precision of the recipe, None for float32.

    `auto`: bfloat16 where the device computes in it natively, else float16 on CUDA, else float32.
    """
    if wanted == "fp32" or (wanted == "auto" and device.type == "mps"):
        return None
    if wanted != "auto":
        return {"bf16": torch.bfloat16, "fp16": torch.float16}[wanted]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else None
