"""Resizing a volume some planes at a time, with the bits of `resize.py`.

For volumes whose planes are made when they are asked for, and results that are never held as a whole. Linear
interpolation of rows that come one after another, cube by cube, is `resize_stream.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from lesionlab.core.banded import Array, unchanged
from lesionlab.core.resize import bands, filler, nearest_index, resized_plane


class Planes(Protocol):
    """A volume (z, y, x) that gives its planes, one by number or some by slice, as float32."""

    shape: tuple[int, int, int]

    def __getitem__(self, planes: Any) -> Array:
        """One plane (y, x), or some (n, y, x)."""


def resize_planes(
    source: Planes,
    shape: Sequence[int],
    *,
    order: int = 3,
    separate: bool = False,
    limits: tuple[Any, Any] = (None, None),
) -> Iterator[Array]:
    """The planes of `resize(source, shape)` in order, some at a time: new arrays (n, y, x) of up to 32.

    `order` is 1 or 3. `limits` are the least and largest value of the source, to which results are clipped;
    with `separate` the first axis is taken by nearest plane, and each plane clipped to its own range.
    """
    if separate:
        chosen, last = nearest_index(source.shape[0], shape[0]), -1
        plane = np.empty((0, 0), np.float32)
        for number in map(int, chosen):
            if number != last:
                plane, last = resized_plane(source[number], shape[1:], order), number
            yield plane[None].copy()
        return
    fill = filler(source.shape, shape, order)
    for block in bands(source.shape[0], shape[0], order) or unchanged(source.shape[0]):
        result = np.empty((block.stop - block.start, *shape[1:]), np.float32)
        fill(source, result, block)
        yield np.clip(result, *limits, out=result)
