"""Lesion matching on configurations worked by hand, panoptic quality, sensitivity by size and FROC."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.errors import DatasetError
from lesionlab.evaluate import detection
from lesionlab.evaluate.detection import (
    ANY_OVERLAP,
    ONE_TO_ONE,
    FrocCase,
    MatchRule,
    apply,
    detection_scores,
    froc,
    froc_case,
    match_lesions,
    missed_and_false_ml,
    overlaps_of,
    panoptic_scores,
    sensitivity_by_size,
)

LENGTH = 40


def line(*spans):
    """A mask along one axis: lesions are spans [start, stop)."""
    array = np.zeros((1, 3, LENGTH), bool)
    for start, stop in spans:
        array[0, 1, start:stop] = True
    return array


# name: truth, prediction, {rule: (found, false, matched pairs)}; the IoU is in the comment
CONFIGURATIONS = {
    "same": ([(2, 12)], [(2, 12)], {"any": (1, 0, 1), "iou": (1, 0, 1), "one": (1, 0, 1)}),
    # 0.4 each: one true lesion in two pieces
    "split": ([(2, 12)], [(2, 6), (8, 12)], {"any": (1, 0, 2), "iou": (0, 2, 0), "one": (0, 2, 0)}),
    # 0.4 each: two true lesions under one predicted
    "merged": ([(2, 6), (8, 12)], [(2, 12)], {"any": (2, 0, 2), "iou": (0, 1, 0), "one": (0, 1, 0)}),
    # 6/10 and 1/13: a large piece and a crumb
    "crumb": ([(2, 12)], [(2, 8), (11, 15)], {"any": (1, 0, 2), "iou": (1, 1, 1), "one": (1, 1, 1)}),
    # side by side without a shared voxel
    "touching": ([(2, 6)], [(6, 10)], {"any": (0, 1, 0), "iou": (0, 1, 0), "one": (0, 1, 0)}),
    "missed": ([(2, 6), (20, 22)], [(2, 6)], {"any": (1, 0, 1), "iou": (1, 0, 1), "one": (1, 0, 1)}),
    "false": ([(2, 6)], [(2, 6), (20, 22)], {"any": (1, 1, 1), "iou": (1, 1, 1), "one": (1, 1, 1)}),
    # exactly 0.5 twice: only one of the pieces may be the partner
    "halves": ([(2, 12)], [(2, 7), (8, 13)], {"any": (1, 0, 2), "iou": (1, 1, 1), "one": (1, 1, 1)}),
    "nothing": ([], [], {"any": (0, 0, 0), "iou": (0, 0, 0), "one": (0, 0, 0)}),
    "empty truth": ([], [(2, 4)], {"any": (0, 1, 0), "iou": (0, 1, 0), "one": (0, 1, 0)}),
    "empty prediction": ([(2, 4)], [], {"any": (0, 0, 0), "iou": (0, 0, 0), "one": (0, 0, 0)}),
}
RULES = {"any": ANY_OVERLAP, "iou": MatchRule("iou", 0.5), "one": ONE_TO_ONE}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_configurations_worked_by_hand(name, rule):
    truth, predicted, expected = CONFIGURATIONS[name]
    matching = match_lesions(line(*predicted), line(*truth), 0.1, rule=RULES[rule])
    counts = int(matching.found.sum()), int(matching.false.sum()), int(matching.matched.sum())
    assert counts == expected[rule]
    assert (len(matching.found), len(matching.false)) == (len(truth), len(predicted))


def test_a_low_threshold_shows_what_one_to_one_adds():
    truth, predicted = line((2, 12)), line((2, 6), (8, 12))
    many = match_lesions(predicted, truth, 0.1, rule=MatchRule("iou", 0.3))
    single = match_lesions(predicted, truth, 0.1, rule=MatchRule("one-to-one", 0.3))
    assert (many.matched.sum(), many.false.sum()) == (2, 0)
    assert (single.matched.sum(), single.false.sum()) == (1, 1)


def test_the_assignment_takes_the_greatest_total_and_not_the_best_pair_first():
    # T1 = [0, 10), T2 = [11, 21); P1 covers much of T1 and some of T2, P2 the rest of T1.
    truth = line((0, 10), (11, 21))
    predicted = line((0, 3), (4, 21))
    overlaps = overlaps_of(predicted, truth, 0.1)
    found = {tuple(pair): iou for pair, iou in zip(overlaps.pairs.tolist(), overlaps.iou, strict=True)}
    # predicted lesion 1 is the longer one; equal true lesions are numbered by place
    assert found == pytest.approx({(1, 1): 6 / 21, (1, 2): 3 / 10, (2, 1): 10 / 17})
    chosen = apply(overlaps, MatchRule("one-to-one", 0.1))
    assert sorted(map(tuple, overlaps.pairs[chosen.matched].tolist())) == [(1, 2), (2, 1)]


def test_detection_scores_by_hand():
    truth, predicted = line((0, 4), (10, 14), (20, 21)), line((0, 4), (10, 12), (30, 33))
    scores = detection_scores(match_lesions(predicted, truth, 0.1))
    assert scores == pytest.approx(
        {
            "lesions_true": 3,
            "lesions_predicted": 3,
            "lesions_found": 2,
            "lesions_missed": 1,
            "lesions_false": 1,
            "lesion_sensitivity": 2 / 3,
            "lesion_ppv": 2 / 3,
            "lesion_f1": 2 / 3,
        }
    )


def test_panoptic_quality_by_hand():
    # IoU 1 and 0.5 pair up, one true and one predicted lesion are left over: TP 2, FP 1, FN 1
    truth, predicted = line((0, 4), (10, 14), (20, 21)), line((0, 4), (10, 12), (30, 33))
    overlaps = overlaps_of(predicted, truth, 0.1)
    assert panoptic_scores(overlaps) == pytest.approx(
        {"panoptic_quality": 1.5 / 3, "segmentation_quality": 0.75, "recognition_quality": 2 / 3}
    )
    strict = panoptic_scores(overlaps, iou=0.6)
    assert strict == pytest.approx(
        {"panoptic_quality": 1 / 3, "segmentation_quality": 1.0, "recognition_quality": 1 / 3}
    )
    none = panoptic_scores(overlaps_of(line((0, 2)), line((5, 7)), 0.1))
    assert none["panoptic_quality"] == none["recognition_quality"] == 0.0
    assert math.isnan(none["segmentation_quality"])


def test_missed_and_false_volumes():
    truth, predicted = line((0, 4), (20, 21)), line((0, 1), (30, 33))
    assert missed_and_false_ml(match_lesions(predicted, truth, 0.5)) == (0.5, 1.5)


def test_lesions_lie_in_the_whole_array():
    truth = np.zeros((4, 9, 9), bool)
    truth[2, 5:8, 3] = True
    overlaps = overlaps_of(truth, truth, 0.1)
    assert overlaps.box == (slice(2, 3), slice(5, 8), slice(3, 4))
    assert overlaps.true_voxels.tolist() == [3]


def test_many_lesions_are_counted_without_the_whole_table(monkeypatch):
    rng = np.random.default_rng(3)
    truth, predicted = rng.random((2, 6, 20, 20)) < 0.12
    dense = overlaps_of(predicted, truth, 0.1)
    monkeypatch.setattr(detection, "TABLE_MOST", 1)
    sparse = overlaps_of(predicted, truth, 0.1)
    assert len(dense.pairs) > 20
    assert np.array_equal(dense.pairs, sparse.pairs)
    assert np.array_equal(dense.shared, sparse.shared)


def test_more_lesions_than_an_assignment_can_take_is_told(monkeypatch):
    monkeypatch.setattr(detection, "CELLS_MOST", 1)
    truth, predicted = line((0, 20)), line((0, 9), (10, 20))
    match_lesions(predicted, truth, 0.1)  # any overlap needs no assignment
    with pytest.raises(DatasetError, match="1 true and 2 predicted lesions that hang together"):
        match_lesions(predicted, truth, 0.1, rule=MatchRule("one-to-one", 0.2))


@pytest.mark.parametrize(("kind", "iou"), [("best", 0.5), ("iou", 0.0), ("one-to-one", 1.2)])
def test_rules_that_cannot_be(kind, iou):
    with pytest.raises(DatasetError, match="lesion matching: found"):
        MatchRule(kind, iou)


def test_rules_say_what_they_do():
    assert "any overlap" in ANY_OVERLAP.words
    assert "IoU 0.5 or more" in MatchRule("iou").words
    assert "one to one" in ONE_TO_ONE.words


sparse = st.integers(0, 2**32 - 1).map(lambda seed: np.random.default_rng(seed).random((3, 8, 9)) < 0.25)


@settings(max_examples=30, deadline=None)
@given(sparse, sparse, st.sampled_from([ANY_OVERLAP, MatchRule("iou", 0.2), MatchRule("one-to-one", 0.05)]))
def test_counts_add_up_and_one_to_one_is(predicted, truth, rule):
    matching = match_lesions(predicted, truth, 0.1, rule=rule)
    scores = detection_scores(matching)
    assert scores["lesions_found"] + scores["lesions_missed"] == scores["lesions_true"]
    assert scores["lesions_false"] <= scores["lesions_predicted"]
    sides = matching.overlaps
    assert sides.true_voxels.sum() == truth.sum()
    assert sides.predicted_voxels.sum() == predicted.sum()
    assert sides.shared.sum() == (truth & predicted).sum()
    if rule.kind == "one-to-one":
        pairs = sides.pairs[matching.matched]
        assert len(set(pairs[:, 0].tolist())) == len(set(pairs[:, 1].tolist())) == len(pairs)
        assert scores["lesions_found"] == len(pairs)
        assert scores["lesions_predicted"] - scores["lesions_false"] == len(pairs)


def test_the_pairing_is_the_best_of_all():
    """Against every possible pairing, where there are few enough to try."""
    rng, tried = np.random.default_rng(5), 0
    for _ in range(60):
        predicted, truth = (np.repeat(rng.random((1, 1, 24)) < 0.75, 3, axis=1) for _ in range(2))
        overlaps = overlaps_of(predicted, truth, 0.1)
        n, m = len(overlaps.true_voxels), len(overlaps.predicted_voxels)
        table = np.zeros((n, m))
        table[overlaps.pairs[:, 0] - 1, overlaps.pairs[:, 1] - 1] = overlaps.iou
        table = table if n <= m else table.T
        if not len(table) > 1 or table.shape[1] > 6 or len(overlaps.pairs) < max(n, m):
            continue
        tried += 1
        best = max(
            sum(table[i, j] for i, j in enumerate(order))
            for order in itertools.permutations(range(table.shape[1]), table.shape[0])
        )
        matching = apply(overlaps, MatchRule("one-to-one", 1e-9))
        assert overlaps.iou[matching.matched].sum() == pytest.approx(best)
    assert tried >= 10


@settings(max_examples=20, deadline=None)
@given(sparse, sparse, st.permutations([0, 1, 2]), st.booleans())
def test_scores_do_not_depend_on_how_the_array_lies(predicted, truth, axes, mirrored):
    def turned(array):
        return np.ascontiguousarray(array.transpose(axes)[:: -1 if mirrored else 1])

    for rule in (ANY_OVERLAP, ONE_TO_ONE):
        before = detection_scores(match_lesions(predicted, truth, 0.1, rule=rule))
        after = detection_scores(match_lesions(turned(predicted), turned(truth), 0.1, rule=rule))
        assert before == pytest.approx(after, nan_ok=True)


@settings(max_examples=20, deadline=None)
@given(sparse, sparse)
def test_swapping_truth_and_prediction_swaps_the_errors(predicted, truth):
    first, second = (
        detection_scores(match_lesions(a, b, 0.1)) for a, b in ((predicted, truth), (truth, predicted))
    )
    assert first["lesions_missed"] == second["lesions_false"]
    assert first["lesion_sensitivity"] == pytest.approx(second["lesion_ppv"], nan_ok=True)
    assert first["lesion_f1"] == pytest.approx(second["lesion_f1"], nan_ok=True)


def test_sensitivity_by_size():
    bins = sensitivity_by_size([0.1, 0.5, 1.9, 2.0, 700.0], [False, True, False, True, True])
    assert [(b.low_ml, b.high_ml, b.lesions, b.found) for b in bins] == [
        (0.0, 0.5, 1, 0),
        (0.5, 2.0, 2, 1),
        (2.0, 10.0, 1, 1),
        (10.0, 50.0, 0, 0),
        (50.0, math.inf, 1, 1),
    ]
    assert bins[1].sensitivity == 0.5
    assert math.isnan(bins[3].sensitivity)
    with pytest.raises(DatasetError, match="two or more ascending edges"):
        sensitivity_by_size([1.0], [True], edges_ml=(2.0, 1.0))


def test_froc_by_hand():
    # two scans, three true lesions (one missed), false lesions scored 0.8 and 0.3
    cases = [FrocCase((0.9, 0.5), (0.8,)), FrocCase((-math.inf,), (0.3,)), FrocCase((), ())]
    curve = froc(cases, at=(0.0, 1 / 3, 1.0))
    assert curve.thresholds.tolist() == [0.9, 0.8, 0.5, 0.3]
    assert curve.false_per_scan.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3])
    assert curve.sensitivity.tolist() == pytest.approx([1 / 3, 1 / 3, 2 / 3, 2 / 3])
    assert curve.at == pytest.approx({0.0: 1 / 3, 1 / 3: 2 / 3, 1.0: 2 / 3})
    assert curve.mean == pytest.approx(5 / 9)


def test_froc_without_true_lesions_or_scans():
    empty = froc([FrocCase((), (0.4,))])
    assert math.isnan(empty.mean)
    assert np.isnan(empty.sensitivity).all()
    with pytest.raises(DatasetError, match="FROC: found no scan"):
        froc([])


def test_froc_scores_are_the_probabilities_in_the_lesions():
    truth, predicted = line((0, 4), (20, 22)), line((1, 3), (30, 33))
    probability = np.zeros(truth.shape)
    probability[0, 1, 1:3] = 0.6, 0.9
    probability[0, 1, 30:33] = 0.3, 0.5, 0.7
    matching = match_lesions(predicted, truth, 0.1)
    case = froc_case(matching, probability)
    assert case == FrocCase((0.9, -math.inf), (0.7,))
    means = froc_case(matching, probability, "mean")
    assert means.true_scores[0] == pytest.approx(0.75)
    assert means.false_scores == pytest.approx((0.5,))
