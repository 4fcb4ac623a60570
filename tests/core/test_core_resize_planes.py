"""Volumes whose planes are made when they are asked for are resized with the bits of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.resize import resize
from lesionlab.core.resize_planes import resize_planes

sizes = st.tuples(*[st.integers(1, 90), st.integers(1, 12), st.integers(1, 40)])


class Watched:
    """Planes of an array, and how far they were asked for."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.reached = array, array.shape, 0

    def __getitem__(self, planes: slice | int) -> np.ndarray:
        self.reached = max(self.reached, planes.stop if isinstance(planes, slice) else planes + 1)
        return self.array[planes].copy()


@given(sizes, sizes, st.sampled_from([1, 3]), st.booleans(), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_planes_are_those_of_resizing_the_whole_to_the_bit(
    old: tuple[int, ...], new: tuple[int, ...], order: int, separate: bool, workers: int
) -> None:
    if old == new:
        return
    array = np.random.default_rng(0).normal(size=old).astype(np.float32)
    expected = resize(array, new, order=order, separate_axis=0 if separate else None, workers=workers)
    limits = array.min(), array.max()
    parts = list(resize_planes(array, new, order=order, separate=separate, limits=limits))
    assert max(map(len, parts)) <= 32
    np.testing.assert_array_equal(np.concatenate(parts), expected)


@pytest.mark.parametrize("new", [(160, 30, 20), (250, 9, 7)], ids=["first axis last", "first axis first"])
def test_no_plane_is_asked_for_long_before_its_turn(new: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).normal(size=(200, 15, 10)).astype(np.float32)
    source, made = Watched(array), 0
    for part in resize_planes(source, new, limits=(array.min(), array.max())):
        made += len(part)
        # a spline reaches 13 voxels beyond
        assert source.reached <= made * 200 / new[0] + 16
    assert made == new[0] and source.reached == 200
