"""Connected components of label masks, and the box that holds them.

Shared by every stage that speaks of lesions. What to keep (`refine`), to measure (`measure`) or to count
as found (`evaluate`) is decided there, not here.
"""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Volume

Box = tuple[slice, slice, slice]
Connectivity = Literal[6, 18, 26]


def labels_of(subject: str, mask: Volume) -> NDArray[Any]:
    """The mask's array as integers (bool becomes uint8); DatasetError unless its voxels are integers >= 0."""
    array = mask.array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if not np.issubdtype(array.dtype, np.integer):
        raise DatasetError(subject, f"a mask of {array.dtype} voxels", "integer labels")
    if np.issubdtype(array.dtype, np.signedinteger) and array.min() < 0:
        raise DatasetError(subject, f"a mask with the label {array.min()}", "labels of 0 and above")
    return array


def foreground_box(array: NDArray[Any], margin: int = 0) -> Box | None:
    """The smallest box (z, y, x slices) around all non-zero voxels, or None when there are none.

    `margin` widens it by so many voxels, as far as the array reaches.
    """
    planes = array.any(axis=(1, 2))
    if not planes.any():
        return None
    rows = np.flatnonzero(planes)
    inner = array[rows[0] : rows[-1] + 1]
    ranges = [rows, np.flatnonzero(inner.any(axis=(0, 2))), np.flatnonzero(inner.any(axis=(0, 1)))]
    z, y, x = (
        slice(max(0, int(r[0]) - margin), min(n, int(r[-1]) + 1 + margin))
        for r, n in zip(ranges, array.shape, strict=True)
    )
    return z, y, x


def regions_of(array: NDArray[Any], connectivity: Connectivity = 26) -> NDArray[np.unsignedinteger[Any]]:
    """The connected regions of equal non-zero labels, numbered from 1 in no set order; 0 = background."""
    # cc3d 4.1 reserves too few labels for small bool arrays ([1, 0, 1] on a line fails) and refuses
    # read-only ones, so it gets a copy of its own that is never bool.
    plain = np.array(array, dtype=np.uint8 if array.dtype == np.bool_ else None, order="C")
    found: NDArray[np.unsignedinteger[Any]] = cc3d.connected_components(plain, connectivity=connectivity)
    return found


def components(array: NDArray[Any], connectivity: Connectivity = 26) -> tuple[NDArray[np.int32], list[Box]]:
    """Number the connected components of equal non-zero labels, the largest first.

    Returns the int32 numbers (same shape; 0 = background) and, for number n, its box at index n - 1.
    Components are ordered by descending voxel count, equal ones by their first voxel in array order.
    Two labels that touch are two components. An empty mask gives zeros and no boxes.
    """
    numbers = np.zeros(array.shape, dtype=np.int32)
    box = foreground_box(array)
    if box is None:
        return numbers, []
    found = regions_of(array[box], connectivity)
    facts = cc3d.statistics(found)
    count = len(facts["voxel_counts"]) - 1
    order = np.argsort(-facts["voxel_counts"][1:].astype(np.int64), kind="stable")
    renumber = np.zeros(count + 1, dtype=np.int32)
    renumber[order + 1] = np.arange(1, count + 1)
    # Lesions are a small part of the box that holds them all.
    inside = found > 0
    numbers[box][inside] = renumber[found[inside]]
    boxes = [_shifted(facts["bounding_boxes"][k + 1], box) for k in order]
    return numbers, boxes


def _shifted(inner: Box, outer: Box) -> Box:
    z, y, x = (
        slice(int(i.start + o.start), int(i.stop + o.start)) for i, o in zip(inner, outer, strict=True)
    )
    return z, y, x
