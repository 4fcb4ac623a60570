"""Counting along directions: co-occurrence and run lengths in one pass, and how the standard combines them.

Each direction is visited once for both families. The matrix of one direction and the merged ones are all that
is ever held. A feature is averaged over the slices and directions where it is defined; one that is
undefined there (a single voxel has no pair) leaves the average, as in the standard's reference values.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lesionlab.core.recipe import Aggregation
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, IntArray
from lesionlab.measure.ibsi.texture_glcm import NUMBER as PAIR_FEATURES
from lesionlab.measure.ibsi.texture_glcm import cooccurrence_features
from lesionlab.measure.ibsi.texture_glrlm import NUMBER as RUN_FEATURES
from lesionlab.measure.ibsi.texture_glrlm import run_features
from lesionlab.measure.ibsi.texture_voxels import GreyArray, IndexArray, LongArray, Voxels, steps_back

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
            steps_back(voxels.shape, "2D" if in_slices else "3D"),
            np.array([voxels.base, voxels.highest, voxels.count, max(voxels.shape)], dtype=np.int64),
            wanted,
        )
        for name in chosen:
            row = values[_MERGES[name]]
            results[name] = row[:PAIR_FEATURES], row[PAIR_FEATURES:]
    return results


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


@njit(cache=True, nogil=True)
def _aggregate(
    grey: GreyArray,
    positions: IndexArray,
    slabs: LongArray,
    steps: LongArray,
    levels: LongArray,
    wanted: BoolArray,
) -> FloatArray:
    """Features (4 merges, 41) of slabs of voxels; `levels` = base, highest, N_g, longest side."""
    features = np.zeros((4, PAIR_FEATURES + RUN_FEATURES))
    defined = np.zeros((4, PAIR_FEATURES + RUN_FEATURES), dtype=np.int64)
    directions = len(steps)
    single = wanted[_EACH] or wanted[_DIRECTION]
    # tables: of one direction, of a slab, of all, then one per direction over the slabs
    number = 3 + (directions if wanted[_DIRECTION] else 0)
    pairs = np.zeros((number, levels[1] + 1, levels[1] + 1), dtype=np.int32)
    reached = np.zeros((number, levels[1] + 1, levels[3] + 2), dtype=np.int32)
    index = np.empty(len(grey), dtype=np.uint16)
    target = 0 if single else 1
    for slab in range(len(slabs) - 1):
        part = positions[slabs[slab] : slabs[slab + 1]]
        for direction in range(directions):
            count_direction(grey, part, steps[direction], index, pairs[target], reached[target])
            if wanted[_EACH]:
                _add(pairs[0], reached[0], levels, len(part), features[_EACH], defined[_EACH])
            if wanted[_DIRECTION]:
                _merge(pairs, 3 + direction, 0)
                _merge(reached, 3 + direction, 0)
            if single:
                _merge(pairs, 1, 0)
                _merge(reached, 1, 0)
                _clear(pairs, 0)
                _clear(reached, 0)
        if wanted[_SLAB]:
            _add(pairs[1], reached[1], levels, len(part) * directions, features[_SLAB], defined[_SLAB])
        if wanted[_ALL]:
            _merge(pairs, 2, 1)
            _merge(reached, 2, 1)
        _clear(pairs, 1)
        _clear(reached, 1)
    voxels = len(positions)
    for k in range(3, number):
        _add(pairs[k], reached[k], levels, voxels, features[_DIRECTION], defined[_DIRECTION])
    if wanted[_ALL]:
        _add(pairs[2], reached[2], levels, voxels * directions, features[_ALL], defined[_ALL])
    for k in range(4):
        for n in range(PAIR_FEATURES + RUN_FEATURES):
            features[k, n] = features[k, n] / defined[k, n] if defined[k, n] > 0 else np.nan
    return features


@njit(cache=True, nogil=True)
def _merge(tables: IntArray, into: int, which: int) -> None:
    for i in range(tables.shape[1]):
        for j in range(tables.shape[2]):
            tables[into, i, j] += tables[which, i, j]


@njit(cache=True, nogil=True)
def _clear(tables: IntArray, which: int) -> None:
    for i in range(tables.shape[1]):
        for j in range(tables.shape[2]):
            tables[which, i, j] = 0


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
