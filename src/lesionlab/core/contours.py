"""Outlines of a mask along the edges of its voxels, so that filling them gives back the very mask.

Writing them as DICOM contours belongs to `report/` and `demo/`, filling contours to `read/rtstruct.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Loop = list[tuple[int, int]]


def edge_loops(inside: NDArray[np.bool_]) -> list[Loop]:
    """Closed loops of voxel corners (y, x) around a 2D mask; corner (y, x) is half a voxel before centre.

    Edges run with the mask on one side, so every corner has as many edges in as out and chaining them
    always closes. No voxel gives no loop.
    """
    padded = np.pad(inside, 1)
    leaving: dict[tuple[int, int], Loop] = {}

    def add(starts: NDArray[np.int_], step_from: tuple[int, int], step_to: tuple[int, int]) -> None:
        for y, x in starts.tolist():
            start = (y + step_from[0], x + step_from[1])
            leaving.setdefault(start, []).append((y + step_to[0], x + step_to[1]))

    here = padded[1:-1, 1:-1]
    add(np.argwhere(here & ~padded[:-2, 1:-1]), (0, 0), (0, 1))
    add(np.argwhere(here & ~padded[1:-1, 2:]), (0, 1), (1, 1))
    add(np.argwhere(here & ~padded[2:, 1:-1]), (1, 1), (1, 0))
    add(np.argwhere(here & ~padded[1:-1, :-2]), (1, 0), (0, 0))
    loops = []
    while leaving:
        start = next(iter(leaving))
        loop, corner = [], start
        while corner in leaving:
            loop.append(corner)
            following = leaving[corner].pop()
            if not leaving[corner]:
                del leaving[corner]
            corner = following
        loops.append(loop)
    return loops
