import math
from pathlib import Path

import numpy as np
import pytest
import torch

from lesionlab.core.errors import DatasetError, TrainingError
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.train import read_curves, train_fold
from lesionlab.train.nnunet import FINAL, LATEST, build_trainer, train_network
from networks_phantom import plan_tiny, tiny_recipe


class Interrupted(Exception):
    """Stands for a killed process."""


def fold_folder(root: Path) -> Path:
    workspace, _ = open_workspace(root)
    return workspace.model("3d_fullres") / "fold_0"


def test_training_leaves_curves_and_a_checkpoint_without_pickled_code(tiny_workspace):
    folder = fold_folder(tiny_workspace)
    rows = read_curves(folder)
    assert [row.epoch for row in rows] == [0, 1, 2]
    assert all(math.isfinite(row.train_loss) and row.seconds > 0 for row in rows)
    assert rows[-1].train_loss < rows[0].train_loss
    state = torch.load(folder / FINAL, weights_only=True)
    assert state["trainer_name"] == "nnUNetTrainer"
    assert state["lesionlab_recipe"]["name"] == "tiny"
    assert not (folder / LATEST).exists()


def test_a_finished_fold_is_not_trained_again(tiny_workspace):
    before = (fold_folder(tiny_workspace) / FINAL).stat().st_mtime_ns
    assert train_fold(tiny_workspace, 0, device="cpu") == fold_folder(tiny_workspace)
    assert (fold_folder(tiny_workspace) / FINAL).stat().st_mtime_ns == before


def test_an_interrupted_training_goes_on_where_it_stopped(tmp_path, monkeypatch):
    root = plan_tiny(tmp_path / "w")
    monkeypatch.setattr("lesionlab.train.nnunet.SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def kill_in_third_epoch(message: str, share: float) -> None:
        if "epoch 3/" in message:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_fold(root, 0, device="cpu", progress=kill_in_third_epoch)
    folder = fold_folder(root)
    assert (folder / LATEST).is_file() and not (folder / FINAL).exists()
    first_two = read_curves(folder)
    messages: list[str] = []
    train_fold(root, 0, device="cpu", progress=lambda message, share: messages.append(message))
    assert all("epoch 3/3" in message for message in messages)
    assert read_curves(folder)[:2] == first_two
    assert len(read_curves(folder)) == 3


def test_training_stops_when_it_has_converged(tmp_path):
    recipe = tiny_recipe().changed(
        training={
            "epochs": 50,
            "iterations": 1,
            "validation_iterations": 1,
            "stop_after": 2,
            "stop_improvement": 1.0,
        }
    )
    root = plan_tiny(tmp_path / "w", recipe)
    folder = train_fold(root, 0, device="cpu")
    assert len(read_curves(folder)) == 3
    assert (folder / FINAL).is_file()


def test_a_loss_that_is_not_finite_names_fold_epoch_and_cases(tmp_path, monkeypatch):
    root = plan_tiny(tmp_path / "w")
    workspace, recipe = open_workspace(root)
    with workspace.environment():
        trainer = build_trainer(workspace, recipe, 0, torch.device("cpu"), lambda message, share: None)
        trainer.initialize()
        monkeypatch.setattr(trainer, "loss", lambda output, target: torch.tensor(float("nan")))
        batch = {
            "data": torch.zeros(2, 1, 16, 16, 16),
            "target": [torch.zeros(2, 1, 16, 16, 16)],
            "keys": ["sphere_3"],
        }
        with pytest.raises(TrainingError, match=r"fold 0, epoch 0, cases \['sphere_3'\]: found loss nan"):
            trainer.train_step(batch)


def test_weight_averaging_follows_its_definition_and_gives_the_weights_back(tmp_path):
    root = plan_tiny(tmp_path / "w")
    workspace, recipe = open_workspace(root)
    with workspace.environment():
        trainer = build_trainer(workspace, recipe, 0, torch.device("cpu"), lambda message, share: None)
        trainer.initialize()
        parameter = next(iter(trainer.network.parameters()))
        with torch.no_grad():
            parameter.fill_(1.0)
        trainer._update_average()
        with torch.no_grad():
            parameter.fill_(2.0)
        trainer._update_average()
    decay = min(0.9, 3 / 12)
    with trainer.averaged():
        np.testing.assert_allclose(parameter.detach().numpy(), 1.0 * decay + 2.0 * (1 - decay), rtol=1e-6)
    np.testing.assert_array_equal(parameter.detach().numpy(), 2.0)


def test_first_losses_equal_those_of_stock_nnunet(tmp_path):
    """Same seed, float32, no weight averaging: our step computes what nnU-Net's computes."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    recipe = tiny_recipe().changed(training={"precision": "fp32", "weight_averaging": 0.0})
    root = plan_tiny(tmp_path / "w", recipe)
    workspace, recipe = open_workspace(root)
    losses = []
    for stock in (False, True):
        np.random.seed(7)  # noqa: NPY002 (nnU-Net's loader draws from it)
        torch.manual_seed(7)
        with workspace.environment():
            trainer = build_trainer(workspace, recipe, 0, torch.device("cpu"), lambda message, share: None)
            trainer.initialize()
            trainer.on_train_start()
            trainer.on_train_epoch_start()
            step = nnUNetTrainer.train_step if stock else type(trainer).train_step
            losses.append([float(step(trainer, next(trainer.dataloader_train))["loss"]) for _ in range(4)])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_folds_that_the_plan_does_not_have(tiny_workspace, tmp_path):
    with pytest.raises(TrainingError, match="found fold 7; needed 0 to 2"):
        train_fold(tiny_workspace, 7)
    with pytest.raises(DatasetError, match="lesionlab plan"):
        train_fold(tmp_path, 0)


def test_devices_and_precisions():
    cpu = torch.device("cpu")
    assert pick_device("cpu") == cpu
    with pytest.raises(TrainingError, match="needed one of auto"):
        pick_device("abacus")
    assert autocast_dtype("fp32", cpu) is None
    assert autocast_dtype("bf16", cpu) is torch.bfloat16
    assert autocast_dtype("auto", cpu) in (None, torch.bfloat16)
    assert autocast_dtype("auto", torch.device("mps")) is None


def test_train_network_is_the_same_as_train_fold(tiny_workspace):
    workspace, recipe = open_workspace(tiny_workspace)
    assert train_network(workspace, recipe, 0, "cpu", lambda message, share: None).name == "fold_0"
