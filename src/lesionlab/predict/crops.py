"""Locate, then refine: where the coarse network's candidates lie, and one network's logits put around them.

Crops are boxes of the network's space (z, y, x slices). They are at least a patch large, so that the network
sees as much around a lesion as it was trained with, and those that overlap become one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box, components
from lesionlab.core.learning import LocateSettings
from lesionlab.core.results import Prediction
from lesionlab.predict.engine import Slab
from lesionlab.predict.space import Space

FloatArray = NDArray[np.float32]
ROWS = 32
"""Rows of background that are held at once."""
TilesDone = Callable[[int, int], None]
Run = Callable[[FloatArray, TilesDone], Iterable[Slab]]
"""Runs the network over channels (c, z, y, x), as `engine.slide` does."""


def candidates(
    found: Prediction, spacing: Sequence[float], settings: LocateSettings
) -> tuple[list[Box], int]:
    """Boxes around what a coarse prediction found, on its grid, and how many candidates there were.

    A candidate is a connected region (26 neighbours) where the coarse mask has a label, or a label's
    probability is at least the settings' minimum. The box reaches `margin_mm` beyond it, as far as the scan
    goes. Of more than `maximum_crops`, those with the highest probability are taken. Nothing found gives no
    box.
    """
    likely = found.mask.array > 0
    every = [volume.array for volume in (found.probability, *found.others) if volume is not None]
    chance = reduce(np.maximum, every) if every else None
    if chance is not None:
        likely = likely | (chance >= settings.minimum_probability)
    numbers, boxes = components(likely)
    order = list(range(len(boxes)))
    if chance is not None and len(boxes) > settings.maximum_crops:
        peaks = [float(chance[box][numbers[box] == n + 1].max()) for n, box in enumerate(boxes)]
        order.sort(key=lambda n: -peaks[n])
    margin = [math.ceil(settings.margin_mm / step) for step in spacing]
    chosen = [boxes[n] for n in order[: settings.maximum_crops]]
    return [_widened(box, margin, likely.shape) for box in chosen], len(boxes)


def crops_of(boxes: Sequence[Box], space: Space, patch: Sequence[int]) -> list[Box]:
    """Boxes of the case's grid as crops of the network's space: at least a patch large, none overlapping.

    A crop is never larger than the space; where the space is smaller than the patch, it is the whole axis.
    """
    inside = []
    for box in boxes:
        sides = []
        for number, axis in enumerate(space.forward):
            offset, old, new = space.box[number].start, space.shape[number], space.inner[number]
            first = math.floor((box[axis].start - offset) * new / old)
            last = math.ceil((box[axis].stop - offset) * new / old)
            sides.append(_fitted(first, last, patch[number], new))
        inside.append((sides[0], sides[1], sides[2]))
    return _merged(inside)


def _widened(box: Box, margin: Sequence[int], shape: Sequence[int]) -> Box:
    z, y, x = (
        slice(max(0, side.start - more), min(size, side.stop + more))
        for side, more, size in zip(box, margin, shape, strict=True)
    )
    return z, y, x


def _fitted(first: int, last: int, least: int, size: int) -> slice:
    """A range inside 0 to `size` that covers `first` to `last` and, if it can, at least `least`."""
    first, last = min(max(0, first), size - 1), min(max(1, last), size)
    missing = max(0, min(least, size) - (last - first))
    first = max(0, first - missing // 2)
    last = min(size, max(last, first + min(least, size)))
    return slice(min(first, max(0, last - min(least, size))), last)


def _merged(boxes: Sequence[Box]) -> list[Box]:
    """Boxes that overlap replaced by the box around them, until none overlap; in order of their corners."""
    left, done = list(boxes), []
    while left:
        box = left.pop()
        touching = next((n for n, other in enumerate(left) if _overlap(box, other)), None)
        if touching is None:
            done.append(box)
            continue
        other = left.pop(touching)
        z, y, x = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(box, other, strict=True))
        # what was finished may overlap the larger box
        left, done = [*left, *done, (z, y, x)], []
    return sorted(done, key=lambda box: tuple(side.start for side in box))


def _overlap(first: Box, second: Box) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(first, second, strict=True))


def share_of(crops: Sequence[Box], shape: Sequence[int]) -> float:
    """Share of the voxels of `shape` that lie in crops that do not overlap."""
    voxels = sum(math.prod(side.stop - side.start for side in box) for box in crops)
    return float(voxels / math.prod(shape))


def refined(
    prepared: FloatArray, crops: Sequence[Box], run: Run, background: FloatArray, done: TilesDone
) -> Iterator[FloatArray]:
    """Logits (k, n, y, x) of the whole space, row by row: the network's in the crops, `background` elsewhere.

    `prepared` is (c, z, y, x), `background` the k logits of a voxel that no network saw; `done` is told the
    crops that are finished. Without crops all is background.
    """
    logits = []
    for number, box in enumerate(crops):

        def tiles(tile: int, count: int, before: int = number) -> None:
            done(before * count + tile, len(crops) * count)

        part = np.ascontiguousarray(prepared[(slice(None), *box)])
        logits.append(np.concatenate([slab.logits for slab in run(part, tiles)], axis=1))
    for start in range(0, prepared.shape[1], ROWS):
        stop = min(start + ROWS, prepared.shape[1])
        rows = np.empty((len(background), stop - start, *prepared.shape[2:]), np.float32)
        rows[...] = background[:, None, None, None]
        for box, values in zip(crops, logits, strict=True):
            low, high = max(start, box[0].start), min(stop, box[0].stop)
            if low < high:
                there = rows[:, low - start : high - start, box[1], box[2]]
                there[...] = values[:, low - box[0].start : high - box[0].start]
        yield rows
