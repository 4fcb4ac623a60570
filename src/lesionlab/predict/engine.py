"""Sliding-window prediction: where the tiles lie, how they are weighted, and how they are put together.

The positions, the weights and the order of addition are those of nnU-Net v2 (`nnunetv2.inference`), so that
the same network gives the same answer. Finished rows leave as soon as no further tile reaches them: memory
is bounded by one patch's depth of the scan. What runs a tile is a backend's business (`backends.py`); sums
lie where its logits do, as numpy arrays or on a GPU.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core.errors import BundleError
from lesionlab.predict.backends import Backend, FloatArray, copied, fetched, flipped

SIGMA_SHARE = 1 / 8
"""Standard deviation of the tile weights as a share of the patch (nnU-Net's `sigma_scale`)."""
PEAK_WEIGHT = 10.0
"""The weight of a tile's centre (nnU-Net's `value_scaling_factor`)."""
PIECE = 32
"""Rows that leave at once."""
OUTSIDE_LOGIT = 30.0
"""How sure a voxel is background when no tile was run over it: exp(-30) is no probability to speak of."""

TileDone = Callable[[int, int], None]
"""Called after each tile with how many are done and how many there are."""


@dataclass(frozen=True)
class Window:
    """How the window slides: patch (z, y, x), step as a share of the patch, axes flipped (0 is z).

    A 2D model's patch is one slice deep. `regions` says that each logit is decided on its own, so that two of
    them are no pair of background and lesion.
    """

    patch: tuple[int, int, int]
    step: float = 0.5
    flips: tuple[int, ...] = ()
    regions: bool = False

    def turned(self, axes: tuple[int, int, int]) -> Window:
        """The same window for data whose axes stand in another order; `axes` says which is where."""
        z, y, x = (self.patch[axis] for axis in axes)
        return replace(self, patch=(z, y, x), flips=tuple(axes.index(axis) for axis in self.flips))

    def background(self, classes: int) -> tuple[float, ...]:
        """The logits of a voxel that no tile covers; k of them, see `Slab`."""
        if self.regions:
            return (-OUTSIDE_LOGIT,) * classes
        return (-OUTSIDE_LOGIT,) if classes == 2 else (OUTSIDE_LOGIT, *(0.0,) * (classes - 1))


@dataclass(frozen=True)
class Slab:
    """Finished rows of the scan: `logits` (k, rows, y, x) float32, beginning at row `start`.

    k is 1 for two classes, the logit of the lesion less that of the background, and the number of classes
    (or of regions, also if there are two) otherwise.
    """

    start: int
    logits: NDArray[np.float32]


def tile_starts(size: int, patch: int, step: float) -> list[int]:
    """First voxels of the tiles along one axis, at most `step` x `patch` apart and spread evenly.

    One tile where the patch covers the axis; `size` must be at least `patch`. Rounding halves to even is part
    of nnU-Net's positions. Patches one voxel deep (those of a 2D model) do not overlap.
    """
    if patch == 1:
        return list(range(size))
    count = math.ceil((size - patch) / (patch * step)) + 1
    apart = (size - patch) / (count - 1) if count > 1 else 0.0
    return [round(apart * number) for number in range(count)]


@lru_cache(maxsize=2)
def tile_weights(patch: tuple[int, int, int]) -> FloatArray:
    """The weight of each voxel of a tile, float32 (z, y, x): a Gaussian around the centre.

    Rounded to half precision, as nnU-Net keeps it, with the smallest positive half where that gives zero.
    """
    deep = patch if patch[0] > 1 else patch[1:]
    impulse = np.zeros(deep)
    impulse[tuple(n // 2 for n in deep)] = 1.0
    weights = ndimage.gaussian_filter(impulse, [n * SIGMA_SHARE for n in deep], mode="constant")
    weights *= PEAK_WEIGHT / weights.max()
    half = weights.astype(np.float16)
    half[half == 0] = half[half > 0].min()
    kept: FloatArray = half.astype(np.float32).reshape(patch)
    return kept


def slide(
    data: NDArray[np.float32],
    backends: Sequence[Backend],
    window: Window,
    *,
    subject: str,
    wanted: NDArray[np.bool_] | None = None,
    done: TileDone = lambda number, count: None,
) -> Iterator[Slab]:
    """Predict `data` (c, z, y, x) tile by tile; yields the finished rows in order, each of them once.

    The logits of several backends (folds) and of the flips are averaged. Where `wanted` (z, y, x) is given,
    tiles without any wanted voxel are not run, and voxels that no tile covers become background. Axes
    shorter than the patch are padded with zeros on both sides. Raises BundleError naming `subject` when
    logits are not finite.
    """
    padded, inner = _padded(data, window.patch)
    if wanted is not None:
        room = [(s.start, n - s.stop) for s, n in zip(inner, padded.shape[1:], strict=True)]
        wanted = np.pad(wanted, room)
    starts = [tile_starts(n, p, window.step) for n, p in zip(padded.shape[1:], window.patch, strict=True)]
    count, number = math.prod(map(len, starts)), 0
    sums = _Sums(padded.shape[2:], window, backends[0])
    for row, following in zip(starts[0], [*starts[0][1:], padded.shape[1]], strict=True):
        for y, x in itertools.product(starts[1], starts[2]):
            box = tuple(slice(s, s + p) for s, p in zip((row, y, x), window.patch, strict=True))
            if wanted is None or wanted[box].any():
                sums.add(_tile_logits(padded[(slice(None), *box)][None], backends, window), y, x)
            number += 1
            done(number, count)
        start, stop = max(row, inner[0].start), min(following, inner[0].stop)
        for first in range(start, stop, PIECE):
            finished = fetched(sums.means(first - row, min(first + PIECE, stop) - row))
            finished = finished[:, :, inner[1], inner[2]]
            if not np.isfinite(finished).all():
                raise BundleError(
                    subject, "network output that is not finite", "finite logits; check the input"
                )
            yield Slab(first - inner[0].start, finished)
        sums.forget(following - row)


class _Sums:
    """Weighted logits and weights of the rows that tiles may still reach: one patch deep."""

    def __init__(self, plane: Sequence[int], window: Window, backend: Backend) -> None:
        self.patch = window.patch
        background = np.array(window.background(backend.classes), np.float32)
        rows = (self.patch[0], *plane)
        self.kernel, self.background = backend.held(tile_weights(self.patch)), backend.held(background)
        self.logits = backend.held(np.zeros((len(background), *rows), np.float32))
        self.weights = backend.held(np.zeros(rows, np.float32))

    def add(self, logits: Any, y: int, x: int) -> None:
        """Add a tile whose corner in the plane is (y, x)."""
        place = (slice(None), slice(y, y + self.patch[1]), slice(x, x + self.patch[2]))
        self.logits[(slice(None), *place)] += logits * self.kernel
        self.weights[place] += self.kernel

    def means(self, first: int, last: int) -> Any:
        """Some rows divided by their weights; background where no tile was run."""
        weights = self.weights[first:last]
        with np.errstate(invalid="ignore"):
            # 0 / 0 where no tile was run
            found = self.logits[:, first:last] / weights
        if bool((empty := weights == 0).any()):
            found[:, empty] = self.background[:, None]
        return found

    def forget(self, rows: int) -> None:
        """The first rows leave, the rest move up and zeros come in behind."""
        for sums in (self.logits, self.weights[None]):
            depth = sums.shape[1]
            for first in range(rows, depth, max(rows, 1)):
                # piece by piece: a copy of all that stays would be as large as the sums
                piece = sums[:, first : first + rows]
                sums[:, first - rows : first - rows + piece.shape[1]] = piece
            sums[:, max(depth - rows, 0) :] = 0.0


def _tile_logits(tile: FloatArray, backends: Sequence[Backend], window: Window) -> Any:
    """Logits (k, z, y, x) of one tile (1, c, z, y, x), averaged over flips and folds; see `Slab` for k."""
    total: Any = None
    choices = [c for n in range(len(window.flips) + 1) for c in itertools.combinations(window.flips, n)]
    for backend in backends:
        for axes in choices:
            turned = tuple(axis + 2 for axis in axes)
            logits = backend.run(np.ascontiguousarray(np.flip(tile, turned)))
            paired = backend.classes == 2 and not window.regions
            logits = logits[:, 1:] - logits[:, :1] if paired else logits
            logits = flipped(logits, turned) if turned else logits
            if total is None:
                total = logits if paired else copied(logits)
            else:
                total += logits
    if total is None:
        raise ValueError("found no backend; needed one per fold")
    total /= len(choices) * len(backends)
    return total[0]


def _padded(data: FloatArray, patch: Sequence[int]) -> tuple[FloatArray, tuple[slice, slice, slice]]:
    """`data` with zeros around where an axis is shorter than the patch, and where it lies in the result."""
    missing = [max(0, p - n) for p, n in zip(patch, data.shape[1:], strict=True)]
    z, y, x = (slice(m // 2, m // 2 + n) for m, n in zip(missing, data.shape[1:], strict=True))
    if not any(missing):
        return data, (z, y, x)
    return np.pad(data, [(0, 0), *((m // 2, m - m // 2) for m in missing)]), (z, y, x)
