"""The names of what a network computes on, for every command and function that takes one.

Which of them this machine has, and how it is used, belongs to `networks/device.py`.
"""

from __future__ import annotations

from typing import Final

from lesionlab.core.errors import TrainingError

DEVICES: Final = ("auto", "cpu", "cuda", "mps")


def require_device(name: str) -> None:
    """Raise TrainingError unless `name` is one of `DEVICES`, or one with a number (`cuda:1`)."""
    kind, colon, number = name.partition(":")
    if kind not in DEVICES or (colon and not number.isdecimal()):
        raise TrainingError("device", name or "no name", f"one of {', '.join(DEVICES)}")
