"""The smallest ellipsoid around a set of points, by an interior-point method.

The ellipsoid {x : |A x + b| <= 1} has volume proportional to 1 / det A, and -log det A is convex in the nine
numbers of a symmetric A and of b, as is every condition |A p + b| <= 1. Newton's method with a logarithmic
barrier therefore finds the one optimum in some thirty steps, each a pass over the points (Boyd and
Vandenberghe, Convex Optimization, 8.4.1 and 11.3), where Khachiyan's ascent needs thousands on the many
nearly touching corners of a digitised body.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np

from lesionlab.measure.ibsi.region import FloatArray

GAP: Final = 1e-6
"""Bound of log(volume) over its minimum at which the search stops."""
SHARPER: Final = 20.0
"""Factor of the barrier's weight from one round to the next."""
NEAR: Final = 0.25
"""Points with |A p + b|^2 under 1 less this, in the middle of the search, are set aside."""
CELLS: Final = np.asarray(((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)))
"""Where the first six numbers stand in A."""
ROWS: Final = np.asarray(((0, 3, 4, 6), (3, 1, 5, 7), (4, 5, 2, 8)))
"""Which numbers make up each row of A and b."""
QUICK: Final = {"reassoc", "contract"}
"""Lets the compiler add up in any order; infinities and NaN stay what they are."""
STEPS: Final = 60
"""Most Newton steps of one round; a handful is usual."""


def smallest_ellipsoid(points: FloatArray) -> FloatArray:
    """Semi-axes of the smallest ellipsoid around points (n, 3) that span a body, ascending (IBSI SWZ1).

    Every point is inside, and the volume is above the smallest by about a part in a million at most. The
    standard leaves the method open.
    """
    centre = points.mean(axis=0)
    spread = points - centre
    root = np.linalg.cholesky(np.linalg.inv(spread.T @ spread / len(points)))
    white = np.ones((4, len(points)))
    white[:3] = (spread @ root).T
    start = np.zeros(9)
    start[:3] = 0.9 / np.sqrt((white[:3] ** 2).sum(axis=0).max())
    middle = _minimise(white, start, 1e-1)
    near = np.ascontiguousarray(white[:, _lengths(white, middle) > 1 - NEAR])
    best = _minimise(near, middle, GAP)
    reach = _lengths(white, best).max()
    if reach > 1 + GAP:
        best = _minimise(white, middle, GAP)
        reach = _lengths(white, best).max()
    matrix = root @ _matrix(best)
    return np.asarray(np.sort(np.sqrt(reach) / np.linalg.svd(matrix, compute_uv=False)))


def _matrix(numbers: FloatArray) -> FloatArray:
    a, b, c, d, e, f = numbers[:6]
    return np.asarray([[a, d, e], [d, b, f], [e, f, c]])


def _lengths(points: FloatArray, numbers: FloatArray) -> FloatArray:
    return np.asarray(((_matrix(numbers) @ points[:3] + numbers[6:, None]) ** 2).sum(axis=0))


@nb.njit(cache=True, nogil=True)
def _minimise(points: FloatArray, start: FloatArray, gap: float) -> FloatArray:
    """Newton's method for each weight of the barrier, from a `start` strictly inside all conditions.

    `points` (4, n) are coordinates and 1.
    """
    numbers, moved = start.copy(), np.empty(9)
    count = points.shape[1]
    weight = 2.0 / count
    scratch = np.empty((13, count))
    while True:
        for _ in range(STEPS):
            slope, curve = _derivatives(points, numbers, weight, scratch)
            step = _newton_step(slope, curve)
            decrease = 0.0
            for k in range(9):
                decrease -= slope[k] * step[k]
            if decrease < 1e-3:
                break
            here = _objective(points, numbers, weight, scratch)
            length = 1.0
            while True:
                for k in range(9):
                    moved[k] = numbers[k] + length * step[k]
                if _objective(points, moved, weight, scratch) <= here - 0.1 * length * decrease:
                    break
                length *= 0.6
                if length < 1e-12:
                    return numbers
            numbers, moved = moved, numbers
        if weight * count < gap:
            return numbers
        weight = max(weight / SHARPER, 0.5 * gap / count)


@nb.njit(cache=True, nogil=True)
def _objective(points: FloatArray, numbers: FloatArray, weight: float, scratch: FloatArray) -> float:
    """-log det A / weight less the sum of log(1 - |A p + b|^2); infinite outside."""
    a, b, c, d, e, f = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    determinant = a * (b * c - f * f) - d * (d * c - e * f) + e * (d * f - b * e)
    if determinant <= 0 or a <= 0 or a * b - d * d <= 0:
        return np.inf
    slacks = scratch[3]
    _place(points, numbers, scratch[:3], slacks)
    total = -np.log(determinant) / weight
    product = 1.0
    for slack in slacks:
        if slack <= 0:
            return np.inf
        product *= slack
        if product < 1e-100:
            total -= np.log(product)
            product = 1.0
    return float(total - np.log(product))


@nb.njit(cache=True, nogil=True, fastmath=QUICK)
def _place(points: FloatArray, numbers: FloatArray, placed: FloatArray, slacks: FloatArray) -> None:
    """Fill in A p + b (3, n) and 1 - |A p + b|^2 (n,) of each point."""
    a, b, c, d, e, f = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    p, q, r = numbers[6], numbers[7], numbers[8]
    for i in range(points.shape[1]):
        x, y, z = points[0, i], points[1, i], points[2, i]
        u, v, w = a * x + d * y + e * z + p, d * x + b * y + f * z + q, e * x + f * y + c * z + r
        placed[0, i], placed[1, i], placed[2, i] = u, v, w
        slacks[i] = 1 - u * u - v * v - w * w


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath=QUICK)
def _derivatives(
    points: FloatArray, numbers: FloatArray, weight: float, scratch: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Gradient (9,) and lower half of the Hessian (9, 9) of the objective.

    Row by row of arrays as long as there are points, which the processor adds up several at a time.
    """
    slope, curve = np.zeros(9), np.zeros((9, 9))
    # what each point pulls along each number, then along x, y, z and as such
    pulls = scratch
    _place(points, numbers, pulls[6:9], pulls[12])
    for i in range(points.shape[1]):
        x, y, z = points[0, i], points[1, i], points[2, i]
        pull = 2 / pulls[12, i]
        u, v, w = pull * pulls[6, i], pull * pulls[7, i], pull * pulls[8, i]
        pulls[0, i], pulls[1, i], pulls[2, i] = u * x, v * y, w * z
        pulls[3, i], pulls[4, i], pulls[5, i] = u * y + v * x, u * z + w * x, v * z + w * y
        pulls[6, i], pulls[7, i], pulls[8, i] = u, v, w
        pulls[9, i], pulls[10, i], pulls[11, i], pulls[12, i] = pull * x, pull * y, pull * z, pull
    for k in range(9):
        slope[k] = _dot(pulls[k], points[3])
        for m in range(k + 1):
            curve[k, m] = _dot(pulls[k], pulls[m])
    for k in range(4):
        for m in range(k + 1):
            moment = _dot(pulls[9 + k], points[m])
            for axis in range(3):
                i, j = ROWS[axis, k], ROWS[axis, m]
                curve[max(i, j), min(i, j)] += moment
    _add_determinant(numbers, weight, slope, curve)
    return slope, curve


@nb.njit(cache=True, nogil=True, fastmath=QUICK)
def _dot(one: FloatArray, other: FloatArray) -> float:
    total = 0.0
    for i in range(len(one)):
        total += one[i] * other[i]
    return total


@nb.njit(cache=True, nogil=True)
def _add_determinant(numbers: FloatArray, weight: float, slope: FloatArray, curve: FloatArray) -> None:
    """Add what -log det A / weight has for gradient and (lower) Hessian."""
    a, b, c, d, e, f = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    determinant = a * (b * c - f * f) - d * (d * c - e * f) + e * (d * f - b * e)
    inverse = np.empty((3, 3))
    inverse[0, 0], inverse[1, 1], inverse[2, 2] = b * c - f * f, a * c - e * e, a * b - d * d
    inverse[0, 1] = inverse[1, 0] = e * f - d * c
    inverse[0, 2] = inverse[2, 0] = d * f - e * b
    inverse[1, 2] = inverse[2, 1] = d * e - a * f
    for k in range(6):
        i, j = CELLS[k, 0], CELLS[k, 1]
        double = 1.0 if i == j else 2.0
        slope[k] -= double * inverse[i, j] / determinant / weight
        for m in range(k + 1):
            s, t = CELLS[m, 0], CELLS[m, 1]
            both = inverse[i, s] * inverse[j, t] + inverse[i, t] * inverse[j, s]
            curve[k, m] += both * double * (1.0 if s == t else 2.0) / (2 * determinant**2 * weight)


@nb.njit(cache=True, nogil=True)
def _newton_step(slope: FloatArray, curve: FloatArray) -> FloatArray:
    """Minus the inverse of a positive definite matrix, lower half given and overwritten, times a vector."""
    n = len(slope)
    step = np.empty(n)
    for i in range(n):
        for j in range(i + 1):
            left = curve[i, j]
            for k in range(j):
                left -= curve[i, k] * curve[j, k]
            if i == j:
                # rounding must not make it indefinite; a smaller step downhill is still one
                left = max(left, 1e-14 * curve[i, i])
            curve[i, j] = np.sqrt(left) if i == j else left / curve[j, j]
    for i in range(n):
        left = -slope[i]
        for k in range(i):
            left -= curve[i, k] * step[k]
        step[i] = left / curve[i, i]
    for i in range(n - 1, -1, -1):
        left = step[i]
        for k in range(i + 1, n):
            left -= curve[k, i] * step[k]
        step[i] = left / curve[i, i]
    return step
