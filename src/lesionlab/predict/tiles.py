"""Where a sliding window takes its tiles from: an array, or channels prepared as far as the window has come.

What prepares them is `space.py`, what slides is `engine.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from lesionlab.core.banded import BLOCK
from lesionlab.predict.channels import Box, Channel, FloatArray


class Tiles(Protocol):
    """Prepared channels (c, z, y, x), cut into boxes whose first rows never come before those of the last."""

    shape: tuple[int, ...]

    def tile(self, box: Box) -> FloatArray:
        """The channels in a box, float32 (c, z, y, x); it may be a view, and hold until the next call."""


class HeldTiles:
    """Tiles of an array."""

    def __init__(self, array: FloatArray) -> None:
        self.array = array
        self.shape: tuple[int, ...] = array.shape

    def tile(self, box: Box) -> FloatArray:
        """See `Tiles.tile`."""
        return self.array[(slice(None), *box)]


class ChannelTiles:
    """Tiles of channels that keep their size: nothing is held, each tile is scaled anew."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = channels
        self.shape: tuple[int, ...] = (len(channels), *channels[0].shape)

    def tile(self, box: Box) -> FloatArray:
        """See `Tiles.tile`."""
        first = self.channels[0].part(box)
        found = np.empty((len(self.channels), *first.shape), np.float32)
        found[0] = first
        for number, channel in enumerate(self.channels[1:], start=1):
            found[number] = channel.part(box)
        return found


class ResizedTiles:
    """Tiles of channels whose planes come in order, some at a time; only those of one tile are held.

    `planes` starts the planes of each channel, parts (n, y, x) that together make up `shape` (z, y, x). A
    tile that begins above the last one starts them again.
    """

    def __init__(self, planes: Sequence[Callable[[], Iterator[FloatArray]]], shape: Sequence[int]) -> None:
        self.planes = planes
        self.shape: tuple[int, ...] = (len(planes), *shape)
        self.room = np.empty((len(planes), 0, *shape[1:]), np.float32)
        self._start()

    def tile(self, box: Box) -> FloatArray:
        """See `Tiles.tile`."""
        first, last = box[0].start, box[0].stop
        if first < self.begin:
            self._start()
        if self.room.shape[1] < last - first + BLOCK:
            wider = np.empty((len(self.planes), last - first + BLOCK, *self.shape[2:]), np.float32)
            wider[:, : self.end - self.begin] = self.room[:, : self.end - self.begin]
            self.room = wider
        while self.end < last:
            self._forget(first)
            parts = [next(planes) for planes in self.coming]
            count, there = len(parts[0]), self.end - self.begin
            for row, part in zip(self.room, parts, strict=True):
                row[there : there + count] = part
            self.end += count
        return self.room[:, first - self.begin : last - self.begin, box[1], box[2]]

    def _start(self) -> None:
        self.coming = [start() for start in self.planes]
        self.begin = self.end = 0

    def _forget(self, first: int) -> None:
        """Rows before `first` leave, the rest move up."""
        gone = min(first, self.end) - self.begin
        held = self.end - self.begin
        for start in range(gone, held if gone else 0, max(gone, 1)):
            # piece by piece: a copy of all that stays would be as large as the room
            piece = self.room[:, start : min(start + gone, held)]
            self.room[:, start - gone : start - gone + piece.shape[1]] = piece
        self.begin += gone


class PaddedTiles:
    """Other tiles with zeros around where an axis is shorter than the patch; `inner` says where they lie."""

    def __init__(self, tiles: Tiles, patch: Sequence[int]) -> None:
        self.tiles = tiles
        sizes = tiles.shape[1:]
        missing = [max(0, p - n) for p, n in zip(patch, sizes, strict=True)]
        z, y, x = (slice(m // 2, m // 2 + n) for m, n in zip(missing, sizes, strict=True))
        self.inner: Box = (z, y, x)
        self.shape: tuple[int, ...] = (tiles.shape[0], *(n + m for n, m in zip(sizes, missing, strict=True)))

    def tile(self, box: Box) -> FloatArray:
        """See `Tiles.tile`."""
        pairs = list(zip(box, self.inner, strict=True))
        z, y, x = (slice(max(b.start, i.start) - i.start, min(b.stop, i.stop) - i.start) for b, i in pairs)
        found = self.tiles.tile((z, y, x))
        around = [(max(i.start - b.start, 0), max(b.stop - i.stop, 0)) for b, i in pairs]
        return np.pad(found, [(0, 0), *around]) if any(map(any, around)) else found
