from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.components import components
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.matching import match_lesions
from phantoms import ball_mask

GRID = Geometry((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
FINE = Geometry((60, 60, 60), (1.4, 1.3, 1.3), (-40.0, -40.0, -40.0))


def labels(balls, grid=GRID):
    mask = np.zeros(grid.shape, np.uint8)
    for centre, radius in balls:
        mask[ball_mask(grid, centre, radius)] = 1
    return Volume(components(mask)[0], grid, "1")


def kinds(matches):
    return [(m.kind, m.baseline, m.followup) for m in matches]


@pytest.mark.parametrize("grid", [GRID, FINE], ids=["same grid", "other grid"])
def test_each_kind_of_fate(grid):
    before = labels([((-25, -25, 0), 9), ((25, -25, 0), 6), ((-25, 25, 0), 5), ((-10, 25, 0), 4)])
    after = labels([((-30, -25, 0), 3.9), ((-19, -25, 0), 4.4), ((-18, 25, 0), 9), ((25, 25, 0), 7)], grid)
    found = match_lesions(before, after)
    assert kinds(found) == [
        ("split", (1,), (3, 4)),
        ("vanished", (2,), ()),
        ("merged", (3, 4), (1,)),
        ("new", (), (2,)),
    ]
    assert found[0].overlap_ml == pytest.approx((after.array >= 3).sum() * grid.voxel_ml, rel=0.15)
    assert math.isnan(found[1].distance_mm)
    assert found[0].words == "1 → 3 + 4"
    assert found[1].words == "2 → –"


def test_without_overlap_the_nearest_pair_up_one_to_one():
    before = labels([((0, 0, -20), 4), ((0, 0, 0), 3)])
    after = labels([((0, 0, -10), 4.2), ((0, 12, 0), 3)])
    # lesion 1 is 10 mm from follow-up 1 and lesion 2 too: the other one is left with the 12 mm
    found = match_lesions(before, after)
    assert {kind for kind, _, _ in kinds(found)} == {"matched"}
    assert sorted(m.distance_mm for m in found) == pytest.approx(
        sorted(m.distance_mm for m in found if m.overlap_ml == 0)
    )
    assert kinds(match_lesions(before, after, 5.0)) == [
        ("vanished", (1,), ()),
        ("vanished", (2,), ()),
        ("new", (), (1,)),
        ("new", (), (2,)),
    ]


def test_a_lesion_that_overlaps_is_not_taken_by_a_nearer_centroid():
    before = labels([((0, 0, 0), 14)])
    after = labels([((0, 0, 11), 5), ((30, 0, 0), 4)])
    assert kinds(match_lesions(before, after, 100.0)) == [("matched", (1,), (1,)), ("new", (), (2,))]


def test_several_with_several():
    before = labels([((-12, 0, 0), 8), ((12, 0, 0), 8)])
    after = labels([((0, -6, 0), 5.9), ((0, 6, 0), 5.9)])
    mask = after.array.copy()
    mask[20, 17, 12:28] = mask[20, 23, 12:28] = 1
    joined = Volume(components((mask > 0).astype(np.uint8))[0], GRID, "1")
    (found,) = match_lesions(before, joined)
    assert found.kind in ("regrouped", "merged")
    assert found.baseline == (1, 2)


def test_empty_sides():
    none, one = labels([]), labels([((0, 0, 0), 5)])
    assert match_lesions(none, none) == ()
    assert kinds(match_lesions(none, one)) == [("new", (), (1,))]
    assert kinds(match_lesions(one, none)) == [("vanished", (1,), ())]


def test_a_tiny_lesion_between_coarse_voxel_centres_overlaps_all_the_same():
    coarse = Geometry((8, 8, 8), (10.0, 10.0, 10.0), (-40.0, -40.0, -40.0))
    big = labels([((0, 0, 0), 16)], coarse)
    tiny = Volume(np.zeros(FINE.shape, np.int32), FINE, "1")
    array = tiny.array.copy()
    array[tuple(np.round(FINE.to_index((5.0, 5.0, 5.0))).astype(int))] = 1
    for before, after in ((big, tiny.with_array(array)), (tiny.with_array(array), big)):
        assert kinds(match_lesions(before, after, 0.0)) == [("matched", (1,), (1,))]
