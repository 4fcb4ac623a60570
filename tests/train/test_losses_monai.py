"""Our losses beside MONAI's on equal settings; alone in this file because importing MONAI takes seconds."""

import warnings
from types import ModuleType

import pytest
import torch

from lesionlab.core.learning import LossSettings
from lesionlab.train.losses import loss_terms

NONE = dict.fromkeys(("dice", "cross_entropy", "tversky", "focal_tversky"), 0.0)
SMOOTH = 1e-3


@pytest.fixture(scope="module")
def monai() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("monai.losses")


def batch(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    logits = 2 * torch.randn((2, 4, *shape), generator=generator)
    return logits, torch.randint(0, 4, (2, 1, *shape), generator=generator)


@pytest.mark.parametrize("shape", [(7, 6), (5, 6, 4)])
@pytest.mark.parametrize("over_batch", [False, True])
def test_dice_and_tversky(monai, shape, over_batch):
    logits, truth = batch(*shape)
    common = {
        "include_background": False,
        "to_onehot_y": True,
        "softmax": True,
        "smooth_nr": SMOOTH,
        "smooth_dr": SMOOTH,
        "batch": over_batch,
    }
    recipe = LossSettings(**{**NONE, "dice": 1, "tversky": 1}, fp_weight=0.2, fn_weight=0.9, smooth=SMOOTH)
    ours = loss_terms(logits, truth, recipe, over_batch)
    # Ours is minus Dice, as nnU-Net's; MONAI's one minus Dice.
    assert float(ours["dice"]) + 1 == pytest.approx(float(monai.DiceLoss(**common)(logits, truth)), abs=1e-6)
    theirs = monai.TverskyLoss(alpha=0.2, beta=0.9, **common)(logits, truth)
    assert float(ours["tversky"]) == pytest.approx(float(theirs), abs=1e-6)


def test_dice_of_sigmoids(monai):
    logits, truth = batch(5, 6, 4)
    recipe = LossSettings(**{**NONE, "dice": 1}, activation="sigmoid", smooth=SMOOTH)
    ours = loss_terms(logits, truth, recipe, over_batch=False)["dice"]
    theirs = monai.DiceLoss(
        include_background=False, to_onehot_y=True, sigmoid=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH
    )
    assert float(ours) + 1 == pytest.approx(float(theirs(logits - logits[:, :1], truth)), abs=1e-6)


@pytest.mark.parametrize("focus", [0.5, 2.0, 3.0])
def test_focal(monai, focus):
    logits, truth = batch(5, 6, 4)
    recipe = LossSettings(**NONE, focal=1, focal_focus=focus, activation="sigmoid")
    ours = loss_terms(logits, truth, recipe, over_batch=False)["focal"]
    theirs = monai.FocalLoss(include_background=False, to_onehot_y=True, gamma=focus)
    assert float(ours) == pytest.approx(float(theirs(logits - logits[:, :1], truth)), abs=1e-6)


def test_dice_and_cross_entropy_together(monai):
    logits, truth = batch(5, 6, 4)
    recipe = LossSettings(**{**NONE, "dice": 1, "cross_entropy": 1}, smooth=SMOOTH)
    ours = loss_terms(logits, truth, recipe, over_batch=False)
    theirs = monai.DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, smooth_nr=SMOOTH, smooth_dr=SMOOTH
    )
    assert float(sum(ours.values())) + 1 == pytest.approx(float(theirs(logits, truth)), abs=1e-6)
