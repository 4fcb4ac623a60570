from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from lesionlab.core.components import foreground_box
from lesionlab.core.consensus import majority, staple
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.evaluate.observers import (
    CaseAgreement,
    Pair,
    against_observers,
    case_agreement,
    dice,
    pairwise,
)


def line(*voxels):
    array = np.zeros((1, 3, 10), dtype=bool)
    array[0, 1, list(voxels)] = True
    return array


def block():
    truth = np.zeros((10, 20, 22), dtype=bool)
    truth[3:7, 5:15, 6:16] = True
    return truth


def reading(truth, missed, false, seed):
    random = np.random.default_rng(seed)
    return np.where(truth, random.random(truth.shape) > missed, random.random(truth.shape) < false)


def three_readers():
    rates = {"anna": (0.05, 0.02), "bert": (0.2, 0.01), "cora": (0.1, 0.1)}
    return {name: reading(block(), *rate, seed=k) for k, (name, rate) in enumerate(rates.items())}


def test_pairs_of_readers_by_hand():
    masks = {"a": line(1, 2, 3), "b": line(2, 3, 4), "c": line()}
    assert pairwise(masks) == (Pair("a", "b", 2 * 2 / 6), Pair("a", "c", 0.0), Pair("b", "c", 0.0))
    assert math.isnan(dice(line(), line()))


def test_another_score_may_be_given_and_sees_the_box():
    shapes = []

    def boxed(first, second):
        shapes.append(first.shape)
        return float((first == second).mean())

    assert pairwise({"a": line(1, 2), "b": line(2, 3)}, boxed)[0].value == pytest.approx(1 / 3)
    assert shapes == [(1, 1, 3)]


def test_the_majority_is_more_than_half():
    a, b, c, d = line(1, 2, 3), line(2, 3), line(3, 4), line(3)
    assert np.array_equal(majority({"a": a, "b": b, "c": c}), line(2, 3))
    assert np.array_equal(majority({"a": a, "b": b}), line(2, 3))  # two readers: what both marked
    assert np.array_equal(majority({"a": a, "b": b, "c": c, "d": d}), line(3))  # a tie is background
    many = {str(k): line(1, 2) if k < 129 else line(2) for k in range(256)}
    assert np.array_equal(majority(many), line(1, 2))
    assert np.array_equal(majority({**many, "one": line(), "more": line()}), line(2))  # 129 of 258


def itk(masks, box):
    run = sitk.STAPLEImageFilter()
    run.SetForegroundValue(1)
    run.SetMaximumIterations(500)
    images = [sitk.GetImageFromArray(mask[box].astype(np.uint8)) for mask in masks.values()]
    return sitk.GetArrayFromImage(run.Execute(images)), run.GetSensitivity(), run.GetSpecificity()


@pytest.mark.parametrize("margin", [0, 3])
def test_staple_is_that_of_simpleitk(margin):
    masks = three_readers()
    found = staple(masks, margin=margin)
    box = foreground_box(np.logical_or.reduce(list(masks.values())), margin)
    probability, sensitivity, specificity = itk(masks, box)
    assert found.converged
    assert found.probability[box] == pytest.approx(probability, abs=1e-5)
    assert list(found.sensitivity.values()) == pytest.approx(sensitivity, abs=1e-5)
    assert list(found.specificity.values()) == pytest.approx(specificity, abs=1e-5)
    outside = found.probability.copy()
    outside[box] = 0
    assert not outside.any()


def test_staple_finds_who_reads_how():
    masks = three_readers()
    found = staple(masks)
    for name, (missed, _) in {"anna": (0.05, 0.02), "bert": (0.2, 0.01), "cora": (0.1, 0.1)}.items():
        assert found.sensitivity[name] == pytest.approx(1 - missed, abs=0.06)
    assert found.specificity["cora"] < found.specificity["bert"]
    assert dice(found.mask, block()) > max(dice(mask, block()) for mask in masks.values())


def test_with_two_against_one_staple_trusts_the_better_record():
    # a reader who marks everything is outvoted by what the other two agree on
    truth = block()
    masks = {
        "a": reading(truth, 0.05, 0.01, 1),
        "b": reading(truth, 0.05, 0.01, 2),
        "all": np.ones_like(truth),
    }
    found = staple(masks)
    assert found.specificity["all"] == pytest.approx(0.0, abs=1e-6)
    assert dice(found.mask, truth) > 0.89 > dice(masks["all"], truth)


def test_more_background_makes_every_mark_more_believable():
    # which is why the box is part of the definition and not an optimisation
    masks = {name: np.pad(mask, 30) for name, mask in three_readers().items()}
    sizes = [float(staple(masks, margin=margin).probability.sum()) for margin in (0, 10, 30)]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[0] == pytest.approx(float(staple(three_readers(), margin=0).probability.sum()))


@given(hnp.arrays(bool, (3, 2, 4, 5)))
@settings(max_examples=30, deadline=None)
def test_consensus_of_any_readers(stack):
    masks = dict(zip("abc", stack, strict=True))
    found = staple(masks)
    union, common = stack.any(axis=0), stack.all(axis=0)
    assert ((found.probability >= 0) & (found.probability <= 1)).all()
    assert not np.isnan(found.probability).any()
    voted = majority(masks)
    assert not (voted & ~union).any()
    assert not (common & ~voted).any()
    turned = staple({name: masks[name] for name in "cab"})
    assert turned.probability == pytest.approx(found.probability, abs=1e-4)
    same = staple({"a": stack[0], "b": stack[0]})
    assert np.array_equal(same.mask, stack[0])


def test_a_prior_may_be_given_and_iterations_may_end():
    masks = three_readers()
    assert staple(masks, prior=0.01).prior == 0.01
    short = staple(masks, max_iterations=2)
    assert (short.converged, short.iterations) == (False, 2)


def test_empty_masks_are_a_consensus_too():
    found = staple({"a": line(), "b": line()})
    assert not found.mask.any()
    assert math.isnan(found.sensitivity["a"])
    assert not majority({"a": line(), "b": line()}).any()


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DatasetError, match="readers: found 1 of them; needed two or more masks"):
        majority({"a": line(1)})
    with pytest.raises(GeometryError, match=r"masks of a \(1, 3, 10\), b \(1, 1, 3\); needed one grid"):
        pairwise({"a": line(1), "b": np.zeros((1, 1, 3), dtype=bool)})
    with pytest.raises(DatasetError, match="found 63 readers; needed at most 62"):
        staple({str(k): line(k % 10) for k in range(63)})
    with pytest.raises(DatasetError, match="found a prior of 1; needed a share above 0 and below 1"):
        staple({"a": line(1), "b": line(2)}, prior=1.0)


def case(name, model, readers):
    keys = ("a", "b", "c")
    pairs = (("a", "b"), ("a", "c"), ("b", "c"))
    return CaseAgreement(
        name,
        dict(zip(keys, model, strict=True)),
        tuple(Pair(*pair, value) for pair, value in zip(pairs, readers, strict=True)),
    )


def test_a_model_among_three_readers_by_hand():
    cases = [
        case("1", (0.6, 0.7, 0.8), (0.8, 0.9, 1.0)),
        case("2", (0.5, 0.5, 0.5), (0.7, 0.6, 0.8)),
        case("3", (0.7, 0.6, 0.8), (0.9, 0.9, 0.9)),
    ]
    found = against_observers(cases)
    assert found.model.estimate == pytest.approx((0.7 + 0.5 + 0.7) / 3)
    assert found.readers.estimate == pytest.approx((0.9 + 0.7 + 0.9) / 3)
    assert found.difference.estimate == pytest.approx(-0.2)
    assert found.williams.estimate == pytest.approx(1.9 / 2.5)
    assert found.model_by_reader == pytest.approx({"a": 0.6, "b": 0.6, "c": 0.7})
    assert [pair.value for pair in found.by_pair] == pytest.approx([0.8, 0.8, 0.9])
    assert found.by_reader == pytest.approx({"a": 0.8, "b": 0.85, "c": 0.85})
    assert (found.lowest, found.highest) == pytest.approx((0.8, 0.9))
    assert found.standing == "below"
    assert (found.cases, found.undefined) == (3, 0)


def test_a_reader_may_be_called_model():
    found = case_agreement("1", line(1, 2, 3), {"model": line(2, 3, 4), "b": line()})
    assert found.model == {"model": 2 * 2 / 6, "b": 0.0}
    assert found.readers == (Pair("model", "b", 0.0),)


def test_a_model_that_is_one_more_reader_stands_level():
    random = np.random.default_rng(6)
    truth = block()
    cases = []
    for k in range(12):
        one, *rest = (reading(truth, *random.uniform(0.02, 0.2, 2), seed=10 * k + j) for j in range(4))
        cases.append(case_agreement(f"{k}", one, dict(zip("abc", rest, strict=True))))
    found = against_observers(cases)
    assert found.standing == "level"
    assert found.williams.low < 1.0 < found.williams.high
    better = [case_agreement(f"{k}", truth, three_readers()) for k in range(4)]
    assert against_observers(better).standing == "above"


def test_undefined_cases_are_counted_and_patients_drawn_together():
    gap = math.nan
    cases = [case(f"{k}", (0.5, 0.5, 0.5), (0.6 + 0.1 * (k % 2),) * 3) for k in range(4)]
    cases.append(case("empty", (gap, 0.0, 0.0), (gap, 0.0, 0.0)))
    found = against_observers(cases, ["P", "P", "Q", "Q", "R"])
    assert (found.cases, found.undefined, found.model.patients) == (4, 1, 2)
    assert found.readers.low == pytest.approx(0.65)  # every patient has the same mean
    nothing = against_observers([cases[-1]])
    assert nothing.standing == "unknown"
    assert math.isnan(nothing.williams.estimate)


def test_readers_must_be_the_same_everywhere():
    first = case("1", (0.6, 0.7, 0.8), (0.8, 0.9, 1.0))
    other = CaseAgreement("2", {"a": 0.5, "d": 0.4}, (Pair("a", "d", 0.5),))
    with pytest.raises(DatasetError, match="case 2: found readers a, d; needed a, b, c"):
        against_observers([first, other])
    with pytest.raises(DatasetError, match="model against readers: found 0 cases"):
        against_observers([])
    with pytest.raises(DatasetError, match="found one reader; needed cases that two or more readers drew"):
        against_observers([CaseAgreement("1", {"a": 0.5}, ())])
