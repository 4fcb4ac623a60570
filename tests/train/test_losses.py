import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional

from lesionlab.core.learning import LossSettings
from lesionlab.train.losses import (
    class_weights,
    loss_terms,
    make_loss,
    one_hot,
    supervision_weights,
)

ln = math.log
TERMS = ("dice", "cross_entropy", "binary_cross_entropy", "focal", "tversky", "focal_tversky")
ALL = dict.fromkeys(TERMS, 1.0)


def only(term: str, **others: object) -> LossSettings:
    return LossSettings(**{**dict.fromkeys(TERMS, 0.0), term: 1.0, "smooth": 1e-12, **others})


def term(name: str, logits: torch.Tensor, truth: torch.Tensor, **others: object) -> float:
    return float(loss_terms(logits, truth, only(name, **others), over_batch=False)[name])


def four_voxels() -> tuple[torch.Tensor, torch.Tensor]:
    """Lesion probabilities 0.9, 0.6, 0.2 and 0.5; the truth is 1, 0, 1, 0. TP 1.1, FP 1.1, FN 0.9."""
    p = torch.tensor([0.9, 0.6, 0.2, 0.5], dtype=torch.float64)
    logits = torch.stack([torch.zeros(4), torch.log(p / (1 - p))]).reshape(1, 2, 2, 2)
    return logits, torch.tensor([1, 0, 1, 0], dtype=torch.int16).reshape(1, 1, 2, 2)


def random_batch(classes: int, shape: tuple[int, ...], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn((3, classes + 1, *shape), generator=generator)
    return logits, torch.randint(0, classes + 1, (3, 1, *shape), generator=generator, dtype=torch.int16)


WORKED = {
    "dice": ({}, -2.2 / 4.2),
    "tversky": ({"fp_weight": 0.3, "fn_weight": 0.7}, 1 - 1.1 / (1.1 + 0.33 + 0.63)),
    "focal_tversky": ({"fp_weight": 0.3, "fn_weight": 0.7, "focus": 0.75}, (1 - 1.1 / 2.06) ** 0.75),
    "binary_cross_entropy": ({}, -(ln(0.9) + ln(0.4) + ln(0.2) + ln(0.5)) / 4),
    "cross_entropy": ({}, -(ln(0.9) + ln(0.4) + ln(0.2) + ln(0.5)) / 4),
    "focal": (
        {"focal_focus": 2.0},
        -(0.01 * ln(0.9) + 0.36 * ln(0.4) + 0.64 * ln(0.2) + 0.25 * ln(0.5)) / 4,
    ),
}
WEIGHTED = {
    "tversky": ({"fp_weight": 0.3, "fn_weight": 0.7}, 1 - 3.3 / (3.3 + 0.33 + 1.89)),
    "binary_cross_entropy": ({}, -(3 * ln(0.9) + ln(0.4) + 3 * ln(0.2) + ln(0.5)) / 4),
    "cross_entropy": ({}, -(3 * ln(0.9) + ln(0.4) + 3 * ln(0.2) + ln(0.5)) / 4),
    "focal": (
        {"focal_focus": 2.0},
        -(0.03 * ln(0.9) + 0.36 * ln(0.4) + 1.92 * ln(0.2) + 0.25 * ln(0.5)) / 4,
    ),
}


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("name", TERMS)
def test_each_term_gives_the_number_worked_by_hand(name, activation):
    others, expected = WORKED[name]
    assert term(name, *four_voxels(), activation=activation, **others) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", WEIGHTED)
def test_the_positive_weight_multiplies_what_is_lesion(name):
    others, expected = WEIGHTED[name]
    assert term(name, *four_voxels(), positive_weight=3.0, **others) == pytest.approx(expected, abs=1e-6)


def test_the_weight_of_a_batch_is_its_negatives_over_its_positives_class_by_class():
    truth = torch.tensor([1, 0, 0, 0, 2, 2, 0, 3]).reshape(2, 1, 4)
    true = one_hot(truth, 4)
    np.testing.assert_allclose(class_weights(true, None, "batch"), [7, 3, 7, 1])
    valid = (truth != 3).float()
    np.testing.assert_allclose(class_weights(true[:, :2], valid, "batch"), [6, 2.5])
    full = one_hot(torch.ones(1, 1, 3), 1)
    np.testing.assert_allclose(class_weights(full, None, "batch"), [1])
    logits, mask = four_voxels()
    mask[0, 0, 0, 0] = 0  # one lesion voxel of four: weight 3
    expected = -(ln(0.1) + ln(0.4) + 3 * ln(0.2) + ln(0.5)) / 4
    found = term("binary_cross_entropy", logits, mask, positive_weight="batch")
    assert found == pytest.approx(expected, abs=1e-6)


def test_the_loss_is_the_sum_of_its_terms_by_their_weights():
    logits, truth = random_batch(2, (6, 5))
    weights = {"dice": 0.6, "binary_cross_entropy": 0.3, "focal_tversky": 0.4, "cross_entropy": 0.0}
    recipe = LossSettings(**weights, fp_weight=0.2, fn_weight=0.9, focus=1.3, batch_overlap=True)
    terms = loss_terms(logits, truth, recipe, over_batch=True)
    assert set(terms) == {"dice", "binary_cross_entropy", "focal_tversky"}
    expected = sum(weights[name] * float(value) for name, value in terms.items())
    assert float(make_loss(recipe, over_batch=False)(logits, truth)) == pytest.approx(expected, abs=1e-6)


def test_only_the_named_terms_are_weighted():
    """System 4: plain BCE and Dice, and focal Tversky with a class weight that follows the batch."""
    logits, truth = random_batch(1, (6, 5))
    truth[:, :, 2:] = 0
    named = {"dice": 0.6, "binary_cross_entropy": 0.6, "focal_tversky": 0.4, "cross_entropy": 0.0}
    found, plain, all_of_them = (
        loss_terms(logits, truth, LossSettings(**named, **more), over_batch=True)
        for more in (
            {"positive_weight": "batch", "weighted_terms": ["focal_tversky"]},
            {},
            {"positive_weight": "batch"},
        )
    )
    for name, source in (("dice", plain), ("binary_cross_entropy", plain), ("focal_tversky", all_of_them)):
        assert float(found[name]) == float(source[name])
    assert float(plain["focal_tversky"]) != float(all_of_them["focal_tversky"])
    assert float(plain["binary_cross_entropy"]) != float(all_of_them["binary_cross_entropy"])
    odd = {"positive_weight": 3.0, "weighted_terms": ["tversky"], "tversky": 1.0, "cross_entropy": 1.0}
    terms = loss_terms(logits, truth, LossSettings(**odd), over_batch=True)
    assert float(terms["cross_entropy"]) == float(
        loss_terms(logits, truth, LossSettings(), True)["cross_entropy"]
    )


def test_dice_cannot_be_weighted():
    with pytest.raises(ValidationError, match="weighted_terms"):
        LossSettings(weighted_terms=["dice"])


@pytest.mark.parametrize(
    ("over_batch", "ignore", "shape"), list(product([False, True], [None, 3], [(9, 8), (6, 5, 7)]))
)
def test_the_default_loss_is_nnunets(over_batch, ignore, shape):
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    logits, _ = random_batch(2, shape)
    truth = random_batch(2 if ignore is None else 3, shape, seed=1)[1]
    overlaps = {"batch_dice": over_batch, "smooth": 1e-5, "do_bg": False, "ddp": False}
    theirs = DC_and_CE_loss(overlaps, {}, ignore_label=ignore, dice_class=MemoryEfficientSoftDiceLoss)
    ours = make_loss(LossSettings(), over_batch, ignore)
    values, gradients = [], []
    for loss in (theirs, ours):
        output = logits.clone().requires_grad_()
        value = loss(output, truth)
        value.backward()
        values.append(float(value.detach()))
        gradients.append(output.grad)
    assert values[1] == pytest.approx(values[0], abs=1e-6)
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-7, rtol=1e-4)


def test_deep_supervision_is_nnunets():
    from batchgeneratorsv2.transforms.utils.deep_supervision_downsampling import DownsampleSegForDSTransform
    from nnunetv2.training.loss.compound_losses import DC_and_CE_loss
    from nnunetv2.training.loss.deep_supervision import DeepSupervisionWrapper
    from nnunetv2.training.loss.dice import MemoryEfficientSoftDiceLoss

    _, truth = random_batch(2, (8, 16, 12))
    scales = [[1, 1, 1], [1, 0.5, 0.5], [0.5, 0.25, 0.25], [0.25, 0.125, 0.125]]
    shrink = DownsampleSegForDSTransform(scales)
    per_case = [shrink(segmentation=one)["segmentation"] for one in truth]
    targets = [torch.stack(level) for level in zip(*per_case, strict=True)]
    outputs = [torch.randn(3, 3, *t.shape[2:], generator=torch.Generator().manual_seed(5)) for t in targets]
    overlaps = {"batch_dice": True, "smooth": 1e-5, "do_bg": False, "ddp": False}
    weights = np.array([1, 0.5, 0.25, 0]) / 1.75
    theirs = DeepSupervisionWrapper(
        DC_and_CE_loss(overlaps, {}, dice_class=MemoryEfficientSoftDiceLoss), weights
    )
    ours = make_loss(LossSettings(), over_batch=True)
    assert float(ours(outputs, truth)) == pytest.approx(float(theirs(outputs, targets)), abs=1e-6)
    np.testing.assert_allclose(supervision_weights(4), weights)
    assert supervision_weights(1) == supervision_weights(2)[:1] == (1.0,)


def test_outputs_of_one_size_weigh_the_same():
    """The heads of a U-Net++ are peers."""
    _, truth = random_batch(2, (6, 6))
    outputs = [random_batch(2, (6, 6), seed)[0] for seed in (1, 2, 3)]
    loss = make_loss(LossSettings(), over_batch=True)
    alone = [float(loss(output, truth)) for output in outputs]
    assert float(loss(outputs, truth)) == pytest.approx(sum(alone) / 3, abs=1e-6)


def test_binary_cross_entropy_with_a_positive_weight_is_torchs():
    logits, truth = random_batch(1, (5, 4, 3))
    odds, true = logits[:, 1:] - logits[:, :1], truth.float()
    theirs = functional.binary_cross_entropy_with_logits(odds, true, pos_weight=torch.tensor([4.5]))
    ours = term("binary_cross_entropy", logits, truth, positive_weight=4.5)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize("name", TERMS)
def test_ignored_voxels_change_nothing(name):
    logits, truth = random_batch(2, (6, 6))
    truth[:, :, :3] = 3
    recipe = only(name, fp_weight=0.2, positive_weight=2.0)
    whole = loss_terms(logits, truth, recipe, over_batch=False, ignore=3)[name]
    kept = loss_terms(logits[:, :, 3:], truth[:, :, 3:], recipe, over_batch=False)[name]
    assert float(whole) == pytest.approx(float(kept), abs=1e-6)


FLOATS = {torch.float16: 60000.0, torch.bfloat16: 1e30, torch.float32: 1e30}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("label", [0, 1, 3, None], ids=["empty", "full", "all ignored", "mixed"])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_losses_and_gradients_stay_finite(dtype, label, activation):
    truth = random_batch(2, (4, 4, 4))[1] if label is None else torch.full((3, 1, 4, 4, 4), label)
    generator = torch.Generator().manual_seed(3)
    for size, focus, weight in product((0.0, 1.0, 50.0, FLOATS[dtype]), (0.1, 0.75, 3.0), (1.0, "batch")):
        logits = (size * torch.randn(3, 3, 4, 4, 4, generator=generator).sign()).to(dtype).requires_grad_()
        recipe = LossSettings(
            **ALL,
            activation=activation,
            fn_weight=0.9,
            focus=focus,
            focal_focus=focus,
            positive_weight=weight,
        )
        loss = make_loss(recipe, over_batch=False, ignore=3)(logits, truth)
        loss.backward()
        assert loss.dtype == torch.float32
        assert math.isfinite(float(loss.detach())) and bool(logits.grad.isfinite().all())


def test_half_precision_logits_lose_only_their_own_rounding():
    logits, truth = random_batch(2, (6, 6, 6))
    for dtype in (torch.float16, torch.bfloat16):
        half = logits.to(dtype)
        loss = make_loss(LossSettings(**ALL), over_batch=True)
        assert float(loss(half, truth)) == float(loss(half.float(), truth))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.05, 2), st.floats(0.05, 2), st.floats(0.3, 3))
def test_a_perfect_prediction_scores_best_and_gradients_point_to_it(seed, fp_weight, fn_weight, focus):
    _, truth = random_batch(2, (5, 5), seed)
    perfect = 20 * functional.one_hot(truth[:, 0].long(), 3).movedim(-1, 1).float()
    recipe = LossSettings(**ALL, fp_weight=fp_weight, fn_weight=fn_weight, focus=focus)
    loss = make_loss(recipe, over_batch=True)
    assert float(loss(perfect, truth)) == pytest.approx(-1, abs=1e-2 if focus < 1 else 1e-4)
    start = torch.zeros_like(perfect).requires_grad_()
    loss(start, truth).backward()
    assert float(loss(start.detach() - 0.5 * start.grad, truth)) < float(loss(start.detach(), truth))


def test_missing_costs_more_than_inventing_where_its_weight_is_higher():
    """Swapping the two weights must swap which error is dear."""
    truth = torch.zeros(1, 1, 4, 4)
    truth[..., :2, :] = 1
    missed, invented = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    for logits, rows in ((missed, 1), (invented, 3)):
        logits[:, 1] = -20
        logits[:, 1, :rows] = 20
    for fp_weight, fn_weight in ((0.3, 0.7), (0.7, 0.3)):
        weights = {"fp_weight": fp_weight, "fn_weight": fn_weight}
        assert term("tversky", missed, truth, **weights) == pytest.approx(
            1 - 4 / (4 + fn_weight * 4), abs=1e-6
        )
        assert term("tversky", invented, truth, **weights) == pytest.approx(
            1 - 8 / (8 + fp_weight * 4), abs=1e-6
        )
