"""The convex hull of a lesion's surface mesh: its vertices, faces, area, volume and largest diameter.

Mesh vertices lie half a voxel along the axes from voxel centres, so the hull of the mesh is that of
the centres with six such points around each. That is never flat: one voxel makes an octahedron. Indices
are doubled to stay whole numbers, on which every test is exact; spacing enters last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lesionlab.measure.ibsi.region import BoolArray, FloatArray

Points = NDArray[np.int64]
STEPS: Final = np.asarray(((0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, 2), (1, 2, 1), (2, 1, 1)))
"""From a voxel's first corner to the mesh vertices around its centre, in half voxels."""


@dataclass(frozen=True, slots=True, eq=False)
class Hull:
    """A convex hull in mm: `vertices` (n, 3), outward face vectors (m, 3) as long as the face's area, volume.

    Faces are triangles; a flat part of the hull may hold several, and vertices that are no corners.
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

    Only ends of rows, and of these only corners of their three planes, can be corners of the hull; no
    other voxel is looked at twice. Time grows with the mask's box.
    """
    half = np.asarray(spacing) / 2
    points = _candidates(np.ascontiguousarray(mask))
    triangles, planes = _wrapped(points)
    sides = np.asarray([half[1] * half[2], half[2] * half[0], half[0] * half[1]])
    used = np.zeros(len(points), dtype=np.bool_)
    used[triangles] = True
    volume = float(planes[3].sum()) / 6 * float(half.prod())
    return Hull(points[used] * half, planes[:3].T * (sides / 2), volume)


def hull_triangles(points: Points) -> NDArray[np.int64]:
    """Triangles (m, 3) of the convex hull of lattice points (n, 3) that span a body, as indices.

    Seen from outside they run anticlockwise, as a right-handed (z, y, x) sees it. Points are added one by one
    in random order, each removing the faces that it sees; coordinates of up to some ten thousand keep all
    numbers whole and below 2^53, so that no test ever errs. Time grows with the product of points and faces.
    """
    return _wrapped(points)[0]


def _wrapped(points: Points) -> tuple[NDArray[np.int64], FloatArray]:
    """The triangles, and their planes (4, m): the outward cross product of two sides, and where it lies."""
    order = np.random.default_rng(0).permutation(len(points))
    triangles, planes = _hull_triangles(points[order].astype(np.float64))
    return order[triangles], planes


@nb.njit(cache=True, nogil=True)
def _hull_triangles(points: FloatArray) -> tuple[NDArray[np.int64], FloatArray]:
    first = _first_body(points)
    faces = np.empty((2 * len(points), 3), dtype=np.int64)
    planes = np.empty((4, 2 * len(points)))
    count = 0
    for left_out in range(4):
        a, b, c, d = (
            first[(left_out + 1) % 4],
            first[(left_out + 2) % 4],
            first[(left_out + 3) % 4],
            first[left_out],
        )
        _set_face(points, faces, planes, count, a, b, c)
        if _above(planes, count, points[d, 0], points[d, 1], points[d, 2]):
            _set_face(points, faces, planes, count, a, c, b)
        count += 1
    seen = np.empty(2 * len(points), dtype=np.int64)
    edges = np.empty((len(points), 2), dtype=np.int64)
    for p in range(len(points)):
        z, y, x = points[p, 0], points[p, 1], points[p, 2]
        n_seen = 0
        # first only counted, as most points see none: that is done several faces at a time
        for f in range(count):
            n_seen += planes[0, f] * z + planes[1, f] * y + planes[2, f] * x > planes[3, f]
        if n_seen == 0:
            continue
        n_seen = 0
        for f in range(count):
            seen[n_seen] = f
            # written out: a call here keeps the compiler from doing without branches, five times slower
            n_seen += planes[0, f] * z + planes[1, f] * y + planes[2, f] * x > planes[3, f]
        n_edges = _rim(faces, seen[:n_seen], edges)
        for k in range(n_edges):
            slot = seen[k] if k < n_seen else count + k - n_seen
            _set_face(points, faces, planes, slot, edges[k, 0], edges[k, 1], p)
        for k in range(n_seen - 1, n_edges - 1, -1):
            # corners went inside and left fewer faces than before: the last one moves into the gap
            last = count - 1 - (n_seen - 1 - k)
            _set_face(points, faces, planes, seen[k], faces[last, 0], faces[last, 1], faces[last, 2])
        count += n_edges - n_seen
    return faces[:count].copy(), planes[:, :count].copy()


@nb.njit(cache=True, nogil=True)
def _above(planes: FloatArray, face: int, z: float, y: float, x: float) -> bool:
    return planes[0, face] * z + planes[1, face] * y + planes[2, face] * x > planes[3, face]  # type: ignore[no-any-return]


@nb.njit(cache=True, nogil=True)
def _set_face(
    points: FloatArray, faces: NDArray[np.int64], planes: FloatArray, slot: int, a: int, b: int, c: int
) -> None:
    u0, u1, u2 = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
    v0, v1, v2 = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
    n0, n1, n2 = u1 * v2 - u2 * v1, u2 * v0 - u0 * v2, u0 * v1 - u1 * v0
    faces[slot, 0], faces[slot, 1], faces[slot, 2] = a, b, c
    planes[0, slot], planes[1, slot], planes[2, slot] = n0, n1, n2
    planes[3, slot] = n0 * points[a, 0] + n1 * points[a, 1] + n2 * points[a, 2]


@nb.njit(cache=True, nogil=True)
def _rim(faces: NDArray[np.int64], seen: NDArray[np.int64], edges: NDArray[np.int64]) -> int:
    """Fill in the edges that one face seen and one not seen share, in the seen face's direction."""
    count = 0
    for f in seen:
        for k in range(3):
            a, b = faces[f, k], faces[f, (k + 1) % 3]
            shared = False
            for g in seen:
                for m in range(3):
                    if faces[g, m] == b and faces[g, (m + 1) % 3] == a:
                        shared = True
            if not shared:
                edges[count, 0], edges[count, 1] = a, b
                count += 1
    return count


@nb.njit(cache=True, nogil=True)
def _first_body(points: FloatArray) -> NDArray[np.int64]:
    """Four of the points that are not in one plane."""
    chosen = np.zeros(4, dtype=np.int64)
    found = 1
    l0, l1, l2 = 0.0, 0.0, 0.0
    n0, n1, n2 = 0.0, 0.0, 0.0
    for p in range(1, len(points)):
        h0, h1, h2 = points[p, 0] - points[0, 0], points[p, 1] - points[0, 1], points[p, 2] - points[0, 2]
        if found == 1:
            l0, l1, l2 = h0, h1, h2
            fits = True
        elif found == 2:
            n0, n1, n2 = l1 * h2 - l2 * h1, l2 * h0 - l0 * h2, l0 * h1 - l1 * h0
            fits = n0 != 0 or n1 != 0 or n2 != 0
        else:
            fits = n0 * h0 + n1 * h1 + n2 * h2 != 0
        if fits and found < 4:
            chosen[found] = p
            found += 1
    return chosen


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


@nb.njit(cache=True, nogil=True)
def _candidates(mask: BoolArray) -> Points:
    """The mesh vertices that may be corners of the hull, in half voxels and C order; all corners are."""
    size = max(mask.shape)
    centres = _corners_of_planes(_row_ends(mask), size)
    found: Points = _corners_of_planes(_around(centres), 2 * size + 1) - 1
    return found


@nb.njit(cache=True, nogil=True)
def _row_ends(mask: BoolArray) -> Points:
    """Indices (n, 3) of the first and last voxel of every row along x, in C order."""
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
            ends[count, 0], ends[count, 1], ends[count, 2] = z, y, first
            count += 1
            if last > first:
                ends[count, 0], ends[count, 1], ends[count, 2] = z, y, last
                count += 1
    return ends[:count]


@nb.njit(cache=True, nogil=True)
def _around(centres: Points) -> Points:
    """The mesh vertices around voxel centres (n, 3), in half voxels from -1 on, each once, in C order.

    Both steps along an axis of all centres in C order are in that order: six lists to be merged.
    """
    points = np.empty((6 * len(centres), 3), dtype=np.int64)
    heads = np.zeros(6, dtype=np.int64)
    size = 3
    for i in range(len(centres)):
        for k in range(3):
            size = max(size, 2 * centres[i, k] + 3)
    codes = np.empty((6, len(centres) + 1), dtype=np.int64)
    for k in range(6):
        for i in range(len(centres)):
            z, y, x = 2 * centres[i, 0], 2 * centres[i, 1], 2 * centres[i, 2]
            codes[k, i] = ((z + STEPS[k, 0]) * size + y + STEPS[k, 1]) * size + x + STEPS[k, 2]
        codes[k, len(centres)] = size**3
    count = 0
    while True:
        least = size**3
        for k in range(6):
            least = min(least, codes[k, heads[k]])
        if least == size**3:
            return points[:count]
        for k in range(6):
            heads[k] += codes[k, heads[k]] == least
        points[count, 0] = least // size**2
        points[count, 1] = least // size % size
        points[count, 2] = least % size
        count += 1


@nb.njit(cache=True, nogil=True)
def _corners_of_planes(points: Points, size: int) -> Points:
    """Those lattice points (n, 3), in C order, that are corners of the hull of every axis plane they lie in.

    All corners of the points' own hull are among them. No coordinate reaches `size`.
    """
    for axis in range(3):
        order = _order(points[:, axis], size)
        keep = _corners(points, order, axis)
        count = 0
        for i in range(len(points)):
            if keep[i]:
                for k in range(3):
                    points[count, k] = points[i, k]
                count += 1
        points = points[:count]
    return points


@nb.njit(cache=True, nogil=True)
def _order(values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Indices that sort whole numbers below `size`; equal ones keep their order."""
    begins = np.zeros(size + 1, dtype=np.int64)
    for value in values:
        begins[value + 1] += 1
    for value in range(size):
        begins[value + 1] += begins[value]
    order = np.empty(len(values), dtype=np.int64)
    for i in range(len(values)):
        order[begins[values[i]]] = i
        begins[values[i]] += 1
    return order


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
