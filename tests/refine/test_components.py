from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.results import Prediction
from lesionlab.core.volume import Geometry, Volume
from lesionlab.refine import fill_holes, refine

SPACING = (5.0, 2.0, 2.0)  # 0.02 ml per voxel


def refined(array, shape_like=None, **settings):
    geometry = Geometry(array.shape, SPACING)
    case = Case("P1", "P1", {"suv": Volume(np.zeros(array.shape, np.float32), geometry, "1")}, "suv")
    recipe = parse_recipe(
        {"name": "r", "channels": {"suv": {}}, "reference": "suv", "refine": settings}, "test"
    )
    return refine(Prediction(Volume(array, geometry, "1"), notes=("before",)), case, recipe)


def blobs():
    """Label 1 with 8 and 2 voxels, label 2 with 4 and 1; the big 1 and the big 2 touch."""
    mask = np.zeros((6, 8, 10), np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    mask[1:3, 1:3, 3] = 2
    mask[5, 6, 6:8] = 1
    mask[0, 7, 9] = 2
    return mask


def test_all_is_kept_by_default_and_the_raw_mask_stays():
    before = blobs()
    result = refined(before)
    assert np.array_equal(result.mask.array, blobs())
    assert np.array_equal(result.raw_mask.array, blobs())
    assert np.array_equal(before, blobs())
    assert result.notes == ("before",)


def test_largest_is_per_label():
    result = refined(blobs(), keep="largest")
    expected = blobs()
    expected[5] = 0
    expected[0] = 0
    assert np.array_equal(result.mask.array, expected)
    assert result.mask.array.dtype == np.uint8
    assert result.notes == ("before", "refine: removed 2 of 4 components beside the largest (0.06 ml)")
    assert np.array_equal(result.raw_mask.array, blobs())


def test_minimum_volume_keeps_a_component_of_exactly_that_volume():
    result = refined(blobs(), minimum_ml=0.04)
    expected = blobs()
    expected[0] = 0
    assert np.array_equal(result.mask.array, expected)
    assert result.notes[-1] == "refine: removed 1 of 4 components below the minimum volume (0.02 ml)"


def test_a_minimum_above_everything_leaves_an_empty_mask():
    result = refined(blobs(), minimum_ml=100.0, keep="largest")
    assert not result.mask.array.any()
    assert len(result.notes) == 3


@pytest.mark.parametrize(("connectivity", "left"), [(6, 3), (18, 5), (26, 7)])
def test_connectivity_of_the_recipe_decides_what_is_one_component(connectivity, left):
    mask = np.zeros((4, 8, 8), bool)
    mask[0, 0, 0:3] = True
    mask[1, 1, 2:4] = True  # touches the first by an edge
    mask[2, 2, 4:6] = True  # touches the second by a corner
    result = refined(mask, keep="largest", connectivity=connectivity)
    assert result.mask.array.sum() == left


def test_an_empty_mask_stays_empty():
    result = refined(np.zeros((3, 4, 5), np.int16), keep="largest", minimum_ml=1.0, fill_holes=True)
    assert not result.mask.array.any()
    assert result.mask.array.dtype == np.int16
    assert result.raw_mask is not None
    assert result.notes == ("before",)


def test_refining_twice_keeps_the_first_raw_mask():
    geometry = Geometry((6, 8, 10), SPACING)
    case = Case("P1", "P1", {"suv": Volume(np.zeros((6, 8, 10), np.float32), geometry, "1")}, "suv")
    recipe = parse_recipe(
        {"name": "r", "channels": {"suv": {}}, "reference": "suv", "refine": {"minimum_ml": 0.05}}, "t"
    )
    once = refine(Prediction(Volume(blobs(), geometry, "1")), case, recipe)
    twice = refine(once, case, recipe)
    assert np.array_equal(twice.raw_mask.array, blobs())
    assert np.array_equal(twice.mask.array, once.mask.array)


def test_holes_are_filled_with_their_own_label_and_noted():
    mask = np.zeros((7, 7, 7), np.uint8)
    mask[1:6, 1:6, 1:6] = 2
    mask[3, 3, 2:5] = 0
    result = refined(mask, fill_holes=True)
    assert (result.mask.array[1:6, 1:6, 1:6] == 2).all()
    assert result.mask.array.sum() == 2 * 125
    assert result.notes[-1] == "refine: filled 1 holes (0.06 ml)"
    assert result.raw_mask.array[3, 3, 3] == 0


def test_a_tunnel_is_no_hole():
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    mask[2, 2, :] = 0
    assert np.array_equal(refined(mask, fill_holes=True).mask.array, mask)


def test_a_cavity_open_to_the_border_is_no_hole():
    mask = np.ones((3, 5, 5), np.uint8)
    mask[0:2, 2, 2] = 0
    assert np.array_equal(refined(mask, fill_holes=True).mask.array, mask)


def test_a_cavity_with_another_component_inside_is_left_alone():
    mask = np.zeros((9, 9, 9), np.uint8)
    mask[1:8, 1:8, 1:8] = 1
    mask[2:7, 2:7, 2:7] = 0
    mask[4, 4, 4] = 1
    assert np.array_equal(refined(mask, fill_holes=True).mask.array, mask)


def test_a_cavity_between_two_labels_is_left_alone():
    mask = np.zeros((5, 5, 6), np.uint8)
    mask[1:4, 1:4, 1:3] = 1
    mask[1:4, 1:4, 3:5] = 2
    mask[2, 2, 2:4] = 0
    assert np.array_equal(refined(mask, fill_holes=True).mask.array, mask)


def test_a_hole_in_a_2d_image_is_filled():
    mask = np.zeros((1, 6, 6), np.uint8)
    mask[0, 1:5, 1:5] = 1
    mask[0, 2:4, 2:4] = 0
    assert refined(mask, fill_holes=True).mask.array.sum() == 16


def test_one_slice_of_a_3d_image_has_no_holes():
    mask = np.zeros((5, 6, 6), np.uint8)
    mask[2, 1:5, 1:5] = 1
    mask[2, 2:4, 2:4] = 0
    assert refined(mask, fill_holes=True).mask.array.sum() == 12


def test_filled_holes_count_towards_the_minimum():
    mask = np.zeros((5, 5, 5), np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    mask[2, 2, 2] = 0
    assert refined(mask, fill_holes=True, minimum_ml=27 * 0.02).mask.array.sum() == 27
    assert refined(mask, fill_holes=False, minimum_ml=27 * 0.02).mask.array.sum() == 0


def test_errors_name_the_case():
    geometry = Geometry((2, 3, 4), SPACING)
    case = Case("P7", "P7", {"suv": Volume(np.zeros((2, 3, 4), np.float32), geometry, "1")}, "suv")
    recipe = parse_recipe({"name": "r", "channels": {"suv": {}}, "reference": "suv"}, "t")
    other = Volume(np.zeros((2, 3, 5), np.uint8), Geometry((2, 3, 5), SPACING), "1")
    with pytest.raises(GeometryError, match=r"P7: mask: found grid 2 x 3 x 5 .* needed grid 2 x 3 x 4"):
        refine(Prediction(other), case, recipe)
    with pytest.raises(DatasetError, match="P7: found a mask of float32 voxels; needed integer labels"):
        refine(Prediction(Volume(np.ones((2, 3, 4), np.float32), geometry, "1")), case, recipe)
    with pytest.raises(DatasetError, match="P7: found a mask with the label -1"):
        refine(Prediction(Volume(np.full((2, 3, 4), -1, np.int8), geometry, "1")), case, recipe)


small_masks = hnp.arrays(
    np.uint8,
    hnp.array_shapes(min_dims=3, max_dims=3, max_side=7),
    elements=st.sampled_from([0, 1, 1, 2]),
)


@given(small_masks, st.sampled_from([6, 18, 26]))
def test_filling_never_joins_or_changes_components(mask, connectivity):
    filled, holes, voxels = fill_holes(mask, connectivity)
    assert np.array_equal(filled[mask > 0], mask[mask > 0])
    assert (filled > 0).sum() == (mask > 0).sum() + voxels
    assert (holes == 0) == (voxels == 0)
    before = cc3d.connected_components(mask, connectivity=connectivity)
    after = cc3d.connected_components(filled, connectivity=connectivity)
    assert before.max() == after.max()
    again, more, _ = fill_holes(filled, connectivity)
    assert more == 0
    assert np.array_equal(again, filled)


@given(small_masks, st.sampled_from([0.0, 0.03, 0.1]), st.sampled_from(["all", "largest"]))
def test_refining_removes_whole_components_only(mask, minimum_ml, keep):
    result = refined(mask, minimum_ml=minimum_ml, keep=keep).mask.array
    numbers = cc3d.connected_components(mask, connectivity=26)
    for number in range(1, numbers.max() + 1):
        part = result[numbers == number]
        assert (part == 0).all() or np.array_equal(part, mask[numbers == number])
        if (part > 0).any():
            assert part.size * 0.02 >= minimum_ml * (1 - 1e-6)
    assert not result[mask == 0].any()
