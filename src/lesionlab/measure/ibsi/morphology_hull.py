"""The convex hull of a lesion's surface mesh: its vertices, faces, area, volume and largest diameter.

Mesh vertices lie half a voxel along the axes from voxel centres, so the hull of the mesh is that of
the centres with six such points around each. That is never flat: one voxel makes an octahedron. Indices
are doubled to stay whole numbers; spacing enters last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull

from lesionlab.measure.ibsi.region import BoolArray, FloatArray

Points = NDArray[np.int64]
STEPS = np.concatenate([np.eye(3, dtype=np.int64), -np.eye(3, dtype=np.int64)])


@dataclass(frozen=True, slots=True, eq=False)
class Hull:
    """A convex hull in mm: `vertices` (n, 3), outward face vectors (m, 3) as long as the face's area, volume.

    Faces are triangles; a flat part of the hull may hold several.
    """

    vertices: FloatArray
    faces: FloatArray
    volume_mm3: float

    @property
    def area_mm2(self) -> float:
        """Area of all faces."""
        return float(np.sqrt((self.faces**2).sum(axis=1)).sum())


def mesh_hull(mask: BoolArray, spacing: tuple[float, float, float]) -> Hull:
    """The convex hull of the surface mesh of a mask (z, y, x) with at least one voxel.

    Only ends of rows, and of these only corners of their three planes, can be corners of the hull; the
    rest never reaches qhull. Time grows with the mask's box.
    """
    centres = corners_of_planes(row_ends(mask))
    around = np.unique((2 * centres[:, None] + STEPS).reshape(-1, 3), axis=0)
    points = corners_of_planes(around)
    found: Any = ConvexHull(points)
    triangles = points[found.simplices].astype(np.float64)
    crossed = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    outward = np.einsum("ij,ij->i", crossed, found.equations[:, :3]) < 0
    crossed[outward] *= -1
    half = np.asarray(spacing) / 2
    sides = np.asarray([half[1] * half[2], half[2] * half[0], half[0] * half[1]])
    return Hull(points[found.vertices] * half, crossed * sides / 2, float(found.volume * half.prod()))


def largest_diameter(vertices: FloatArray) -> float:
    """The largest distance between two of n points (n, 3), in their unit. Definition: IBSI L0JK."""
    return float(np.sqrt(_largest_squared_distance(np.ascontiguousarray(vertices))))


@nb.njit(cache=True, nogil=True)
def _largest_squared_distance(points: FloatArray) -> float:
    largest = 0.0
    for i in range(len(points)):
        for j in range(i):
            z = points[i, 0] - points[j, 0]
            y = points[i, 1] - points[j, 1]
            x = points[i, 2] - points[j, 2]
            largest = max(largest, z * z + y * y + x * x)
    return largest


def row_ends(mask: BoolArray) -> Points:
    """Indices (n, 3) of the first and last voxel of every row along x, in C order."""
    ends: Points = _row_ends(np.ascontiguousarray(mask))
    return ends


@nb.njit(cache=True, nogil=True)
def _row_ends(mask: BoolArray) -> Points:
    depth, height, width = mask.shape
    ends = np.empty((2 * depth * height, 3), dtype=np.int64)
    count = 0
    for z in range(depth):
        for y in range(height):
            first = 0
            while first < width and not mask[z, y, first]:
                first += 1
            if first == width:
                continue
            last = width - 1
            while not mask[z, y, last]:
                last -= 1
            ends[count] = z, y, first
            count += 1
            if last > first:
                ends[count] = z, y, last
                count += 1
    return ends[:count].copy()


def corners_of_planes(points: Points) -> Points:
    """Those lattice points (n, 3), sorted, that are corners of the hull of every axis plane they lie in.

    All corners of the points' own hull are among them.
    """
    for axis in range(3):
        order = np.argsort(points[:, axis], kind="stable")
        points = points[_corners(points, order, axis)]
    return points


@nb.njit(cache=True, nogil=True)
def _corners(points: Points, order: NDArray[np.int64], axis: int) -> BoolArray:
    """Andrew's monotone chain in each plane; within a plane `order` runs by the two other axes."""
    u = 1 if axis == 0 else 0
    v = 1 if axis == 2 else 2
    keep = np.zeros(len(points), dtype=np.bool_)
    chain = np.empty(len(points), dtype=np.int64)
    start = 0
    while start < len(order):
        stop = start
        while stop < len(order) and points[order[stop], axis] == points[order[start], axis]:
            stop += 1
        for sign in (1, -1):
            length = 0
            for k in range(start, stop):
                c = order[k]
                while length >= 2:
                    a, b = chain[length - 2], chain[length - 1]
                    turn = (points[b, u] - points[a, u]) * (points[c, v] - points[a, v]) - (
                        points[b, v] - points[a, v]
                    ) * (points[c, u] - points[a, u])
                    if turn * sign > 0:
                        break
                    length -= 1
                chain[length] = c
                length += 1
            for k in range(length):
                keep[chain[k]] = True
        start = stop
    return keep
