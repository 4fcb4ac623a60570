from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.region import Region
from lesionlab.measure.ibsi.volume_histogram import FEATURES, volume_histogram


def ivh(values, **changes):
    array = np.asarray(values, dtype=np.float64).reshape(1, 1, -1)
    drawn = np.ones(array.shape, bool)
    chosen = RadiomicsSettings.model_validate(changes)
    return volume_histogram(Region(array, drawn, drawn, (1.0, 1.0, 1.0)), chosen)


def by_definition(levels, grid):
    """The features straight from the standard: nu and gamma at every intensity of G."""
    grid = np.asarray(grid, dtype=np.float64)
    slack = 1e-9
    nu = np.array([(levels >= i - slack).mean() for i in grid])
    gamma = (grid - grid[0]) / (grid[-1] - grid[0])
    beyond = np.append(grid, grid[-1] + grid[1] - grid[0])
    found = {}
    for x in (10, 90):
        found[f"ivh_v{x}"] = nu[gamma >= x / 100 - slack].max()
        found[f"ivh_i{x}"] = beyond[np.append(nu, 0.0) <= x / 100 + slack].min()
    found["ivh_diff_v10_v90"] = found["ivh_v10"] - found["ivh_v90"]
    found["ivh_diff_i10_i90"] = found["ivh_i10"] - found["ivh_i90"]
    found["ivh_auc"] = float(((nu[1:] + nu[:-1]) / 2 * np.diff(gamma)).sum())
    return found


def same(found, expected):
    assert list(found) == [f.name for f in FEATURES]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


whole = hnp.arrays(np.float64, st.integers(2, 60), elements=st.integers(0, 30).map(float))


@settings(max_examples=40, deadline=None)
@given(whole.filter(lambda x: np.ptp(x) > 0))
def test_whole_numbers_as_they_are(values):
    same(ivh(values), by_definition(values, np.arange(values.min(), values.max() + 1)))


@settings(max_examples=40, deadline=None)
@given(whole)
def test_the_range_is_the_total_range(values):
    same(ivh(values, keep_range=(-5, 40)), by_definition(values, np.arange(-5, 41)))
    upper = max(values.max(), -4.0)
    same(ivh(values, keep_range=(-5, math.inf)), by_definition(values, np.arange(-5, upper + 1)))


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 9.99)))
def test_a_bin_size_gives_bin_centres(values):
    centres = np.floor(values / 0.5) * 0.5 + 0.25
    found = ivh(values, keep_range=(0, 10), volume_histogram_bin_size=0.5)
    same(found, by_definition(centres, np.arange(20) * 0.5 + 0.25))


@settings(max_examples=40, deadline=None)
@given(whole.filter(lambda x: np.ptp(x) > 0))
def test_a_number_of_bins_gives_bin_numbers(values):
    levels = np.minimum(np.floor(100 * (values - values.min()) / np.ptp(values)) + 1, 100)
    same(ivh(values, volume_histogram_bins=100), by_definition(levels, np.arange(1, 101)))


def test_rounding_is_the_step():
    values = np.array([0.5, 1.0, 1.5, 4.5, 9.0])
    same(ivh(values, round_to=0.5), by_definition(values, np.arange(0.5, 9.01, 0.5)))


def test_without_steps():
    values = np.array([0.1, 0.5, 2.0, 4.0, 4.1, 5.0, 6.0, 7.0, 8.0, 10.1])
    found = ivh(values)
    assert found["ivh_v10"] == 0.8  # 1.1 and above
    assert found["ivh_v90"] == 0.1  # 9.1 and above
    assert found["ivh_i10"] == 8.0  # above it lies one voxel in ten
    assert found["ivh_i90"] == 0.1
    fine = by_definition(values, np.linspace(0.1, 10.1, 100_001))
    assert found["ivh_auc"] == pytest.approx(fine["ivh_auc"], abs=1e-4)


def test_one_intensity():
    for found in (ivh([3.0, 3.0]), ivh([3.0, 3.0], volume_histogram_bins=10), ivh([2.5, 2.5])):
        assert found["ivh_auc"] == 0.0
        assert all(math.isnan(value) for name, value in found.items() if name != "ivh_auc")


def test_no_voxel():
    empty = np.zeros((1, 1, 2), bool)
    region = Region(np.zeros((1, 1, 2)), ~empty, empty, (1.0, 1.0, 1.0))
    assert all(math.isnan(value) for value in volume_histogram(region, RadiomicsSettings()).values())


def test_tiny_bins_cost_no_memory():
    found = ivh([0.0, 1.0, 3.0, 10.0], volume_histogram_bin_size=1e-9)
    assert found["ivh_auc"] == pytest.approx(0.35, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(0, 20, width=16)).filter(
        lambda x: (
            np.ptp(x) > 0.1
            and not np.array_equal(x, np.rint(x))
            and not np.array_equal(4 * x, np.rint(4 * x))
        )
    )
)
def test_linear_in_the_intensities(values):
    here, there = ivh(values), ivh(values * 0.25)
    for name in ("ivh_v10", "ivh_v90", "ivh_auc"):
        assert there[name] == pytest.approx(here[name])
    for name in ("ivh_i10", "ivh_i90", "ivh_diff_i10_i90"):
        assert there[name] == pytest.approx(0.25 * here[name])
