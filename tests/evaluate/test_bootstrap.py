from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import Bootstrap, bootstrap_interval, intervals, ratio_interval

PERCENTILE = Bootstrap("percentile")
LARGE = {"bca": Bootstrap("bca", 40_000), "percentile": Bootstrap("percentile", 40_000)}


def skewed(n=36, seed=1):
    return np.random.default_rng(seed).exponential(size=n)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_interval_of_a_mean_is_that_of_scipy(method):
    found = bootstrap_interval(skewed(), settings=LARGE[method])
    peer = stats.bootstrap(
        (skewed(),), np.mean, n_resamples=40_000, method={"bca": "BCa"}.get(method, method), random_state=7
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.02)
    assert found.estimate == pytest.approx(skewed().mean())
    assert (found.n, found.undefined, found.patients, found.method) == (36, 0, 36, method)


def test_the_interval_of_a_median_is_that_of_scipy():
    found = bootstrap_interval(skewed(35), statistic="median", settings=LARGE["bca"])
    peer = stats.bootstrap(
        (skewed(35),), np.median, n_resamples=40_000, method="percentile", random_state=7
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.02)
    assert found.method == "percentile"  # what is printed is what was done


def test_the_interval_of_a_ratio_is_that_of_scipy():
    first, second = skewed(30, 2) + 1.0, skewed(30, 3) + 2.0
    found = ratio_interval(first, second, settings=LARGE["bca"])
    peer = stats.bootstrap(
        (first, second),
        lambda a, b, axis=-1: a.mean(axis=axis) / b.mean(axis=axis),
        paired=True,
        n_resamples=40_000,
        method="BCa",
        random_state=7,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((peer.low, peer.high), abs=0.01)
    assert found.estimate == pytest.approx(first.mean() / second.mean())


def test_every_resample_of_three_patients_by_hand():
    # 27 equally likely resamples of 0, 0 and 3: their mean is 0 in 8, 1 in 12, 2 in 6 and 3 in 1
    found = bootstrap_interval([0.0, 0.0, 3.0], settings=Bootstrap("percentile", 40_000, confidence=0.45))
    assert (found.low, found.high) == (0.0, 1.0)
    wide = bootstrap_interval([0.0, 0.0, 3.0], settings=Bootstrap("percentile", 40_000, confidence=0.9))
    assert (wide.low, wide.high) == (0.0, 2.0)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_cases_of_one_patient_are_drawn_together(statistic):
    # two patients with all their cases alike: only three different samples exist
    values, patients = [1.0] * 5 + [3.0] * 5, ["P"] * 5 + ["Q"] * 5
    found = bootstrap_interval(values, patients, statistic=statistic, settings=PERCENTILE)
    assert (found.low, found.high, found.patients, found.n) == (1.0, 3.0, 2, 10)
    alone = bootstrap_interval(values, statistic=statistic, settings=PERCENTILE)
    assert alone.high - alone.low < 2.0 or statistic == "median"
    # every case counts once: a patient with more cases weighs more
    uneven = bootstrap_interval([1.0, 1.0, 1.0, 5.0], ["P", "P", "P", "Q"], settings=PERCENTILE)
    assert uneven.estimate == 2.0


def test_coverage_of_ninety_per_cent_intervals():
    # 300 samples of 25 patients with two cases each that share their patient's level
    random = np.random.default_rng(5)
    patients = [f"P{k}" for k in range(25) for _ in range(2)]
    hits = {"by patient": 0, "by case": 0}
    for _ in range(300):
        values = (random.normal(size=(25, 1)) + 0.3 * random.normal(size=(25, 2))).ravel()
        for how, whose in (("by patient", patients), ("by case", None)):
            found = bootstrap_interval(values, whose, settings=Bootstrap("bca", 500, 0.9))
            hits[how] += found.low <= 0.0 <= found.high
    assert 0.84 <= hits["by patient"] / 300 <= 0.95
    assert hits["by case"] / 300 < 0.82  # what pretending that cases are patients costs


def test_undefined_values_are_left_out_and_counted():
    found = intervals(np.array([[1.0, math.nan], [2.0, math.nan], [4.0, 7.0], [math.nan, math.nan]]))
    assert (found[0].estimate, found[0].n, found[0].undefined) == (pytest.approx(7 / 3), 3, 1)
    assert found[0] == bootstrap_interval([1.0, 2.0, 4.0, math.nan])
    assert (found[1].estimate, found[1].n, found[1].undefined, found[1].patients) == (7.0, 1, 3, 1)
    assert math.isnan(found[1].low)
    nothing = bootstrap_interval([math.nan, math.nan])
    assert math.isnan(nothing.estimate)
    assert (nothing.n, nothing.undefined) == (0, 2)
    assert bootstrap_interval([]).n == 0


def test_a_ratio_without_a_denominator_is_undefined():
    assert math.isnan(ratio_interval([1.0, 2.0], [0.0, 0.0]).estimate)
    alone = ratio_interval([1.0], [2.0])
    assert (alone.estimate, math.isnan(alone.low)) == (0.5, True)
    some = ratio_interval([1.0, 2.0, math.nan], [0.0, 3.0, 1.0])  # a resample of the first alone has none
    assert (some.estimate, math.isnan(some.low), some.undefined) == (1.0, True, 1)


def test_the_seed_decides_and_nothing_else():
    values = skewed()
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values).low != bootstrap_interval(values, settings=Bootstrap(seed=1)).low
    table = np.column_stack([values, values[::-1], np.where(values > 3, math.nan, values)])
    assert intervals(table)[0] == bootstrap_interval(values)  # company of other columns changes nothing


@given(
    st.lists(st.integers(-1000, 1000), min_size=2, max_size=12),
    st.integers(-100, 100),
    st.sampled_from([0.25, 1.7, 8.0]),
    st.sampled_from(["bca", "percentile"]),
)
@settings(max_examples=25, deadline=None)
def test_intervals_lie_within_the_data_and_move_with_it(values, shift, scale, method):
    how = Bootstrap(method, 200)
    found = bootstrap_interval(values, settings=how)
    slack = 1e-9 * (1 + max(map(abs, values)))
    assert min(values) - slack <= found.low <= found.high <= max(values) + slack
    moved = bootstrap_interval(scale * np.array(values) + shift, settings=how)
    assert moved.low == pytest.approx(scale * found.low + shift, abs=1e-6)
    assert moved.high == pytest.approx(scale * found.high + shift, abs=1e-6)


def test_equal_values_have_an_interval_of_no_width():
    found = bootstrap_interval([0.7] * 9)
    assert (found.low, found.high) == pytest.approx((0.7, 0.7))


def test_what_cannot_be_is_refused():
    with pytest.raises(DatasetError, match="found 1 patients for 2 cases; needed one for each case"):
        bootstrap_interval([1.0, 2.0], ["P"])
    with pytest.raises(DatasetError, match=r"found 0 resamples at confidence 0\.95"):
        bootstrap_interval([1.0, 2.0], settings=Bootstrap(resamples=0))
    with pytest.raises(DatasetError, match="a confidence between 0 and 1"):
        bootstrap_interval([1.0, 2.0], settings=Bootstrap(confidence=95))
