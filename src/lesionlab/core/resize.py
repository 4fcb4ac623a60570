"""Resizing arrays to another number of voxels over the same extent, as nnU-Net and scikit-image do.

Interpolation along one axis is a linear map, so three banded matrix products resize a volume, where a spline
evaluated voxel by voxel has 64 weights. What lies here is array work without spacing or position; `grid.py`
brings volumes onto each other's grids, `resize_labels.py` treats label maps.

For two classes, resize the difference of their logits and take its sign. At orders 0 and 1 the map is linear
and clipping never acts, so up to rounding this is the argmax of both resized logits, at half the work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import scipy  # ndimage is loaded where it is first used

from lesionlab.core.banded import Array, Bands, Block, apply_bands, blocks_of, product, unchanged
from lesionlab.core.errors import GeometryError

ORDERS = (0, 1, 3)
ANISOTROPY = 3.0
"""nnU-Net resizes across slices apart from their plane at more than 3 times the smallest spacing."""
NEGLIGIBLE = 2e-8
"""Spline weights below this are dropped: they decay by 0.268 a voxel, and float32 rounds at 6e-8."""


def resize(
    array: Array,
    shape: Sequence[int],
    *,
    order: int = 3,
    separate_axis: int | None = None,
    workers: int | None = None,
) -> Array:
    """Interpolate (z, y, x) or (c, z, y, x) to `shape` (z, y, x) over the same extent, edges continued.

    `order` 0 is nearest neighbour, which keeps the dtype; 1 is linear and 3 the interpolating cubic B-spline,
    both in float32 and clipped to the input's range in each channel. `separate_axis` (0, 1 or 2) names the
    low-resolution axis of anisotropic voxels: it is interpolated in its planes only, each clipped to its own
    range, and the nearest plane is taken across. NaN spreads to the voxels that a spline reaches.

    Equal to `skimage.transform.resize(mode="edge", anti_aliasing=False)` and to nnU-Net's default resampling
    to a few float32 roundings of the largest magnitude. Beyond input and result it holds about 32 to 70
    planes per worker (`workers` threads, 1 by default). The input itself comes back where nothing changes.
    Raises GeometryError for other dimensions or a size below 1, ValueError for another order or axis.
    """
    if order not in ORDERS:
        raise ValueError(f"order {order} is not one of {ORDERS}")
    if separate_axis not in (None, 0, 1, 2):
        raise ValueError(f"separate_axis {separate_axis} is not 0, 1, 2 or None")
    target = checked_shape(array, shape)
    if array.shape[-3:] == target:
        return array if order == 0 else array.astype(np.float32, copy=False)
    if order == 0:
        return nearest(array, target)
    out = np.empty((*array.shape[:-3], *target), np.float32)
    channels = zip(
        array[None] if array.ndim == 3 else array, out[None] if out.ndim == 3 else out, strict=True
    )
    for source, result in channels:
        if separate_axis is None:
            _resize_volume(source, result, order, workers or 1)
        else:
            planes = np.moveaxis(source, separate_axis, 0), np.moveaxis(result, separate_axis, 0)
            _resize_planes(*planes, order, workers or 1)
    return out


def checked_shape(array: Array, shape: Sequence[int]) -> tuple[int, int, int]:
    """`shape` as three ints that `array` can be resized to; GeometryError otherwise."""
    target = tuple(int(n) for n in shape)
    if array.ndim not in (3, 4) or min(array.shape[-3:]) < 1:
        raise GeometryError("resizing", f"an array of shape {array.shape}", "(z, y, x) or (c, z, y, x)")
    if len(target) != 3 or min(target) < 1:
        raise GeometryError("resizing", f"the new shape {target}", "three sizes of at least 1")
    return target


def nearest(array: Array, shape: Sequence[int]) -> Array:
    """The nearest voxel of (z, y, x) or (c, z, y, x) at each voxel of `shape`; a copy of the same dtype."""
    for axis, size in zip((-3, -2, -1), shape, strict=True):
        if array.shape[axis] > size:
            array = array.take(nearest_index(array.shape[axis], size), axis)
    for axis, size in zip((-3, -2, -1), shape, strict=True):
        if array.shape[axis] < size:
            array = array.take(nearest_index(array.shape[axis], size), axis)
    return array


def coordinates(size: int, wanted: int) -> Array:
    """Where the centres of `wanted` voxels lie among `size` of the same extent, from -0.5 to size - 0.5."""
    places: Array = (np.arange(wanted) + 0.5) * (size / wanted) - 0.5
    return places


def nearest_index(size: int, wanted: int) -> Array:
    """The index of the nearest of `size` voxels for each of `wanted`; halves go up, as in scipy."""
    return np.clip(np.floor(coordinates(size, wanted) + 0.5).astype(np.intp), 0, size - 1)


def low_resolution_axis(
    spacing: Sequence[float], wanted: Sequence[float], *, threshold: float = ANISOTROPY
) -> int | None:
    """The axis to keep apart when voxels of `spacing` become `wanted` (both z, y, x), None for none.

    nnU-Net's rule: the coarsest axis of the first of the two whose largest spacing is more than `threshold`
    times its smallest, unless two axes share that largest spacing.
    """
    for voxel in (spacing, wanted):
        coarsest = max(voxel)
        if coarsest / min(voxel) > threshold:
            axes = [axis for axis, size in enumerate(voxel) if coarsest / size == 1]
            return axes[0] if len(axes) == 1 else None
    return None


@lru_cache(maxsize=64)
def bands(size: int, wanted: int, order: int) -> Bands:
    """The matrix that takes `size` samples to `wanted`, in blocks that leave out where it is zero.

    It is what scipy's zoom makes of the unit vectors, with each row's float32 weights summing to 1.
    """
    if size == wanted:
        return None
    # The second axis keeps its size, so each column is the answer to one unit vector.
    matrix = scipy.ndimage.zoom(
        np.eye(size), (wanted / size, 1.0), order=order, mode="nearest", grid_mode=True
    )
    matrix[np.abs(matrix) < NEGLIGIBLE] = 0.0
    matrix = matrix.astype(np.float32)
    rows = np.arange(wanted)
    matrix[rows, matrix.argmax(axis=1)] += (1.0 - matrix.sum(axis=1, dtype=np.float64)).astype(np.float32)
    return blocks_of(matrix)


def _resize_volume(source: Array, out: Array, order: int, workers: int) -> None:
    """Resize one channel into `out`, clipped to its range."""
    across = bands(source.shape[0], out.shape[0], order)
    if across is None:
        across = unchanged(source.shape[0])
    low, high = value_range(source)
    parts = [part for part in np.array_split(np.arange(len(across)), workers) if part.size]
    tasks = [tuple(across[i] for i in part) for part in parts]

    def work(blocks: tuple[Block, ...]) -> None:
        fill = filler(source.shape, out.shape, order)
        for block in blocks:
            region = out[block.start : block.stop]
            fill(source, region, block)
            np.clip(region, low, high, out=region)

    _each(work, tasks, workers)


Fill = Callable[[Any, Array, Block], None]
"""Fills a block's planes, unclipped, from a source of planes (z, y, x), of which it takes few at a time."""


def filler(old: Sequence[int], new: Sequence[int], order: int) -> Fill:
    """What fills the blocks of one volume, which must come in order; each thread needs one of its own."""
    return _AcrossFirst(order) if _across_comes_first(old, new) else _AcrossLast(order)


def _across_comes_first(old: Sequence[int], new: Sequence[int]) -> bool:
    """True where less arithmetic follows from resizing the first axis before its planes than after."""
    between = min(new[1] * old[2], old[1] * new[2])
    before = new[0] * (old[1] * old[2] + between + new[1] * new[2])
    after = old[0] * (between + new[1] * new[2]) + new[0] * new[1] * new[2]
    return before <= after


class _AcrossFirst:
    """The first axis at once, then each plane."""

    def __init__(self, order: int) -> None:
        self.order = order

    def __call__(self, source: Any, out: Array, block: Block) -> None:
        slab = np.ascontiguousarray(source[block.first : block.last], np.float32)
        if block.weights.size:
            flat = np.empty((block.stop - block.start, slab[0].size), np.float32)
            product(block.weights, slab.reshape(slab.shape[0], -1), flat)
            slab = flat.reshape(-1, *source.shape[1:])
        for plane, result in zip(slab, out, strict=True):
            _resize_plane(plane, result, self.order)


class _AcrossLast:
    """Each input plane once, kept while blocks still need it, then the first axis."""

    def __init__(self, order: int) -> None:
        self.order = order
        self.room = np.empty((0, 0, 0), np.float32)
        self.begin = self.end = 0

    def __call__(self, source: Any, out: Array, block: Block) -> None:
        count, still = block.last - block.first, max(self.end - block.first, 0)
        room = self.room
        if len(room) < count:
            # an eighth more, because blocks within take a plane or two more than the first
            self.room = np.empty((count + count // 8, *out.shape[1:]), np.float32)
        if still:
            self.room[:still] = room[block.first - self.begin : self.end - self.begin].copy()
        for number in range(block.first + still, block.last):
            plane = np.ascontiguousarray(source[number], np.float32)
            _resize_plane(plane, self.room[number - block.first], self.order)
        self.begin, self.end = block.first, block.last
        planes = self.room[:count]
        if block.weights.size:
            product(block.weights, planes.reshape(count, -1), out.reshape(len(out), -1))
        else:
            out[...] = planes


def _resize_planes(source: Array, out: Array, order: int, workers: int) -> None:
    """Resize, and clip to its own range, each plane of the first axis that some output plane takes."""
    chosen = nearest_index(source.shape[0], out.shape[0])

    def work(number: int) -> None:
        out[np.flatnonzero(chosen == number)] = resized_plane(source[number], out.shape[1:], order)

    _each(work, [int(n) for n in np.unique(chosen)], workers)


def resized_plane(plane: Array, shape: Sequence[int], order: int) -> Array:
    """One plane (y, x) of its own, resized to `shape` and clipped to its range; float32."""
    plane = np.ascontiguousarray(plane, np.float32)
    low, high = value_range(plane)
    result = np.empty(tuple(shape), np.float32)
    _resize_plane(plane, result, order)
    return np.clip(result, low, high, out=result)


def _resize_plane(plane: Array, out: Array, order: int) -> None:
    """Resize one contiguous plane (y, x) into `out`, unclipped."""
    rows = bands(plane.shape[0], out.shape[0], order)
    apply_bands(plane, out, rows, bands(plane.shape[1], out.shape[1], order))


def value_range(array: Array) -> tuple[Any, Any]:
    """Least and largest value, NaN left out unless there is nothing else."""
    low, high = array.min(), array.max()
    if not np.isnan(low):
        return low, high
    return np.fmin.reduce(array, axis=None), np.fmax.reduce(array, axis=None)


def _each(work: Callable[[Any], None], tasks: Sequence[Any], workers: int) -> None:
    if workers == 1 or len(tasks) == 1:
        for task in tasks:
            work(task)
        return
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, tasks))
