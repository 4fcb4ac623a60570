"""The matrices behind texture, counted by hand on one small slice."""

from __future__ import annotations

import numpy as np
import pytest

from lesionlab.measure.ibsi.region import Levels
from lesionlab.measure.ibsi.texture import glcm, glrlm
from lesionlab.measure.ibsi.texture_directions import count_direction
from lesionlab.measure.ibsi.texture_neighbours import count_neighbours
from lesionlab.measure.ibsi.texture_voxels import Voxels, gather, steps_back
from lesionlab.measure.ibsi.texture_zones import border_distances, list_zones

SLICE = np.array([[1, 2, 2], [1, 0, 2], [3, 3, 1]], dtype=np.int32)
"""Eight voxels around a hole."""
NO_EDGE = np.zeros(0, dtype=np.uint16)


def voxels_of(array: np.ndarray) -> Voxels:
    return gather(Levels(array, int(array.max()), array > 0, (1.0, 1.0, 1.0)))


def counted(step: int) -> tuple[list[list[int]], list[list[int]]]:
    """Symmetric co-occurrences and run lengths (columns 1, 2, 3) of SLICE towards one neighbour."""
    voxels = voxels_of(SLICE[np.newaxis])
    pairs, reached = np.zeros((4, 4), dtype=np.int32), np.zeros((4, 6), dtype=np.int32)
    scratch = np.zeros(len(voxels.grey), dtype=np.uint16)
    count_direction(voxels.grey, voxels.positions, step, scratch, pairs, reached)
    runs = reached[1:, 1:-1] - reached[1:, 2:]
    return (pairs + pairs.T)[1:, 1:].tolist(), runs[:, :3].tolist()


def test_along_a_row() -> None:
    pairs, runs = counted(1)
    assert pairs == [[0, 1, 1], [1, 2, 0], [1, 0, 2]]
    assert runs == [[3, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_along_a_column() -> None:
    pairs, runs = counted(5)
    # downwards: 1 1 3, then 2 and 3 apart, then 2 2 1
    assert pairs == [[2, 1, 1], [1, 2, 0], [1, 0, 0]]
    assert runs == [[1, 1, 0], [1, 1, 0], [2, 0, 0]]


def test_along_the_diagonals() -> None:
    # down to the right: 2-2 and 1-3 meet, the hole parts the main diagonal; rows of the padded box hold 5
    pairs, runs = counted(6)
    assert pairs == [[0, 0, 1], [0, 2, 0], [1, 0, 0]]
    assert runs == [[3, 0, 0], [1, 1, 0], [2, 0, 0]]
    # down to the left: 2-1 and 2-3
    pairs, runs = counted(4)
    assert pairs == [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    assert runs == [[3, 0, 0], [3, 0, 0], [2, 0, 0]]


def test_merged_over_directions() -> None:
    levels = Levels(SLICE[np.newaxis], 3, SLICE[np.newaxis] > 0, (1.0, 1.0, 1.0))
    # the four matrices above together: 20 entries, 6 of them two of level 2
    merged = glcm(levels, "2D_comb")
    assert merged["cm_joint_max"] == pytest.approx(6 / 24)
    assert merged["cm_contrast"] == pytest.approx((2 * 3 * 1 + 2 * 1 * 1 + 2 * 3 * 4) / 24)
    runs = glrlm(levels, "2D_comb")
    assert runs["rlm_r_perc"] == pytest.approx(27 / 32)
    assert runs["rlm_lre"] == pytest.approx((22 + 5 * 4) / 27)


def test_directions_are_half_of_the_neighbours() -> None:
    assert sorted(steps_back((3, 5, 7), "2D")) == [1, 6, 7, 8]
    volume = steps_back((3, 5, 7), "3D")
    assert sorted(volume) == [1, 6, 7, 8, *(35 + y * 7 + x for y in (-1, 0, 1) for x in (-1, 0, 1))]


def test_zones_touch_by_corners() -> None:
    voxels = voxels_of(SLICE[np.newaxis])
    zones, bounds = list_zones(voxels, False, NO_EDGE)
    assert sorted(zones[:, :2].tolist()) == [[1, 1], [1, 2], [2, 3], [3, 2]]
    assert bounds.tolist() == [0, 4]


def test_zones_reach_through_slices_only_in_the_volume() -> None:
    array = np.zeros((2, 3, 3), dtype=np.int32)
    array[0, 0, 0] = array[1, 1, 1] = array[1, 2, 2] = 4
    voxels = voxels_of(array)
    flat, bounds = list_zones(voxels, False, NO_EDGE)
    assert flat[:, :2].tolist() == [[1, 1], [1, 2]]
    assert bounds.tolist() == [0, 1, 2]
    deep, _ = list_zones(voxels, True, NO_EDGE)
    assert deep[:, :2].tolist() == [[1, 3]]


def test_a_spiral_is_one_zone() -> None:
    """Arms that meet late have to be united after they were labelled apart."""
    spiral = np.array(
        [
            [1, 1, 1, 1, 1, 1, 1],
            [2, 2, 2, 2, 2, 2, 1],
            [1, 1, 1, 1, 1, 2, 1],
            [1, 2, 2, 2, 1, 2, 1],
            [1, 2, 1, 1, 1, 2, 1],
            [1, 2, 2, 2, 2, 2, 1],
            [1, 1, 1, 1, 1, 1, 1],
        ],
        dtype=np.int32,
    )[np.newaxis]
    voxels = voxels_of(spiral)
    for volume in (False, True):
        zones, _ = list_zones(voxels, volume, NO_EDGE)
        assert sorted(zones[:, :2].tolist()) == [[1, 31], [2, 18]]


def test_distances_count_steps_to_the_outside() -> None:
    mask = np.ones((1, 5, 6), dtype=bool)
    mask[0, 2, 5] = False
    inner = border_distances(mask, volume=False).reshape(3, 7, 8)[1, 1:-1, 1:-1]
    assert inner.tolist() == [
        [1, 1, 1, 1, 1, 1],
        [1, 2, 2, 2, 2, 1],
        [1, 2, 3, 2, 1, 0],
        [1, 2, 2, 2, 2, 1],
        [1, 1, 1, 1, 1, 1],
    ]
    # in the volume a single slice is all edge
    assert set(border_distances(mask, volume=True).tolist()) == {0, 1}


def test_neighbours_within_the_region_only() -> None:
    voxels = voxels_of(SLICE[np.newaxis])
    dependences = np.zeros((4, 28), dtype=np.int64)
    having, differences = np.zeros(4, dtype=np.int64), np.zeros(4)
    back = steps_back(voxels.shape, "2D")
    count_neighbours(
        voxels.grey, voxels.positions, np.concatenate((-back, back)), dependences, having, differences
    )
    assert dependences[1:, 1:4].tolist() == [[1, 2, 0], [0, 0, 3], [0, 2, 0]]
    assert dependences.sum() == 8
    assert having.tolist() == [0, 3, 3, 2]
    assert differences.tolist() == [0.0, 0.5 + 1.25 + 1.5, 0.5, 1.0 + 1.25]
