"""Voxel-wise losses and their slopes against the definition, left to torch in float64."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from lesionlab.train import voxelwise as module
from lesionlab.train.voxelwise import voxelwise


def by_definition(
    logits: Tensor, truth: Tensor, activation: str, focus: float, weights: Tensor, valid: Tensor
) -> Tensor:
    """The same, from the log-odds of each class: its logit against the logarithm of all others' sum."""
    classes = range(1, logits.shape[1])
    total = logits.new_zeros(())
    for one in classes:
        others = [0] if activation == "sigmoid" else [k for k in range(logits.shape[1]) if k != one]
        odds = logits[:, one] - torch.logsumexp(logits[:, others], 1)
        here = truth[:, 0] == one
        right = torch.nn.functional.logsigmoid(torch.where(here, odds, -odds))
        wrong = torch.nn.functional.logsigmoid(torch.where(here, -odds, odds))
        each = -torch.exp(focus * wrong) * right * torch.where(here, weights[one - 1], 1.0)
        total = total + (each * valid[:, 0]).sum()
    return total / (valid.sum() * len(classes))


@pytest.mark.parametrize(("labels", "activation"), list(product([2, 3, 5], ["softmax", "sigmoid"])))
def test_value_and_slope_are_those_of_the_definition(labels, activation, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 7)
    torch.manual_seed(labels)
    weights = torch.rand(labels - 1, dtype=torch.float64) + 0.5
    for focus, size in product((0.0, 0.3, 2.0, 3.3), (1.0, 20.0, 60.0)):
        logits = size * torch.randn(2, labels, 5, 6, dtype=torch.float64)
        truth = torch.randint(0, labels + 1, (2, 1, 5, 6)).double()
        valid = (truth < labels).double()
        ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        value = voxelwise(ours, truth, activation, focus, weights=weights, valid=valid)
        wanted = by_definition(theirs, truth, activation, focus, weights, valid)
        value.backward()
        wanted.backward()
        torch.testing.assert_close(value, wanted, rtol=1e-9, atol=0)
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-6, atol=1e-12)
        if size < 60:
            single = logits.float().requires_grad_()
            voxelwise(
                single, truth.float(), activation, focus, weights=weights.float(), valid=valid.float()
            ).backward()
            torch.testing.assert_close(single.grad.double(), theirs.grad, rtol=0, atol=1e-6)


def test_a_class_that_is_surely_wrong_is_pulled_down_and_the_true_one_up():
    """Far beyond what float32 can tell from a probability of 1."""
    logits = torch.tensor([0.0, 300.0, 0.0, -300.0]).view(1, 4, 1).requires_grad_()
    voxelwise(logits, torch.full((1, 1, 1), 2.0), "softmax", 0.0).backward()
    slope = 3 * logits.grad[0, :, 0]
    assert slope[1] == pytest.approx(2.0) and slope[2] <= -1 and slope.sum() == pytest.approx(0, abs=1e-5)


def test_autocast_does_not_round_it():
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 4, 8, 8), torch.randint(0, 4, (2, 1, 8, 8)).float()
    plain = voxelwise(logits, truth, "softmax", 2.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert voxelwise(logits, truth, "softmax", 2.0) == plain


def test_no_valid_voxel_costs_nothing():
    logits = torch.randn(1, 3, 4).requires_grad_()
    loss = voxelwise(logits, torch.ones(1, 1, 4), "softmax", 2.0, valid=torch.zeros(1, 1, 4))
    loss.backward()
    assert float(loss.detach()) == 0 and not logits.grad.any()
