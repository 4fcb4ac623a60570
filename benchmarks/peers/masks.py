"""The two masks of a case, read before any clock starts; for the tools that compare masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from protocol import Lesion


def pair_of(case: Lesion) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], tuple[float, ...]]:
    """Prediction and truth as bool (z, y, x), and the spacing in mm."""
    return np.load(case["mask"]), np.load(case["truth"]), tuple(case["spacing"])
