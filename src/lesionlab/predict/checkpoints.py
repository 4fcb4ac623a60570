"""nnU-Net's checkpoints: read without executing pickled code, and what they tell kept beside conversions.

A converted network needs nothing of its checkpoint but a few words, and opening one loads torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlab.core.errors import BundleError, WriteError
from lesionlab.core.files import write_json


@dataclass(frozen=True)
class Told:
    """What a checkpoint tells beside its weights: its configuration, and the axes it may be flipped along."""

    configuration: str
    mirroring: tuple[int, ...]


def told_by(state: dict[str, Any]) -> Told:
    """The words of a checkpoint that `safe_load` opened."""
    axes = state.get("inference_allowed_mirroring_axes") or ()
    return Told(str(state["init_args"]["configuration"]), tuple(int(axis) for axis in axes))


def kept_words(name: str, caches: Sequence[Path]) -> Told | None:
    """What the fold with the content hash `name` tells, if that was kept in one of the folders."""
    for folder in caches:
        with suppress(OSError, ValueError, KeyError, TypeError):
            found = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            axes = tuple(found["mirroring"])
            if isinstance(found["configuration"], str) and set(axes) <= {0, 1, 2}:
                return Told(found["configuration"], axes)
    return None


def keep_words(told: Told, name: str, caches: Sequence[Path]) -> None:
    """Keep them in the first folder that can be written; what cannot be kept is only read again."""
    for folder in caches:
        try:
            write_json(
                folder / f"{name}.json", {"configuration": told.configuration, "mirroring": told.mirroring}
            )
        except WriteError:
            continue
        return


def safe_load(file: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain values; BundleError when it is damaged or would execute code."""
    # torch comes with it, which a converted network does not need
    from lesionlab.networks.plain import plain_load

    state: Any = plain_load(file)
    if not isinstance(state, dict) or "network_weights" not in state or "init_args" not in state:
        raise BundleError(file, "no network_weights", "an nnU-Net v2 checkpoint")
    return state
