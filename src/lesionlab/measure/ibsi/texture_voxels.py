"""The voxels that texture is counted on: one lesion's grey levels, laid out for the compiled passes.

Here: padding, the list of voxels, the offsets of neighbours. What is counted there, and the formulas, are in
the module of each family.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lesionlab.measure.ibsi.region import BoolArray, FloatArray, IntArray, Levels

Dimension = Literal["2D", "2_5D", "3D"]
LongArray = NDArray[np.int64]

_LOG_TABLE_SIZE: Final = 4096
COUNT_LOG: Final[FloatArray] = np.arange(_LOG_TABLE_SIZE) * np.log2(
    np.maximum(np.arange(_LOG_TABLE_SIZE, dtype=np.float64), 1.0)
)
"""c log2 c of small counts: entropies are sums of it, and the logarithm is what they would spend time on."""


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """A lesion's grey levels with a border of one background voxel, flattened, and where its voxels are.

    `grey` int32 (flattened padded box): 0 in the background, else level - `base`, so 1 to `highest`; the
    lowest level present becomes 1. `positions` int32 (voxels,): indices into `grey` in C order.
    `slabs` int64 (slices + 1,): where each slice that holds a voxel begins in `positions`, and the end.
    `shape` is the padded box (z, y, x); `mask` the morphological mask in the unpadded box.
    `count` is the standard's N_g. Without a voxel `highest` is 0 and `slabs` has one entry.
    """

    grey: IntArray
    positions: IntArray
    slabs: LongArray
    shape: tuple[int, int, int]
    base: int
    highest: int
    count: int
    mask: BoolArray

    @property
    def whole(self) -> LongArray:
        """One slab of all slices."""
        return np.array([0, len(self.positions)] if len(self.positions) else [0], dtype=np.int64)

    def slabs_of(self, dimension: Dimension) -> LongArray:
        """Slice by slice, or all in one for 3D."""
        return self.whole if dimension == "3D" else self.slabs


def gather(levels: Levels) -> Voxels:
    """Lay out the grey levels of a lesion, (z, y, x) with 0 outside, for the texture passes."""
    shape = (levels.array.shape[0] + 2, levels.array.shape[1] + 2, levels.array.shape[2] + 2)
    padded = np.zeros(shape, dtype=np.int32)
    padded[1:-1, 1:-1, 1:-1] = levels.array
    grey = padded.reshape(-1)
    slabs = np.zeros(shape[0], dtype=np.int64)
    positions = np.empty(np.count_nonzero(grey), dtype=np.int32)
    slices, lowest, highest = _list_voxels(grey, shape[1] * shape[2], positions, slabs)
    base = max(lowest - 1, 0)
    return Voxels(
        grey, positions, slabs[: slices + 1].copy(), shape, base, highest - base, levels.count, levels.mask
    )


@njit(cache=True, nogil=True)
def _list_voxels(
    grey: IntArray, plane: int, positions: IntArray, slabs: LongArray
) -> tuple[int, int, int]:
    """Fill positions and slabs, move the lowest level present to 1; slices found, lowest, highest level."""
    found = 0
    slices = 0
    lowest = np.int64(2147483647)
    highest = np.int64(0)
    for start in range(0, len(grey), plane):
        before = found
        for position in range(start, start + plane):
            level = grey[position]
            if level > 0:
                positions[found] = position
                found += 1
                lowest = min(lowest, np.int64(level))
                highest = max(highest, np.int64(level))
        if found > before:
            slices += 1
            slabs[slices] = found
    if found == 0:
        return 0, 0, 0
    if lowest > 1:
        for k in range(found):
            grey[positions[k]] -= np.int32(lowest - 1)
    return slices, lowest, highest


def backward_offsets(shape: tuple[int, int, int], dimension: Dimension) -> LongArray:
    """Flat offsets to the neighbours at Chebyshev distance 1 that precede a voxel: 13, in a slice 4."""
    plane, row = shape[1] * shape[2], shape[2]
    steps = [
        z * plane + y * row + x
        for z in ((0,) if dimension != "3D" else (-1, 0))
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (z, y, x) < (0, 0, 0)
    ]
    return np.array(steps, dtype=np.int64)


def by_name(names: tuple[str, ...], values: FloatArray) -> Mapping[str, float]:
    """Pair features with their values as plain floats; surplus values are dropped."""
    return dict(zip(names, values[: len(names)].tolist(), strict=True))
