from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.calibration import (
    DiceCurve,
    calibration,
    dice_by_threshold,
    mean_curve,
    near_box,
    pooled,
    probabilities_of,
    refuse_probabilities,
)


def volume(array):
    return Volume(np.asarray(array), Geometry(np.shape(array), (2.0, 2.0, 2.0)), "1")


def test_ece_and_brier_by_hand():
    probability = np.array([[[0.1, 0.3, 0.6, 0.9]]])
    truth = np.array([[[False, True, False, True]]])
    found = calibration(probability, truth, bins=2)
    # lower bin: mean 0.2, observed 0.5; upper: mean 0.75, observed 0.5
    assert found.ece == pytest.approx((0.3 * 2 + 0.25 * 2) / 4)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.36 + 0.01) / 4)
    assert [v.tolist() for v in found.reliability] == [pytest.approx([0.2, 0.75]), [0.5, 0.5]]


def test_a_calibrated_map_has_no_error_and_a_certain_one_no_brier():
    rng = np.random.default_rng(0)
    probability = rng.random((20, 50, 50))
    truth = rng.random(probability.shape) < probability
    assert calibration(probability, truth).ece < 0.01
    assert calibration(probability**3, truth).ece > 0.2
    sure = calibration(truth.astype(np.float32), truth)
    assert sure.ece == sure.brier == 0.0
    assert sure.voxels.tolist()[1:-1] == [0] * 13
    assert math.isnan(sure.reliability[0][5])


def test_slabs_and_cases_are_pooled_exactly():
    rng = np.random.default_rng(1)
    probability = rng.random((40, 6, 5), dtype=np.float32)
    truth = rng.random(probability.shape) < 0.3
    whole = calibration(probability, truth)
    halves = pooled([calibration(probability[:7], truth[:7]), calibration(probability[7:], truth[7:])])
    assert whole.ece == pytest.approx(halves.ece)
    assert whole.brier == pytest.approx(np.square(probability - truth).mean(), rel=1e-5)
    assert whole.voxels.sum() == truth.size


def test_a_box_leaves_the_far_background_out():
    probability = np.zeros((30, 30, 30), np.float32)
    truth = np.zeros(probability.shape, bool)
    truth[14:16, 14:16, 14:16] = True
    probability[15, 15, 15] = 0.5
    box = near_box(probability, truth)
    assert box == (slice(9, 21),) * 3
    near, whole = calibration(probability, truth, box=box), calibration(probability, truth)
    assert near.voxels.sum() == 12**3
    assert near.brier == pytest.approx(7.25 / 12**3)
    assert whole.brier == pytest.approx(7.25 / 30**3)
    assert near_box(probability * 0, truth & False) is None


def test_dice_by_threshold_by_hand():
    probability = np.array([[[0.2, 0.5, 0.9, 0.5]]])
    truth = np.array([[[False, True, True, False]]])
    curve = dice_by_threshold(probability, truth, thresholds=(0.1, 0.5, 0.6))
    assert curve.dice.tolist() == pytest.approx([4 / 6, 4 / 5, 2 / 3])
    assert curve.best == pytest.approx((0.5, 0.8))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_curve_is_that_of_the_masks(seed):
    rng = np.random.default_rng(seed)
    # values on and just beside the thresholds
    steps = rng.integers(0, 1001, (2, 5, 6)) / 1000
    probability = np.clip(np.nextafter(steps, rng.integers(-1, 3, steps.shape)), 0, 1)
    truth = rng.random(steps.shape) < 0.4
    truth[0, 0, 0] = True
    curve = dice_by_threshold(probability, truth)
    assert len(curve.dice) == 1000
    for at in (0, 1, 250, 499, 998, 999):
        mask = probability >= curve.thresholds[at]
        assert curve.dice[at] == pytest.approx(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def test_dice_by_threshold_of_nothing():
    nothing = np.zeros((1, 2, 2), bool)
    curve = dice_by_threshold(np.full((1, 2, 2), 0.4), nothing)
    assert np.isnan(curve.dice).all()
    assert all(math.isnan(v) for v in curve.best)
    some = dice_by_threshold(np.full((1, 2, 2), 0.4), ~nothing)
    both = mean_curve([curve, some])
    assert both.best == (0.001, 1.0)
    assert np.isnan(mean_curve([curve]).dice).all()


def test_masks_and_probability_maps_are_told_apart():
    mask = volume(np.array([[[0.0, 1.0, 1.0]]]))
    soft = volume(np.array([[[0.0, 0.4, 1.0]]]))
    counts = volume(np.array([[[0, 1, 3]]], dtype=np.uint8))
    assert probabilities_of("P1", soft) is soft.array
    assert probabilities_of("P1", volume(np.zeros((1, 2, 2)))).max() == 0
    assert probabilities_of("P1", volume(np.ones((1, 2, 2)))).min() == 1
    with pytest.raises(DatasetError, match="P1: found a mask of zeros and ones; needed a probability map"):
        probabilities_of("P1", mask)
    with pytest.raises(DatasetError, match="P1: found values from 0 to 3; needed a probability map"):
        probabilities_of("P1", counts)
    with pytest.raises(
        DatasetError, match=r"P1: found a probability map \(1 voxels between 0 and 1\); needed a mask"
    ):
        refuse_probabilities("P1", soft)
    for other in (mask, counts, volume(np.array([[[0.0, 2.5]]]))):
        refuse_probabilities("P1", other)


def test_what_cannot_be_is_refused():
    three, two = np.zeros((1, 1, 3)), np.zeros((1, 1, 2), bool)
    with pytest.raises(DatasetError, match=r"calibration: found shape \(1, 1, 3\)"):
        calibration(three, two)
    with pytest.raises(DatasetError, match="0 bins"):
        calibration(three, three > 0, bins=0)
    with pytest.raises(DatasetError, match="no case"):
        pooled([])
    with pytest.raises(DatasetError, match="ascending thresholds above 0"):
        dice_by_threshold(three, three > 0, thresholds=(0.5, 0.1))
    curves = [DiceCurve(np.array([t]), np.array([1.0])) for t in (0.1, 0.2)]
    with pytest.raises(DatasetError, match="2 curves; needed one or more of the same thresholds"):
        mean_curve(curves)
