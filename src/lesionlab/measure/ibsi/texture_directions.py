"""Counting along directions: co-occurrence and run lengths in one pass, and how the standard combines them.

Each direction is visited once for both families. A feature is averaged over the slices and directions where
it is defined; one that is undefined there (a single voxel has no pair) leaves the average, as in the
reference values of the standard.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit

from lesionlab.core.recipe import Aggregation
from lesionlab.measure.ibsi.region import FloatArray, IntArray
from lesionlab.measure.ibsi.texture_emphases import run_features
from lesionlab.measure.ibsi.texture_glcm import NUMBER as PAIR_FEATURES
from lesionlab.measure.ibsi.texture_glcm import cooccurrence_features
from lesionlab.measure.ibsi.texture_glrlm import NUMBER as RUN_FEATURES
from lesionlab.measure.ibsi.texture_voxels import (
    GreyArray,
    IndexArray,
    LongArray,
    Voxels,
    mean_where_defined,
    steps_back,
)

CELLS: Final = 1 << 22
"""About so many cells of matrices are held at once, though never less than one direction's."""

_EACH, _SLAB, _DIRECTION, _ALL = 0, 1, 2, 3
# which merge each aggregation is: none, over the directions of a slice, over the slices, over both
_MERGES: dict[Aggregation, int] = {
    "2D_avg": _EACH,
    "2D_comb": _SLAB,
    "2_5D_avg": _DIRECTION,
    "2_5D_comb": _ALL,
    "3D_avg": _EACH,
    "3D_comb": _SLAB,
}
Tables = tuple[IntArray, IntArray]
"""Pairs (matrices, levels + 1, levels + 1), and how many runs reach a length (matrices, levels + 1, ...)."""


def directional_features(
    voxels: Voxels, aggregations: tuple[Aggregation, ...]
) -> dict[Aggregation, tuple[FloatArray, FloatArray]]:
    """Co-occurrence (25,) and run length (16,) features under each aggregation; NaN where undefined."""
    results: dict[Aggregation, tuple[FloatArray, FloatArray]] = {}
    for in_slices in (True, False):
        chosen = [name for name in aggregations if name.startswith("2") == in_slices]
        if chosen:
            values = _merged(voxels, in_slices, {_MERGES[name] for name in chosen})
            for name in chosen:
                row = values[_MERGES[name]]
                results[name] = row[:PAIR_FEATURES], row[PAIR_FEATURES:]
    return results


def _merged(voxels: Voxels, in_slices: bool, wanted: set[int]) -> dict[int, FloatArray]:
    """Features (41,) of each wanted merge; matrices are counted slab by slab, and apart where need be."""
    slabs = voxels.slabs if in_slices else voxels.whole
    steps = steps_back(voxels.shape, "2D" if in_slices else "3D")
    apart = bool(wanted & {_EACH, _DIRECTION})
    width = max(1, CELLS // (voxels.highest + 1) ** 2) if apart else len(steps)
    sizes = np.array([voxels.highest + 1, max(voxels.shape) + 2], dtype=np.int64)
    index = np.empty(len(voxels.grey), dtype=np.uint16)
    rows: dict[int, list[FloatArray]] = {merge: [] for merge in wanted}
    by_direction: dict[int, Tables] = {}
    whole: Tables | None = None
    for slab in range(len(slabs) - 1):
        part = voxels.positions[slabs[slab] : slabs[slab + 1]]
        merged: Tables | None = None
        for start in range(0, len(steps), width):
            tables = count_directions(voxels.grey, part, steps[start : start + width], index, sizes, apart)
            if _EACH in wanted:
                rows[_EACH].append(_features(tables, voxels, len(part)))
            merged = _plus(merged, _total(tables))
            if _DIRECTION in wanted:
                by_direction[start] = _plus(by_direction.get(start), tables)
        if merged is not None and _SLAB in wanted:
            rows[_SLAB].append(_features(merged, voxels, len(part) * len(steps)))
        if merged is not None and _ALL in wanted:
            whole = _plus(whole, merged)
    number = len(voxels.positions)
    if _DIRECTION in wanted:
        rows[_DIRECTION] = [_features(tables, voxels, number) for tables in by_direction.values()]
    if whole is not None:
        rows[_ALL].append(_features(whole, voxels, number * len(steps)))
    nothing = np.empty((0, PAIR_FEATURES + RUN_FEATURES))
    return {merge: mean_where_defined(np.concatenate([nothing, *found])) for merge, found in rows.items()}


def _features(tables: Tables, voxels: Voxels, number: int) -> FloatArray:
    """Features (matrices, 41), of which N_v is `number` each."""
    pairs = cooccurrence_features(tables[0], voxels.base, voxels.count)
    return np.concatenate([pairs, run_features(tables[1], voxels.base, number)], axis=1)


def _total(tables: Tables) -> Tables:
    """All matrices merged to one."""
    if len(tables[0]) == 1:
        return tables
    pairs, reached = (table.sum(axis=0, keepdims=True, dtype=np.int32) for table in tables)
    return pairs, reached


def _plus(before: Tables | None, more: Tables) -> Tables:
    if before is None:
        return more
    return before[0] + more[0], before[1] + more[1]


@njit(cache=True, nogil=True)
def count_directions(
    grey: GreyArray, positions: IndexArray, steps: LongArray, index: GreyArray, sizes: LongArray, apart: bool
) -> Tables:
    """Tables of some voxels, one of each direction if `apart`, else one of all.

    `index` is scratch of the size of `grey`; `sizes` = levels + 1, longest run + 2.
    """
    number = len(steps) if apart else 1
    pairs = np.zeros((number, sizes[0], sizes[0]), dtype=np.int32)
    reached = np.zeros((number, sizes[0], sizes[1]), dtype=np.int32)
    for k in range(len(steps)):
        which = k if apart else 0
        count_direction(grey, positions, steps[k], index, pairs[which], reached[which])
    return pairs, reached


@njit(cache=True, nogil=True)
def count_direction(
    grey: GreyArray, positions: IndexArray, step: int, index: GreyArray, pairs: IntArray, reached: IntArray
) -> None:
    """Add the pairs and runs of some voxels with the neighbour `step` before them to two tables.

    `index` is scratch of the size of `grey`: the how-manieth of its run a voxel is. Counting the voxels that
    are j-th of a run counts the runs that reach length j, which needs no knowledge of where runs end; and
    pairs with the background go to row and column 0. So there is no branch, and noise costs nothing extra.
    Unsigned arithmetic throughout: a signed index may be negative, and checking that takes most of the time.
    """
    back = np.uint64(step)
    for k in range(len(positions)):
        position = np.uint64(positions[k])
        level = grey[position]
        before = grey[position - back]
        place = np.uint16(index[position - back] * np.uint16(level == before) + np.uint16(1))
        index[position] = place
        pairs[before, level] += np.int32(1)
        reached[level, place] += np.int32(1)
