"""Channels and truth onto the reference channel's grid.

Which channels these are is decided in `case.py`; intensities are left as they are.
"""

from __future__ import annotations

import numpy as np

from lesionlab.core.errors import GeometryError
from lesionlab.core.grid import overlaps, resample
from lesionlab.core.units import HOUNSFIELD
from lesionlab.core.volume import Geometry, Volume

AIR_HU = -1024.0


def outside_value(volume: Volume) -> float:
    """What an image holds where it was not measured: air for CT, nothing for the others."""
    return AIR_HU if volume.unit == HOUNSFIELD else 0.0


def align_image(case_id: str, name: str, volume: Volume, grid: Geometry) -> tuple[Volume, str]:
    """An image on another grid by trilinear interpolation, and a note ("" when it was there already).

    Raises GeometryError when the two do not overlap.
    """
    if volume.geometry.matches(grid):
        return Volume(volume.array, grid, volume.unit), ""
    _require_overlap(f"{case_id}, channel {name}", volume, grid)
    moved = resample(volume, grid, order=1, outside=outside_value(volume))
    return moved, f"{name} brought onto the reference grid (linear) from {volume.geometry.describe()}"


def align_labels(case_id: str, volume: Volume, grid: Geometry) -> tuple[Volume, str]:
    """A label volume on another grid by nearest neighbour, and a note ("" when it was there already).

    Raises GeometryError when the two do not overlap, and when no labelled voxel is left, because no labels
    at all mean a case without lesions.
    """
    if volume.geometry.matches(grid):
        return Volume(volume.array, grid, volume.unit), ""
    _require_overlap(f"{case_id}, truth", volume, grid)
    moved = resample(volume, grid, order=0, outside=0.0)
    before, after = (np.count_nonzero(v.array) * v.geometry.voxel_ml for v in (volume, moved))
    if before and not after:
        found = f"{before:.3g} ml that reach no voxel, on {volume.geometry.describe()}"
        raise GeometryError(f"{case_id}, truth", found, f"lesions on the reference {grid.describe()}")
    cost = f"{before:.4g} ml became {after:.4g} ml"
    return (
        moved,
        f"truth brought onto the reference grid (nearest) from {volume.geometry.describe()}: {cost}",
    )


def _require_overlap(subject: str, volume: Volume, grid: Geometry) -> None:
    if not overlaps(volume.geometry, grid):
        raise GeometryError(
            subject, volume.geometry.describe(), f"an overlap with the reference {grid.describe()}"
        )
