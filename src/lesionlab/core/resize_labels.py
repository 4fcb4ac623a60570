"""Resizing label maps: what linear interpolation of each label's indicator and argmax give, without doing it.

A voxel whose eight neighbours carry one label keeps that label; only the others, a thin shell around the
lesions, are interpolated. Images and logits are resized in `resize.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesionlab.core.banded import Array
from lesionlab.core.resize import checked_shape, coordinates, nearest_index

SLAB = 32
"""Planes that are worked on at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """For each output of an axis: its two input indices with their weights, and the nearer one."""

    lower: Array
    upper: Array
    lower_weight: Array
    upper_weight: Array
    nearer: Array


def resize_labels(labels: Array, shape: Sequence[int], *, separate_axis: int | None = None) -> Array:
    """Resize a label map (z, y, x) or (c, z, y, x) to `shape` (z, y, x) over the same extent; same dtype.

    Each voxel gets the label with the largest linearly interpolated indicator. Where labels share the top,
    the nearest voxel's label is taken if it is one of them, else the smallest. `separate_axis` (0, 1 or 2)
    names the low-resolution axis of anisotropic voxels: across it the nearest plane is taken. Equal to
    nnU-Net's resampling of segmentations of order 1, ties included. Beyond input and result it holds a few
    slabs of 32 planes, and with `separate_axis` the chosen planes. The input itself comes back where nothing
    changes. Raises GeometryError for other dimensions or a size below 1.
    """
    if separate_axis not in (None, 0, 1, 2):
        raise ValueError(f"separate_axis {separate_axis} is not 0, 1, 2 or None")
    target = checked_shape(labels, shape)
    if labels.shape[-3:] == target:
        return labels
    if separate_axis is not None:
        axis = separate_axis - 3
        chosen = nearest_index(labels.shape[axis], target[separate_axis])
        labels = labels.take(chosen, axis)
    axes = [_neighbours(old, new) for old, new in zip(labels.shape[-3:], target, strict=True)]
    out = np.empty((*labels.shape[:-3], *target), labels.dtype)
    pairs = zip(labels[None], out[None], strict=True) if labels.ndim == 3 else zip(labels, out, strict=True)
    for source, result in pairs:
        for start in range(0, target[0], SLAB):
            planes = slice(start, start + SLAB)
            _resize_slab(source, result[planes], [_part(axes[0], planes), *axes[1:]])
    return out


def _neighbours(size: int, wanted: int) -> Neighbours:
    """Weights in the arithmetic of scipy's zoom, so that ties agree; edges are continued."""
    places = coordinates(size, wanted)
    below = np.floor(places).astype(np.intp)
    lower_weight = 1.0 - (places - below)
    lower = np.maximum(below, 0)
    upper = lower if size == wanted else np.minimum(below + 1, size - 1)
    return Neighbours(lower, upper, lower_weight, 1.0 - lower_weight, nearest_index(size, wanted))


def _part(axis: Neighbours, part: slice) -> Neighbours:
    return Neighbours(
        axis.lower[part],
        axis.upper[part],
        axis.lower_weight[part],
        axis.upper_weight[part],
        axis.nearer[part],
    )


def _resize_slab(source: Array, out: Array, axes: list[Neighbours]) -> None:
    """Fill some output planes: nearest everywhere, then the voxels between labels anew."""
    least = most = source
    for number, axis in enumerate(axes):
        if axis.lower is axis.upper:
            least, most = least.take(axis.lower, number), most.take(axis.lower, number)
            continue
        pairs = [(array.take(axis.lower, number), array.take(axis.upper, number)) for array in (least, most)]
        least, most = np.minimum(*pairs[0]), np.maximum(*pairs[1])
    out[...] = least
    mixed = np.nonzero(least != most)
    if mixed[0].size:
        out[mixed] = _winners(source, mixed, axes)


def _winners(source: Array, voxels: tuple[Array, ...], axes: list[Neighbours]) -> Array:
    """The label of each voxel (an index array per axis), from the weights of its eight neighbours."""
    sides = [
        ((axis.lower[i], axis.lower_weight[i]), (axis.upper[i], axis.upper_weight[i]))
        for axis, i in zip(axes, voxels, strict=True)
    ]
    corners = [
        (source[z, y, x], z_weight * y_weight * x_weight)
        for z, z_weight in sides[0]
        for y, y_weight in sides[1]
        for x, x_weight in sides[2]
    ]
    nearer = source[tuple(a.nearer[i] for a, i in zip(axes, voxels, strict=True))]
    best = np.zeros(nearer.shape)
    winner = nearer.copy()
    nearer_score = np.zeros(nearer.shape)
    for label in np.unique(np.stack([values for values, _ in corners])):
        score = np.zeros(nearer.shape)
        for values, weight in corners:
            # one after another, as scipy adds them: another order would round ties apart
            score += np.where(values == label, weight, 0.0)
        np.copyto(nearer_score, score, where=nearer == label)
        np.copyto(winner, label, where=score > best)
        np.maximum(best, score, out=best)
    return np.where(nearer_score == best, nearer, winner)
