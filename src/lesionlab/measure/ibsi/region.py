"""What the standard's features are computed on: one lesion, cut out of its image, and its grey levels.

Only containers and cutting. How an image gets here (interpolation, re-segmentation, discretisation) is in
`chain` and `levels`; the features are one family per file.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One lesion in a box of its image, after interpolation and re-segmentation.

    `values` (z, y, x) float64, in the image's unit; the box holds the lesion and, as far as the image
    reaches, a margin around it that the local intensity peak needs. `morphological` is the
    lesion as drawn, `intensity` what re-segmentation left of it (a subset). `spacing` (z, y, x) in mm.
    Either mask may be empty.
    """

    values: FloatArray
    morphological: BoolArray
    intensity: BoolArray
    spacing: tuple[float, float, float]

    @property
    def inside(self) -> FloatArray:
        """The values of the intensity mask, (n,), in C order."""
        return np.asarray(self.values[self.intensity])


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Grey levels of the intensity mask in the lesion's box: int32 (z, y, x), 1 to `count`, 0 outside.

    `count` is the number of levels that the discretisation allows for (the standard's N_g), at least the
    highest level present. `mask` is the morphological mask in the same box, which zone distances need.
    """

    array: IntArray
    count: int
    mask: BoolArray
    spacing: tuple[float, float, float]


def tight(region: Region) -> Region:
    """The same lesion in the smallest box around its morphological mask, its arrays contiguous."""
    box = tight_box(region.morphological)
    return Region(
        np.ascontiguousarray(region.values[box]),
        np.ascontiguousarray(region.morphological[box]),
        np.ascontiguousarray(region.intensity[box]),
        region.spacing,
    )


def tight_box(mask: BoolArray, margin: tuple[int, int, int] = (0, 0, 0)) -> tuple[slice, slice, slice]:
    """The smallest box around a mask (z, y, x), widened by a margin within the array; empty for no voxel."""
    if mask.size and margin == (0, 0, 0) and _fills(mask):
        depth, height, width = mask.shape
        return slice(0, depth), slice(0, height), slice(0, width)
    plane: BoolArray = np.asarray(mask.any(axis=0))
    slices = []
    for axis, occupied in enumerate((mask.any(axis=(1, 2)), plane.any(axis=1), plane.any(axis=0))):
        found = np.nonzero(occupied)[0]
        if len(found) == 0:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        low = max(0, int(found[0]) - margin[axis])
        slices.append(slice(low, min(mask.shape[axis], int(found[-1]) + 1 + margin[axis])))
    return slices[0], slices[1], slices[2]


def _fills(mask: BoolArray) -> bool:
    """Whether a mask reaches all six sides of its array."""
    sides = (mask[0], mask[-1], mask[:, 0], mask[:, -1], mask[:, :, 0], mask[:, :, -1])
    return all(side.any() for side in sides)
