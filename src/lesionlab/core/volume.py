"""The two nouns that every stage speaks in: `Geometry` (where voxels are) and `Volume` (voxels there).

Arrays, shape and spacing are (z, y, x); world coordinates are DICOM's LPS in mm. Reading files and
converting axis orders belongs to `read/` and `report/`, resampling to `core/grid.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlab.core.errors import GeometryError

FloatArray = NDArray[np.floating[Any]]

ORTHONORMAL_TOLERANCE = 1e-4
"""Largest deviation of direction' x direction from identity that counts as rounding."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Where a grid of voxels lies in the patient.

    `shape` and `spacing` (mm) are (z, y, x); `origin` is the LPS position in mm of the centre of voxel
    (0, 0, 0); `direction` holds nine numbers, a row-major 3 x 3 matrix whose columns are the LPS unit
    vectors of the array's z, y and x axes, in that order. So

        world = origin + direction @ (spacing * index)

    Raises GeometryError for spacing that is not positive and finite, and for axes that are not
    orthonormal (repairing those is the reader's work).
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: tuple[float, ...] = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        for name in ("spacing", "origin", "direction"):
            object.__setattr__(self, name, tuple(float(v) for v in getattr(self, name)))
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GeometryError("grid", f"shape {self.shape}", "three positive sizes (z, y, x)")
        if len(self.spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in self.spacing):
            raise GeometryError("grid", f"spacing {self.spacing} mm", "three positive finite spacings")
        if len(self.origin) != 3 or not np.isfinite(self.origin).all():
            raise GeometryError("grid", f"origin {self.origin}", "three finite coordinates")
        matrix = self.matrix if len(self.direction) == 9 else np.zeros((3, 3))
        if not np.abs(matrix.T @ matrix - np.eye(3)).max() <= ORTHONORMAL_TOLERANCE:
            raise GeometryError("grid", f"direction {self.direction}", "nine numbers of orthonormal axes")

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The direction as a 3 x 3 matrix, columns = array axes z, y, x."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in ml."""
        return float(np.prod(self.spacing)) / 1000.0

    def to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """LPS positions in mm, shape (..., 3), of array indices (z, y, x), shape (..., 3)."""
        scaled = np.asarray(index, dtype=np.float64) * np.asarray(self.spacing)
        return np.asarray(np.asarray(self.origin) + scaled @ self.matrix.T, dtype=np.float64)

    def to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Fractional array indices (z, y, x), shape (..., 3), of LPS positions in mm."""
        offset = np.asarray(world, dtype=np.float64) - np.asarray(self.origin)
        return np.asarray((offset @ self.matrix) / np.asarray(self.spacing), dtype=np.float64)

    def matches(self, other: Geometry, tolerance_mm: float = 1e-2) -> bool:
        """True where both grids have one shape and every corner agrees within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        last = np.asarray(self.shape) - 1
        corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), -1).reshape(-1, 3)
        distance = np.linalg.norm(self.to_world(corners) - other.to_world(corners), axis=1)
        return bool(distance.max() <= tolerance_mm)

    def describe(self) -> str:
        """The grid in a few words, for messages."""
        size = " x ".join(str(n) for n in self.shape)
        step = " x ".join(f"{s:.4g}" for s in self.spacing)
        start = ", ".join(f"{o:.1f}" for o in self.origin)
        return f"grid {size} (z, y, x), spacing {step} mm, origin ({start}) mm"


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels (z, y, x) on a geometry with a UCUM unit; a 2D image has z = 1.

    The array is made read-only: stages return new volumes. Raises GeometryError when array and
    geometry differ in shape.
    """

    array: NDArray[Any]
    geometry: Geometry
    unit: str

    def __post_init__(self) -> None:
        if self.array.shape != self.geometry.shape:
            raise GeometryError(
                "volume", f"array of shape {self.array.shape}", f"the grid's shape {self.geometry.shape}"
            )
        view = self.array.view()
        view.flags.writeable = False
        object.__setattr__(self, "array", view)

    def with_array(self, array: NDArray[Any], unit: str | None = None) -> Volume:
        """The same grid with other voxels (and, where given, another unit)."""
        return Volume(array, self.geometry, self.unit if unit is None else unit)
