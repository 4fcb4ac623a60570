"""A rigid motion of the world: a rotation and a shift of points, and of grids with everything on them.

How a motion between two scans is found belongs to `standardise/rigid.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import ORTHONORMAL_TOLERANCE, Geometry


@dataclass(frozen=True, slots=True)
class Rigid:
    """The motion p -> rotation @ p + translation of points in LPS mm; without arguments the identity.

    `rotation` holds nine numbers, row by row. Raises GeometryError where it is no proper rotation.
    """

    rotation: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def __post_init__(self) -> None:
        matrix = np.asarray(self.rotation, dtype=np.float64)
        proper = matrix.size == 9 and np.allclose(
            matrix.reshape(3, 3).T @ matrix.reshape(3, 3), np.eye(3), atol=ORTHONORMAL_TOLERANCE
        )
        if not proper or np.linalg.det(matrix.reshape(3, 3)) < 0:
            raise GeometryError("rigid motion", f"rotation {self.rotation}", "nine numbers of a rotation")

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The rotation as a 3 x 3 matrix."""
        return np.asarray(self.rotation, dtype=np.float64).reshape(3, 3)

    @property
    def degrees(self) -> float:
        """The angle of the rotation, 0 to 180."""
        cosine = (float(np.trace(self.matrix)) - 1.0) / 2.0
        return math.degrees(math.acos(min(1.0, max(-1.0, cosine))))

    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Where points (..., 3) go."""
        points = np.asarray(points_mm, dtype=np.float64)
        return np.asarray(points @ self.matrix.T + np.asarray(self.translation), dtype=np.float64)

    def inverse(self) -> Rigid:
        """The motion back."""
        back = self.matrix.T
        return Rigid(tuple(back.ravel()), _three(-back @ np.asarray(self.translation)))

    def moved(self, geometry: Geometry) -> Geometry:
        """The same grid carried along, so that a volume moves without any interpolation."""
        origin = _three(self.apply(geometry.origin))
        return Geometry(
            geometry.shape, geometry.spacing, origin, tuple((self.matrix @ geometry.matrix).ravel())
        )


def _three(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
