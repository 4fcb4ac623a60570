"""Ranks over resamples of patients, and who beats whom."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import Bootstrap
from lesionlab.evaluate.ranking import against, pairwise_p, rank_stability
from lesionlab.evaluate.statistics import holm

SETTINGS = Bootstrap(resamples=4000, seed=3)


def test_ranks_of_two_cases_by_hand() -> None:
    # Of the 4 equally likely resamples: first case twice (A leads), second twice (B leads), and twice both,
    # where the means are 0.5 and 0.6: B leads.
    table = [[0.9, 0.6], [0.1, 0.6]]
    found = rank_stability(table, settings=SETTINGS)
    assert [one.rank for one in found.ranks] == [2.0, 1.0]
    assert found.ranks[0].first == pytest.approx(0.25, abs=0.03)
    assert found.ranks[1].first == pytest.approx(0.75, abs=0.03)
    assert (found.ranks[0].low, found.ranks[0].high) == (1.0, 2.0)
    # tau is +1 where B leads and -1 where A does
    assert found.tau == pytest.approx(0.5, abs=0.06)


def test_a_method_that_always_wins_is_always_first_and_equal_ones_share() -> None:
    random = np.random.default_rng(0)
    low = random.uniform(0.2, 0.5, 40)
    found = rank_stability(np.column_stack([low, low + 0.3, low]), settings=SETTINGS)
    assert [one.rank for one in found.ranks] == [2.5, 1.0, 2.5]
    assert (found.ranks[1].low, found.ranks[1].high, found.ranks[1].first) == (1.0, 1.0, 1.0)
    # two of the three pairs are told apart in every resample, the third never
    assert found.tau == pytest.approx(2 / 3)


def test_whole_patients_are_drawn_and_incomplete_cases_left_out() -> None:
    table = [[0.9, 0.6], [0.1, 0.6], [np.nan, 1.0]]
    one = rank_stability(table, ["a", "a", "b"], settings=SETTINGS)
    assert (one.cases, one.patients) == (2, 1)
    assert one.ranks[1].first == 1.0
    none = rank_stability([[np.nan, 0.5]], settings=SETTINGS)
    assert none.cases == 0
    assert np.isnan(none.ranks[0].rank)
    assert np.isnan(none.tau)


def test_tests_against_the_best_are_wilcoxons_of_patient_means_with_holm() -> None:
    random = np.random.default_rng(1)
    table = random.uniform(0.4, 0.9, (12, 3))
    table[:, 2] += 0.05
    people = [str(k // 2) for k in range(12)]
    means = table.reshape(6, 2, 3).mean(axis=1)
    plain, corrected = against(table, 2, people)
    for k in (0, 1):
        assert plain[k] == pytest.approx(stats.wilcoxon(means[:, k] - means[:, 2], method="exact").pvalue)
    assert np.isnan(plain[2])
    assert corrected[:2] == pytest.approx(holm(plain[:2]))
    with pytest.raises(DatasetError, match="method 3 of 3"):
        against(table, 3)


def test_every_pair_is_tested_once_and_corrected_over_all() -> None:
    random = np.random.default_rng(2)
    table = random.uniform(0.4, 0.9, (20, 4)) + np.array([0.0, 0.1, 0.2, 0.0])
    found = pairwise_p(table)
    assert np.isnan(np.diag(found)).all()
    assert np.array_equal(found, found.T, equal_nan=True)
    pairs = list(itertools.combinations(range(4), 2))
    plain = [stats.wilcoxon(table[:, b] - table[:, a], method="exact").pvalue for a, b in pairs]
    assert [found[pair] for pair in pairs] == pytest.approx(holm(plain))
