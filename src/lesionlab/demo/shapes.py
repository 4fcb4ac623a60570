"""Solids in patient space, and how much of each voxel they fill.

Only geometry: which organ is where belongs to `anatomy.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.volume import Geometry

Coordinates = NDArray[np.floating]
Fraction = NDArray[np.float32]
Point = tuple[float, float, float]


class Solid(Protocol):
    """A body in space, known by its relative radius: 0 at its centre or axis, 1 on its surface."""

    @property
    def steepest(self) -> float:
        """An upper bound of the change of the relative radius per mm."""

    def box_mm(self) -> tuple[Point, Point]:
        """Lower and upper LPS corner (x, y, z) in mm of a box around the solid."""

    def radius(self, x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        """Relative radius at LPS positions in mm, of the shape that the three broadcast to."""


@dataclass(frozen=True, slots=True)
class Ellipsoid:
    """An ellipsoid, or with a high `power` a cylinder along z with elliptic cross section.

    `centre_mm` and `semi_mm` are LPS (x, y, z); `tilt_deg` turns it in the coronal plane, positive from z
    (head) to x (left).
    """

    centre_mm: Point
    semi_mm: Point
    tilt_deg: float = 0.0
    power: float = 2.0

    @property
    def steepest(self) -> float:
        """An upper bound of the change of the relative radius per mm."""
        return math.sqrt(2.0) / min(self.semi_mm)

    @property
    def volume_ml(self) -> float:
        """Volume in ml; exact for an ellipsoid (`power` 2), which is all it is asked for."""
        return 4.0 / 3.0 * math.pi * math.prod(self.semi_mm) / 1000.0

    def grown(self, margin_mm: float) -> Ellipsoid:
        """The same with every semi-axis longer by `margin_mm` (shorter where negative)."""
        a, b, c = self.semi_mm
        semi = (a + margin_mm, b + margin_mm, c + margin_mm)
        return Ellipsoid(self.centre_mm, semi, self.tilt_deg, self.power)

    def box_mm(self) -> tuple[Point, Point]:
        """Lower and upper LPS corner (x, y, z) in mm of a box around the solid."""
        a, b, c = self.semi_mm
        sine, cosine = abs(math.sin(math.radians(self.tilt_deg))), abs(math.cos(math.radians(self.tilt_deg)))
        half = (a * cosine + c * sine, b, c * cosine + a * sine)
        low, high = (
            tuple(m + sign * h for m, h in zip(self.centre_mm, half, strict=True)) for sign in (-1, 1)
        )
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def radius(self, x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        """Relative radius at LPS positions in mm, of the shape that the three broadcast to."""
        (x0, y0, z0), (a, b, c) = self.centre_mm, self.semi_mm
        angle = math.radians(self.tilt_deg)
        dx, dz = x - x0, z - z0
        along_x = (dx * math.cos(angle) - dz * math.sin(angle)) / a
        along_z = (dx * math.sin(angle) + dz * math.cos(angle)) / c
        across = along_x**2 + ((y - y0) / b) ** 2
        if self.power == 2.0:
            return np.asarray(np.sqrt(across + along_z**2))
        return np.asarray((across ** (self.power / 2) + np.abs(along_z) ** self.power) ** (1 / self.power))


@dataclass(frozen=True, slots=True)
class Trunk:
    """The body: a rounded cross section whose half width and half depth change along z.

    `heights_mm` increase; `half_widths_mm` (x) and `half_depths_mm` (y) belong to them and are held constant
    beyond the ends.
    """

    heights_mm: tuple[float, ...]
    half_widths_mm: tuple[float, ...]
    half_depths_mm: tuple[float, ...]
    power: float = 2.5

    @property
    def steepest(self) -> float:
        """An upper bound of the change of the relative radius per mm."""
        return 2.0 / min(self.half_widths_mm + self.half_depths_mm)

    def grown(self, margin_mm: float) -> Trunk:
        """The same, wider and deeper by `margin_mm` on every side (narrower where negative)."""
        widths = tuple(w + margin_mm for w in self.half_widths_mm)
        return Trunk(self.heights_mm, widths, tuple(d + margin_mm for d in self.half_depths_mm), self.power)

    def box_mm(self) -> tuple[Point, Point]:
        """Lower and upper LPS corner (x, y, z) in mm; the trunk has no end along z."""
        w, d = max(self.half_widths_mm), max(self.half_depths_mm)
        return (-w, -d, -math.inf), (w, d, math.inf)

    def radius(self, x: Coordinates, y: Coordinates, z: Coordinates) -> Coordinates:
        """Relative radius at LPS positions in mm, of the shape that the three broadcast to."""
        width = np.interp(z, self.heights_mm, self.half_widths_mm).astype(np.float32)
        depth = np.interp(z, self.heights_mm, self.half_depths_mm).astype(np.float32)
        p = self.power
        return np.asarray((np.abs(x / width) ** p + np.abs(y / depth) ** p) ** (1 / p))


def coverage(
    solid: Solid, geometry: Geometry, samples: int = 4
) -> tuple[tuple[slice, slice, slice], Fraction]:
    """The part of the grid near a solid, and the share of each voxel there that it fills (0 to 1).

    Voxels that the surface may cross are sampled at `samples` points along each axis. The grid's axes must be
    those of the patient (a Geometry's default direction). A solid outside the grid gives empty
    arrays.
    """
    low, high = solid.box_mm()
    parts = []
    for axis in range(3):
        start, step, count = geometry.origin[2 - axis], geometry.spacing[axis], geometry.shape[axis]
        ends = (np.asarray([low[2 - axis], high[2 - axis]]) - start) / step
        first, last = np.clip(ends, -1, count).tolist()
        parts.append(slice(max(0, math.floor(first)), max(0, min(count, math.ceil(last) + 1))))
    region = (parts[0], parts[1], parts[2])
    z, y, x = (
        (geometry.origin[2 - axis] + geometry.spacing[axis] * np.arange(part.start, part.stop)).astype(
            np.float32
        )
        for axis, part in enumerate(parts)
    )
    radius = solid.radius(x[None, None, :], y[None, :, None], z[:, None, None])
    filled = (radius <= 1.0).astype(np.float32)
    half_diagonal = 0.5 * math.dist((0, 0, 0), geometry.spacing)
    edge = np.nonzero(np.abs(radius - 1.0) <= solid.steepest * half_diagonal)
    filled[edge] = _sampled(solid, geometry.spacing, (z[edge[0]], y[edge[1]], x[edge[2]]), samples)
    return region, filled


def _sampled(
    solid: Solid, spacing: Point, centres: tuple[Coordinates, Coordinates, Coordinates], samples: int
) -> Fraction:
    """Share of each voxel (centre coordinates z, y, x) inside the solid, by a regular grid of points."""
    z, y, x = centres
    offsets = (np.arange(samples, dtype=np.float32) + 0.5) / samples - 0.5
    inside = np.zeros(z.shape, np.float32)
    for dz in offsets * np.float32(spacing[0]):
        for dy in offsets * np.float32(spacing[1]):
            for dx in offsets * np.float32(spacing[2]):
                inside += solid.radius(x + dx, y + dy, z + dz) <= 1.0
    return inside / np.float32(samples**3)
