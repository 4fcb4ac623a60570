from __future__ import annotations

import numpy as np
import pytest

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.levels import discretise, fixed_number_bins, fixed_size_bins
from lesionlab.measure.ibsi.region import Region


def region_of(values, keep=None):
    values = np.asarray(values, dtype=np.float64).reshape(1, 1, -1)
    drawn = np.ones(values.shape, bool)
    return Region(values, drawn, drawn if keep is None else np.reshape(keep, values.shape), (1.0, 1.0, 1.0))


def settings(**changes):
    return RadiomicsSettings.model_validate({"families": ("histogram",), **changes})


def levels_of(values, **changes):
    found = discretise(region_of(values), settings(**changes))
    return found.array.ravel().tolist(), found.count


def test_fixed_bin_size_begins_at_the_minimum():
    assert levels_of([3.0, 3.9, 4.0, 7.5], bin_size=1.0) == ([1, 1, 2, 5], 5)


def test_fixed_bin_size_begins_at_the_range_or_the_origin():
    values = [-500.0, -475.0, -474.0, 399.0, 400.0]
    assert levels_of(values, bin_size=25.0, keep_range=(-500, 400)) == ([1, 2, 2, 36, 37], 37)
    assert levels_of([3.0, 4.0], bin_size=1.0, bin_origin=0.0) == ([4, 5], 5)
    assert levels_of([3.0, 4.0], bin_size=1.0, bin_origin=1.0, keep_range=(2, 9)) == ([3, 4], 4)
    assert levels_of([3.0, 4.0], bin_size=1.0, keep_range=(-np.inf, 9)) == ([1, 2], 2)


def test_values_below_a_stated_origin_are_not_lost():
    assert levels_of([-1.6, -0.1, 0.0, 2.0], bin_size=1.0, bin_origin=0.0) == ([1, 2, 3, 5], 5)


def test_fixed_bin_number_spans_minimum_to_maximum():
    assert levels_of([1.0, 3.0, 4.0, 6.0], bin_number=6) == ([1, 3, 4, 6], 6)
    assert levels_of([0.0, 0.999, 1.0, 2.0], bin_number=2) == ([1, 1, 2, 2], 2)


def test_whole_numbers_fall_onto_the_edges_of_a_fixed_number_of_bins():
    values = np.arange(0.0, 1241.0)
    expected = np.minimum(np.arange(1241) * 32 // 1240 + 1, 32)
    np.testing.assert_array_equal(fixed_number_bins(values, 32).levels_of(values), expected)


def test_constant_intensity_is_one_level():
    assert levels_of([2.5, 2.5], bin_number=8) == ([1, 1], 1)
    assert levels_of([2.5, 2.5], bin_size=0.25) == ([1, 1], 1)
    # with an origin the level still says how bright the lesion is
    assert levels_of([2.5, 2.5], bin_size=0.25, bin_origin=0.0) == ([11, 11], 11)


def test_voxels_that_left_the_intensity_mask_have_level_0_and_stay_in_the_box():
    region = region_of([5.0, 1.0, 2.0, 9.0], keep=[False, True, True, False])
    found = discretise(region, settings(bin_size=1.0))
    assert found.array.ravel().tolist() == [0, 1, 2, 0]
    assert found.mask.all()
    assert found.count == 2


def test_the_box_is_that_of_the_lesion_without_the_margin():
    values = np.zeros((5, 6, 7))
    mask = np.zeros(values.shape, bool)
    mask[1:3, 2:5, 3:7] = True
    found = discretise(Region(values, mask, mask, (3.0, 2.0, 1.0)), settings(bin_number=4))
    assert found.array.shape == (2, 3, 4)
    assert found.array.dtype == np.int32
    assert found.spacing == (3.0, 2.0, 1.0)


def test_nothing_to_discretise():
    found = discretise(region_of([1.0, 2.0], keep=[False, False]), settings(bin_size=1.0))
    assert not found.array.any()
    assert found.count == 0


@pytest.mark.parametrize("origin", [0.0, -3.7, 1.05])
def test_bins_hold_their_lower_edge(origin):
    values = np.array([1.3, 8.9, 4.4])
    bins = fixed_size_bins(values, 0.7, origin)
    lower = bins.lower + (bins.levels_of(values) - 1) * 0.7
    assert (lower <= values + 1e-12).all()
    assert (values < lower + 0.7 + 1e-12).all()
    assert bins.lower <= values.min()
