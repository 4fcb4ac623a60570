"""Area and volume of a lesion's surface mesh: marching cubes at 0.5 between a mask's 0 and 1.

Between a voxel inside and a neighbour outside the surface passes half way, so within a cell of 2 x 2 x 2
voxel centres it can take only 256 shapes. Area and volume are then counts of shapes times two tables;
no vertex is ever stored. The shapes and their tables are in `core/mesh.py`; what is measured on the hull of
this mesh is in `morphology_hull`.
"""

from __future__ import annotations

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lesionlab.core.mesh import shape_areas, shape_tables
from lesionlab.measure.ibsi.region import BoolArray


def mesh_area_volume(mask: BoolArray, spacing: tuple[float, float, float]) -> tuple[float, float]:
    """Area in mm2 and volume in mm3 of the surface mesh of a mask (z, y, x); 0 and 0 for no voxel.

    Time grows with the mask's box. Definition: IBSI C0JK and RNU0.
    """
    counts = count_shapes(mask)
    _, inside = shape_tables()
    volume = float(counts @ inside) * float(np.prod(spacing))
    return float(counts @ shape_areas(spacing)), volume


def count_shapes(mask: BoolArray) -> NDArray[np.int64]:
    """How often each of the 256 shapes occurs in a mask (z, y, x), the outside counted as empty.

    Bit 4 dx + 2 dz + dy of a shape's number tells whether its corner (dz, dy, dx) is inside.
    """
    padded = np.zeros(tuple(n + 2 for n in mask.shape), dtype=np.uint8)
    padded[1:-1, 1:-1, 1:-1] = mask
    counts: NDArray[np.int64] = _count_shapes(padded)
    return counts


@nb.njit(cache=True, nogil=True)
def _count_shapes(padded: NDArray[np.uint8]) -> NDArray[np.int64]:
    depth, height, width = padded.shape
    counts = np.zeros(256, dtype=np.int64)
    column = np.empty(width, dtype=np.uint8)
    for z in range(depth - 1):
        for y in range(height - 1):
            for x in range(width):
                column[x] = (
                    padded[z, y, x]
                    | padded[z, y + 1, x] << 1
                    | padded[z + 1, y, x] << 2
                    | padded[z + 1, y + 1, x] << 3
                )
            for x in range(width - 1):
                counts[column[x] | column[x + 1] << 4] += 1
    return counts
