"""Bodies around a lesion that its volume and area are compared with: oriented box and ellipsoids.

Each is given by three lengths. The hull they enclose comes from `morphology_hull`.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np

from lesionlab.measure.ibsi.morphology_hull import Hull
from lesionlab.measure.ibsi.region import FloatArray

LEGENDRE_DEGREE: Final = 20
"""Where the standard stops the series of an ellipsoid's area."""
FACE_STARTS: Final = 24
"""How many of the hull's faces the search for the smallest box starts from, the largest first."""
ELLIPSOID_TOLERANCE: Final = 1e-7
ELLIPSOID_STEPS: Final = 100_000


def box_area(sides: FloatArray) -> float:
    """Area of a box of three sides."""
    return float(2 * (sides[0] * sides[1] + sides[1] * sides[2] + sides[2] * sides[0]))


def ellipsoid_volume(semi_axes: FloatArray) -> float:
    """Volume of an ellipsoid of three semi-axes."""
    return float(4 / 3 * np.pi * semi_axes.prod())


def ellipsoid_area(semi_axes: FloatArray) -> float:
    """Area of an ellipsoid by Legendre's series up to degree 20, as in IBSI RDD2; NaN for a point.

    Good to 1e-6 where the shortest axis is over three quarters of the longest, to 1 % for a disc.
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
    start, the box is turned about one of its axes after another, each time to the smallest rectangle of the
    hull's shadow along that axis (exact: it has a side along an edge of the shadow), until none helps; the
    idea is Chan and Tan's (Computers & Structures 79, 2001), which the standard names. Starts are the axes
    of the image, `axes`, and the largest faces of the hull. Not proven smallest, but never larger
    than the box along the image's axes or the principal axes.
    """
    starts = [np.eye(3), axes, *_face_frames(hull.faces)]
    return np.asarray(_descend(np.ascontiguousarray(hull.vertices), np.stack(starts)))


def _face_frames(faces: FloatArray) -> list[FloatArray]:
    """Frames whose first axis stands on a face, for the largest flat parts, opposite ones once."""
    lengths = np.sqrt((faces**2).sum(axis=1))
    normals = faces[lengths > 0] / lengths[lengths > 0, None]
    leading = np.argmax(np.abs(normals), axis=1)
    normals *= np.sign(normals[np.arange(len(normals)), leading])[:, None]
    whole = np.round(normals * 2**20).astype(np.int64)
    keys = (whole[:, 0] * 2**42) + (whole[:, 1] * 2**21) + whole[:, 2]
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    largest = np.argsort(-np.bincount(group, lengths[lengths > 0]), kind="stable")[:FACE_STARTS]
    frames = []
    for normal in normals[first[largest]]:
        across = np.cross(normal, np.eye(3)[np.argmin(np.abs(normal))])
        across /= np.linalg.norm(across)
        frames.append(np.stack([normal, across, np.cross(normal, across)]))
    return frames


@nb.njit(cache=True, nogil=True)
def _descend(points: FloatArray, starts: FloatArray) -> FloatArray:
    best = np.full(3, np.inf)
    for s in range(len(starts)):
        frame = starts[s].copy()
        sides = np.zeros(3)
        for k in range(3):
            along = points @ frame[k]
            sides[k] = along.max() - along.min()
        idle = 0
        axis = 0
        while idle < 3:
            u, v = (axis + 1) % 3, (axis + 2) % 3
            angle, wide, high = _smallest_rectangle(points @ frame[u], points @ frame[v])
            if wide * high < sides[u] * sides[v] * (1 - 1e-9):
                cosine, sine = np.cos(angle), np.sin(angle)
                first = cosine * frame[u] + sine * frame[v]
                frame[v] = cosine * frame[v] - sine * frame[u]
                frame[u] = first
                sides[u], sides[v] = wide, high
                idle = 1
            else:
                idle += 1
            axis = (axis + 1) % 3
        if sides.prod() < best.prod():
            best = sides
    return np.sort(best)


@nb.njit(cache=True, nogil=True)
def _smallest_rectangle(u: FloatArray, v: FloatArray) -> tuple[float, float, float]:
    """Direction (angle), width and height of the smallest rectangle around points in a plane."""
    corners = _outline(u, v)
    p, q = u[corners], v[corners]
    n = len(p)
    best = (0.0, u.max() - u.min(), v.max() - v.min())
    right, top, left = 0, 0, 0
    for i in range(n):
        j = (i + 1) % n
        length = np.hypot(p[j] - p[i], q[j] - q[i])
        c, s = (p[j] - p[i]) / length, (q[j] - q[i]) / length
        if i == 0:
            right = top = 1
        while c * (p[(right + 1) % n] - p[right]) + s * (q[(right + 1) % n] - q[right]) > 0:
            right = (right + 1) % n
        if i == 0:
            top = right
        while c * (q[(top + 1) % n] - q[top]) - s * (p[(top + 1) % n] - p[top]) > 0:
            top = (top + 1) % n
        if i == 0:
            left = top
        while c * (p[(left + 1) % n] - p[left]) + s * (q[(left + 1) % n] - q[left]) < 0:
            left = (left + 1) % n
        wide = c * (p[right] - p[left]) + s * (q[right] - q[left])
        high = c * (q[top] - q[i]) - s * (p[top] - p[i])
        if wide * high < best[1] * best[2]:
            best = (np.arctan2(s, c), wide, high)
    return best


@nb.njit(cache=True, nogil=True)
def _outline(u: FloatArray, v: FloatArray) -> FloatArray:
    """Corners of the hull of points in a plane, anticlockwise; near-straight corners are left out."""
    order = np.argsort(u)
    n = len(order)
    slack = 1e-12 * ((u.max() - u.min()) ** 2 + (v.max() - v.min()) ** 2)
    chain = np.empty(2 * n + 1, dtype=np.int64)
    length = 0
    for side in range(2):
        floor = length + 1 if side else 1
        for k in range(n):
            c = order[n - 1 - k] if side else order[k]
            while length > floor:
                a, b = chain[length - 2], chain[length - 1]
                if (u[b] - u[a]) * (v[c] - v[a]) - (v[b] - v[a]) * (u[c] - u[a]) > slack:
                    break
                length -= 1
            chain[length] = c
            length += 1
        length -= 1
    return chain[:length].copy()


def smallest_ellipsoid(vertices: FloatArray) -> FloatArray:
    """Semi-axes of the smallest ellipsoid around points (n, 3) that span a body (IBSI SWZ1).

    Khachiyan's ascent (Math Oper Res 21(2), 1996) with the away steps of Todd and Yildirim (Discrete
    Appl Math 155, 2007), until no point is farther out than 1e-7 of the optimality condition allows; the result
    is then blown up to hold every point, so its volume is at most about 2e-7 above the smallest.
    """
    centre = vertices.mean(axis=0)
    scale = np.abs(vertices - centre).max()
    weights = _ellipsoid_weights((vertices - centre) / scale)
    middle = weights @ ((vertices - centre) / scale)
    spread = (vertices - centre) / scale - middle
    matrix = (spread * weights[:, None]).T @ spread
    reach = np.einsum("ij,ij->i", spread, np.linalg.solve(matrix, spread.T).T).max()
    return np.asarray(scale * np.sqrt(np.maximum(np.linalg.eigvalsh(matrix), 0) * reach))


@nb.njit(cache=True, nogil=True)
def _ellipsoid_weights(points: FloatArray) -> FloatArray:
    n, size = len(points), 4
    lifted = np.ones((n, size))
    lifted[:, :3] = points
    weights = np.full(n, 1.0 / n)
    inverse = np.linalg.inv(lifted.T @ lifted / n)
    distance = np.empty(n)
    for i in range(n):
        distance[i] = lifted[i] @ inverse @ lifted[i]
    for _ in range(ELLIPSOID_STEPS):
        far, near = 0, -1
        for i in range(n):
            if distance[i] > distance[far]:
                far = i
            if weights[i] > 0 and (near < 0 or distance[i] < distance[near]):
                near = i
        outward, inward = distance[far] / size - 1, 1 - distance[near] / size
        if max(outward, inward) < ELLIPSOID_TOLERANCE:
            break
        chosen = far if outward > inward else near
        step = (distance[chosen] - size) / (size * (distance[chosen] - 1))
        if chosen == near and outward <= inward:
            step = max(step, -weights[near] / (1 - weights[near]))
        dropped = step == -weights[chosen] / (1 - weights[chosen])
        for i in range(n):
            weights[i] *= 1 - step
        weights[chosen] = 0.0 if dropped else weights[chosen] + step
        toward = inverse @ lifted[chosen]
        share = step / (1 - step + step * distance[chosen])
        for a in range(size):
            for b in range(size):
                inverse[a, b] = (inverse[a, b] - share * toward[a] * toward[b]) / (1 - step)
        for i in range(n):
            along = 0.0
            for a in range(size):
                along += lifted[i, a] * toward[a]
            distance[i] = (distance[i] - share * along * along) / (1 - step)
    return weights
