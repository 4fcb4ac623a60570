"""Slices resized to a fixed number of pixels, and back: a triangle filter as wide as the step, no spacing.

For pictures, whose sizes differ and whose pixels have no size in mm. Shrinking averages over what a new pixel
covers, so that speckle does not alias; growing is linear interpolation. The same extent in another number
of voxels as nnU-Net computes it is `resize.py`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.banded import Bands, apply_bands, blocks_of
from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import Geometry, Volume

Size = tuple[int, int]


def fit(array: NDArray[Any], size: Size) -> NDArray[np.float32]:
    """The last two axes (y, x) of an array resized to `size`; other axes are kept, values stay in range.

    Raises GeometryError for a size below 1 or an array without two axes.
    """
    if array.ndim < 2 or min(size) < 1 or min(array.shape[-2:]) < 1:
        raise GeometryError("resizing", f"shape {array.shape} to {size}", "two axes of at least one pixel")
    values = array.astype(np.float32, copy=False)
    if array.shape[-2:] == tuple(size):
        return values
    rows, columns = (_bands(old, new) for old, new in zip(array.shape[-2:], size, strict=True))
    out = np.empty((*array.shape[:-2], *size), np.float32)
    for place in np.ndindex(array.shape[:-2]):
        apply_bands(np.ascontiguousarray(values[place]), out[place], rows, columns)
    return out


def fit_labels(labels: NDArray[Any], size: Size) -> NDArray[Any]:
    """A label map resized likewise: the label with the largest share of each new pixel, same dtype.

    Where labels share the top, the smallest wins: background first.
    """
    if labels.shape[-2:] == tuple(size):
        return labels
    best, winner = None, None
    for label in np.unique(labels):
        share = fit(labels == label, size)
        if best is None or winner is None:
            best, winner = share, np.full(share.shape, label, dtype=labels.dtype)
            continue
        better = share > best + 1e-6
        winner[better] = label
        best = np.maximum(best, share)
    return labels if winner is None else winner


def fit_volume(volume: Volume, size: Size, *, labels: bool = False) -> Volume:
    """A volume with its slices resized, on the grid of `fit_geometry`; `labels` for label maps."""
    array = fit_labels(volume.array, size) if labels else fit(volume.array, size)
    return Volume(array, fit_geometry(volume.geometry, size), volume.unit)


def fit_geometry(geometry: Geometry, size: Size) -> Geometry:
    """A grid of so many pixels of 1 mm: lengths in it mean pixels.

    The distance between slices is kept; of a single slice it is 1 mm.
    """
    slices = geometry.shape[0]
    return Geometry((slices, *size), (geometry.spacing[0] if slices > 1 else 1.0, 1.0, 1.0))


@lru_cache(maxsize=256)
def weights(old: int, new: int) -> NDArray[np.float32]:
    """The matrix (new, old) that resizes one axis; rows add up to 1, edges are continued."""
    step = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new
    distance = np.abs(np.arange(old) + 0.5 - np.clip(centres, 0.5, old - 0.5)[:, None])
    matrix = np.clip(1.0 - distance / step, 0.0, None)
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True), dtype=np.float32)


@lru_cache(maxsize=256)
def _bands(old: int, new: int) -> Bands:
    return None if old == new else blocks_of(weights(old, new))
