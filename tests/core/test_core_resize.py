"""Resizing gives the numbers of scikit-image's resize and of nnU-Net's default resampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnunetv2.preprocessing.resampling.default_resampling import (
    determine_do_sep_z_and_axis,
    resample_data_or_seg,
)
from skimage.transform import resize as skimage_resize

from lesionlab.core.errors import GeometryError
from lesionlab.core.resize import low_resolution_axis, resize
from lesionlab.core.resize_labels import resize_labels

SHAPES = {
    "down": ((40, 50, 61), (31, 40, 45)),
    "up": ((31, 20, 45), (40, 50, 61)),
    "slices up, plane down": ((9, 60, 41), (70, 33, 20)),
    "slices down, plane up": ((70, 21, 20), (9, 40, 41)),
    "one axis": ((20, 33, 17), (20, 40, 17)),
    "one slice": ((1, 33, 17), (1, 20, 30)),
    "to one voxel": ((6, 5, 7), (1, 1, 1)),
    "from one voxel": ((1, 1, 1), (3, 2, 4)),
    "halved": ((20, 16, 12), (10, 8, 6)),
}
sizes = st.tuples(*[st.integers(1, 24)] * 3)


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def blobs(shape: tuple[int, ...], labels: int, seed: int = 0) -> np.ndarray:
    """Labels from -1 on, as nnU-Net marks what it cropped away, with many neighbours that differ."""
    random = np.random.default_rng(seed)
    return (random.integers(-1, labels, shape) * (random.random(shape) < 0.6)).astype(np.int8)


@pytest.mark.parametrize("separate_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("name", SHAPES)
def test_images_are_resized_as_nnunet_does(name: str, order: int, separate_axis: int | None) -> None:
    old, new = SHAPES[name]
    array = noise((2, *old))
    array[1] *= 5.0
    expected = resample_data_or_seg(array, new, False, separate_axis, order, separate_axis is not None)
    for workers in (1, 3):
        result = resize(array, new, order=order, separate_axis=separate_axis, workers=workers)
        assert result.dtype == np.float32
        for channel, wanted, given_ in zip(result, expected, array, strict=True):
            assert np.abs(channel - wanted).max() <= 1e-6 * np.ptp(given_)


@given(sizes, sizes, st.sampled_from([0, 1, 3]))
@settings(max_examples=25, deadline=None)
def test_any_size_gives_what_skimage_gives(
    old: tuple[int, int, int], new: tuple[int, int, int], order: int
) -> None:
    array = noise(old)
    expected = skimage_resize(array.astype(float), new, order, mode="edge", anti_aliasing=False)
    assert np.allclose(resize(array, new, order=order), expected, atol=1e-6 * max(np.ptp(array), 1.0))


@pytest.mark.parametrize("separate_axis", [None, 0, 1, 2])
@pytest.mark.parametrize("name", SHAPES)
def test_labels_are_resized_as_nnunet_does_with_the_same_ties(name: str, separate_axis: int | None) -> None:
    old, new = SHAPES[name]
    labels = blobs((2, *old), 3)
    expected = resample_data_or_seg(labels, new, True, separate_axis, 1, separate_axis is not None)
    result = resize_labels(labels, new, separate_axis=separate_axis)
    assert result.dtype == labels.dtype
    assert np.array_equal(result, expected)
    assert np.array_equal(resize_labels(labels[0], new, separate_axis=separate_axis), expected[0])


@given(sizes, sizes, st.integers(1, 5))
@settings(max_examples=25, deadline=None)
def test_labels_of_any_size_agree(old: tuple[int, int, int], new: tuple[int, int, int], count: int) -> None:
    labels = blobs((1, *old), count)
    assert np.array_equal(resize_labels(labels, new), resample_data_or_seg(labels, new, True, None, 1))


def test_a_spline_that_overshoots_is_clipped_to_the_range_of_its_channel() -> None:
    step = np.zeros((2, 12, 12, 12), np.float32)
    step[0, 6:], step[1, :, 6:] = 1.0, -3.0
    result = resize(step, (31, 29, 33))
    assert (result[0].min(), result[0].max()) == (0.0, 1.0)
    assert (result[1].min(), result[1].max()) == (-3.0, 0.0)


def test_planes_are_clipped_one_by_one_along_a_separate_axis() -> None:
    planes = np.zeros((2, 8, 8), np.float32)
    planes[0, 4:], planes[1] = 1.0, 0.5
    result = resize(planes, (4, 19, 19), separate_axis=0)
    assert np.all(result[2:] == 0.5)
    assert result[:2].max() == 1.0


@pytest.mark.parametrize("order", [0, 1, 3])
def test_a_constant_stays_what_it_is(order: int) -> None:
    assert np.all(resize(np.full((9, 8, 7), 1234.5, np.float32), (5, 20, 11), order=order) == 1234.5)


def test_a_large_offset_costs_a_few_roundings_of_float32() -> None:
    array = noise((30, 31, 32)) + 1000.0
    expected = skimage_resize(array.astype(float), (40, 20, 50), 3, mode="edge", anti_aliasing=False)
    assert np.abs(resize(array, (40, 20, 50)) - expected).max() < 1e-6 * 1000.0


def test_the_sign_of_a_resized_difference_is_the_argmax_of_two_resized_logits() -> None:
    logits = noise((2, 20, 24, 22)) * 4.0
    shape = (31, 40, 29)
    both = resample_data_or_seg(logits, shape, False, None, 1)
    difference = resize(logits[1] - logits[0], shape, order=1)
    clear = np.abs(both[1] - both[0]) > 1e-5
    assert clear.mean() > 0.999
    assert np.array_equal((difference > 0)[clear], both.argmax(axis=0)[clear])


def test_views_halves_and_integers_give_the_float32_answer() -> None:
    array = np.round(noise((15, 16, 34)) * 100)
    wanted = resize(np.ascontiguousarray(array[:, ::-1, ::2]), (20, 20, 20))
    assert np.array_equal(resize(array[:, ::-1, ::2], (20, 20, 20)), wanted)
    for dtype in (np.float16, np.int16):
        assert np.array_equal(resize(array.astype(dtype)[:, ::-1, ::2], (20, 20, 20)), wanted)


def test_nan_stays_near_where_it_was() -> None:
    array = noise((60, 6, 6))
    clean = resize(array, (80, 6, 6))
    array[0] = np.nan
    result = resize(array, (80, 6, 6))
    assert np.isnan(result[0]).all()
    assert np.allclose(result[75:], clean[75:], atol=1e-5)


def test_nothing_changes_where_the_shape_is_kept_and_inputs_are_never_written() -> None:
    array = noise((4, 5, 6))
    array.flags.writeable = False
    labels = blobs((4, 5, 6), 2)
    assert resize(array, (4, 5, 6)) is array
    assert resize_labels(labels, (4, 5, 6)) is labels
    assert resize(labels, (8, 5, 6), order=0).dtype == np.int8
    assert resize(array, (8, 5, 6)).shape == (8, 5, 6)


@pytest.mark.parametrize(
    ("spacing", "wanted"),
    [
        ((2.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
        ((5.0, 1.0, 1.0), (5.0, 2.0, 2.0)),
        ((1.0, 1.0, 5.0), (1.0, 1.0, 1.0)),
        ((2.0, 2.0, 2.0), (0.5, 3.0, 0.5)),
        ((1.0, 4.0, 4.0), (9.0, 1.0, 1.0)),
        ((999.0, 1.0, 1.0), (999.0, 1.0, 1.0)),
        ((3.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ],
)
def test_the_axis_kept_apart_is_the_one_nnunet_keeps_apart(
    spacing: tuple[float, ...], wanted: tuple[float, ...]
) -> None:
    assert low_resolution_axis(spacing, wanted) == determine_do_sep_z_and_axis(None, spacing, wanted)[1]


@pytest.mark.parametrize("function", [resize, resize_labels])
def test_shapes_that_cannot_be_are_refused(function) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GeometryError, match=r"array of shape \(3, 4\)"):
        function(np.zeros((3, 4)), (3, 4, 5))
    with pytest.raises(GeometryError, match="array of shape"):
        function(np.zeros((3, 0, 4)), (3, 4, 5))
    with pytest.raises(GeometryError, match=r"new shape \(3, 0, 5\)"):
        function(np.zeros((3, 4, 4)), (3, 0, 5))
    with pytest.raises(ValueError, match="separate_axis 3"):
        function(np.zeros((3, 4, 4)), (3, 4, 5), separate_axis=3)


def test_an_order_that_is_not_offered_is_refused() -> None:
    with pytest.raises(ValueError, match="order 2"):
        resize(np.zeros((3, 4, 4)), (3, 4, 5), order=2)
