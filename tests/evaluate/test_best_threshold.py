from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import best_threshold


def volume(array):
    return Volume(array, Geometry(array.shape, (1.0, 1.0, 1.0)), "1")


def best(values, truth):
    return best_threshold(volume(np.array([[values]], np.float32)), volume(np.array([[truth]], np.uint8)))


def test_a_separable_lesion_is_found_exactly():
    result = best([1, 2, 5, 7, 9], [0, 0, 1, 1, 1])
    assert (result.threshold, result.dice) == (5.0, 1.0)


def test_equal_values_come_and_go_together():
    result = best([5, 5, 5, 1], [1, 0, 0, 1])
    assert result.dice == pytest.approx(4 / 6)
    assert result.threshold == 1.0


def test_of_equally_good_thresholds_the_highest_counts():
    result = best([9, 5, 4, 3], [1, 0, 1, 0])  # 9: 2/3; 4: 4/5
    assert (result.threshold, result.dice) == (4.0, pytest.approx(0.8))
    assert best([9, 5, 5, 1], [1, 0, 1, 1]).threshold == 1.0
    assert best([4, 3, 2], [1, 1, 0]).threshold == 3.0
    assert best([9, 8, 7, 6], [1, 0, 0, 1]).threshold == 9.0  # 2/3 at 9 and at 6


def test_an_empty_truth_has_no_best():
    result = best([1, 2, 3], [0, 0, 0])
    assert math.isnan(result.dice)
    assert math.isnan(result.threshold)


def test_voxels_that_are_not_finite_are_never_taken():
    result = best([np.nan, np.inf, 4, 3], [1, 0, 1, 0])
    assert (result.threshold, result.dice) == (4.0, pytest.approx(2 / 3))
    lost = best([np.nan, 2], [1, 0])
    assert math.isnan(lost.threshold)
    assert lost.dice == 0.0


def test_another_grid_is_refused():
    with pytest.raises(GeometryError, match="STS_1: found grid 1 x 1 x 2"):
        best_threshold(volume(np.zeros((1, 1, 2))), volume(np.zeros((1, 1, 3), np.uint8)), subject="STS_1")


shapes = hnp.array_shapes(min_dims=3, max_dims=3, max_side=5)


@given(
    shapes.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float32, shape, elements=st.sampled_from([0, 1, 1.5, 2, 4])),
            hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1])),
        )
    ).filter(lambda pair: pair[1].any())
)
def test_no_threshold_is_better(pair):
    values, truth = pair
    result = best_threshold(volume(values), volume(truth))
    tried = {}
    for t in np.unique(values):
        mask = values >= t
        tried[float(t)] = 2 * np.count_nonzero(mask & (truth > 0)) / (mask.sum() + truth.sum())
    assert result.dice == pytest.approx(max(tried.values()))
    assert tried[result.threshold] == pytest.approx(result.dice)
