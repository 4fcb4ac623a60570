"""The fingerprint: what nnU-Net's planner wants to know of a data set, gathered case by case.

nnU-Net draws the same number of foreground voxels from every case, with replacement, and takes statistics of
the draws. Here every foreground voxel counts once with the weight 1 / (voxels of its case), which is
what those draws estimate, exactly and without drawing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import DatasetError

PERCENTILES = {"percentile_00_5": 0.005, "median": 0.5, "percentile_99_5": 0.995}


@dataclass(frozen=True, slots=True)
class CaseFingerprint:
    """One case: cropped shape and spacing (z, y, x), share kept, foreground values per channel."""

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    kept: float
    foreground: tuple[NDArray[np.float32], ...]


def fingerprint_case(
    channels: Sequence[NDArray[Any]], truth: NDArray[Any], spacing: tuple[float, ...]
) -> CaseFingerprint:
    """Fingerprint of channel arrays and integer labels of one shape (z, y, x).

    The crop is the box of voxels that are not zero in some channel, as in nnU-Net; an all-zero image
    keeps its shape. A lesion-free case has no foreground values.
    """
    nonzero = np.zeros(truth.shape, dtype=bool)
    for channel in channels:
        nonzero |= channel != 0
    shape = []
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        line = np.flatnonzero(nonzero.any(axis=others))
        shape.append(int(line[-1] - line[0] + 1) if line.size else truth.shape[axis])
    inside = truth > 0
    values = tuple(channel[inside].astype(np.float32) for channel in channels)
    return CaseFingerprint(tuple(shape), spacing, float(np.prod(shape) / truth.size), values)


def fingerprint_dataset(cases: Sequence[CaseFingerprint]) -> dict[str, Any]:
    """nnU-Net's dataset_fingerprint.json as a dict of JSON values.

    Raises DatasetError when no case has any foreground: there is nothing to learn from.
    """
    if not any(case.foreground[0].size for case in cases):
        raise DatasetError("data set", f"{len(cases)} cases without any lesion", "at least one with a lesion")
    channels = len(cases[0].foreground)
    return {
        "spacings": [list(case.spacing) for case in cases],
        "shapes_after_crop": [list(case.shape) for case in cases],
        "foreground_intensity_properties_per_channel": {
            str(c): _statistics([case.foreground[c] for case in cases]) for c in range(channels)
        },
        "median_relative_size_after_cropping": float(np.median([case.kept for case in cases])),
    }


def _statistics(values_by_case: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    present = [values for values in values_by_case if values.size]
    values = np.concatenate(present).astype(np.float64)
    weights = np.concatenate([np.full(v.size, 1.0 / v.size) for v in present]) / len(present)
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order]
    mean = float(np.sum(values * weights))
    result = {
        "mean": mean,
        "std": float(np.sqrt(np.sum(weights * (values - mean) ** 2))),
        "min": float(values[0]),
        "max": float(values[-1]),
    }
    cumulative = np.cumsum(weights)
    for name, share in PERCENTILES.items():
        position = min(int(np.searchsorted(cumulative, share)), values.size - 1)
        result[name] = float(values[position])
    return result
