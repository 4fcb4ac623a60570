"""Sliding-window prediction: where the tiles lie, how they are weighted, and how they are put together.

The positions, the weights and the order of addition are those of nnU-Net v2 (`nnunetv2.inference`), so that
the same network gives the same answer; laying tiles over the body alone is our own. Finished rows leave as
soon as no further tile reaches them: memory is bounded by one patch's depth of the scan. What runs a tile is
a backend's business (`backends.py`); sums lie where its logits do, as numpy arrays or on a GPU.
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

from lesionlab.core.errors import BundleError
from lesionlab.predict.backends import Backend, FloatArray, copied, fetched, flipped
from lesionlab.predict.tiles import HeldTiles, PaddedTiles, Tiles

SIGMA_SHARE = 1 / 8
"""Standard deviation of the tile weights as a share of the patch (nnU-Net's `sigma_scale`)."""
PEAK_WEIGHT = 10.0
"""The weight of a tile's centre (nnU-Net's `value_scaling_factor`)."""
PIECE = 16
"""Rows that leave at once."""
OUTSIDE_LOGIT = 30.0
"""How sure a voxel is background when no tile was run over it: exp(-30) is no probability to speak of."""

MARGIN_SHARE = 1 / 16
"""Tiles over the body alone reach this share of the patch beyond it."""

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


def laid_over(
    shape: Sequence[int], window: Window, wanted: NDArray[np.bool_] | None = None
) -> list[tuple[int, list[tuple[int, int]]]]:
    """The tiles' corners: first rows z, in order, each with its tiles in the plane (y, x).

    Everywhere as in nnU-Net, or over the `wanted` voxels (z, y, x) only: each row of tiles is then spread
    over the box around what is wanted in it, and those without any such voxel are left out. Rows stay where
    they are. That needs far fewer tiles than leaving out those of the whole scan that miss the body, nearly
    all of which reach into it. Logits move as they do with another `step`.
    """
    rows = tile_starts(shape[0], window.patch[0], window.step)
    sizes = list(zip(shape[1:], window.patch[1:], strict=True))
    if wanted is None:
        y_starts, x_starts = (tile_starts(size, patch, window.step) for size, patch in sizes)
        return [(row, list(itertools.product(y_starts, x_starts))) for row in rows]
    _, height, width = window.patch
    found = []
    for row in rows:
        there = np.logical_or.reduce(wanted[row : row + window.patch[0]])
        y_starts, x_starts = (_spread(np.logical_or.reduce(there, axis=1 - n), window, n + 1) for n in (0, 1))
        corners = itertools.product(y_starts, x_starts)
        found.append((row, [(y, x) for y, x in corners if there[y : y + height, x : x + width].any()]))
    return found


def _spread(wanted: NDArray[np.bool_], window: Window, axis: int) -> list[int]:
    """First voxels of the tiles along one axis that cover what is wanted of it, and a margin."""
    patch, places = window.patch[axis], np.flatnonzero(wanted)
    if not len(places):
        return []
    margin = round(patch * MARGIN_SHARE)
    low, high = max(int(places[0]) - margin, 0), min(int(places[-1]) + 1 + margin, len(wanted))
    if high - low < patch:
        low = min(max((low + high - patch) // 2, 0), len(wanted) - patch)
        high = low + patch
    return [low + start for start in tile_starts(high - low, patch, window.step)]


@lru_cache(maxsize=2)
def tile_weights(patch: tuple[int, int, int]) -> FloatArray:
    """The weight of each voxel of a tile, float32 (z, y, x): a Gaussian around the centre.

    Rounded to half precision, as nnU-Net keeps it, with the smallest positive half where that gives zero.
    """
    weights = np.ones(())
    for size in patch if patch[0] > 1 else patch[1:]:
        weights = weights[..., None] * _bell(size)
    weights *= PEAK_WEIGHT / weights.max()
    half = weights.astype(np.float16)
    half[half == 0] = half[half > 0].min()
    kept: FloatArray = half.astype(np.float32).reshape(patch)
    return kept


def _bell(size: int) -> NDArray[np.float64]:
    """A Gaussian (size,) around voxel `size // 2`.

    What `scipy.ndimage.gaussian_filter` makes of a single voxel there, to the last bit: its kernel reaches
    four standard deviations, which is half a patch, and its sum over all of these is 1.
    """
    sigma = size * SIGMA_SHARE
    radius = int(4.0 * sigma + 0.5)
    away = np.arange(-radius, radius + 1)
    bell: NDArray[np.float64] = np.exp(-0.5 / (sigma * sigma) * away**2)
    bell /= bell.sum()
    first = radius - size // 2
    return bell[first : first + size]


def slide(
    data: NDArray[np.float32] | Tiles,
    backends: Sequence[Backend],
    window: Window,
    *,
    subject: str,
    wanted: NDArray[np.bool_] | None = None,
    done: TileDone = lambda number, count: None,
) -> Iterator[Slab]:
    """Predict `data` (c, z, y, x) tile by tile; yields the finished rows in order, each of them once.

    `data` may be an array, or prepared as far as the window has come (`tiles.py`).
    The logits of several backends (folds) and of the flips are averaged. Where `wanted` (z, y, x) is given,
    tiles lie over the wanted voxels only (`laid_over`), and voxels that no tile covers become background.
    Axes shorter than the patch are padded with zeros on both sides. Raises BundleError naming `subject` when
    logits are not finite.
    """
    padded = PaddedTiles(HeldTiles(data) if isinstance(data, np.ndarray) else data, window.patch)
    inner = padded.inner
    if wanted is not None and wanted.shape != padded.shape[1:]:
        room = [(s.start, n - s.stop) for s, n in zip(inner, padded.shape[1:], strict=True)]
        wanted = np.pad(wanted, room)
    rows = laid_over(padded.shape[1:], window, wanted)
    wanted = None
    count, number = sum(len(corners) for _, corners in rows), 0
    sums = _Sums(padded.shape[2:], window, backends[0])
    depth, height, width = window.patch
    for (row, corners), (following, _) in itertools.pairwise([*rows, (padded.shape[1], [])]):
        for y, x in corners:
            box = slice(row, row + depth), slice(y, y + height), slice(x, x + width)
            sums.add(_tile_logits(padded.tile(box)[None], backends, window), (row, y, x))
            number += 1
            done(number, count)
        start, stop = max(row, inner[0].start), min(following, inner[0].stop)
        for first in range(start, stop, PIECE):
            finished = fetched(sums.means(first, min(first + PIECE, stop)))
            finished = finished[:, :, inner[1], inner[2]]
            if not np.isfinite(finished).all():
                raise BundleError(
                    subject, "network output that is not finite", "finite logits; check the input"
                )
            yield Slab(first - inner[0].start, finished)
        sums.forget(following)


class _Sums:
    """Weighted logits of the rows that tiles may still reach, one patch deep; rows are those of the scan."""

    def __init__(self, plane: Sequence[int], window: Window, backend: Backend) -> None:
        self.patch, self.plane, self.held = window.patch, tuple(plane), backend.held
        background = np.array(window.background(backend.classes), np.float32)
        self.kernel, self.background = self.held(tile_weights(self.patch)), self.held(background)
        self.logits = self.held(np.zeros((len(background), self.patch[0], *plane), np.float32))
        self.row = 0
        self.corners: list[tuple[int, int, int]] = []

    def add(self, logits: Any, corner: tuple[int, int, int]) -> None:
        """Add the tile with this corner (z, y, x)."""
        (z, y, x), (depth, height, width) = corner, self.patch
        there = slice(z - self.row, z - self.row + depth), slice(y, y + height), slice(x, x + width)
        self.logits[(slice(None), *there)] += logits * self.kernel
        self.corners.append(corner)

    def means(self, first: int, last: int) -> Any:
        """Rows `first` to `last` divided by their weights; background where no tile was run."""
        weights = self._weights(first, last)
        with np.errstate(invalid="ignore"):
            # 0 / 0 where no tile was run
            found = self.logits[:, first - self.row : last - self.row] / weights
        if bool((empty := weights == 0).any()):
            found[:, empty] = self.background[:, None]
        return found

    def _weights(self, first: int, last: int) -> Any:
        """The sums of weights of some rows, in the order in which their tiles came."""
        found = self.held(np.zeros((last - first, *self.plane), np.float32))
        for z, y, x in self.corners:
            low, high = max(first, z), min(last, z + self.patch[0])
            if low < high:
                there = (
                    slice(low - first, high - first),
                    slice(y, y + self.patch[1]),
                    slice(x, x + self.patch[2]),
                )
                found[there] += self.kernel[low - z : high - z]
        return found

    def forget(self, row: int) -> None:
        """Rows before `row` leave, the rest move up and zeros come in behind."""
        rows, depth = row - self.row, self.patch[0]
        for first in range(rows, depth, max(rows, 1)):
            # piece by piece: a copy of all that stays would be as large as the sums
            piece = self.logits[:, first : first + rows]
            self.logits[:, first - rows : first - rows + piece.shape[1]] = piece
        self.logits[:, max(depth - rows, 0) :] = 0.0
        self.row = row
        self.corners = [corner for corner in self.corners if corner[0] + depth > row]


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
