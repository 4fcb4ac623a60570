"""Reading what torch saved, tensors and plain values only: no pickled code is ever executed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from lesionlab.core.errors import BundleError

NUMPY_SCALARS: list[Any] = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""Stock checkpoints keep their curves as numpy scalars; these harmless types are all that is allowed."""


def plain_load(file: Path) -> Any:
    """What a file holds; BundleError when it is missing or damaged or would execute code."""
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(
            file, f"{type(error).__name__}", "a checkpoint of tensors and plain values"
        ) from error
