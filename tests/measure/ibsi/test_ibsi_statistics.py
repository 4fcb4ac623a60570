from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from lesionlab.measure.ibsi.statistics import COUNTED_FROM, FEATURES, ordered, statistics

SHIFTED = ("stat_mean", "stat_median", "stat_min", "stat_p10", "stat_p90", "stat_max")
SPREAD = ("stat_iqr", "stat_range", "stat_mad", "stat_rmad", "stat_medad")
FREE = ("stat_skew", "stat_kurt")

some_values = hnp.arrays(np.float64, st.integers(1, 60), elements=st.integers(-50, 50).map(float))


def sample(n=501, seed=0):
    return np.random.default_rng(seed).gamma(2.0, 3.0, n)


def test_against_scipy_and_numpy():
    x = sample()
    found = statistics(x)
    p10, p25, p75, p90 = np.percentile(x, [10, 25, 75, 90])
    middle = x[(x >= p10) & (x <= p90)]
    expected = {
        "stat_mean": x.mean(),
        "stat_var": x.var(),
        "stat_skew": stats.skew(x),
        "stat_kurt": stats.kurtosis(x),
        "stat_median": np.median(x),
        "stat_min": x.min(),
        "stat_p10": p10,
        "stat_p90": p90,
        "stat_max": x.max(),
        "stat_iqr": p75 - p25,
        "stat_range": np.ptp(x),
        "stat_mad": np.abs(x - x.mean()).mean(),
        "stat_rmad": np.abs(middle - middle.mean()).mean(),
        "stat_medad": np.abs(x - np.median(x)).mean(),
        "stat_cov": x.std() / x.mean(),
        "stat_qcod": (p75 - p25) / (p75 + p25),
        "stat_energy": (x**2).sum(),
        "stat_rms": np.sqrt((x**2).mean()),
    }
    assert list(found) == list(expected) == [f.name for f in FEATURES]
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name


def test_one_voxel_and_constant_intensity():
    for n in (1, 7, 5000):
        found = statistics(np.full(n, 0.1))
        assert found["stat_mean"] == found["stat_median"] == found["stat_p10"] == found["stat_max"] == 0.1
        assert all(found[name] == 0.0 for name in (*SPREAD, *FREE, "stat_var", "stat_cov", "stat_qcod"))
        assert found["stat_rms"] == pytest.approx(0.1)


def test_nothing_is_nan():
    assert all(math.isnan(value) for value in statistics(np.zeros(0)).values())


def test_quotients_by_zero_are_nan():
    found = statistics(np.array([-2.0, -1.0, 1.0, 2.0]))
    assert math.isnan(found["stat_cov"])
    assert math.isnan(found["stat_qcod"])
    assert not any(math.isnan(v) for k, v in found.items() if k not in ("stat_cov", "stat_qcod"))


@pytest.mark.parametrize("offset", [0.0, 0.25, -1000.0, 1e9])
def test_counting_whole_numbers_is_sorting(offset):
    values = np.random.default_rng(1).integers(-400, 400, 3 * COUNTED_FROM) + offset
    np.testing.assert_array_equal(ordered(values), np.sort(values))
    # one voxel that is no whole number sends all to the sort
    values[17] += 0.5
    np.testing.assert_array_equal(ordered(values), np.sort(values))


@settings(max_examples=40, deadline=None)
@given(some_values, st.sampled_from([0.5, 2.0, 8.0]), st.sampled_from([0.0, 16.0, -64.0]))
def test_linear_in_the_intensities(values, factor, shift):
    """Doubling the injected dose doubles what is in units of intensity; a shift moves it."""
    here, there = statistics(values), statistics(values * factor + shift)
    for name in SHIFTED:
        assert there[name] == pytest.approx(here[name] * factor + shift, abs=1e-9)
    for name in SPREAD:
        assert there[name] == pytest.approx(here[name] * factor, abs=1e-9, nan_ok=True)
    for name in FREE:
        assert there[name] == pytest.approx(here[name], abs=1e-6)
    assert there["stat_var"] == pytest.approx(here["stat_var"] * factor**2, abs=1e-9)
    if shift == 0.0:
        assert there["stat_rms"] == pytest.approx(here["stat_rms"] * factor)
        assert there["stat_energy"] == pytest.approx(here["stat_energy"] * factor**2)
        for name in ("stat_cov", "stat_qcod"):
            assert there[name] == pytest.approx(here[name], nan_ok=True, rel=1e-9)


def test_two_different_voxels_have_none_between_the_percentiles():
    found = statistics(np.array([1.0, 2.0]))
    assert {name for name, value in found.items() if math.isnan(value)} == {"stat_rmad"}


@settings(max_examples=40, deadline=None)
@given(some_values)
def test_order_of_statistics(values):
    found = statistics(values)
    assert found["stat_min"] <= found["stat_p10"] <= found["stat_median"] <= found["stat_p90"]
    assert found["stat_p90"] <= found["stat_max"]
    assert found["stat_medad"] <= found["stat_mad"] + 1e-9
    assert found["stat_mad"] ** 2 <= found["stat_var"] + 1e-9
    assert statistics(values[::-1]) == found
