"""Counting along directions: co-occurrence and run lengths in one pass, and how the standard combines them.

Each direction is visited once for both families. The matrix of one direction and the merged ones are all that
is ever held. A feature is averaged over the slices and directions where it is defined; one that is
undefined there (a single voxel has no pair) leaves the average, as in the standard's reference values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lesionlab.core.recipe import Aggregation
from lesionlab.measure.ibsi.region import FloatArray, IntArray
from lesionlab.measure.ibsi.texture_glcm import NUMBER as PAIR_FEATURES
from lesionlab.measure.ibsi.texture_glcm import cooccurrence_features
from lesionlab.measure.ibsi.texture_glrlm import NUMBER as RUN_FEATURES
from lesionlab.measure.ibsi.texture_glrlm import run_features
from lesionlab.measure.ibsi.texture_voxels import LongArray, Voxels, backward_offsets

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


def directional_features(
    voxels: Voxels, aggregations: tuple[Aggregation, ...]
) -> dict[Aggregation, tuple[FloatArray, FloatArray]]:
    """Co-occurrence (25,) and run length (16,) features under each aggregation; NaN where undefined."""
    results: dict[Aggregation, tuple[FloatArray, FloatArray]] = {}
    for in_slices in (True, False):
        chosen = [name for name in aggregations if name.startswith("2") == in_slices]
        if not chosen:
            continue
        wanted = np.zeros(4, dtype=np.bool_)
        wanted[[_MERGES[name] for name in chosen]] = True
        values = _aggregate(
            voxels.grey,
            voxels.positions,
            voxels.slabs if in_slices else voxels.whole,
            backward_offsets(voxels.shape, "2D" if in_slices else "3D"),
            np.array([voxels.base, voxels.highest, voxels.count, max(voxels.shape)], dtype=np.int64),
            wanted,
        )
        for name in chosen:
            row = values[_MERGES[name]]
            results[name] = row[:PAIR_FEATURES], row[PAIR_FEATURES:]
    return results


@njit(cache=True, nogil=True)
def count_direction(
    grey: IntArray, positions: IntArray, offset: int, index: IntArray, pairs: IntArray, reached: IntArray
) -> None:
    """Add the pairs and runs of some voxels along one backward offset to two tables.

    `index` is scratch of the size of `grey`: the how-manieth of its run a voxel is. Counting the voxels that
    are j-th of a run counts the runs that reach length j, which needs no knowledge of where runs end; and
    pairs with the background go to row and column 0. So there is no branch, and noise costs nothing extra.
    """
    for position in positions:
        level = grey[position]
        before = grey[position + offset]
        place = index[position + offset] * np.int32(level == before) + np.int32(1)
        index[position] = place
        pairs[before, level] += np.int32(1)
        reached[level, place] += np.int32(1)


@njit(cache=True, nogil=True)
def _aggregate(
    grey: IntArray,
    positions: IntArray,
    slabs: LongArray,
    offsets: LongArray,
    levels: LongArray,
    wanted: FloatArray,
) -> FloatArray:
    """Features (4 merges, 41) of slabs of voxels; `levels` = base, highest, N_g, longest side."""
    base, highest, longest = levels[0], levels[1], levels[3]
    features = np.zeros((4, PAIR_FEATURES + RUN_FEATURES))
    defined = np.zeros((4, PAIR_FEATURES + RUN_FEATURES), dtype=np.int64)
    directions = len(offsets)
    held = directions if wanted[_DIRECTION] else 0
    side = (highest + 1, highest + 1)
    table = (highest + 1, longest + 2)
    index = np.zeros(len(grey), dtype=np.int32)
    pairs, reached = np.zeros(side, dtype=np.int32), np.zeros(table, dtype=np.int32)
    slab_pairs, slab_reached = np.zeros(side, dtype=np.int32), np.zeros(table, dtype=np.int32)
    all_pairs, all_reached = np.zeros(side, dtype=np.int32), np.zeros(table, dtype=np.int32)
    each_pairs = np.zeros((held, side[0], side[1]), dtype=np.int32)
    each_reached = np.zeros((held, table[0], table[1]), dtype=np.int32)
    for slab in range(len(slabs) - 1):
        part = positions[slabs[slab] : slabs[slab + 1]]
        for direction in range(directions):
            count_direction(grey, part, offsets[direction], index, pairs, reached)
            if wanted[_EACH]:
                _add(pairs, reached, levels, len(part), features[_EACH], defined[_EACH])
            if wanted[_DIRECTION]:
                each_pairs[direction] += pairs
                each_reached[direction] += reached
            if wanted[_EACH] or wanted[_DIRECTION]:
                slab_pairs += pairs
                slab_reached += reached
                pairs[:] = 0
                reached[:] = 0
        if not (wanted[_EACH] or wanted[_DIRECTION]):
            slab_pairs, pairs = pairs, slab_pairs
            slab_reached, reached = reached, slab_reached
        if wanted[_SLAB]:
            _add(slab_pairs, slab_reached, levels, len(part) * directions, features[_SLAB], defined[_SLAB])
        if wanted[_ALL]:
            all_pairs += slab_pairs
            all_reached += slab_reached
        slab_pairs[:] = 0
        slab_reached[:] = 0
    for direction in range(held):
        _add(
            each_pairs[direction],
            each_reached[direction],
            levels,
            len(positions),
            features[_DIRECTION],
            defined[_DIRECTION],
        )
    if wanted[_ALL]:
        _add(all_pairs, all_reached, levels, len(positions) * directions, features[_ALL], defined[_ALL])
    return np.where(defined > 0, features / np.maximum(defined, 1), np.nan)


@njit(cache=True, nogil=True)
def _add(
    pairs: IntArray,
    reached: IntArray,
    levels: LongArray,
    voxels: int,
    features: FloatArray,
    defined: LongArray,
) -> None:
    """Add one matrix's features to the sums that are to be averaged, where they are defined."""
    one = np.empty(PAIR_FEATURES + RUN_FEATURES)
    cooccurrence_features(pairs, levels[0], levels[2], one[:PAIR_FEATURES])
    run_features(reached, levels[0], voxels, one[PAIR_FEATURES:])
    for k in range(len(one)):
        if not np.isnan(one[k]):
            features[k] += one[k]
            defined[k] += 1
