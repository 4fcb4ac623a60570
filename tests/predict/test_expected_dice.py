import itertools

import numpy as np
import pytest

from lesionlab.predict.expected_dice import LEVELS, largest_expected_dice, levels


def exact(chances: np.ndarray, mask: np.ndarray) -> float:
    """Expected Dice over every truth of voxels that are lesion independently; two empty masks agree."""
    total = 0.0
    for truth in itertools.product((False, True), repeat=chances.size):
        drawn = np.array(truth)
        share = np.prod(np.where(drawn, chances, 1 - chances))
        size = mask.sum() + drawn.sum()
        total += share * (2 * (mask & drawn).sum() / size if size else 1.0)
    return total


@pytest.mark.parametrize("seed", range(6))
def test_its_expected_dice_is_nearly_that_of_the_best_of_all_masks(seed):
    chances = np.random.default_rng(seed).beta(0.6, 0.8, 10)
    chances[0] = 0.7
    mask = largest_expected_dice(levels(chances))
    everything = [np.array(one) for one in itertools.product((False, True), repeat=10)]
    best = max(exact(chances, one) for one in everything if one.any())
    assert exact(chances, mask) > best - 0.01


def test_worked_by_hand():
    # p = 3/4, 1/2, 3/8, 1/8 (sum 7/4): 2 x 3/4 / (1 + 7/4) = 6/11, 2 x 5/4 / (2 + 7/4) = 2/3,
    # 2 x 13/8 / (3 + 7/4) = 13/19 = 0.684, 2 x 7/4 / (4 + 7/4) = 14/23 = 0.609
    steps = np.array([[0, 192, 128], [96, 32, 0]], np.uint8)
    np.testing.assert_array_equal(largest_expected_dice(steps), steps >= 96)


def test_what_is_certain_is_drawn_as_it_is_and_what_is_unlikely_not_at_all():
    certain = np.zeros((4, 5), np.float32)
    certain[1:3, 2:4] = 1
    np.testing.assert_array_equal(largest_expected_dice(levels(certain)), certain > 0)
    assert not largest_expected_dice(np.full((4, 5), LEVELS // 2 - 1, np.uint8)).any()
    assert largest_expected_dice(np.full((4, 5), LEVELS // 2, np.uint8)).all()
    assert not largest_expected_dice(np.zeros((2, 3, 4), np.uint8)).any()


def test_a_broad_doubt_around_a_lesion_draws_it_wider_than_one_half_would():
    p = np.zeros(1000)
    p[:20], p[20:60] = 0.9, 0.45
    assert largest_expected_dice(levels(p)).sum() == 60
    p[20:60] = 0.2
    assert largest_expected_dice(levels(p)).sum() == 20


def test_levels_go_down_and_end_at_255():
    np.testing.assert_array_equal(levels(np.array([0, 0.00390624, 0.5, 0.999, 1.0])), [0, 0, 128, 255, 255])
