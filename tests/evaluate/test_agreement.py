"""Agreement of paired numbers, against the examples that the papers work through."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import jsonable
from lesionlab.evaluate.agreement import (
    agreement_record,
    agreement_table,
    bland_altman,
    concordance,
    icc_2_1,
)

# Bland and Altman, Lancet 1986, table 1: peak expiratory flow rate (l/min), first readings of 17 subjects
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
# Shrout and Fleiss, Psychol Bull 1979, table 2: six targets (rows) rated by four judges
RATINGS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_example_of_bland_and_altman():
    found = bland_altman(MINI, WRIGHT, limits=2.0)
    assert found.n == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    # the paper rounds bias and sd before it goes on
    assert (found.lower, found.upper) == pytest.approx((-79.7, 75.5), abs=0.1)
    assert found.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    assert found.lower_interval == pytest.approx((-114.3, -45.1), abs=0.2)
    assert found.upper_interval == pytest.approx((40.9, 110.1), abs=0.2)


def test_limits_hold_ninety_five_per_cent_unless_told_otherwise():
    found = bland_altman(MINI, WRIGHT)
    assert found.upper - found.lower == pytest.approx(2 * 1.959964 * found.sd)
    assert found.lower_interval[0] < found.lower < found.lower_interval[1] < found.bias_interval[0]


def test_intervals_of_limits_cover_what_they_should():
    random = np.random.default_rng(8)
    hits = np.zeros(2)
    for differences in random.normal(1.0, 2.0, (400, 30)):
        found = bland_altman(np.zeros(30), differences)
        hits += (
            found.bias_interval[0] <= 1.0 <= found.bias_interval[1],
            found.upper_interval[0] <= 1.0 + 1.959964 * 2.0 <= found.upper_interval[1],
        )
    assert (hits / 400 >= 0.92).all()
    assert (hits / 400 <= 0.98).all()


def test_a_spread_that_grows_with_the_size_shows_in_the_trend():
    size = np.linspace(1, 100, 40)
    assert bland_altman(size, size * 1.1).trend == pytest.approx(1.0)
    assert abs(bland_altman(size, size + np.tile([1.0, -1.0, 2.0, -2.0], 10)).trend) < 0.5
    assert math.isnan(bland_altman(size, size).trend)


def test_the_example_of_shrout_and_fleiss():
    found = icc_2_1(RATINGS)
    assert found.value == pytest.approx(0.29, abs=0.005)
    # by their mean squares: 11.24 between targets, 32.49 between judges, 1.02 left
    assert found.value == pytest.approx(
        (11.24 - 1.02) / (11.24 + 3 * 1.02 + 4 * (32.49 - 1.02) / 6), abs=1e-3
    )
    assert (found.low, found.high) == pytest.approx((0.019, 0.761), abs=5e-4)  # as R's psych prints


def test_a_rater_who_always_reads_higher_lowers_the_coefficient():
    table = np.array(RATINGS, dtype=float)
    nearer, farther = (
        np.array([0.0, 3.0, 0.0, 0.0]),
        np.array([5.0, 0.0, 0.0, 0.0]),
    )  # the second reads lowest
    assert icc_2_1(table + nearer).value > icc_2_1(table).value > icc_2_1(table + farther).value


def test_coverage_of_the_intraclass_interval():
    random, hits = np.random.default_rng(9), 0
    for _ in range(300):
        truth, raters = random.normal(0, 2, (30, 1)), random.normal(0, 0.5, (1, 4))
        found = icc_2_1(truth + raters + random.normal(0, 1, (30, 4)))
        hits += found.low <= 4 / (4 + 0.25 + 1) <= found.high
    assert 0.91 <= hits / 300 <= 0.99


def test_concordance_by_hand():
    # means 2 and 3, variances 2/3 and 2/3, covariance 2/3: 2 (2/3) / (4/3 + 1)
    assert concordance([1, 2, 3], [2, 3, 4]).value == pytest.approx((4 / 3) / (7 / 3))
    assert concordance([1, 2, 3], [3, 2, 1]).value == pytest.approx(-1.0)
    assert concordance([1, 2, 3], [1, 2, 3]).value == pytest.approx(1.0)


def test_coverage_of_the_concordance_interval():
    # correlation 0.9, a shift of 0.5 and spreads 1 and 1.2: concordance 2.16 / (1 + 1.44 + 0.25)
    random, hits = np.random.default_rng(10), 0
    true = 2 * 0.9 * 1.2 / (1 + 1.44 + 0.25)
    for _ in range(300):
        x = random.normal(size=60)
        y = 1.2 * (0.9 * x + math.sqrt(1 - 0.81) * random.normal(size=60)) + 0.5
        found = concordance(x, y)
        hits += found.low <= true <= found.high
    assert 0.92 <= hits / 300 <= 0.98


def test_concordance_is_correlation_times_closeness():
    found = concordance(WRIGHT, MINI)
    r = np.corrcoef(WRIGHT, MINI)[0, 1]
    v, w = np.std(WRIGHT) / np.std(MINI), np.mean(WRIGHT) - np.mean(MINI)
    closeness = 2 / (v + 1 / v + w**2 / (np.std(WRIGHT) * np.std(MINI)))  # Lin's C_b
    assert found.value == pytest.approx(r * closeness)
    assert 0.84 < found.low < 0.943 < found.high < 0.98


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=3, max_size=12))
@settings(max_examples=40, deadline=None)
def test_coefficients_keep_their_bounds_and_symmetry(pairs):
    x, y = (np.array(side, dtype=float) for side in zip(*pairs, strict=True))
    one, other = concordance(x, y), concordance(y, x)
    if math.isnan(one.value):
        assert np.array_equal(x, y)
        return
    assert one.value == pytest.approx(other.value)
    assert -1 - 1e-9 <= one.value <= 1 + 1e-9
    icc = icc_2_1(np.column_stack([x, y]))
    assert icc.value <= 1 + 1e-9
    if not math.isnan(icc.low):
        assert icc.low - 1e-9 <= icc.value <= icc.high + 1e-9
    limits = bland_altman(x, y)
    back = bland_altman(y, x)
    assert (back.bias, back.lower) == pytest.approx((-limits.bias, -limits.upper))


def test_too_few_or_equal_values_are_undefined():
    assert math.isnan(bland_altman([1.0], [2.0]).sd)
    assert bland_altman([1.0], [2.0]).bias == 1.0
    assert math.isnan(bland_altman([], []).bias)
    for values in ([[1.0, 1.0]], [[1.0], [2.0]], [[2.0, 2.0], [2.0, 2.0]]):
        assert math.isnan(icc_2_1(values).value)
    assert icc_2_1([[1.0, 1.0], [2.0, 2.0]]).value == 1.0
    assert math.isnan(concordance([1.0], [1.0]).value)
    assert math.isnan(concordance([2.0, 2.0, 2.0], [2.0, 2.0, 2.0]).value)
    flat = concordance([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert (flat.value, math.isnan(flat.low)) == (0.0, True)


def test_equal_values_that_rounding_parts_from_their_mean_do_not_vary():
    for size in range(3, 12):
        constant = [0.1] * size
        for measured in ([0.4] * size, list(range(size))):
            found = concordance(constant, measured)
            assert found.value == 0.0
            assert math.isnan(found.low) and math.isnan(found.high)


@pytest.mark.parametrize("apart", [1e-7, 1e-8, 1e-9, 1e-11, 1e-13])
def test_raters_who_all_but_agree_have_a_coefficient_of_one(apart):
    random = np.random.default_rng(4)
    one = random.uniform(1, 100, 10)
    found = icc_2_1(np.column_stack([one, one * (1 + apart * random.uniform(-1, 1, 10))]))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
    stored = {str(k): ({"TMTV": float(f"{v:.10g}")}, {"TMTV": v}) for k, v in enumerate(one)}
    assert agreement_table(stored)[0].icc.value == 1.0


@pytest.mark.parametrize("size", [1.0, 0.1, 1 / 3, 1e6])
def test_two_raters_who_swap_two_values_have_no_coefficient(size):
    found = icc_2_1([[size, 2 * size], [2 * size, size]])
    assert all(math.isnan(v) for v in (found.value, found.low, found.high))
    assert icc_2_1([[3, 5], [5, 3], [4, 4]]).value == pytest.approx(-3.0)


def test_pairs_with_a_gap_are_left_out():
    gap = math.nan
    assert bland_altman([*MINI, gap, 3.0], [*WRIGHT, 2.0, gap]) == bland_altman(MINI, WRIGHT)
    assert concordance([*MINI, gap], [*WRIGHT, 2.0]) == concordance(MINI, WRIGHT)
    assert icc_2_1([*RATINGS, [1, gap, 2, 3]]) == icc_2_1(RATINGS)


def test_what_is_no_pair_is_refused():
    with pytest.raises(DatasetError, match="found 1 and 2 values; needed a pair for every subject"):
        bland_altman([1.0], [1.0, 2.0])
    with pytest.raises(DatasetError, match=r"found 1 axes; needed a table \(subjects, raters\)"):
        icc_2_1([1.0, 2.0])


def test_the_table_pairs_biomarkers_by_case():
    pairs = {
        f"P{k}": (
            {"TMTV": measured, "SUVmax": 8.0 + k, "lesions": 1.0},
            {"TMTV": true, "SUVmax": 8.0, "lesions": 1.0},
        )
        for k, (true, measured) in enumerate(zip(WRIGHT, MINI, strict=True))
    }
    pairs["empty"] = ({"TMTV": 0.0, "SUVmax": math.nan, "lesions": 0.0}, {"TMTV": 3.0, "SUVmax": 5.0})
    found = {one.name: one for one in agreement_table(pairs)}
    assert list(found) == ["lesions", "TMTV", "SUVmax"]
    assert (found["TMTV"].n, found["TMTV"].undefined) == (18, 0)
    assert (found["SUVmax"].n, found["SUVmax"].undefined) == (17, 1)
    assert found["SUVmax"].cases == tuple(f"P{k}" for k in range(17))
    assert found["TMTV"].bland_altman == bland_altman([*WRIGHT, 3.0], [*MINI, 0.0])
    assert found["TMTV"].bland_altman.bias > 0  # measured - reference
    assert found["TMTV"].concordance == concordance([*WRIGHT, 3.0], [*MINI, 0.0])
    assert found["TMTV"].icc == icc_2_1(np.column_stack([[*WRIGHT, 3.0], [*MINI, 0.0]]))
    assert agreement_table(pairs, ["Dmax"])[0].undefined == 18


def test_the_record_is_flat_and_json():
    row = jsonable(agreement_record(agreement_table({"P": ({"TLG": 3.0}, {"TLG": 1.0})}))[0])
    assert row["biomarker"] == "TLG"
    assert (row["n"], row["bias"], row["sd"], row["upper_low"]) == (1, 2.0, None, None)
    assert all(not isinstance(value, list | dict) for value in row.values())
    full = agreement_record(agreement_table({f"{k}": ({"TLG": 3.0 + k}, {"TLG": 2.0 * k}) for k in range(9)}))
    assert {"icc", "icc_low", "ccc_high", "bias_low", "lower_high", "trend"} <= set(full[0])
