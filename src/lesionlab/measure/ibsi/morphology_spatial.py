"""Moran's I and Geary's C: how alike the intensities of near voxels are, over all pairs of voxels.

Every pair counts with one over its distance, which for n voxels is n^2 terms. On a grid the sum over pairs
depends on their offset alone, so Fourier transforms of the padded box give it exactly; small or scattered
lesions are summed pair by pair. No sampling in either.
"""

from __future__ import annotations

from typing import Final

import numba as nb
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from lesionlab.measure.ibsi.region import BoolArray, FloatArray, tight_box

PAIRS_PER_CELL: Final = 12
"""Pairs summed directly in the time that the transforms take for one cell of the padded box."""
BLOCK_CELLS: Final = 1 << 21
"""Cells transformed at once (three arrays of 16 bytes each)."""

Spacing = tuple[float, float, float]


def spatial_autocorrelation(values: FloatArray, mask: BoolArray, spacing: Spacing) -> tuple[float, float]:
    """Moran's I (IBSI N365) and Geary's C (NPT7) of the values inside a mask (z, y, x); spacing in mm.

    With w = 1 / distance between voxel centres over all ordered pairs of different voxels, d = value - mean:
    I = n / sum(w) * sum(w d_i d_j) / sum(d^2) and C = (n - 1) / (2 sum(w)) * sum(w (x_i - x_j)^2) / sum(d^2).
    NaN twice for fewer than two voxels or equal values. For a box of N cells time grows as N log N and
    memory is about 100 bytes a cell (1 GB for ten million).
    """
    box = tight_box(mask)
    mask = mask[box]
    count = int(mask.sum())
    inside = values[box][mask]
    if count < 2 or inside.min() == inside.max():
        return float("nan"), float("nan")
    deviation = (inside - inside.mean()) / np.ptp(inside)
    if count * (count - 1) / 2 < PAIRS_PER_CELL * np.prod([2 * n for n in mask.shape]):
        weights, products, squares = pair_sums(np.argwhere(mask) * np.asarray(spacing), deviation)
    else:
        weights, products, squares = grid_sums(deviation, mask, spacing)
    spread = float(deviation @ deviation)
    moran = count / weights * products / spread
    return moran, (count - 1) / weights * (squares - products) / spread


def pair_sums(points: FloatArray, values: FloatArray) -> tuple[float, float, float]:
    """Sums over ordered pairs of points (n, 3) of w, w v_i v_j and w v_i^2, w one over the distance."""
    sums: tuple[float, float, float] = _pair_sums(np.ascontiguousarray(points), values)
    return sums


@nb.njit(cache=True, nogil=True)
def _pair_sums(points: FloatArray, values: FloatArray) -> tuple[float, float, float]:
    weights, products, squares = 0.0, 0.0, 0.0
    for i in range(len(points)):
        here, mixed = 0.0, 0.0
        square = 0.0
        for j in range(i):
            z = points[i, 0] - points[j, 0]
            y = points[i, 1] - points[j, 1]
            x = points[i, 2] - points[j, 2]
            weight = 1.0 / np.sqrt(z * z + y * y + x * x)
            here += weight
            mixed += weight * values[j]
            square += weight * values[j] * values[j]
        weights += 2 * here
        products += 2 * mixed * values[i]
        squares += here * values[i] * values[i] + square
    return weights, products, squares


def grid_sums(inside: FloatArray, mask: BoolArray, spacing: Spacing) -> tuple[float, float, float]:
    """The sums of `pair_sums` for the voxels of a mask (z, y, x), their values `inside` in C order.

    By Parseval's theorem each is a sum over frequencies: transforms of the mask, the values and their
    squares, times that of 1 / distance. The last axis is transformed first; the rest goes in blocks.
    """
    half = [fft.next_fast_len(n, real=True) for n in mask.shape]
    kernel = _kernel_spectrum(half, spacing)
    field = np.zeros(mask.shape)
    rows = []
    for content in (np.ones(len(inside)), inside, inside * inside):
        field[mask] = content
        rows.append(fft.rfft(field, n=2 * half[2], axis=2))
    width = max(1, BLOCK_CELLS // (4 * half[0] * half[1]))
    sums = np.zeros(3)
    for start in range(0, half[2] + 1, width):
        block = slice(start, start + width)
        spectra = [
            fft.fft(fft.fft(row[:, :, block], n=2 * half[1], axis=1), n=2 * half[0], axis=0) for row in rows
        ]
        sums += _weighted(*spectra, kernel[:, :, block], start, half[2])
    scale = 8 * half[0] * half[1] * half[2]
    return float(sums[0] / scale), float(sums[1] / scale), float(sums[2] / scale)


def _kernel_spectrum(half: list[int], spacing: Spacing) -> FloatArray:
    """Transform of 1 / distance on the padded, periodic box; even, so a cosine transform of one eighth."""
    z, y, x = (np.arange(n + 1) * side for n, side in zip(half, spacing, strict=True))
    distance = np.sqrt((z * z)[:, None, None] + (y * y)[:, None] + x * x)
    distance[0, 0, 0] = np.inf
    return np.asarray(fft.dctn(1.0 / distance, type=1, overwrite_x=True))


@nb.njit(cache=True, nogil=True)
def _weighted(
    ones: NDArray[np.complex128],
    values: NDArray[np.complex128],
    squares: NDArray[np.complex128],
    kernel: FloatArray,
    start: int,
    last: int,
) -> FloatArray:
    sums = np.zeros(3)
    depth, height, width = ones.shape
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                weight = kernel[min(z, depth - z), min(y, height - y), x]
                if 0 < start + x < last:
                    weight *= 2
                one, value, square = ones[z, y, x], values[z, y, x], squares[z, y, x]
                sums[0] += weight * (one.real * one.real + one.imag * one.imag)
                sums[1] += weight * (value.real * value.real + value.imag * value.imag)
                sums[2] += weight * (one.real * square.real + one.imag * square.imag)
    return sums
