"""Zones of one grey level: how large they are and how far from the edge of the lesion; 16 features each.

Here: finding zones (26-connected, in a slice 8-connected), the distance map, and both families. The formulas
are those of `texture_emphases`. Zones are kept as a list, never as a matrix, so their size is unbounded.
Source: IBSI reference manual, sections 3.8 and 3.9 (arXiv 1612.07003v11).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Final

import numpy as np
from numba import njit

from lesionlab.measure.ibsi import texture_emphases
from lesionlab.measure.ibsi.feature import Feature
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, IntArray
from lesionlab.measure.ibsi.texture_emphases import NUMBER
from lesionlab.measure.ibsi.texture_voxels import (
    Dimension,
    GreyArray,
    IndexArray,
    LongArray,
    StepArray,
    Voxels,
)

# s_ij: zones of level i and size j; s_i, s_j its marginals; p_ij = s_ij / N_s; m the mean that belongs
SIZE_FEATURES: Final[tuple[Feature, ...]] = (
    Feature("szm_sze", "5QRC", "1", "1/N_s sum_j s_j / j^2"),
    Feature("szm_lze", "48P8", "1", "1/N_s sum_j s_j j^2"),
    Feature("szm_lgze", "XMSY", "1", "1/N_s sum_i s_i / i^2"),
    Feature("szm_hgze", "5GN9", "1", "1/N_s sum_i s_i i^2"),
    Feature("szm_szlge", "5RAI", "1", "1/N_s sum_ij s_ij / (i^2 j^2)"),
    Feature("szm_szhge", "HW1V", "1", "1/N_s sum_ij s_ij i^2 / j^2"),
    Feature("szm_lzlge", "YH51", "1", "1/N_s sum_ij s_ij j^2 / i^2"),
    Feature("szm_lzhge", "J17V", "1", "1/N_s sum_ij s_ij i^2 j^2"),
    Feature("szm_glnu", "JNSA", "1", "1/N_s sum_i s_i^2"),
    Feature("szm_glnu_norm", "Y1RO", "1", "1/N_s^2 sum_i s_i^2"),
    Feature("szm_zsnu", "4JP3", "1", "1/N_s sum_j s_j^2"),
    Feature("szm_zsnu_norm", "VB3A", "1", "1/N_s^2 sum_j s_j^2"),
    Feature("szm_z_perc", "P30P", "1", "N_s / N_v"),
    Feature("szm_gl_var", "BYLV", "1", "sum_ij (i - m)^2 p_ij"),
    Feature("szm_zs_var", "3NSA", "1", "sum_ij (j - m)^2 p_ij"),
    Feature("szm_zs_entr", "GU8N", "1", "-sum_ij p_ij log2 p_ij"),
)
# d_ij: zones of level i at distance j, the least of its voxels; else as above
DISTANCE_FEATURES: Final[tuple[Feature, ...]] = (
    Feature("dzm_sde", "0GBI", "1", "1/N_s sum_j d_j / j^2"),
    Feature("dzm_lde", "MB4I", "1", "1/N_s sum_j d_j j^2"),
    Feature("dzm_lgze", "S1RA", "1", "1/N_s sum_i d_i / i^2"),
    Feature("dzm_hgze", "K26C", "1", "1/N_s sum_i d_i i^2"),
    Feature("dzm_sdlge", "RUVG", "1", "1/N_s sum_ij d_ij / (i^2 j^2)"),
    Feature("dzm_sdhge", "DKNJ", "1", "1/N_s sum_ij d_ij i^2 / j^2"),
    Feature("dzm_ldlge", "A7WM", "1", "1/N_s sum_ij d_ij j^2 / i^2"),
    Feature("dzm_ldhge", "KLTH", "1", "1/N_s sum_ij d_ij i^2 j^2"),
    Feature("dzm_glnu", "VFT7", "1", "1/N_s sum_i d_i^2"),
    Feature("dzm_glnu_norm", "7HP3", "1", "1/N_s^2 sum_i d_i^2"),
    Feature("dzm_zdnu", "V294", "1", "1/N_s sum_j d_j^2"),
    Feature("dzm_zdnu_norm", "IATH", "1", "1/N_s^2 sum_j d_j^2"),
    Feature("dzm_z_perc", "VIWW", "1", "N_s / N_v"),
    Feature("dzm_gl_var", "QK93", "1", "sum_ij (i - m)^2 p_ij"),
    Feature("dzm_zd_var", "7WT1", "1", "sum_ij (j - m)^2 p_ij"),
    Feature("dzm_zd_entr", "GBDU", "1", "-sum_ij p_ij log2 p_ij"),
)
FEATURES: Final[tuple[Feature, ...]] = SIZE_FEATURES + DISTANCE_FEATURES

LEVEL: Final = 0
SIZE: Final = 1
DISTANCE: Final = 2
"""Columns of a list of zones."""
BLOCK: Final = 2048
"""Places swept at a time; what a block needs stays in the fastest cache."""
_BIT: Final = np.array([max(pattern.bit_length() - 1, 0) for pattern in range((1 << 12) + 1)], dtype=np.uint8)
"""The number of the one bit that is set."""


def zone_features(
    voxels: Voxels, dimensions: tuple[Dimension, ...], distances: bool
) -> dict[Dimension, tuple[FloatArray, FloatArray]]:
    """Size and distance features, each (17,) of which the first 16 count, per dimension; NaN without a voxel.

    Without `distances` the distance features are NaN and no map is made.
    """
    results: dict[Dimension, tuple[FloatArray, FloatArray]] = {}
    for volume in (False, True):
        chosen: list[Dimension] = [name for name in dimensions if (name == "3D") == volume]
        if not chosen:
            continue
        edge = border_distances(voxels.mask, volume) if distances else np.zeros(0, dtype=np.uint16)
        zones, slabs = list_zones(voxels, volume, edge)
        for name in chosen:
            bounds = slabs if name == "2D" else slabs[[0, -1]]
            results[name] = (
                texture_emphases.zone_features(zones, SIZE, bounds, voxels.base),
                texture_emphases.zone_features(zones, DISTANCE, bounds, voxels.base)
                if distances
                else np.full(NUMBER, np.nan),
            )
    return results


def list_zones(voxels: Voxels, volume: bool, edge: GreyArray) -> tuple[IntArray, LongArray]:
    """The zones of the volume, or of each slice: (zones, 3) level, size and least distance, int32.

    `edge` is the flattened distance map, or empty (the distances then mean nothing). The second array
    says where each slice begins among the zones, and where the last ends.
    """
    slabs = voxels.whole if volume else voxels.slabs
    vectors, apart = _vectors(volume)
    steps = -vectors @ np.array([voxels.shape[1] * voxels.shape[2], voxels.shape[2], 1], dtype=np.int64)
    zones, bounds = _find_zones(voxels.grey, voxels.positions, slabs, (steps, apart), edge)
    return zones, bounds


@lru_cache(maxsize=2)
def _vectors(volume: bool) -> tuple[LongArray, StepArray]:
    """The neighbours that precede a voxel, (n, 3), and for each a bit mask of those that do not touch it.

    The ones straight before come first: they touch most others.
    """
    vectors = sorted(
        (step for step in product((-1, 0) if volume else (0,), (-1, 0, 1), (-1, 0, 1)) if step < (0, 0, 0)),
        key=lambda step: sum(map(abs, step)),
    )
    apart = [
        sum(
            1 << bit
            for bit, two in enumerate(vectors)
            if max(abs(a - b) for a, b in zip(one, two, strict=True)) > 1
        )
        for one in vectors
    ]
    return np.array(vectors, dtype=np.int64), np.array(apart, dtype=np.uint64)


def border_distances(mask: BoolArray, volume: bool) -> GreyArray:
    """City-block steps from each voxel of a mask (z, y, x) to the outside, 1 at the edge; 0 outside.

    Flattened, with a border of one voxel; beyond the box counts as outside. Within slices unless `volume`.
    """
    padded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2, mask.shape[2] + 2), dtype=np.uint16)
    padded[1:-1, 1:-1, 1:-1] = mask
    distances = padded.reshape(-1)
    row = padded.shape[2]
    _sweep_distances(distances, padded.shape[1] * row, row, volume)
    return distances


@njit(cache=True, nogil=True)
def _sweep_distances(distances: GreyArray, plane: int, row: int, volume: bool) -> None:
    """Two sweeps over a flattened, padded mask of zeros and ones, in place; exact for city-block steps."""
    one, far, near = np.uint64(1), np.uint64(plane), np.uint64(row)
    for k in range(plane, len(distances) - plane):
        place = np.uint64(k)
        if distances[place] > 0:
            least = min(distances[place - near], distances[place - one])
            if volume:
                least = min(least, distances[place - far])
            distances[place] = least + np.uint16(1)
    for k in range(len(distances) - plane - 1, plane - 1, -1):
        place = np.uint64(k)
        if distances[place] > 1:
            least = min(distances[place + near], distances[place + one])
            if volume:
                least = min(least, distances[place + far])
            distances[place] = min(distances[place], np.uint16(least + np.uint16(1)))


@njit(cache=True, nogil=True)
def _find_zones(
    grey: GreyArray,
    positions: IndexArray,
    slabs: LongArray,
    preceding: tuple[LongArray, StepArray],
    edge: GreyArray,
) -> tuple[IntArray, LongArray]:
    """Union-find in one sweep; what belongs together is added up per label, not per voxel.

    Which of the preceding neighbours are alike is found block by block with plain array sweeps. Of those, one
    that touches an earlier one is in the same zone already: only what is left needs uniting.
    """
    steps, apart = preceding
    labels = np.empty(len(grey), dtype=np.uint32)
    parents = np.empty(len(positions) + 1, dtype=np.uint32)
    zones = np.empty((len(positions) + 1, 3), dtype=np.int32)
    bounds = np.zeros(len(slabs), dtype=np.int64)
    alike = np.empty(BLOCK, dtype=np.uint16)
    number, one = np.uint32(0), np.uint64(1)
    k = kept = 0
    for slab in range(len(slabs) - 1):
        first, stop = number, slabs[slab + 1]
        while k < stop:
            start = int(positions[k])
            length = min(BLOCK, int(positions[stop - 1]) + 1 - start)
            _sweep_alike(grey, start, length, steps, alike)
            while k < stop and positions[k] < start + length:
                place = np.uint64(positions[k])
                left = np.uint64(alike[place - np.uint64(start)])
                label = np.uint32(0)
                while left > 0:
                    which = np.uint64(_BIT[left & (~left + one)])
                    left &= apart[which]
                    other = labels[place - np.uint64(steps[which])]
                    label = other if label == 0 else _join(parents, label, other)
                if label == 0:
                    number += np.uint32(1)
                    label = number
                    parents[label] = label
                    zones[label, LEVEL] = grey[place]
                    zones[label, SIZE] = 0
                    zones[label, DISTANCE] = 65535
                labels[place] = label
                zones[label, SIZE] += 1
                if len(edge) > 0:
                    zones[label, DISTANCE] = min(zones[label, DISTANCE], max(np.int32(edge[place]), 1))
                k += 1
        kept = _gather_zones(parents, zones, first, number, kept)
        bounds[slab + 1] = kept
    return zones[:kept], bounds


@njit(cache=True, nogil=True)
def _sweep_alike(grey: GreyArray, start: int, length: int, steps: LongArray, alike: GreyArray) -> None:
    """For each place of a block, a bit per preceding neighbour: set where it has the same level."""
    for place in range(length):
        alike[place] = 0
    centre = grey[start : start + length]
    for which in range(len(steps)):
        other = grey[start - steps[which] : start - steps[which] + length]
        bit = np.uint16(1 << which)
        for place in range(length):
            alike[place] |= bit if other[place] == centre[place] else np.uint16(0)


@njit(cache=True, nogil=True)
def _gather_zones(parents: IndexArray, zones: IntArray, before: np.uint32, last: np.uint32, kept: int) -> int:
    """Add the labels after `before` up to their zones and move these to the front; the number kept so far."""
    for k in range(before, last):
        label = np.uint32(k + 1)
        root = _root(parents, label)
        if root != label:
            zones[root, SIZE] += zones[label, SIZE]
            zones[root, DISTANCE] = min(zones[root, DISTANCE], zones[label, DISTANCE])
    for k in range(before, last):
        label = np.uint32(k + 1)
        if parents[label] == label:
            for column in range(3):
                zones[kept, column] = zones[label, column]
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def _root(parents: IndexArray, label: np.uint32) -> np.uint32:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@njit(cache=True, nogil=True)
def _join(parents: IndexArray, one: np.uint32, other: np.uint32) -> np.uint32:
    """Unite two zones and give the label of both, the smaller."""
    first: np.uint32 = _root(parents, one)
    second: np.uint32 = _root(parents, other)
    if first < second:
        parents[second] = first
        return first
    parents[first] = second
    return second
