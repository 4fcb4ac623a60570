"""What a prediction needs of memory, told before it starts: scan, slabs, activations, results.

An estimate of the large arrays, not of the libraries. What is free is asked of `core/memory.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lesionlab.core.banded import BLOCK
from lesionlab.core.errors import MemoryNeedError
from lesionlab.predict.engine import PIECE

FLOAT = 4
GB = 1e9


@dataclass(frozen=True)
class Extent:
    """What decides how much memory a case takes: sizes in voxels, axes as in the network's space.

    `scan` is the case's grid, `inner` the same in the network's spacing, `logits` how many are kept per voxel
    in main memory (0 where sums are kept elsewhere), `work` the bytes that the backends take once more than
    they hold now, `streamed` that channels are prepared as far as the window has come.
    """

    scan: tuple[int, int, int]
    inner: tuple[int, int, int]
    patch: tuple[int, int, int]
    channels: int
    logits: int
    work: int
    probability: int = 0
    streamed: bool = False


def bytes_needed(extent: Extent, along: int = 0) -> int:
    """The most bytes beyond the case itself, with slabs that lie across the axis `along`."""
    scan, inner = math.prod(extent.scan), [max(pair) for pair in zip(extent.inner, extent.patch, strict=True)]
    plane = math.prod(inner) // inner[along]
    streamed = extent.streamed and along == 0
    rows = min(inner[0], extent.patch[0] + 2 * BLOCK) if streamed else inner[along]
    prepared = FLOAT * extent.channels * rows * plane
    # a channel as it is, scaled; and where any is not zero
    preparing = 0 if streamed else 2 * FLOAT * scan
    sums = FLOAT * (extent.logits * extent.patch[along] + 2 * PIECE) * plane
    leaving = FLOAT * max(extent.logits, 1) * 4 * BLOCK * plane
    results = scan * (1 + FLOAT * extent.probability)
    return prepared + max(preparing + 2 * scan, extent.work + sums + leaving + results)


def slab_axis(subject: str, extent: Extent, available: int | None, axes: Sequence[int] = (0, 1, 2)) -> int:
    """The axis that slabs lie across: the first, unless memory is short and another makes smaller slabs.

    Raises MemoryNeedError, naming `subject` and what is needed, where no axis will do; `available` None is
    enough.
    """
    if available is None or bytes_needed(extent) <= available:
        return 0
    best = min(axes, key=lambda axis: bytes_needed(extent, axis))
    needed = bytes_needed(extent, best)
    if needed > available:
        raise MemoryNeedError(
            subject,
            f"{available / GB:.1f} GB of free memory",
            f"{needed / GB:.1f} GB for a scan of {' x '.join(map(str, extent.scan))} voxels and this network",
        )
    return best
