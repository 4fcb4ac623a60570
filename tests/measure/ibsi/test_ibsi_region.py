from __future__ import annotations

import numpy as np
import pytest

from lesionlab.measure.ibsi.region import Region, tight, tight_box


@pytest.mark.parametrize("seed", range(5))
def test_the_tight_box_holds_every_voxel_and_touches_one_on_each_side(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((9, 8, 7)) < 0.01
    mask[tuple(rng.integers(0, 7, 3))] = True
    box = tight_box(mask)
    assert mask[box].sum() == mask.sum()
    for axis in range(3):
        inside = np.moveaxis(mask[box], axis, 0)
        assert inside[0].any()
        assert inside[-1].any()


def test_the_margin_ends_at_the_array():
    mask = np.zeros((6, 6, 6), bool)
    mask[1, 3, 5] = True
    assert tight_box(mask, (2, 1, 3)) == (slice(0, 4), slice(2, 5), slice(2, 6))


def test_no_voxel_gives_an_empty_box():
    assert tight_box(np.zeros((3, 4, 5), bool)) == (slice(0, 0),) * 3
    assert tight_box(np.zeros((0, 0, 0), bool)) == (slice(0, 0),) * 3


def test_values_inside_are_those_of_the_intensity_mask():
    values = np.arange(8.0).reshape(2, 2, 2)
    kept = np.zeros((2, 2, 2), bool)
    kept[1, 0, 1] = kept[0, 1, 0] = True
    region = Region(values, np.ones((2, 2, 2), bool), kept, (1.0, 1.0, 1.0))
    np.testing.assert_array_equal(region.inside, [2.0, 5.0])


def test_a_tight_region_is_the_lesion_alone():
    rng = np.random.default_rng(3)
    drawn = np.zeros((6, 7, 8), bool)
    drawn[2:4, 1:6, 3:8] = rng.random((2, 5, 5)) < 0.8
    drawn[2, 1, 3] = drawn[3, 5, 7] = True
    values, kept = rng.random(drawn.shape), drawn & (rng.random(drawn.shape) < 0.5)
    region = Region(values, drawn, kept, (3.0, 2.0, 1.0))
    lesion = tight(region)
    assert lesion.values.shape == (2, 5, 5)
    assert lesion.values.flags.c_contiguous
    assert lesion.morphological.sum() == drawn.sum()
    np.testing.assert_array_equal(lesion.inside, region.inside)
    again = tight(lesion)
    assert np.shares_memory(again.values, lesion.values)
    assert tight(Region(values, drawn & False, kept & False, region.spacing)).values.size == 0
