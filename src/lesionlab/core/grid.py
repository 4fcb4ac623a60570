"""Bringing volumes from one grid onto another.

Pure array work on core nouns. Which channel goes onto which grid is decided in `standardise/`; the same
extent in another number of voxels, as networks want it, is `resize.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import Geometry, Volume

EDGE = 0.5 + 1e-6
"""Voxels beyond its outer centres that a volume reaches: to the voxels' faces, but for rounding errors."""


def resample(volume: Volume, target: Geometry, *, order: int = 1, outside: float | None = None) -> Volume:
    """Sample a volume at the voxel centres of another grid.

    `order` 0 is nearest neighbour (masks), 1 trilinear, 3 cubic B-spline. Where the target lies outside the
    source's voxels, voxels become `outside`, or the nearest edge value when it is None; in the outer half
    of an edge voxel they have the edge value, never a mixture with `outside`. The result has the
    target's shape; dtype is kept for order 0 and float32 otherwise. A target that does not overlap
    the source at all raises GeometryError when `outside` is None, because edge values alone would
    pretend to be data.
    """
    if volume.geometry.matches(target, tolerance_mm=1e-4):
        return volume if order == 0 else volume.with_array(volume.array.astype(np.float32, copy=False))
    if outside is None and not overlaps(volume.geometry, target):
        raise GeometryError(
            "resampling",
            f"{volume.geometry.describe()} outside the target",
            f"an overlap with {target.describe()}",
        )
    source = volume.geometry
    matrix = (source.matrix.T @ target.matrix) * np.asarray(target.spacing)[None, :]
    matrix /= np.asarray(source.spacing)[:, None]
    offset = source.to_index(np.asarray(target.origin))
    array = volume.array if order == 0 else volume.array.astype(np.float32, copy=False)
    sampled = scipy.ndimage.affine_transform(
        array,
        matrix,
        offset=offset,
        output_shape=target.shape,
        order=order,
        mode="nearest",
    )
    if outside is not None:
        _fill_outside(sampled, matrix, offset, source.shape, outside)
    return Volume(sampled, target, volume.unit)


def _fill_outside(
    sampled: NDArray[Any],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    shape: tuple[int, int, int],
    value: float,
) -> None:
    """Put `value` where index offset + matrix @ k of voxel k is outside a source of this shape; in place.

    Slice by slice, so that no coordinates of the whole grid are held at once.
    """
    y, x = (np.arange(n) for n in sampled.shape[1:])
    for k, plane in enumerate(sampled):
        for axis, n in enumerate(shape):
            down, along = matrix[axis, 1] * y, matrix[axis, 2] * x
            start = offset[axis] + matrix[axis, 0] * k
            low, high = start + down.min() + along.min(), start + down.max() + along.max()
            if low < -EDGE or high > n - 1 + EDGE:
                where = start + down[:, None] + along
                plane[(where < -EDGE) | (where > n - 1 + EDGE)] = value


def overlaps(first: Geometry, second: Geometry) -> bool:
    """True where the box around the voxel centres of `second` meets the box of the voxels of `first`.

    However they are turned: two boxes are apart where their shadows are on a face normal of either, or on a
    direction perpendicular to an edge of each (Gottschalk, Lin and Manocha 1996).
    """
    reach = (
        np.asarray(first.shape) * first.spacing / 2.0,
        (np.asarray(second.shape) - 1) * second.spacing / 2.0,
    )
    middles = [g.to_world((np.asarray(g.shape) - 1) / 2.0) for g in (first, second)]
    edges = np.cross(first.matrix.T[:, None], second.matrix.T[None]).reshape(-1, 3)
    axes = np.concatenate([first.matrix.T, second.matrix.T, edges])
    halves = np.abs(axes @ first.matrix) @ reach[0] + np.abs(axes @ second.matrix) @ reach[1]
    return bool((np.abs(axes @ (middles[1] - middles[0])) <= halves + 1e-9).all())


def require_same_grid(subject: str, first: Volume, second: Volume) -> None:
    """Raise GeometryError naming both grids unless the two volumes share one."""
    if not first.geometry.matches(second.geometry):
        raise GeometryError(subject, second.geometry.describe(), first.geometry.describe())


def same_voxels(volume: Volume, target: Geometry, tolerance_mm: float = 1e-2) -> Volume | None:
    """The volume on a grid that holds the same voxels, its axes only swapped or reversed; else None.

    Nothing is interpolated. Every corner of both grids must agree within `tolerance_mm`.
    """
    source = volume.geometry
    if source.matches(target, tolerance_mm):
        return Volume(volume.array, target, volume.unit)
    steps = source.matrix.T @ target.matrix  # row: axis of the source, column: axis of the target
    axes = np.abs(steps).argmax(axis=0)
    if sorted(axes.tolist()) != [0, 1, 2]:
        return None
    backwards = [bool(steps[axes[i], i] < 0) for i in range(3)]
    array = volume.array.transpose(axes.tolist())[tuple(slice(None, None, -1 if b else 1) for b in backwards)]
    first = [source.shape[axes[i]] - 1 if backwards[i] else 0 for i in range(3)]
    index = np.zeros(3)
    index[axes] = first
    turned = Geometry(
        array.shape,
        (source.spacing[axes[0]], source.spacing[axes[1]], source.spacing[axes[2]]),
        tuple(source.to_world(index)),
        tuple((source.matrix[:, axes] * np.where(backwards, -1.0, 1.0)).ravel()),
    )
    return Volume(array, target, volume.unit) if turned.matches(target, tolerance_mm) else None
