"""Which device computes, and in which precision it does so natively."""

from __future__ import annotations

import torch

from lesionlab.core.errors import TrainingError


def pick_device(name: str) -> torch.device:
    """`auto` takes CUDA, then MPS, then the CPU; a named device must exist (TrainingError otherwise)."""
    has = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if has[kind]))
    if not has.get(name.split(":")[0], False):
        present = ", ".join(kind for kind, there in has.items() if there)
        raise TrainingError("device", name, f"one of auto, {present}")
    return torch.device(name)


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
