from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.statistics import (
    Bootstrap,
    bootstrap_interval,
    holm,
    paired_tests,
    sign_flip,
    signed_rank,
    subgroups,
)


def exact_by_counting(values, statistic):
    """Two-sided p by writing down every choice of signs: the definition, for a few values."""
    given = np.asarray(values, dtype=float)
    ranks = stats.rankdata(np.abs(given))
    sizes = ranks if statistic == "ranks" else np.abs(given)
    observed = abs(float((np.sign(given) * sizes).sum()))
    flips = [
        abs(float((np.array(signs) * sizes).sum())) for signs in itertools.product((1, -1), repeat=len(given))
    ]
    return sum(flip >= observed - 1e-9 for flip in flips) / len(flips)


@pytest.mark.parametrize("n", [3, 8, 20, 50])
def test_signed_rank_without_ties_is_scipys_exact_one(n):
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    assert signed_rank(differences) == pytest.approx(stats.wilcoxon(differences, method="exact").pvalue)


def test_signed_rank_with_ties_counts_every_choice_of_signs():
    for values in ([1.0, 1.0, -2.0, 3.0, 3.0, 3.0], [0.5, -0.5, 0.5, 0.5, 1.0], [2.0, 2.0, 2.0, 2.0]):
        assert signed_rank(values) == pytest.approx(exact_by_counting(values, "ranks"))


def test_signed_rank_of_many_is_scipys_approximation():
    differences = np.random.default_rng(3).normal(0.2, 1.0, 80)
    peer = stats.wilcoxon(differences, method="approx", correction=True).pvalue
    assert signed_rank(differences) == pytest.approx(peer)


def test_signed_rank_of_the_example_of_eight_pairs_by_hand():
    # all eight the same way: 2 of 256 choices of signs are as extreme
    assert signed_rank([1, 2, 3, 4, 5, 6, 7, 8]) == 2 / 256
    assert signed_rank([-1, 2, 3, 4, 5, 6, 7, 8]) == 4 / 256  # rank sums 0 and 1, and their mirror


def test_zeros_and_undefined_differences():
    assert signed_rank([0.0, 1.0, 2.0, 3.0, math.nan]) == signed_rank([1.0, 2.0, 3.0]) == 0.25
    assert signed_rank([0.0, 0.0]) == sign_flip([0.0, 0.0]) == 1.0
    assert math.isnan(signed_rank([math.nan]))
    assert math.isnan(sign_flip([math.nan]))
    assert sign_flip([1.0, 2.0, math.nan]) == 0.5


@given(st.lists(st.integers(-5, 5).filter(bool), min_size=1, max_size=9))
@settings(max_examples=50, deadline=None)
def test_both_tests_are_the_definition_for_few(values):
    assert signed_rank(values) == pytest.approx(exact_by_counting(values, "ranks"))
    assert sign_flip(values) == pytest.approx(exact_by_counting(values, "values"))
    assert sign_flip([-v for v in values]) == sign_flip(values)


@pytest.mark.parametrize(("least", "part"), [(0.0, 1 / 3), (0.1, 0.1), (0.7, 0.00001)])
def test_what_rounding_parts_is_a_tie_and_what_it_leaves_is_none(least, part):
    # every change is a whole number of parts; as scores equal changes differ in the last digit
    before = np.array([2, 1, 0, 2, 1, 0, 3, 2, 3, 1, 2, 0])
    after = np.array([3, 2, 1, 3, 2, 1, 2, 1, 1, 3, 2, 2])
    counts = (after - before).astype(float)
    changes = (least + after * part) - (least + before * part)
    assert len(np.unique(np.abs(changes))) > len(np.unique(np.abs(counts)))
    assert signed_rank(changes) == signed_rank(counts)
    assert sign_flip(changes) == sign_flip(counts)
    every = stats.PermutationMethod(n_resamples=1 << 12)  # more than there are, so all of them
    peer = stats.wilcoxon(counts[counts != 0], method=every).pvalue
    assert signed_rank(changes) == pytest.approx(peer)
    assert signed_rank(np.tile(changes, 5)) == pytest.approx(signed_rank(np.tile(counts, 5)))
    # what is left of a patient's cases that cancel is no difference
    left = 0.3 - 0.1 - 0.2
    assert left != 0.0
    assert signed_rank([left, 0.1, 0.2, 0.15]) == signed_rank([0.1, 0.2, 0.15])


def test_sign_flip_of_many_is_near_scipys_permutation_test():
    differences = np.random.default_rng(11).normal(0.25, 1.0, 40)
    peer = stats.permutation_test(
        (differences,),
        lambda d, axis=-1: d.mean(axis=axis),
        permutation_type="samples",
        n_resamples=50_000,
        random_state=1,
        vectorized=True,
    ).pvalue
    assert sign_flip(differences, settings=Bootstrap(resamples=50_000)) == pytest.approx(peer, abs=0.01)
    assert sign_flip(np.ones(40)) == 1 / 10_001  # never zero


def test_a_patients_cases_flip_together():
    # four cases that all improved look sure, two patients cannot be
    values = [1.0, 1.0, 1.0, 1.0]
    assert sign_flip(values) == 2 / 16
    assert sign_flip(values, ["P", "P", "Q", "Q"]) == 2 / 4
    test = paired_tests({"dice": {"A": [0.0] * 4, "B": values}}, ["P", "P", "Q", "Q"])[0]
    assert (test.p_signed_rank, test.p_sign_flip, test.difference.patients) == (0.5, 0.5, 2)


def test_p_is_uniform_where_nothing_differs():
    random = np.random.default_rng(2)
    found = [(signed_rank(d), sign_flip(d)) for d in random.normal(size=(300, 10))]
    for kind in zip(*found, strict=True):
        assert 0.02 <= np.mean(np.array(kind) <= 0.05) <= 0.085


def literal_holm(p_values):
    """Reject in order of p while p <= alpha / (tests left); adjusted p is the smallest alpha that rejects."""
    order = sorted(range(len(p_values)), key=lambda k: p_values[k])
    adjusted = [0.0] * len(p_values)
    for place, k in enumerate(order):
        needed = [
            min(1.0, (len(p_values) - earlier) * p_values[order[earlier]]) for earlier in range(place + 1)
        ]
        adjusted[k] = max(needed)  # every earlier one must have been rejected too
    return adjusted


def test_an_infinite_difference_has_no_mean_to_flip():
    """As of Hausdorff distances that other tools write of an empty mask; no sum is none of significance."""
    assert math.isnan(sign_flip([1.0, math.inf, -math.inf]))
    assert math.isnan(sign_flip([math.inf] + [0.0] * 30))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([]) == []


def test_a_test_that_could_not_be_made_does_not_count():
    found = holm([0.01, math.nan, 0.03])
    assert (found[0], found[2]) == pytest.approx((0.02, 0.03))
    assert math.isnan(found[1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_is_its_literal_definition(p_values):
    found = holm(p_values)
    assert found == pytest.approx(literal_holm(p_values))
    assert all(p <= q <= min(1.0, len(p_values) * p) + 1e-12 for p, q in zip(p_values, found, strict=True))


def models():
    random = np.random.default_rng(4)
    a = random.uniform(0.5, 0.9, 12)
    return {"A": a, "B": a + random.normal(0.05, 0.02, 12), "C": a + random.normal(0.0, 0.02, 12)}


def test_every_pair_of_models_in_every_metric_is_one_family():
    table = {"dice": models(), "fp": {name: 1.0 - column for name, column in models().items()}}
    found = paired_tests(table)
    assert [(t.metric, t.first, t.second) for t in found] == [
        *(("dice", a, b) for a, b in (("A", "B"), ("A", "C"), ("B", "C"))),
        *(("fp", a, b) for a, b in (("A", "B"), ("A", "C"), ("B", "C"))),
    ]
    assert [t.p_holm for t in found] == holm([t.p_sign_flip for t in found])
    first = models()["B"] - models()["A"]
    assert found[0].difference == bootstrap_interval(first)
    assert (found[0].p_signed_rank, found[0].p_sign_flip) == (signed_rank(first), sign_flip(first))
    assert found[0].difference.low > 0 > found[3].difference.high


def test_a_case_that_one_model_lacks_is_left_out_of_the_difference_and_counted():
    table = models()
    table["B"][[0, 3]] = math.nan
    found = paired_tests({"dice": table})
    assert (found[0].difference.n, found[0].difference.undefined) == (10, 2)
    keep = [k for k in range(12) if k not in (0, 3)]
    assert found[0].difference.estimate == pytest.approx((table["B"] - table["A"])[keep].mean())
    assert found[1].difference.n == 12  # A and C both have them


def test_one_model_has_nothing_to_be_tested_against():
    assert paired_tests({"dice": {"A": [1.0, 2.0]}}) == ()
    assert paired_tests({}) == ()


def test_models_on_different_cases_are_refused():
    with pytest.raises(DatasetError, match=r"paired tests of dice: found cases .*'A': 2, 'B': 1"):
        paired_tests({"dice": {"A": [1.0, 2.0], "B": [1.0]}})


def test_subgroups_are_the_means_of_their_cases():
    table = {"dice": [0.9, 0.5, 0.7, math.nan], "fp": [1.0, 2.0, 3.0, 4.0]}
    found = subgroups(table, {"scanner": ["b", "a", "a", ""]}, ["P", "Q", "R", "S"])
    assert [(g.value, g.metric, g.mean.n, g.mean.undefined) for g in found] == [
        ("a", "dice", 2, 0),
        ("a", "fp", 2, 0),
        ("b", "dice", 1, 0),
        ("b", "fp", 1, 0),
        ("(unknown)", "dice", 0, 1),
        ("(unknown)", "fp", 1, 0),
    ]
    assert found[0].mean == bootstrap_interval([0.5, 0.7])
    assert found[1].mean.estimate == 2.5
    assert subgroups({}, {"scanner": []}) == ()


def test_a_column_of_another_length_is_refused():
    with pytest.raises(DatasetError, match="subgroups by scanner: found 1 entries for 2 cases"):
        subgroups({"dice": [0.9, 0.5]}, {"scanner": ["a"]})


def test_settings_are_checked_by_every_test():
    with pytest.raises(DatasetError, match="found 0 resamples"):
        sign_flip([1.0], settings=Bootstrap(resamples=0))
