from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import pdist

from lesionlab.measure.shape import centroid_index, diameter_3d, diameters_in_slice

SPACING = (3.0, 1.0, 2.0)


def test_one_voxel_has_no_extent():
    lesion = np.ones((1, 1, 1), bool)
    assert diameter_3d(lesion, SPACING) == 0.0
    assert diameters_in_slice(lesion, SPACING) == (0.0, 0.0)
    assert centroid_index(lesion).tolist() == [0.0, 0.0, 0.0]


def test_a_line_has_a_length_and_no_width():
    assert diameter_3d(np.ones((1, 1, 100), bool), SPACING) == pytest.approx(198.0)
    assert diameters_in_slice(np.ones((1, 1, 100), bool), SPACING) == pytest.approx((198.0, 0.0))
    assert diameter_3d(np.ones((100, 1, 1), bool), SPACING) == pytest.approx(297.0)
    assert diameters_in_slice(np.ones((100, 1, 1), bool), SPACING) == (0.0, 0.0)
    diagonal = np.eye(150, dtype=bool)[None]
    assert diameter_3d(diagonal, SPACING) == pytest.approx(149 * np.sqrt(5))


def test_a_plane_and_a_box_have_their_diagonals():
    assert diameter_3d(np.ones((1, 30, 40), bool), SPACING) == pytest.approx(np.hypot(29, 78))
    assert diameter_3d(np.ones((20, 30, 40), bool), SPACING) == pytest.approx(np.sqrt(57**2 + 29**2 + 78**2))


def test_the_width_is_at_right_angles_to_the_length():
    lesion = np.zeros((1, 7, 41), bool)
    lesion[0, 3, :] = True
    lesion[0, 1:6, 18] = True
    length, width = diameters_in_slice(lesion, (1.0, 1.0, 1.0))
    assert (length, width) == pytest.approx((40.0, 4.0))


def test_the_slice_with_the_longest_diameter_counts():
    lesion = np.zeros((3, 9, 9), bool)
    lesion[0, 0, 0:3] = True
    lesion[1, 0, 0:8] = True
    lesion[2, 0:6, 0:6] = True
    length, width = diameters_in_slice(lesion, (1.0, 1.0, 1.0))
    assert length == pytest.approx(np.hypot(5, 5))
    assert width == pytest.approx(np.hypot(5, 5))


def test_equally_long_diameters_take_the_wider_slice_whatever_the_order():
    lesion = np.zeros((2, 3, 6), bool)
    lesion[0, 1, :] = True
    lesion[1, 1, :] = True
    lesion[1, 0:2, 3] = True
    assert diameters_in_slice(lesion, (1.0, 1.0, 1.0)) == diameters_in_slice(lesion[::-1], (1.0, 1.0, 1.0))
    assert diameters_in_slice(lesion, (1.0, 1.0, 1.0))[1] > 0.9


def test_a_large_ball_comes_within_a_voxel_of_its_diameter():
    z, y, x = np.ogrid[-20:21, -60:61, -30:31]
    lesion = (z * 3.0) ** 2 + (y * 1.0) ** 2 + (x * 2.0) ** 2 <= 55.0**2
    assert 110.0 - 1.0 <= diameter_3d(lesion, SPACING) <= 110.0
    length, width = diameters_in_slice(lesion, SPACING)
    assert 109.0 <= length <= 110.0
    assert 106.0 <= width <= 110.0


masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)).filter(np.any)


@given(masks, st.tuples(*[st.sampled_from([0.7, 1.0, 2.5])] * 3))
def test_diameters_are_those_of_all_pairs(lesion, spacing):
    points = np.argwhere(lesion) * np.asarray(spacing)
    expected = pdist(points).max() if len(points) > 1 else 0.0
    assert diameter_3d(lesion, spacing) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    in_slices = [points[points[:, 0] == z] for z in np.unique(points[:, 0])]
    longest = max((pdist(p).max() for p in in_slices if len(p) > 1), default=0.0)
    length, width = diameters_in_slice(lesion, spacing)
    assert length == pytest.approx(longest, rel=1e-12, abs=1e-12)
    assert 0 <= width <= length * (1 + 1e-9)


@given(masks, st.sampled_from([(0, 1, 2), (2, 1, 0), (1, 2, 0)]))
def test_the_3d_diameter_does_not_depend_on_the_order_of_the_axes(lesion, axes):
    turned = lesion.transpose(axes)
    spacing = tuple(SPACING[a] for a in axes)
    assert diameter_3d(turned, spacing) == pytest.approx(diameter_3d(lesion, SPACING), rel=1e-12)
    assert diameter_3d(lesion[::-1, :, ::-1], SPACING) == pytest.approx(diameter_3d(lesion, SPACING))
