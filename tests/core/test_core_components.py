from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from lesionlab.core.components import components, foreground_box, labels_of, regions_of
from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Geometry, Volume


def volume(array):
    return Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0)), "1")


def test_components_come_largest_first_with_their_boxes():
    array = np.zeros((4, 5, 9), np.uint8)
    array[1, 1, 1] = 1
    array[2:4, 3:5, 4:7] = 2
    array[0, 0:2, 8] = 1
    numbers, boxes = components(array)
    assert numbers.dtype == np.int32
    assert [int((numbers == n).sum()) for n in (1, 2, 3)] == [12, 2, 1]
    assert boxes == [
        (slice(2, 4), slice(3, 5), slice(4, 7)),
        (slice(0, 1), slice(0, 2), slice(8, 9)),
        (slice(1, 2), slice(1, 2), slice(1, 2)),
    ]


def test_touching_labels_are_apart():
    numbers, boxes = components(np.array([[[1, 1, 2, 2, 2, 0, 1]]], np.int64))
    assert numbers.tolist() == [[[2, 2, 1, 1, 1, 0, 3]]]
    assert len(boxes) == 3


def test_nothing_has_no_components():
    numbers, boxes = components(np.zeros((2, 3, 4), bool))
    assert not numbers.any()
    assert boxes == []
    assert foreground_box(np.zeros((2, 3, 4), bool)) is None


def test_the_box_is_widened_as_far_as_the_array_reaches():
    array = np.zeros((5, 6, 7), bool)
    array[0, 2:4, 6] = True
    assert foreground_box(array) == (slice(0, 1), slice(2, 4), slice(6, 7))
    assert foreground_box(array, margin=2) == (slice(0, 3), slice(0, 6), slice(4, 7))


def test_labels_are_integers_from_0():
    assert labels_of("P1", volume(np.ones((1, 2, 2), bool))).dtype == np.uint8
    assert labels_of("P1", volume(np.full((1, 2, 2), 3, np.int16))).max() == 3
    with pytest.raises(DatasetError, match="P1: found a mask of float64 voxels; needed integer labels"):
        labels_of("P1", volume(np.ones((1, 2, 2))))
    with pytest.raises(
        DatasetError, match="P1: found a mask with the label -2; needed labels of 0 and above"
    ):
        labels_of("P1", volume(np.full((1, 2, 2), -2, np.int8)))


@given(
    hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, max_side=7)), st.sampled_from([6, 18, 26])
)
def test_components_are_those_of_scipy(mask, connectivity):
    """Also on lines and small planes, read-only and turned arrays, where cc3d by itself stumbles."""
    structure = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[connectivity])
    expected, count = ndimage.label(mask, structure)
    frozen = mask.transpose(2, 0, 1)
    frozen.flags.writeable = False
    numbers, boxes = components(frozen, connectivity)
    assert len(boxes) == count == regions_of(mask, connectivity).max(initial=0)
    pairs = set(zip(numbers.transpose(1, 2, 0)[mask], expected[mask], strict=True))
    assert len(pairs) == count
    assert np.array_equal(numbers.transpose(1, 2, 0) > 0, mask)
    sizes = [int((numbers == n).sum()) for n in range(1, count + 1)]
    assert sizes == sorted(sizes, reverse=True)
    for number, box in enumerate(boxes, start=1):
        assert box == foreground_box(numbers == number)
