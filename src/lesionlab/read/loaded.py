"""What a single file gives before it becomes part of a case, and the checks that every image passes.

No file format belongs here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import ChannelFacts
from lesionlab.core.errors import ReadError
from lesionlab.core.volume import Volume


@dataclass(frozen=True, eq=False)
class Loaded:
    """A volume as read, notes on what had to be assumed, and the channel that the file itself names."""

    volume: Volume
    notes: tuple[str, ...] = ()
    channel: str = ""
    facts: ChannelFacts = field(default_factory=ChannelFacts)


def require_finite(path: Path, array: NDArray[Any]) -> None:
    """Raise ReadError when a floating point image holds NaN or infinite voxels."""
    if np.issubdtype(array.dtype, np.floating):
        bad = array.size - int(np.count_nonzero(np.isfinite(array)))
        if bad:
            raise ReadError(path, f"{bad} of {array.size} voxels NaN or infinite", "finite voxels")


def as_labels(path: Path, array: NDArray[Any]) -> NDArray[Any]:
    """The array as unsigned integer labels (uint8, or int32 above 255).

    Raises ReadError for values that are not integers from 0 to 2147483647.
    """
    require_finite(path, array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        wrong = array[array != np.rint(array)]
        if wrong.size:
            raise ReadError(
                path, f"label {float(wrong.flat[0]):.6g} in {wrong.size} voxels", "integer labels, 0 outside"
            )
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    if low < 0 or high > np.iinfo(np.int32).max:
        raise ReadError(path, f"labels from {low:.6g} to {high:.6g}", "labels of 0 and above")
    return array.astype(np.uint8 if high <= 255 else np.int32)
