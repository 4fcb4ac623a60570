"""Moran's I and Geary's C: how alike the intensities of near voxels are, over all pairs of voxels.

The standard counts them among the morphological features; they are a family of their own here because they
can take as long as all others together. Every pair counts with one over its distance, which for n voxels is
n^2 terms, and no pair is left out: small or scattered lesions are summed pair by pair; for others the sum is
taken over frequencies, where it is one term each (`grid_sums`).
"""

from __future__ import annotations

import math
from itertools import product
from typing import Final

import numba as nb
import numpy as np

from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, Region, tight_box

FEATURES: Final[tuple[Feature, ...]] = (
    Feature(
        "morph_moran_i", "N365", "1", "n / sum(w) sum(w d_i d_j) / sum(d^2), d = x - mean, w = 1 / distance"
    ),
    Feature(
        "morph_geary_c", "NPT7", "1", "(n - 1) / (2 sum(w)) sum(w (x_i - x_j)^2) / sum(d^2), w = 1 / distance"
    ),
)

PAIR: Final = 10
"""Multiplications of a matrix product in the time of one pair."""
START: Final = 1.5e6
"""The same for what `grid_sums` takes whatever the size."""
BLOCK_NUMBERS: Final = 1 << 16
"""About so many numbers are transformed at once, to stay in the processor's cache ..."""
BLOCK_WIDTH: Final = 8
"""... but not fewer frequencies of the longest axis than this: narrow matrices are multiplied slowly."""

Spacing = tuple[float, float, float]
Sums = tuple[float, float, float]


def spatial(region: Region) -> dict[str, float]:
    """Moran's I (IBSI N365) and Geary's C (NPT7) of the intensities in a region's intensity mask.

    With w = 1 / distance between voxel centres over all ordered pairs of different voxels, d = value - mean:
    I = n / sum(w) * sum(w d_i d_j) / sum(d^2) and C = (n - 1) / (2 sum(w)) * sum(w (x_i - x_j)^2) / sum(d^2).
    NaN twice for fewer than two voxels or equal values.
    """
    box = tight_box(region.intensity)
    mask = region.intensity[box]
    inside = region.values[box][mask]
    count = len(inside)
    if count < 2 or inside.min() == inside.max():
        return {feature.name: float("nan") for feature in FEATURES}
    deviation = (inside - inside.mean()) / np.ptp(inside)
    if PAIR * count * (count - 1) / 2 < START + grid_work(mask.shape):
        points = np.argwhere(mask) * np.asarray(region.spacing)
        weights, products, squares = pair_sums(points, deviation)
    else:
        weights, products, squares = grid_sums(deviation, mask, region.spacing)
    spread = float(deviation @ deviation)
    moran = count / weights * products / spread
    geary = (count - 1) / weights * (squares - products) / spread
    return {"morph_moran_i": moran, "morph_geary_c": geary}


def pair_sums(points: FloatArray, values: FloatArray) -> Sums:
    """Sums over ordered pairs of points (n, 3) of w, w v_i v_j and w v_i^2, w one over the distance."""
    sums: Sums = _pair_sums(np.ascontiguousarray(points.T), values)
    return sums


@nb.njit(cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _pair_sums(points: FloatArray, values: FloatArray) -> Sums:
    weights, products, squares = 0.0, 0.0, 0.0
    for i in range(points.shape[1]):
        here, mixed, square = 0.0, 0.0, 0.0
        for j in range(i):
            z = points[0, i] - points[0, j]
            y = points[1, i] - points[1, j]
            x = points[2, i] - points[2, j]
            weight = 1.0 / np.sqrt(z * z + y * y + x * x)
            here += weight
            mixed += weight * values[j]
            square += weight * values[j] * values[j]
        weights += 2 * here
        products += 2 * mixed * values[i]
        squares += here * values[i] * values[i] + square
    return weights, products, squares


def grid_work(shape: tuple[int, ...]) -> float:
    """Multiplications of `grid_sums` in a box of this shape (z, y, x)."""
    short, middle, long = sorted(shape)
    return 3.0 * short * middle * long * (long + 2 * middle + 4 * short)


def grid_sums(inside: FloatArray, mask: BoolArray, spacing: Spacing) -> Sums:
    """The sums of `pair_sums` for the voxels of a mask (z, y, x), their values `inside` in C order.

    The sum of w f_i g_j over all voxels is one over frequencies of W F G (Parseval), with fields 0 outside
    the mask and the box periodic after 2 n - 1 voxels. As w is even along each axis, W is real, and a field
    splits into parts that are even or odd about the box's middle along each axis: eight, each an eighth of
    the box, with transforms by cosines and sines alone. These are done as products of small matrices, which
    processors do ten times as fast as the steps of a fast Fourier transform; so for sides of up to several
    hundred voxels it does not matter that there are more of them. The longest axis comes first, for that
    makes fewest, and a block of its frequencies at a time. Memory: 40 bytes a voxel of the box.
    """
    shape = mask.shape
    order = sorted(range(3), key=lambda axis: -shape[axis])
    waves, even = [_waves(n) for n in shape], [_even_spectrum(n) for n in shape]
    halves = [(n + 1) // 2 for n in shape]
    # one piece of memory: a process keeps that for the next lesion where it would give back several
    numbers = np.zeros(24 * math.prod(halves) + mask.size)
    parts, kernel = numbers[: -mask.size].reshape(2, 2, 2, 3, *halves), numbers[-mask.size :].reshape(shape)
    _split(inside, mask, parts)
    _fill_inverse_distance(kernel, spacing)
    length = shape[order[0]]
    step = max(BLOCK_WIDTH, BLOCK_NUMBERS * length // (3 * mask.size))
    sums = np.zeros(3)
    for start in range(0, length, step):
        block = slice(start, start + step)
        weights = _transformed(kernel, even, order, block).ravel()
        for odd in product(*((0, 1) if n > 1 else (0,) for n in shape)):
            matrices = [wave[which] for wave, which in zip(waves, odd, strict=True)]
            found = _transformed(parts[odd], matrices, order, block)
            _add_products(weights, found.reshape(3, -1), sums)
    return float(sums[0]), float(sums[1]), float(sums[2])


def _transformed(array: FloatArray, matrices: list[FloatArray], order: list[int], block: slice) -> FloatArray:
    """A matrix applied along each of the last three axes, one after another; of the first a block of rows."""
    for axis in order:
        matrix = matrices[axis][block] if axis == order[0] else matrices[axis]
        shape = list(array.shape)
        place = array.ndim - 3 + axis
        shape[place] = len(matrix)
        if axis == 2:
            array = (array.reshape(-1, matrix.shape[1]) @ matrix.T).reshape(shape)
        else:
            before = math.prod(shape[:place])
            array = np.matmul(matrix, array.reshape(before, matrix.shape[1], -1)).reshape(shape)
    return array


@nb.njit(cache=True, nogil=True)
def _split(inside: FloatArray, mask: BoolArray, parts: FloatArray) -> None:
    """Add up even and odd parts (2, 2, 2; even first) of mask, values and squares (3), half a box a side.

    A middle voxel is its own mirror image: it counts once, and what the odd parts hold there means nothing.
    """
    depth, height, width = mask.shape
    d, h, w = (depth + 1) // 2, (height + 1) // 2, (width + 1) // 2
    n = 0
    for z in range(depth):
        i, mirrored_z = min(z, depth - 1 - z), z >= d
        for y in range(height):
            j, mirrored_y = min(y, height - 1 - y), y >= h
            for x in range(width):
                if not mask[z, y, x]:
                    continue
                k, mirrored_x = min(x, width - 1 - x), x >= w
                value = inside[n]
                n += 1
                for odd in range(8):
                    negative = (odd & 4 and mirrored_z) ^ (odd & 2 and mirrored_y) ^ (odd & 1 and mirrored_x)
                    sign = -1.0 if negative else 1.0
                    part = parts[odd >> 2, odd >> 1 & 1, odd & 1]
                    part[0, i, j, k] += sign
                    part[1, i, j, k] += sign * value
                    part[2, i, j, k] += sign * value * value


def _waves(n: int) -> tuple[FloatArray, FloatArray]:
    """Cosines and sines about the middle of n voxels, (n frequencies, first half of the voxels)."""
    place = np.arange((n + 1) // 2) - (n - 1) / 2
    angle = np.arange(n)[:, None] * (2 * np.pi / (2 * n - 1)) * place
    return np.cos(angle), np.sin(angle)


def _even_spectrum(n: int) -> FloatArray:
    """From an even function's values at 0 to n - 1 to its transform over 2 n - 1, (n, n).

    Divided by 2 n - 1, and frequencies other than 0 doubled, for those below 0 that are not looked at.
    """
    matrix = np.cos(np.arange(n)[:, None] * (2 * np.pi / (2 * n - 1)) * np.arange(n))
    matrix[1:] *= 2
    matrix[:, 1:] *= 2
    return np.asarray(matrix / (2 * n - 1))


def _fill_inverse_distance(kernel: FloatArray, spacing: Spacing) -> None:
    """Fill in 1 / distance from the first corner of a box (z, y, x), and 0 there."""
    z, y, x = ((np.arange(n) * side) ** 2 for n, side in zip(kernel.shape, spacing, strict=True))
    np.add(z[:, None, None] + y[:, None], x, out=kernel)
    kernel[0, 0, 0] = np.inf
    np.divide(1.0, np.sqrt(kernel, out=kernel), out=kernel)


@nb.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _add_products(weights: FloatArray, fields: FloatArray, sums: FloatArray) -> None:
    """Add the weighted sums of mask x mask, value x value and mask x square over some frequencies."""
    ones, values, squares = fields[0], fields[1], fields[2]
    first, second, third = 0.0, 0.0, 0.0
    for i in range(len(weights)):
        weighted = weights[i] * ones[i]
        first += weighted * ones[i]
        second += weights[i] * values[i] * values[i]
        third += weighted * squares[i]
    sums[0] += first
    sums[1] += second
    sums[2] += third
