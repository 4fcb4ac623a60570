"""Resizing an array whose rows come one after another, cube by cube, and only where it matters.

The same interpolation as `resize.py` for arrays that are never held as a whole: a cube of 32 x 32 x 32
results needs a bounded box of the rows, so memory is bounded by the rows that come at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from lesionlab.core.banded import BLOCK, Array, Block
from lesionlab.core.resize import bands, nearest_index

Box = tuple[slice, slice, slice]
Needed = Callable[[Array], Array]
"""From rows (k, z, y, x) to a bool array (z, y, x): where a result that takes any of it is wanted."""


def resize_rows(
    rows: Iterable[Array],
    old: Sequence[int],
    new: Sequence[int],
    *,
    separate_axis: int | None = None,
    needed: Needed | None = None,
) -> Iterator[tuple[Box, Array]]:
    """Interpolate an array (k, *old) linearly to (k, *new) as its rows come; yields boxes of the result.

    `rows` are float32 parts (k, n, y, x), n of any size, that follow one another and make up `old` (z, y, x).
    Boxes come in order of their rows and never overlap. With `needed`, boxes that take no needed voxel are
    left out, and without it they fill the result. `separate_axis` (0, 1 or 2) is taken by nearest plane. The
    values equal `resize(order=1)` up to rounding; those yielded may be views of the rows.
    """
    axes = [
        _blocks(n, wanted, nearest=axis == separate_axis)
        for axis, (n, wanted) in enumerate(zip(old, new, strict=True))
    ]
    source = _Rows(rows)
    for z in axes[0]:
        part = source.take(z.first, z.last)
        wanted = None if needed is None else needed(part)
        for y, x in itertools.product(axes[1], axes[2]):
            if wanted is not None and not wanted[:, y.first : y.last, x.first : x.last].any():
                continue
            box = slice(z.start, z.stop), slice(y.start, y.stop), slice(x.start, x.stop)
            yield box, _cube(part[:, :, y.first : y.last, x.first : x.last], z, y, x)


class _Rows:
    """The rows that were given so far and are still needed."""

    def __init__(self, rows: Iterable[Array]) -> None:
        # thin pieces, so that what is kept between two blocks stays thin
        self.coming = (
            piece[:, start : start + BLOCK] for piece in rows for start in range(0, piece.shape[1], BLOCK)
        )
        self.begin = 0
        self.kept: Array | None = None

    def take(self, first: int, last: int) -> Array:
        """Rows `first:last`; those before `first` are forgotten. IndexError where the rows end too soon."""
        pieces = [] if self.kept is None else [self.kept[:, first - self.begin :]]
        end = self.begin + (0 if self.kept is None else self.kept.shape[1])
        while end < last:
            piece = next(self.coming, None)
            if piece is None:
                raise IndexError(f"found {end} rows; needed {last}")
            pieces.append(piece[:, max(first - end, 0) :])
            end += piece.shape[1]
        # a copy also of a single piece, because whoever gives the rows may use their memory again
        self.kept, self.begin = np.concatenate(pieces, axis=1), first
        return self.kept[:, : last - first]


def _blocks(size: int, wanted: int, *, nearest: bool) -> tuple[Block, ...]:
    """An axis as blocks of outputs; without weights where it keeps its size."""
    found = None if nearest else bands(size, wanted, 1)
    if found is not None:
        return found
    blocks, chosen = [], nearest_index(size, wanted)
    for start in range(0, wanted, BLOCK):
        stop = min(start + BLOCK, wanted)
        first, last = int(chosen[start]), int(chosen[stop - 1]) + 1
        weights = np.empty((0, 0), np.float32)
        if size != wanted:
            weights = np.zeros((stop - start, last - first), np.float32)
            weights[np.arange(stop - start), chosen[start:stop] - first] = 1.0
        blocks.append(Block(start, stop, first, last, weights))
    return tuple(blocks)


def _cube(part: Array, z: Block, y: Block, x: Block) -> Array:
    """One box of the result from the box (k, z, y, x) of rows that it takes."""
    if x.weights.size:
        part = part @ x.weights.T
    if y.weights.size:
        part = y.weights @ part
    if z.weights.size:
        flat = z.weights @ part.reshape(*part.shape[:2], -1)
        part = flat.reshape(part.shape[0], -1, *part.shape[2:])
    return part
