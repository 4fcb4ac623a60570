"""Bodies around a lesion that its volume and area are compared with: oriented box and ellipsoids.

Each is given by three lengths. The hull they enclose comes from `morphology_hull`.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lesionlab.measure.ibsi.morphology_hull import Hull
from lesionlab.measure.ibsi.region import FloatArray

IndexArray = NDArray[np.int64]

LEGENDRE_DEGREE: Final = 20
"""Where the standard stops the series of an ellipsoid's area."""
FACES: Final = 64
"""How many of the hull's flat parts are considered as a side of the smallest box, the largest first."""
FACE_STARTS: Final = 4
"""How many of these the search starts from."""

QUICK: Final = {"reassoc", "contract", "nnan", "nsz"}
"""Lets the compiler look at several numbers at a time, none of which is NaN."""


def box_area(sides: FloatArray) -> float:
    """Area of a box of three sides."""
    return float(2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[2] * sides[0]))


def ellipsoid_volume(semi_axes: FloatArray) -> float:
    """Volume of an ellipsoid of three semi-axes."""
    return float(4 / 3 * np.pi * semi_axes.prod())


def ellipsoid_area(semi_axes: FloatArray) -> float:
    """Area of an ellipsoid by Legendre's series up to degree 20, as in IBSI RDD2; NaN for a point.

    This is the standard's value, not the area: its series takes alpha from the ratio of the two longer
    semi-axes where the area's own takes it from the two shorter ones, and its reference values are made so.
    For a ball both agree; it is 0.975 of the area for semi-axes of 9, 10 and 12, and 1.57 of it for a disc.
    """
    c, b, a = np.sort(semi_axes)
    if a == 0:
        return float("nan")
    alpha2, beta2 = 1 - (b / a) ** 2, 1 - (c / a) ** 2
    # terms (alpha beta)^n P_n((alpha^2 + beta^2) / (2 alpha beta)) by Bonnet's recursion, no division needed
    before, term = 0.0, 1.0
    total = 0.0
    for n in range(LEGENDRE_DEGREE + 1):
        total += term / (1 - 4 * n * n)
        following = ((2 * n + 1) * (alpha2 + beta2) / 2 * term - n * alpha2 * beta2 * before) / (n + 1)
        before, term = term, following
    return float(4 * np.pi * a * b * total)


def smallest_box(hull: Hull, axes: FloatArray) -> FloatArray:
    """Sides in mm of the smallest box found around a hull, in any orientation (IBSI ZH1A).

    `axes` (3, 3) holds a likely orientation in its rows, such as the principal axes. A descent: from a
    start, the box is turned about one of its axes after another, each time to the smallest rectangle around
    the hull's shadow along that axis (exact: it has a side along an edge of the shadow), until none helps;
    the idea is Chan and Tan's (Computers & Structures 79, 2001), which the standard names. Starts are the
    axes of the image, `axes`, and the four of the hull's largest flat parts that promise most. Not proven
    smallest (on 60 digitised ellipsoids, boxes and scattered voxels at most 0.7 % above starts from every
    face), but never larger than the box along the image's axes or along `axes`.
    """
    starts = [np.eye(3), axes, *_face_frames(hull)]
    return np.sort(_descend(np.ascontiguousarray(hull.vertices.T), np.stack(starts)))


def _face_frames(hull: Hull) -> list[FloatArray]:
    """Frames whose first axis stands on a flat part of the hull, opposite ones once.

    A box on that part is at least as large as height times shadow; the smallest of these come first.
    """
    lengths = np.sqrt((hull.faces**2).sum(axis=1))
    normals = hull.faces / lengths[:, None]
    leading = np.argmax(np.abs(normals), axis=1)
    normals *= np.sign(normals[np.arange(len(normals)), leading])[:, None]
    whole = np.round(normals * 2**20).astype(np.int64)
    keys = (whole[:, 0] * 2**42) + (whole[:, 1] * 2**21) + whole[:, 2]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    largest = np.argsort(-np.bincount(group, lengths), kind="stable")[:FACES]
    normals = normals[first[largest]]
    heights = np.ptp(hull.vertices @ normals.T, axis=0)
    shadows = np.abs(hull.faces @ normals.T).sum(axis=0) / 2
    return [_frame(*normal) for normal in normals[np.argsort(heights * shadows, kind="stable")[:FACE_STARTS]]]


def _frame(z: float, y: float, x: float) -> FloatArray:
    """A right-angled frame (rows) whose first axis is a unit vector."""
    sign = 1.0 if z >= 0 else -1.0
    a = -1 / (sign + z)
    return np.asarray(
        [(z, y, x), (-sign * y, 1 + sign * y * y * a, sign * y * x * a), (-x, y * x * a, sign + x * x * a)]
    )


@nb.njit(cache=True, nogil=True)
def _descend(points: FloatArray, starts: FloatArray) -> FloatArray:
    """Sides of the smallest of the boxes found from the starts (n, 3, 3) around `points` (3, n)."""
    best, sides = np.empty(3), np.empty(3)
    least = np.inf
    shadow = np.empty(points.shape)
    for s in range(len(starts)):
        frame = starts[s]
        for k in range(3):
            sides[k] = _project(points, frame[k], shadow[k])
        idle, axis = 0, 0
        while idle < 3:
            u, v = (axis + 1) % 3, (axis + 2) % 3
            area, cosine, sine = _smallest_rectangle(shadow[u], shadow[v])
            idle += 1
            if area < sides[u] * sides[v] * (1 - 1e-9):
                _turn(frame[u], frame[v], cosine, sine)
                sides[u] = _project(points, frame[u], shadow[u])
                sides[v] = _project(points, frame[v], shadow[v])
                idle = 1
            axis = (axis + 1) % 3
        if sides[0] * sides[1] * sides[2] < least:
            least = sides[0] * sides[1] * sides[2]
            for k in range(3):
                best[k] = sides[k]
    return best


@nb.njit(cache=True, nogil=True)
def _turn(one: FloatArray, other: FloatArray, cosine: float, sine: float) -> None:
    for k in range(3):
        first = cosine * one[k] + sine * other[k]
        other[k] = cosine * other[k] - sine * one[k]
        one[k] = first


@nb.njit(cache=True, nogil=True, fastmath=QUICK)
def _project(points: FloatArray, direction: FloatArray, along: FloatArray) -> float:
    """Fill in where points lie along a direction; their extent."""
    low, high = np.inf, -np.inf
    for i in range(points.shape[1]):
        place = direction[0] * points[0, i] + direction[1] * points[1, i] + direction[2] * points[2, i]
        along[i] = place
        low, high = min(low, place), max(high, place)
    return high - low


@nb.njit(cache=True, nogil=True)
def _smallest_rectangle(u: FloatArray, v: FloatArray) -> tuple[float, float, float]:
    """Area of the smallest rectangle around points in a plane, and the direction (cosine, sine) of a side."""
    corners = _outline(u, v)
    n = len(corners)
    # three times round, for corners that are counted on past the end
    p, q = np.empty(3 * n), np.empty(3 * n)
    for i in range(3 * n):
        p[i], q[i] = u[corners[i % n]], v[corners[i % n]]
    best, cosine, sine = np.inf, 1.0, 0.0
    right, top, left = 0, 0, 0
    for i in range(n):
        length = np.hypot(p[i + 1] - p[i], q[i + 1] - q[i])
        c, s = (p[i + 1] - p[i]) / length, (q[i + 1] - q[i]) / length
        # the corners farthest along the edge, away from it and back follow one another round the outline
        right = _farthest(p, q, c, s, max(right, i + 1))
        top = _farthest(p, q, -s, c, max(top, right))
        left = _farthest(p, q, -c, -s, max(left, top))
        wide = c * (p[right] - p[left]) + s * (q[right] - q[left])
        high = c * (q[top] - q[i]) - s * (p[top] - p[i])
        if wide * high < best:
            best, cosine, sine = wide * high, c, s
    return best, cosine, sine


@nb.njit(cache=True, nogil=True)
def _farthest(p: FloatArray, q: FloatArray, c: float, s: float, start: int) -> int:
    """The corner farthest in a direction, going on from one before it."""
    here = c * p[start] + s * q[start]
    while True:
        following = c * p[start + 1] + s * q[start + 1]
        if following <= here:
            return start
        here = following
        start += 1


@nb.njit(cache=True, nogil=True)
def _outline(u: FloatArray, v: FloatArray) -> IndexArray:
    """Corners of the hull of points in a plane, anticlockwise; near-straight corners are left out."""
    outer = _outer(u, v)
    n = len(outer)
    # looked at askew, points on one side of a box are not equally far along and come in their order
    p, q = np.empty(n), np.empty(n)
    for i in range(n):
        one, other = u[outer[i]], v[outer[i]]
        p[i], q[i] = 0.8 * one + 0.6 * other, 0.8 * other - 0.6 * one
    order = _order(p)
    slack = 1e-12 * (p[order[n - 1]] - p[order[0]]) ** 2
    chain = np.empty(2 * n + 1, dtype=np.int64)
    length = 0
    for side in range(2):
        floor = length + 1 if side else 1
        for k in range(n):
            c = order[n - 1 - k] if side else order[k]
            while length > floor:
                a, b = chain[length - 2], chain[length - 1]
                if (p[b] - p[a]) * (q[c] - q[a]) - (q[b] - q[a]) * (p[c] - p[a]) > slack:
                    break
                length -= 1
            chain[length] = c
            length += 1
        length -= 1
    for k in range(length):
        chain[k] = outer[chain[k]]
    return chain[:length]


@nb.njit(cache=True, nogil=True)
def _outer(u: FloatArray, v: FloatArray) -> IndexArray:
    """Points that are not well inside the octagon of those farthest out in eight directions.

    That leaves fewer to be sorted (Akl and Toussaint, Inform Process Lett 7, 1978).
    """
    right, left = _extremes(u, v, 1.0, 0.0)
    top, bottom = _extremes(u, v, 0.0, 1.0)
    slope = (u[right] - u[left]) / (v[top] - v[bottom])
    top_right, bottom_left = _extremes(u, v, 1.0, slope)
    top_left, bottom_right = _extremes(u, v, -1.0, slope)
    octagon = (right, top_right, top, top_left, left, bottom_left, bottom, bottom_right, right)
    slack = 1e-12 * (u[right] - u[left]) * (v[top] - v[bottom])
    inside = np.zeros(len(u), dtype=np.bool_)
    for i in range(len(u)):
        inside[i] = True
    for k in range(8):
        a, b = octagon[k], octagon[k + 1]
        if a != b:
            along_u, along_v = u[b] - u[a], v[b] - v[a]
            for i in range(len(u)):
                inside[i] &= along_u * (v[i] - v[a]) - along_v * (u[i] - u[a]) > slack
    outer = np.empty(len(u), dtype=np.int64)
    count = 0
    for i in range(len(u)):
        outer[count] = i
        count += not inside[i]
    return outer[:count]


@nb.njit(cache=True, nogil=True)
def _extremes(u: FloatArray, v: FloatArray, c: float, s: float) -> tuple[int, int]:
    """The points farthest along a direction and against it."""
    first, last = 0, 0
    low, high = np.inf, -np.inf
    for i in range(len(u)):
        along = c * u[i] + s * v[i]
        if along > high:
            high, first = along, i
        if along < low:
            low, last = along, i
    return first, last


@nb.njit(cache=True, nogil=True)
def _order(values: FloatArray) -> IndexArray:
    """Indices that sort some values: Shell's sort, a tenth of numba's argsort to compile."""
    n = len(values)
    order = np.arange(n)
    gap = n
    while gap > 1:
        gap = max(1, (gap * 5 - 1) // 11)
        for i in range(gap, n):
            here = order[i]
            k = i
            while k >= gap and values[order[k - gap]] > values[here]:
                order[k] = order[k - gap]
                k -= gap
            order[k] = here
    return order
