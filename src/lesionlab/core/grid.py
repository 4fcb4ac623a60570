"""Bringing volumes from one grid onto another.

Pure array work on core nouns. Which channel goes onto which grid is decided in `standardise/`; the same
extent in another number of voxels, as networks want it, is `resize.py`.
"""

from __future__ import annotations

import numpy as np
import scipy  # ndimage is loaded where it is first used

from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import Geometry, Volume


def resample(volume: Volume, target: Geometry, *, order: int = 1, outside: float | None = None) -> Volume:
    """Sample a volume at the voxel centres of another grid.

    `order` 0 is nearest neighbour (masks), 1 trilinear, 3 cubic B-spline. Where the target lies outside the
    source, voxels become `outside`, or the nearest edge value when it is None. The result has the
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
        # "grid-constant" and not "constant", which loses edge voxels to a rounding error of 1e-13
        mode="nearest" if outside is None else "grid-constant",
        cval=0.0 if outside is None else outside,
    )
    return Volume(sampled, target, volume.unit)


def overlaps(first: Geometry, second: Geometry) -> bool:
    """True where some voxel centre of `second` lies inside the box of `first` (half a voxel of margin)."""
    last = np.asarray(second.shape) - 1
    corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), -1).reshape(-1, 3)
    index = first.to_index(second.to_world(corners))
    low, high = index.min(axis=0), index.max(axis=0)
    return bool(np.all(high >= -0.5) and np.all(low <= np.asarray(first.shape) - 0.5))


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
