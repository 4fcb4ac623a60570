"""Rows that come one after another are resized as the whole array is, in bounded memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.resize import resize
from lesionlab.core.resize_stream import resize_rows

sizes = st.tuples(*[st.integers(1, 70), st.integers(1, 9), st.integers(1, 40)])


def together(boxes: Iterator, channels: int, shape: tuple[int, ...]) -> np.ndarray:
    """All boxes in one array, NaN where none came."""
    found = np.full((channels, *shape), np.nan, np.float32)
    for box, values in boxes:
        assert np.isnan(found[:, *box]).all()
        found[:, *box] = values
    return found


@given(sizes, sizes, st.sampled_from([None, 0, 1, 2]), st.integers(1, 7))
@settings(max_examples=40, deadline=None)
def test_boxes_make_up_what_resizing_the_whole_gives(
    old: tuple[int, ...], new: tuple[int, ...], separate_axis: int | None, pieces: int
) -> None:
    array = np.random.default_rng(0).normal(size=(2, *old)).astype(np.float32)
    boxes = resize_rows(np.array_split(array, pieces, axis=1), old, new, separate_axis=separate_axis)
    expected = resize(array, new, order=1, separate_axis=separate_axis)
    np.testing.assert_allclose(together(boxes, 2, new), expected, atol=2e-6)


def test_only_boxes_that_take_something_needed_come() -> None:
    array = np.full((1, 70, 70, 70), -1.0, np.float32)
    array[0, 60, 5, 40] = 4.0
    expected = resize(array, (90, 90, 90), order=1)
    boxes = list(resize_rows([array], (70, 70, 70), (90, 90, 90), needed=lambda part: part[0] > 0))
    assert 1 <= len(boxes) <= 8
    found = together(iter(boxes), 1, (90, 90, 90))
    there = np.isfinite(found)
    np.testing.assert_allclose(found[there], expected[there], atol=1e-6)
    assert (expected > 0).any() and not (expected[~there] > 0).any()
    assert not list(resize_rows([array], (70, 70, 70), (70, 70, 70), needed=lambda part: part[0] > 9))


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(count: int) -> int:
        rows = (np.full((1, 16, 64, 64), row, np.float32) for row in range(count))
        tracemalloc.start()
        for _ in resize_rows(rows, (16 * count, 64, 64), (20 * count, 80, 80)):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    # the matrices of both lengths are kept from the first time on
    peak(8), peak(32)
    assert peak(32) < 1.3 * peak(8)


def test_too_few_rows_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(IndexError, match="found 4 rows; needed 5"):
        list(resize_rows([np.zeros((1, 4, 2, 2), np.float32)], (5, 2, 2), (7, 2, 2)))
