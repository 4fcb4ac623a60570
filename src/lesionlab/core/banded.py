"""Products with banded matrices, in blocks that leave out where they are zero.

What a matrix does to an axis (a spline, a triangle filter) is decided in `resize.py` and `fit.py`. Only numpy
is needed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
BLOCK = 32
"""Outputs of one product: with fewer, less is multiplied by zeros; with more, BLAS works faster."""
SMALL_PRODUCT = 1 << 18
"""Multiplications of one product. OpenBLAS starts threads above this, which for matrices as thin as these
cost more than they bring, ten times more when a network computes beside; `workers` are the better threads."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Outputs `start:stop` of an axis as `weights` (outputs, inputs) of its inputs `first:last`."""

    start: int
    stop: int
    first: int
    last: int
    weights: Array


Bands = tuple[Block, ...] | None
"""An axis as its blocks of outputs; None where it keeps its size."""


def blocks_of(matrix: Array) -> tuple[Block, ...]:
    """A matrix (outputs, inputs) in blocks of rows that leave out the columns where it is zero."""
    edges = [*range(0, len(matrix), BLOCK), len(matrix)]
    blocks = []
    for start, stop in pairwise(edges):
        used = np.flatnonzero(matrix[start:stop].any(axis=0))
        first, last = int(used[0]), int(used[-1]) + 1
        blocks.append(Block(start, stop, first, last, matrix[start:stop, first:last].copy()))
    return tuple(blocks)


def apply_bands(plane: Array, out: Array, rows: Bands, columns: Bands) -> None:
    """`rows @ plane @ columns.T` of a contiguous float32 plane (y, x) into `out`.

    The axis that shrinks more goes first. The same bits with any number of threads.
    """
    if rows is None and columns is None:
        out[...] = plane
    elif columns is None:
        _rows(plane, out, rows)
    elif rows is None:
        _rows(plane.T, out.T, columns)
    elif out.shape[0] * plane.shape[1] <= plane.shape[0] * out.shape[1]:
        between = np.empty((out.shape[0], plane.shape[1]), np.float32)
        _rows(plane, between, rows)
        _rows(between.T, out.T, columns)
    else:
        between = np.empty((plane.shape[0], out.shape[1]), np.float32)
        _rows(plane.T, between.T, columns)
        _rows(between, out, rows)


def _rows(source: Array, out: Array, axis: Bands) -> None:
    for block in axis or ():
        product(block.weights, source[block.first : block.last], out[block.start : block.stop])


def product(weights: Array, source: Array, out: Array) -> None:
    """`weights @ source` into `out`, a few columns at a time."""
    columns = source.shape[1]
    pieces = -(-columns * weights.size // SMALL_PRODUCT)
    for part in range(pieces):
        piece = slice(part * columns // pieces, (part + 1) * columns // pieces)
        np.matmul(weights, source[:, piece], out=out[:, piece])


def unchanged(size: int) -> tuple[Block, ...]:
    """Blocks without weights: planes that stand for themselves."""
    edges = [*range(0, size, BLOCK), size]
    return tuple(Block(a, b, a, b, np.empty((0, 0), np.float32)) for a, b in pairwise(edges))
