"""Logits become labels slab by slab: the mask of the whole way, in memory that does not grow with it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from lesionlab.core.resize import resize
from lesionlab.predict.decide import DIFFERENCE, LARGEST, decide, difference_rule, regions_rule, rule_of


def balls(classes: int, shape: tuple[int, ...]) -> np.ndarray:
    """Logits of a few lesions in noise that stays background."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(classes, *shape)).astype(np.float32)
    logits[0] += 8.0
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1)
    for number in range(3):
        centre = random.uniform(0.2, 0.8, 3) * shape
        inside = np.linalg.norm(index - centre, axis=-1) < 4
        logits[1 + number % (classes - 1), inside] += 16.0
    return logits


def test_the_rule_follows_from_the_number_of_logits() -> None:
    assert rule_of(1) is DIFFERENCE and rule_of(2) is rule_of(5) is LARGEST


@pytest.mark.parametrize("probability", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("target", [(50, 41, 70), (31, 60, 33), (40, 50, 45)])
def test_slabs_give_the_mask_of_the_whole(classes: int, target: tuple[int, ...], probability: bool) -> None:
    logits = balls(classes, (40, 50, 45))
    given = logits[1:] - logits[:1] if classes == 2 else logits
    rule = rule_of(len(given))
    whole = resize(given, target, order=1)
    labels = np.zeros(target, np.uint8)
    chance = np.zeros((classes - 1, *target), np.float32) if probability else None
    decide(np.array_split(given, 7, axis=1), given.shape[1:], labels, rule, probability=chance)
    np.testing.assert_array_equal(labels, rule.labels(whole))
    assert len(np.unique(labels)) == classes
    if chance is not None:
        np.testing.assert_allclose(chance, rule.probability(whole), atol=1e-5)
        assert chance.min() >= 0 and chance.max() <= 1


def test_a_label_without_a_logit_has_no_probability() -> None:
    """nnU-Net's ignored label: it is among a recipe's labels, and no network answers for it."""
    logits = balls(2, (20, 24, 22))[1:]
    labels, chance = np.zeros((20, 24, 22), np.uint8), np.zeros((2, 20, 24, 22), np.float32)
    decide([logits], labels.shape, labels, DIFFERENCE, probability=chance)
    assert chance[0].max() > 0.9 and not chance[1].any()


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_another_threshold_decides_what_its_probability_is_above(threshold: float) -> None:
    logits = np.random.default_rng(3).normal(0, 4, (1, 20, 24, 22)).astype(np.float32)
    for rule in (difference_rule(threshold), regions_rule([1], threshold)):
        labels, chance = (np.zeros((30, 24, 33), kind) for kind in (np.uint8, np.float32))
        decide([logits], logits.shape[1:], labels, rule, probability=chance[None])
        sure = np.abs(chance - threshold) > 1e-6
        np.testing.assert_array_equal(labels[sure], chance[sure] > threshold)
        quick = np.zeros_like(labels)
        decide([logits], logits.shape[1:], quick, rule)
        np.testing.assert_array_equal(quick, labels)


def test_where_all_is_background_nothing_is_asked() -> None:
    logits = np.full((1, 40, 40, 40), -1.0, np.float32)
    asked = []
    rule = type(DIFFERENCE)(DIFFERENCE.candidates, lambda d: asked.append(d) or DIFFERENCE.labels(d), None)
    labels = np.zeros((60, 60, 60), np.uint8)
    decide([logits], (40, 40, 40), labels, rule)
    assert not asked and not labels.any()
    logits[0, 20, 20, 20] = 5.0
    decide([logits], (40, 40, 40), labels, rule)
    assert 1 <= len(asked) <= 8 and labels.any()


def test_memory_is_that_of_a_slab() -> None:
    def peak(count: int) -> int:
        def rows() -> Iterator[np.ndarray]:
            for row in range(count):
                slab = np.full((1, 32, 96, 96), -1.0, np.float32)
                slab[0, 10:20, 40:60, 40:60] = row + 1.0
                yield slab

        labels = np.zeros((40 * count, 120, 120), np.uint8)
        tracemalloc.start()
        decide(rows(), (32 * count, 96, 96), labels, DIFFERENCE)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert np.count_nonzero(labels.any(axis=(1, 2))) >= 10 * count
        return found

    # the matrices of both lengths are kept from the first time on
    peak(6), peak(24)
    assert peak(24) < 1.1 * peak(6) < 6 * 32 * 96 * 96 * 4
