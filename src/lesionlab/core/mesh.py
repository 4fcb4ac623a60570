"""The surface of a mask: the 256 shapes that marching cubes at 0.5 between a mask's 0 and 1 can make.

Between a voxel inside and a neighbour outside the surface passes half way, so within a cell of 2 x 2 x 2
voxel centres it can take only 256 shapes. This file holds them and their areas; counting the cells of a
lesion belongs to `measure`, distances between two surfaces to `evaluate`.

The 256 shapes are the 20 below, turned and mirrored in all 48 ways (8 corners in, and none, have no surface).
They follow the rules of Lewiner et al. (J Graph Tools 8(2), 2003) with the ties that a mask always
makes resolved as marching cubes of scikit-image resolves them, which the reference values of the standard
came from in part and a test compares: two inside corners at a face's opposite ends are joined, and in two
shapes the outside corners behind them are joined as well, by a tunnel through the cell. Because each shape
is one and the same however it is turned, area and volume do not depend on flips or the order of the axes.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations, product
from typing import Final

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

SHAPES: Final = (
    "000 | 001-100-010",
    "000 002 | 012-100-010 102-100-012",
    "002 020 | 120-001-010 120-102-001 120-021-012 102-120-012",
    "000 002 020 | 012-120-021 012-102-120 102-100-120",
    "000 002 020 022 | 102-100-122 122-100-120",
    "002 020 200 | "
    "100-210-120 210-100-201 102-201-100 001-102-100 102-001-012 010-012-001 012-010-021 120-021-010 "
    "100-120-010",
    "000 002 020 200 | 201-210-120 102-201-120 102-120-021 102-021-012",
    "022 200 | 012-021-122 100-201-210",
    "000 022 200 | 201-012-001 012-201-122 210-122-201 122-210-021 010-021-210",
    "000 002 022 200 | 021-122-102 021-102-210 021-210-010 210-102-201",
    "002 020 022 200 | 001-010-100 120-201-210 201-120-102 122-102-120",
    "000 002 020 022 200 | 201-210-120 201-120-102 102-120-122",
    "020 022 200 202 | 210-122-212 122-210-120 102-012-100 010-100-012",
    "000 020 022 200 202 | "
    "210-111-212 210-102-111 102-210-001 120-001-210 001-120-012 111-012-120 120-122-111 111-122-212 "
    "102-012-111",
    "000 002 020 022 200 202 | 120-122-212 210-120-212",
    "000 022 202 220 | 210-201-100 120-010-021 012-001-102 212-221-122",
    "000 002 022 202 220 | 120-010-021 100-210-201 122-212-221",
    "000 002 020 022 202 220 | 221-122-212 100-210-201",
    "002 020 022 200 202 220 | 010-100-001 221-122-212",
    "000 002 020 022 200 202 220 | 122-212-221",
)
"""Corners inside, then triangles, as points (z, y, x) in half voxels: 0 and 2 are corners, 1 lies half way.
Triangles turn their front to the outside, as a right-handed (z, y, x) sees it."""

SLOTS: Final = 9
"""Most triangles of a shape."""


def shape_areas(spacing: tuple[float, float, float]) -> FloatArray:
    """Area in mm2 of the surface in a cell of each of the 256 shapes, for a spacing (z, y, x) in mm.

    Bit 4 dx + 2 dz + dy of a shape's number tells whether its corner (dz, dy, dx) is inside.
    """
    normals, _ = shape_tables()
    sides = np.asarray([spacing[1] * spacing[2], spacing[2] * spacing[0], spacing[0] * spacing[1]])
    return np.asarray(np.sqrt(np.einsum("sti,i->st", normals**2, sides**2)).sum(axis=1))


@lru_cache(maxsize=1)
def shape_tables() -> tuple[FloatArray, FloatArray]:
    """Half cross products of each shape's triangles (256, 9, 3) in voxels, and the share of the cell inside.

    The share follows from the divergence theorem about the cell's centre, with the parts of the six faces
    that lie inside closing the surface; a face's part is settled by its own four corners.
    """
    normals = np.zeros((256, SLOTS, 3))
    inside = np.zeros(256)
    inside[255] = 1.0
    for text in SHAPES:
        corners, triangles = _parse(text)
        for order, mirror in product(permutations(range(3)), product((False, True), repeat=3)):
            turned = _turn(corners, order, mirror)
            number = _number(turned)
            if inside[number]:
                continue
            faces = _turn(triangles, order, mirror) / 2 - 0.5
            if np.linalg.det(_turn(np.eye(3) + 1, order, mirror) - 1) < 0:
                faces = faces[:, ::-1]
            crossed = np.cross(faces[:, 1] - faces[:, 0], faces[:, 2] - faces[:, 0]) / 2
            normals[number, : len(crossed)] = crossed
            surface = float(np.einsum("ti,ti->", faces[:, 0], crossed))
            inside[number] = (surface + 0.5 * _face_area(turned)) / 3
    return normals, inside


def _parse(text: str) -> tuple[FloatArray, FloatArray]:
    corners, triangles = text.split(" | ")
    points = [[[float(c) for c in point] for point in one.split("-")] for one in triangles.split()]
    return np.asarray([[float(c) for c in corner] for corner in corners.split()]), np.asarray(points)


def _turn(points: FloatArray, order: tuple[int, ...], mirror: tuple[bool, ...]) -> FloatArray:
    turned = points[..., list(order)]
    return np.where(mirror, 2 - turned, turned)


def _number(corners: FloatArray) -> int:
    return int((2.0 ** (corners @ (1.0, 0.5, 2.0))).sum())


def _face_area(corners: FloatArray) -> float:
    """Area of a cell's six faces that lies inside: 1/8 for one corner, 1/2 and 3/4 for two, and so on."""
    area = 0.0
    for axis, side in product(range(3), (0.0, 2.0)):
        on_face = corners[corners[:, axis] == side]
        adjacent = len(on_face) == 2 and np.abs(on_face[0] - on_face[1]).sum() == 2
        area += 0.5 if adjacent else (0.0, 0.125, 0.75, 0.875, 1.0)[len(on_face)]
    return area
