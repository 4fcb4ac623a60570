"""The voxels that texture is counted on: one lesion's grey levels, laid out for the compiled passes.

Here: padding, the list of voxels, the offsets of neighbours. What is counted there, and the formulas, are in
the module of each family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from lesionlab.measure.ibsi.region import BoolArray, FloatArray, Levels

Dimension = Literal["2D", "2_5D", "3D"]
GreyArray = NDArray[np.uint16]
IndexArray = NDArray[np.uint32]
LongArray = NDArray[np.int64]
StepArray = NDArray[np.uint64]

LEVEL_LIMIT: Final = 8192
"""Most levels, from the lowest to the highest present, that texture is computed for: tables grow with their
square, and matrices of a lesion with more levels than that hold hardly more than one count anywhere."""
_LOG_TABLE_SIZE: Final = 4096
_COUNTS: Final[FloatArray] = np.arange(_LOG_TABLE_SIZE, dtype=np.float64)
COUNT_LOG: Final[FloatArray] = _COUNTS * np.log2(np.maximum(_COUNTS, 1.0))
"""c log2 c of small counts: entropies are sums of it, and the logarithm is what they would spend time on."""


@dataclass(frozen=True, slots=True, eq=False)
class Voxels:
    """A lesion's grey levels with a border of one background voxel, flattened, and where its voxels are.

    `grey` uint16 (flattened padded box): 0 in the background, else level - `base`, so 1 to `highest`; the
    lowest level present becomes 1. `positions` uint32 (voxels,): indices into `grey` in C order.
    `slabs` int64 (slices + 1,): where each slice that holds a voxel begins in `positions`, and the end.
    `shape` is the padded box (z, y, x); `mask` the morphological mask in the unpadded box.
    `count` is the standard's N_g. Without a voxel `highest` is 0 and `slabs` has one entry.
    """

    grey: GreyArray
    positions: IndexArray
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
    """Lay out the grey levels of a lesion, (z, y, x) with 0 outside, for the texture passes.

    More than LEVEL_LIMIT levels between the lowest and the highest give no voxels, so every feature NaN.
    """
    shape = (levels.array.shape[0] + 2, levels.array.shape[1] + 2, levels.array.shape[2] + 2)
    array, base = levels.array, 0
    if array.size and array.max() > np.iinfo(np.uint16).max:
        base = int(array[array > 0].min()) - 1
        array = np.clip(array - base, 0, LEVEL_LIMIT + 1)
    padded = np.zeros(shape, dtype=np.uint16)
    padded[1:-1, 1:-1, 1:-1] = array
    grey = padded.reshape(-1)
    positions = np.empty(np.count_nonzero(array), dtype=np.uint32)
    slabs = np.zeros(shape[0] + 1, dtype=np.int64)
    slices, below, highest = _list_voxels(grey, shape[1] * shape[2], positions, slabs)
    if highest > LEVEL_LIMIT:
        slices, highest, positions = 0, 0, positions[:0].copy()
    slabs = slabs[: slices + 1].copy()
    return Voxels(grey, positions, slabs, shape, base + below, highest, levels.count, levels.mask)


@njit(cache=True, nogil=True)
def _list_voxels(
    grey: GreyArray, plane: int, positions: IndexArray, slabs: LongArray
) -> tuple[int, int, int]:
    """Fill positions and slabs, move the lowest level to 1; slices with a voxel, move, highest grey."""
    found = 0
    slices = 0
    lowest = 65535
    highest = 0
    for start in range(0, len(grey), plane):
        before = found
        for position in range(start, start + plane):
            level = int(grey[position])
            if level > 0:
                positions[found] = np.uint32(position)
                found += 1
                lowest = min(lowest, level)
                highest = max(highest, level)
        if found > before:
            slices += 1
            slabs[slices] = found
    below = lowest - 1 if found > 0 else 0
    if below > 0:
        for k in range(found):
            grey[positions[k]] -= np.uint16(below)
    return slices, below, highest - below


def steps_back(shape: tuple[int, int, int], dimension: Dimension) -> LongArray:
    """Flat distances to the neighbours at Chebyshev distance 1 that precede a voxel: 13, in a slice 4.

    `shape` is the padded box.
    """
    plane, row = shape[1] * shape[2], shape[2]
    steps = [
        -(z * plane + y * row + x)
        for z in ((-1, 0) if dimension == "3D" else (0,))
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
        if (z, y, x) < (0, 0, 0)
    ]
    return np.array(steps, dtype=np.int64)


def mean_where_defined(rows: FloatArray) -> FloatArray:
    """The mean of features (matrices, features) over the matrices that have each; NaN where none has."""
    if len(rows) == 1:
        return np.asarray(rows[0])
    defined = ~np.isnan(rows)
    number = defined.sum(axis=0)
    total = rows.sum(axis=0, where=defined)
    return np.asarray(np.divide(total, number, out=np.full(rows.shape[1], np.nan), where=number > 0))
