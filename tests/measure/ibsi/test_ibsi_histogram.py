from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.measure.ibsi.histogram import FEATURES, histogram
from lesionlab.measure.ibsi.region import Levels
from lesionlab.measure.ibsi.statistics import statistics


def levels_of(values, count=None):
    array = np.asarray(values, dtype=np.int32).reshape(1, 1, -1)
    return Levels(array, count or int(array.max()), array > 0, (1.0, 1.0, 1.0))


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.int32, st.integers(1, 80), elements=st.integers(1, 12)))
def test_counts_tell_what_the_values_tell(values):
    """Sixteen of the features are the statistics of the levels, here computed from their counts."""
    found, expected = histogram(levels_of(values)), statistics(values.astype(np.float64))
    shared = [name for name in expected if name not in ("stat_energy", "stat_rms")]
    assert len(shared) == 16
    for name in shared:
        assert found[name.replace("stat", "ih")] == pytest.approx(expected[name], abs=1e-9, nan_ok=True), name


def test_what_only_a_histogram_has():
    found = histogram(levels_of([0, 1, 1, 1, 2, 4, 4, 0]))
    assert found["ih_mode"] == 1.0
    shares = np.array([3, 1, 2]) / 6
    assert found["ih_entropy"] == pytest.approx(-(shares * np.log2(shares)).sum())
    assert found["ih_uniformity"] == pytest.approx((shares**2).sum())
    # counts 3, 1, 0, 2: gradients -2, -1.5, 0.5, 2
    assert (found["ih_max_grad"], found["ih_max_grad_g"]) == (2.0, 4.0)
    assert (found["ih_min_grad"], found["ih_min_grad_g"]) == (-2.0, 1.0)
    assert list(found) == [f.name for f in FEATURES]


def test_levels_without_a_voxel_belong_to_the_histogram():
    found = histogram(levels_of([3, 3, 5], count=7))
    # counts 0, 0, 2, 0, 1, 0, 0: gradients 0, 1, 0, -0.5, 0, -0.5, 0
    assert (found["ih_max_grad"], found["ih_max_grad_g"]) == (1.0, 2.0)
    assert (found["ih_min_grad"], found["ih_min_grad_g"]) == (-0.5, 4.0)
    assert (found["ih_min"], found["ih_max"]) == (3.0, 5.0)


@pytest.mark.parametrize(
    ("values", "mode"), [([1, 1, 5, 5, 4], 4.0 + 1.0), ([1, 1, 3, 3, 2], 1.0), ([2, 2, 3, 3, 9], 3.0)]
)
def test_of_several_modes_the_one_nearest_to_the_mean_counts(values, mode):
    assert histogram(levels_of(values))["ih_mode"] == mode


def test_one_level():
    found = histogram(levels_of([1, 1, 1]))
    assert found["ih_entropy"] == found["ih_var"] == found["ih_skew"] == 0.0
    assert math.copysign(1.0, found["ih_entropy"]) == 1.0
    assert found["ih_uniformity"] == 1.0
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"ih_max_grad", "ih_max_grad_g", "ih_min_grad", "ih_min_grad_g"}


def test_no_voxel():
    empty = Levels(np.zeros((2, 2, 2), np.int32), 0, np.ones((2, 2, 2), bool), (1.0, 1.0, 1.0))
    assert all(math.isnan(value) for value in histogram(empty).values())
