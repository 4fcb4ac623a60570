import contextlib
import io
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from scipy import ndimage

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError, DatasetError, TrainingError
from lesionlab.core.recipe import Recipe, dump_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.plan import plan_dataset
from lesionlab.report import save_volume
from lesionlab.train import read_curves, train_fold
from lesionlab.train.nnunet import FINAL, LATEST, RecipeTrainer, build_trainer, seed_all, train_network
from lesionlab.train.schedules import learning_rate
from networks_phantom import plan_tiny, sphere_case, tiny_recipe


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


@contextlib.contextmanager
def trainer_of(root: Path, fold: int | str = 0) -> Iterator[Any]:
    """An initialised trainer of a fold of a planned workspace."""
    workspace, recipe = open_workspace(root)
    with workspace.environment():
        trainer = build_trainer(workspace, recipe, fold, torch.device("cpu"), lambda message, share: None)
        trainer.initialize()
        yield trainer


def still(**training: Any) -> Recipe:
    """The tiny recipe in float32 without averaging, so that steps can be compared with others'."""
    return tiny_recipe().changed(training={"precision": "fp32", "weight_averaging": 0.0, **training})


@pytest.fixture(scope="module")
def still_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_tiny(tmp_path_factory.mktemp("still") / "w", still())


def same_plan(root: Path, target: Path, recipe: Recipe) -> Path:
    """The planned workspace under another recipe that needs no other plan."""
    shutil.copytree(root, target, ignore=shutil.ignore_patterns("results"))
    (target / "recipe.toml").write_text(dump_recipe(recipe), encoding="utf-8")
    return target


def fake_batch(label: int = 0) -> dict[str, Any]:
    patch = torch.zeros(2, 1, 16, 16, 16)
    return {"data": patch, "target": torch.full_like(patch, label), "keys": np.array(["sphere_3"])}


def test_a_loss_that_is_not_finite_names_fold_epoch_and_cases(still_workspace, tmp_path, monkeypatch):
    with trainer_of(same_plan(still_workspace, tmp_path / "w", still())) as trainer:
        monkeypatch.setattr(trainer, "loss", lambda output, target: output[0].sum() * float("nan"))
        with pytest.raises(TrainingError, match=r"fold 0, epoch 0, cases \['sphere_3'\]: found loss nan"):
            trainer.train_step(fake_batch())


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(still_workspace, tmp_path, monkeypatch):
    with trainer_of(same_plan(still_workspace, tmp_path / "w", still())) as trainer:
        # the slope of a square root at 0 is infinite, its value is not
        monkeypatch.setattr(trainer, "loss", lambda output, target: (output[0] * 0).sum().sqrt())
        with pytest.raises(TrainingError, match="found gradient nan; needed a finite gradient"):
            trainer.train_step(fake_batch())
        assert all(p.isfinite().all() for p in trainer.network.parameters())


def test_the_last_good_checkpoint_outlives_a_training_that_fails(still_workspace, tmp_path, monkeypatch):
    root = same_plan(still_workspace, tmp_path / "w", still(iterations=2, validation_iterations=1))
    monkeypatch.setattr("lesionlab.train.nnunet.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    real = RecipeTrainer.train_step

    def fail_in_third_epoch(trainer: Any, batch: dict[str, Any]) -> dict[str, Any]:
        if trainer.current_epoch == 2:
            batch["data"] = batch["data"] * float("inf")
        return real(trainer, batch)

    with monkeypatch.context() as failing:
        failing.setattr(RecipeTrainer, "train_step", fail_in_third_epoch)
        with pytest.raises(TrainingError, match=f"epoch 2, cases .*; {LATEST} holds the last good weights"):
            train_fold(root, 0, device="cpu")
    state = torch.load(fold_folder(root) / LATEST, weights_only=True)
    assert state["current_epoch"] == 2
    assert all(value.isfinite().all() for value in state["network_weights"].values())
    train_fold(root, 0, device="cpu")
    assert len(read_curves(fold_folder(root))) == 3


def test_a_label_that_the_data_set_does_not_name(still_workspace, tmp_path):
    with trainer_of(same_plan(still_workspace, tmp_path / "w", still())) as trainer:
        needed = r"cases \['sphere_3'\]: found label 4; needed labels of dataset.json, up to 1"
        with pytest.raises(DatasetError, match=needed):
            trainer.train_step(fake_batch(4))


def test_a_fold_without_a_lesion_to_train_on(still_workspace, tmp_path):
    root = same_plan(still_workspace, tmp_path / "w", still())
    file = root / "cases.json"
    record = json.loads(file.read_text())
    file.write_text(json.dumps({**record, "with_lesion": dict.fromkeys(record["with_lesion"], False)}))
    with pytest.raises(DatasetError, match="fold 0 of tiny: found no lesion in its 4 training cases"):
        train_fold(root, 0, device="cpu")


def test_first_steps_equal_those_of_stock_nnunet(still_workspace, tmp_path):
    """Default settings, one seed: nnU-Net's own trainer, with its loader, loss and optimiser, beside ours."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    root = same_plan(still_workspace, tmp_path / "w", still())
    losses = []
    for stock in (False, True):
        torch.manual_seed(7)
        with trainer_of(root) as ours, contextlib.redirect_stdout(io.StringIO()):
            trainer = ours
            if stock:
                torch.manual_seed(7)
                plans = {**ours.plans_manager.plans, "continue_training": False}
                trainer = nnUNetTrainer(plans, "3d_fullres", 0, ours.dataset_json, torch.device("cpu"))
                trainer.num_epochs = ours.num_epochs
                trainer.initialize()
            trainer.dataloader_train, _ = trainer.get_dataloaders()
            trainer.on_train_epoch_start()
            seed_all(7)
            steps = [trainer.train_step(next(trainer.dataloader_train)) for _ in range(4)]
            losses.append([float(step["loss"]) for step in steps])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


@pytest.fixture(scope="module")
def still_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in 2D: six pictures, the last of them without a lesion."""
    root = tmp_path_factory.mktemp("pictures") / "w"
    cases = [sphere_case(number, lesion=number != 5, shape=(1, 28, 26)) for number in range(6)]
    plan_dataset(cases, in_2d(still()), root, save_volume)
    return root


def in_2d(recipe: Recipe) -> Recipe:
    return recipe.changed(network={"configuration": "2d", "patch_size": [16, 16]})


NEGATIVES = pytest.mark.parametrize(
    ("training", "drawn"),
    [
        ({"lesion_free_share": 1.0}, {"sphere_5"}),
        ({"lesion_free_share": 0.0}, {f"sphere_{number}" for number in range(5)}),
        ({"lesion_free": "exclude"}, {f"sphere_{number}" for number in range(5)}),
        ({}, {f"sphere_{number}" for number in range(6)}),
    ],
)


@NEGATIVES
def test_pictures_come_from_the_cases_that_the_recipe_wants(training, drawn, still_pictures, tmp_path):
    root = same_plan(still_pictures, tmp_path / "w", in_2d(still(**training)))
    with trainer_of(root, "all") as trainer:
        seed_all(1)
        loader = trainer.get_dataloaders()[0]
        batches = [next(loader) for _ in range(25)]
    assert {str(key) for batch in batches for key in batch["keys"]} == drawn
    assert batches[0]["data"].shape[2:] == (16, 16)


def test_the_share_of_lesion_free_pictures_is_the_recipes(still_pictures, tmp_path):
    """One picture of six is lesion-free; half of the patches are asked for."""
    root = same_plan(still_pictures, tmp_path / "w", in_2d(still(lesion_free_share=0.5)))
    with trainer_of(root, "all") as trainer:
        seed_all(1)
        loader = trainer.get_dataloaders()[0]
        keys = [str(key) for _ in range(150) for key in next(loader)["keys"]]
    assert keys.count("sphere_5") / len(keys) == pytest.approx(0.5, abs=0.12)


@NEGATIVES
def test_patches_come_from_the_cases_that_the_recipe_wants(training, drawn, still_workspace, tmp_path):
    """Case 5 has no lesion. It is validated on, whatever is trained on."""
    root = same_plan(still_workspace, tmp_path / "w", still(**training))
    with trainer_of(root, "all") as trainer:
        seed_all(1)
        loaders = trainer.get_dataloaders()
        keys = [{str(key) for _ in range(25) for key in next(loader)["keys"]} for loader in loaders]
    assert keys == [drawn, {f"sphere_{number}" for number in range(6)}]


COMBINATIONS = {
    "pet": {
        "loss": {
            "dice": 0,
            "cross_entropy": 0,
            "focal_tversky": 0.6,
            "binary_cross_entropy": 0.4,
            "fp_weight": 0.3,
            "fn_weight": 0.7,
            "focus": 0.75,
        },
        "training": {"sampling": "lesion_size", "lesion_free": "exclude", "warm_up_epochs": 1},
    },
    "whole body": {
        "loss": {"activation": "sigmoid", "cross_entropy": 0, "focal": 1},
        "training": {"optimiser": "adam", "schedule": "cosine_restarts", "lesion_free_share": 0.5},
    },
    "imbalance": {
        "loss": {
            "dice": 0.6,
            "cross_entropy": 0,
            "binary_cross_entropy": 0.6,
            "focal_tversky": 0.4,
            "positive_weight": "batch",
            "batch_overlap": True,
        },
        "training": {
            "optimiser": "adamw",
            "schedule": "cosine",
            "augmentation": "flips_rotation_crop",
            "flips": ["x"],
        },
    },
    "plain": {
        "loss": {"tversky": 1, "dice": 0, "deep_supervision": False},
        "training": {"augmentation": "none", "schedule": "constant", "clip_gradients": 0},
    },
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_combinations_train(name, still_workspace, tmp_path):
    combination = COMBINATIONS[name]
    short = {"epochs": 2, "iterations": 1, "validation_iterations": 1, "learning_rate": 1e-3}
    recipe = tiny_recipe().changed(
        loss=combination["loss"], training={**short, "precision": "fp32", **combination["training"]}
    )
    folder = train_fold(same_plan(still_workspace, tmp_path / "w", recipe), 0, device="cpu")
    rows = read_curves(folder)
    assert [math.isfinite(row.train_loss + row.validation_loss) for row in rows] == [True, True]
    assert rows[1].learning_rate == pytest.approx(learning_rate(recipe.training, 1))
    state = torch.load(folder / FINAL, weights_only=True)
    mirrored = state["inference_allowed_mirroring_axes"]
    expected = {"plain": None, "imbalance": (2,)}
    assert mirrored == expected.get(name, (0, 1, 2))


def labelled_case(number: int, label_of_rim: int) -> Case:
    """A sphere whose outer shell has a label of its own, in two channels; the second is the first's noise."""
    case = sphere_case(number)
    suv, truth = case.channels["suv"], case.truth
    core = ndimage.binary_erosion(truth.array > 0)
    labels = np.where(core, 1, np.where(truth.array > 0, label_of_rim, 0)).astype(np.uint8)
    noise = suv.with_array(suv.array[::-1].copy())
    return replace(case, channels={"suv": suv, "noise": noise}, truth=truth.with_array(labels))


@pytest.mark.parametrize("name", ["rim", "ignore"])
def test_several_classes_channels_and_an_ignored_label_train_in_slices(name, tmp_path):
    """A class named `ignore` is nnU-Net's: its voxels are neither trained on nor predicted."""
    channel = tiny_recipe().channels["suv"].model_dump(mode="json")
    recipe = tiny_recipe().changed(
        channels={"suv": channel, "noise": channel},
        labels={name: 2},
        network={"configuration": "2d", "patch_size": [16, 16]},
        loss={"focal": 0.5, "tversky": 0.5, "positive_weight": "batch", "activation": "sigmoid"},
        training={"epochs": 2, "iterations": 4, "sampling": "lesion_size", "precision": "fp32"},
    )
    root = tmp_path / "w"
    plan_dataset([labelled_case(number, 2) for number in range(3)], recipe, root, save_volume)
    folder = train_fold(root, 0, device="cpu")
    rows = read_curves(folder)
    assert len(rows) == 2 and all(math.isfinite(row.train_loss + row.dice) for row in rows)
    weights = torch.load(folder / FINAL, weights_only=True)["network_weights"]
    heads = [value for key, value in weights.items() if "seg_layers" in key and key.endswith("weight")]
    assert {len(head) for head in heads} == {3 if name == "rim" else 2}


def test_an_interrupted_training_ends_with_the_weights_of_an_uninterrupted_one(
    still_workspace, tmp_path, monkeypatch
):
    """Adam, cosine with restarts, averaged weights; killed in the third of four epochs."""
    monkeypatch.setattr("lesionlab.train.nnunet.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    recipe = tiny_recipe().changed(
        training={
            "optimiser": "adam",
            "schedule": "cosine_restarts",
            "restart_epochs": 1,
            "epochs": 4,
            "iterations": 2,
            "validation_iterations": 1,
            "learning_rate": 1e-3,
            "precision": "fp32",
        }
    )

    def kill_in_third_epoch(message: str, share: float) -> None:
        if "epoch 3/" in message:
            raise Interrupted

    states, curves = [], []
    for interrupted in (False, True):
        root = same_plan(still_workspace, tmp_path / str(interrupted), recipe)
        if interrupted:
            with pytest.raises(Interrupted):
                train_fold(root, 0, device="cpu", progress=kill_in_third_epoch)
        folder = train_fold(root, 0, device="cpu")
        states.append(torch.load(folder / FINAL, weights_only=True)["network_weights"])
        curves.append([(row.train_loss, row.dice, row.learning_rate) for row in read_curves(folder)])
    assert curves[0] == curves[1]
    assert [row[2] for row in curves[0]] == [0.001, 0.001, 0.0005, 0.001]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=0, atol=0)


def test_a_compiled_network_is_saved_and_loaded_as_the_network_itself(still_workspace, tmp_path):
    with trainer_of(same_plan(still_workspace, tmp_path / "w", still())) as trainer:
        plain = trainer.network
        trainer.network = torch.compile(plain, backend="eager")
        trainer.set_deep_supervision_enabled(False)
        assert plain.decoder.deep_supervision is False
        trainer.save_checkpoint(str(tmp_path / FINAL))
        names = list(torch.load(tmp_path / FINAL, weights_only=True)["network_weights"])
        assert names == list(plain.state_dict())
        assert not trainer._do_i_compile()
        monkeyed = trainer.recipe.changed(training={"compile": True})
        trainer.recipe, trainer.device = monkeyed, torch.device("cuda")
        assert trainer._do_i_compile()


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (LATEST, BundleError, r"checkpoint_latest\.pth: found .*; needed a checkpoint of tensors"),
        ("network", TrainingError, r"checkpoint_latest\.pth: found weights that do not fit.*; needed"),
        ("curves.csv", TrainingError, r"curves\.csv: found .*; needed the table that training wrote"),
    ],
)
def test_what_cannot_be_gone_on_from_is_named(broken, error, message, still_workspace, tmp_path, monkeypatch):
    root = same_plan(still_workspace, tmp_path / "w", still(epochs=2, iterations=1, validation_iterations=1))

    def kill_in_second_epoch(message: str, share: float) -> None:
        if "epoch 2/" in message:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_fold(root, 0, device="cpu", progress=kill_in_second_epoch)
    if broken == "network":
        (file,) = root.glob("preprocessed/*/LesionLab_*.json")
        plans = json.loads(file.read_text())
        plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"][0] = 5
        file.write_text(json.dumps(plans))
    else:
        (fold_folder(root) / broken).write_bytes(b"epoch,dice\n0,\n")
    with pytest.raises(error, match=message):
        train_fold(root, 0, device="cpu")


def test_all_cases_are_those_of_the_plan(still_workspace, tmp_path, monkeypatch):
    """A case that an earlier plan left behind is neither trained on nor validated, in the order of names."""
    listed = nnUNetDatasetBlosc2.get_identifiers
    monkeypatch.setattr(
        nnUNetDatasetBlosc2, "get_identifiers", staticmethod(lambda folder: sorted(listed(folder))[::-1])
    )
    root = same_plan(still_workspace, tmp_path / "w", still())
    for file in root.glob("preprocessed/*/*/sphere_1*"):
        shutil.copyfile(file, file.with_name(file.name.replace("sphere_1", "stranger")))
    expected = [f"sphere_{number}" for number in range(6)]
    with trainer_of(root, "all") as trainer:
        assert [list(side) for side in trainer.do_split()] == [expected, expected]


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
