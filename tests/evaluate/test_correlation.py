"""Spearman's correlation against scipy's, and its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import Bootstrap
from lesionlab.evaluate.correlation import spearman

FAST = Bootstrap(resamples=500)


def test_equals_scipy_with_ties_and_gaps() -> None:
    random = np.random.default_rng(1)
    first, second = random.integers(0, 6, 40).astype(float), random.normal(size=40)
    first[3] = second[7] = math.nan
    found = spearman(first, second, settings=FAST)
    known = ~np.isnan(first + second)
    assert found.estimate == pytest.approx(stats.spearmanr(first[known], second[known]).statistic)
    assert (found.n, found.undefined, found.patients) == (38, 2, 38)


def test_interval_holds_zero_for_noise_and_not_for_a_trend() -> None:
    random = np.random.default_rng(2)
    noise, value = random.normal(size=60), np.arange(60.0)
    unrelated = spearman(value, noise, settings=FAST)
    assert unrelated.low < 0.0 < unrelated.high
    related = spearman(value, -value + 10.0 * noise, settings=FAST)
    assert related.low < related.estimate < related.high < -0.5


def test_the_interval_covers_the_true_correlation_about_as_often_as_it_says() -> None:
    random, hits = np.random.default_rng(5), 0
    rho = 6.0 / np.pi * np.arcsin(0.6 / 2.0)  # Spearman's of a bivariate normal with correlation 0.6
    for _ in range(200):
        first, other = random.normal(size=(2, 40))
        found = spearman(first, 0.6 * first + 0.8 * other, settings=Bootstrap(resamples=300))
        hits += found.low <= rho <= found.high
    assert 170 <= hits <= 200


def test_cases_of_one_patient_are_drawn_together() -> None:
    random = np.random.default_rng(4)
    first, second = random.normal(size=(2, 12))
    alone = spearman(first, second, settings=FAST)
    names = [f"{k // 2:02}" for k in range(24)]
    twice = spearman(np.repeat(first, 2), np.repeat(second, 2), names, settings=FAST)
    assert (twice.estimate, twice.patients, twice.n) == (pytest.approx(alone.estimate), 12, 24)
    assert (twice.low, twice.high) == (pytest.approx(alone.low), pytest.approx(alone.high))
    apart = spearman(np.repeat(first, 2), np.repeat(second, 2), settings=FAST)
    assert apart.high - apart.low < 0.8 * (twice.high - twice.low)


def test_resamples_are_drawn_in_parts_so_that_memory_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = np.random.default_rng(6).normal(size=(2, 12))
    names = [f"{k // 2}" for k in range(12)]
    whole = [spearman(first, second, who, settings=FAST) for who in (None, names)]
    monkeypatch.setattr("lesionlab.evaluate.correlation.CHUNK", 30)
    assert [spearman(first, second, who, settings=FAST) for who in (None, names)] == whole


def test_nothing_that_varies_has_no_correlation() -> None:
    flat = spearman([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0], settings=FAST)
    assert math.isnan(flat.estimate)
    assert math.isnan(flat.low)
    assert math.isnan(spearman([1.0, 2.0], [2.0, 1.0], settings=FAST).estimate)
    assert spearman([math.nan], [1.0], settings=FAST).n == 0


def test_patients_must_be_as_many_as_cases() -> None:
    with pytest.raises(DatasetError, match="2 patients for 3 cases"):
        spearman([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], ["a", "b"], settings=FAST)
