from typing import Any

import numpy as np
import pytest
import torch

from lesionlab.core.errors import RecipeError
from lesionlab.networks.build import build_network
from lesionlab.networks.registry import NETWORKS, edge_multiples, plan_network
from lesionlab.plan.dataset import require_fit
from lesionlab.train import EpochRow, read_curves, train_fold
from lesionlab.train.nnunet import RecipeTrainer
from lesionlab.train.progressive import at_its_size, resized, share_at, since_full, smaller_edges
from networks_phantom import plan_tiny, tiny_recipe


def test_each_share_lasts_an_equal_part_of_the_training():
    shares = (0.5, 0.75, 1.0)
    assert [share_at(shares, epoch / 6) for epoch in range(6)] == [0.5, 0.5, 0.75, 0.75, 1.0, 1.0]
    assert share_at(shares, 1.2) == 1.0


def test_edges_are_what_the_network_takes_and_never_too_few():
    assert smaller_edges((320, 320), (32, 32), 0.4) == (128, 128)
    assert smaller_edges((16, 176, 128), (4, 32, 32), 0.5) == (8, 96, 64)
    assert smaller_edges((32, 64), (32, 32), 0.1) == (32, 64)


def test_pictures_are_averaged_and_labels_kept_whole():
    data = torch.arange(16.0).reshape(1, 1, 4, 4)
    target = torch.tensor([[0, 0, 2, 2]] * 4, dtype=torch.int16)[None, None]
    small, labels = resized(data, target, (2, 2))
    np.testing.assert_allclose(small[0, 0], [[2.5, 4.5], [10.5, 12.5]])
    assert labels.dtype == torch.int16 and labels.tolist() == [[[[0, 2], [0, 2]]]]
    same = resized(data, target, (4, 4))
    assert same[0] is data and same[1] is target


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_networks_run_on_the_smaller_patches_that_they_are_given(name):
    entry = NETWORKS[name]
    dimensions = 2 if 2 in entry.first else 3
    patch = (128, 96, 64)[:dimensions]
    settings = (
        tiny_recipe()
        .changed(network={"architecture": name, "first_features": None, "max_features": None})
        .network
    )
    strides = [] if entry.stages is None else [[1] * dimensions, *[[2] * dimensions] * 3]
    plan = plan_network(entry, settings, patch, strides)
    multiples = edge_multiples(plan, dimensions)
    if entry.one_size:
        assert multiples is None
        return
    assert multiples is not None
    small = smaller_edges(patch, multiples, 0.5)
    assert all(s < edge and s % m == 0 for s, edge, m in zip(small, patch, multiples, strict=True))
    network = build_network(plan, 1, 2, deep_supervision=False, subject=name).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 1, *small)).shape == (1, 2, *small)


def test_a_training_goes_from_coarse_to_full(tmp_path, monkeypatch):
    recipe = tiny_recipe().changed(
        training={"iterations": 1, "validation_iterations": 1, "progressive": [0.5, 1.0], "epochs": 2}
    )
    root = plan_tiny(tmp_path / "w", recipe)
    sizes: list[tuple[int, ...]] = []
    forward = RecipeTrainer._forward

    def noted(trainer: Any, batch: dict[str, Any]) -> Any:
        sizes.append(tuple(batch["data"].shape[2:]))
        assert batch["target"].shape[2:] == batch["data"].shape[2:]
        return forward(trainer, batch)

    monkeypatch.setattr(RecipeTrainer, "_forward", noted)
    train_fold(root, 0, device="cpu")
    assert sizes == [(8, 8, 8), (16, 16, 16), (16, 16, 16), (16, 16, 16)]


def test_a_training_of_few_epochs_reaches_full_patches_too(tmp_path, monkeypatch):
    recipe = tiny_recipe().changed(
        network={"patch_size": [16, 16, 24]},
        training={"iterations": 6, "validation_iterations": 1, "progressive": [0.5, 0.75, 1.0], "epochs": 1},
    )
    sizes: list[tuple[int, ...]] = []
    forward = RecipeTrainer._forward

    def noted(trainer: Any, batch: dict[str, Any]) -> Any:
        sizes.append(tuple(batch["data"].shape[2:]))
        return forward(trainer, batch)

    monkeypatch.setattr(RecipeTrainer, "_forward", noted)
    train_fold(plan_tiny(tmp_path / "w", recipe), 0, device="cpu")
    small, middle, full = (8, 8, 12), (12, 12, 16), (16, 16, 24)
    assert sizes == [small, small, middle, middle, full, full, full]


def test_a_training_of_few_minutes_reaches_full_patches_too(tmp_path, monkeypatch):
    """Epochs of 30 and 40 seconds of one minute: after the second it would be over without a full patch."""
    short = {"minutes": 1.0, "iterations": 1, "validation_iterations": 1, "progressive": [0.5, 0.75, 1.0]}
    recipe = tiny_recipe().changed(network={"patch_size": [16, 16, 16]}, training=short)
    sizes: list[tuple[int, ...]] = []
    train_step = RecipeTrainer.train_step

    def noted(trainer: Any, batch: dict[str, Any]) -> Any:
        sizes.append(tuple(at_its_size(trainer, batch)["data"].shape[2:]))
        return train_step(trainer, batch)

    took = iter([30.0, 40.0, 60.0])
    monkeypatch.setattr(RecipeTrainer, "train_step", noted)
    monkeypatch.setattr(RecipeTrainer, "_same", lambda trainer, seconds: next(took))
    train_fold(plan_tiny(tmp_path / "w", recipe), 0, device="cpu")
    assert sizes == [(8, 8, 8), (12, 12, 12), (16, 16, 16)]


def test_a_training_does_not_converge_before_its_patches_are_full(tmp_path):
    short = {"epochs": 8, "iterations": 1, "validation_iterations": 1, "progressive": [0.5, 1.0]}
    recipe = tiny_recipe().changed(training={**short, "stop_after": 1, "stop_improvement": 1.0})
    folder = train_fold(plan_tiny(tmp_path / "w", recipe), 0, device="cpu")
    assert len(read_curves(folder)) == 4 + 2


def test_epochs_with_full_patches_are_told_by_number_or_by_time():
    rows = [EpochRow(number, 0.0, 0.0, 0.5, 0.5, 0.01, 10.0 + 10 * number) for number in range(4)]
    settings = tiny_recipe().changed(training={"epochs": 6, "progressive": [0.5, 1.0]}).training
    assert since_full(rows, settings) == rows[3:]
    assert since_full(rows[:3], settings) == []
    assert since_full(rows, settings.model_copy(update={"progressive": (1.0,)})) == rows
    # epochs begin after 0, 10, 30 and 60 of 60 seconds
    assert since_full(rows, settings.model_copy(update={"minutes": 1.0})) == rows[2:]
    assert since_full(rows, settings.model_copy(update={"progressive": (1.0, 0.5, 1.0)})) == []


def test_a_network_of_one_size_is_refused_before_any_case_is_read():
    recipe = tiny_recipe().changed(
        network={"architecture": "unetr", "patch_size": [32, 32, 32]}, training={"progressive": [0.5, 1.0]}
    )
    with pytest.raises(
        RecipeError, match=r"found training\.progressive for unetr; needed a network that takes"
    ):
        require_fit(recipe)


@pytest.mark.parametrize("shares", [[0.5], [1.0, 0.5], [1.5, 1.0], [], [0.0, 1.0]])
def test_shares_end_at_the_full_patch(shares):
    with pytest.raises(RecipeError, match="progressive"):
        tiny_recipe().changed(training={"progressive": shares})
