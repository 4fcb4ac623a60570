"""Two networks from plan to bundle: a cascade, and one that locates with one that refines."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

from lesionlab.core.recipe import Recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline import steps
from lesionlab.pipeline.steps import train_first_step
from lesionlab.pipeline.training import finish, fold_bundle, train_folds
from lesionlab.predict import load_bundle, predict
from networks_phantom import plan_tiny, sphere_case, tiny_recipe
from two_step_phantom import stock_predict

CASCADE = {"network": {"configuration": "3d_cascade_fullres"}}
LOCATE = {"locate": {"spacing_mm": [8.0, 6.0, 7.0], "margin_mm": 10.0}}


def short(**sections: object) -> Recipe:
    """The tiny recipe with two folds and a training of moments, run by torch."""
    training = {"epochs": 1, "iterations": 2, "validation_iterations": 1, "folds": 2, "weight_averaging": 0.0}
    return tiny_recipe().changed(training=training, prediction={"backend": "torch"}, **sections)


@pytest.fixture(scope="module", params=[CASCADE, LOCATE], ids=["cascade", "locate"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with fold 0 of the second network trained."""
    root = plan_tiny(tmp_path_factory.mktemp("steps") / "w", short(**request.param))
    assert [path.name for path in train_folds(root, [0], device="cpu")] == ["fold_0"]
    return root


def test_every_case_is_predicted_for_the_second_network_by_the_fold_that_has_not_seen_it(
    trained: Path,
) -> None:
    workspace, recipe = open_workspace(trained)
    first, second = recipe.steps
    folds = sorted(path.parent.name for path in workspace.model(first).glob("fold_*/checkpoint_final.pth"))
    assert folds == ["fold_0", "fold_1"]
    drawn = sorted(path.parent.name for path in workspace.model(first).glob("fold_*/curves.png"))
    assert drawn == folds and (workspace.model(second) / "fold_0" / "curves.png").is_file()
    masks = workspace.model(first) / "predicted_next_stage" / second
    assert sorted(path.name for path in masks.iterdir()) == [f"sphere_{n}.b2nd" for n in range(6)]
    folder = workspace.preprocessed / f"{workspace.plans_name}_3d_fullres"
    for number in range(6):
        name = f"sphere_{number}"
        image, truth, mask, _ = nnUNetDatasetBlosc2(str(folder), [name], str(masks)).load_case(name)
        assert mask.shape == image.shape[1:]
        if second == "3d_fullres":
            assert not (np.asarray(mask[:]) * (np.asarray(truth[:])[0] > 0)).any()


def test_what_is_finished_is_kept_and_a_lost_mask_is_made_again(trained: Path) -> None:
    workspace, recipe = open_workspace(trained)
    masks = workspace.model(recipe.steps[0]) / "predicted_next_stage" / recipe.steps[1]
    lost, kept = masks / "sphere_2.b2nd", masks / "sphere_3.b2nd"
    content, made = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    messages: list[str] = []
    train_first_step(trained, device="cpu", progress=lambda message, share: messages.append(message))
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == made
    assert not any("epoch" in message for message in messages)


def test_the_bundle_holds_both_networks_and_predicts_as_the_workspace_does(
    trained: Path, tmp_path: Path
) -> None:
    workspace, recipe = open_workspace(trained)
    bundle = load_bundle(finish(trained, tmp_path / "bundle"))
    case = sphere_case(40)
    assert bundle.earlier is not None and bundle.earlier.folder == tmp_path / "bundle" / "3d_lowres"
    assert len(bundle.earlier.checkpoints) == 2 and len(bundle.checkpoints) == 1
    assert bundle.earlier.recipe == recipe.step("3d_lowres")
    found = predict(case, bundle, device="cpu")
    of_fold = predict(case, fold_bundle(workspace, recipe, 0), device="cpu")
    assert found.notes[0].startswith("first step: predicted with 2 fold(s)")
    assert of_fold.notes[0].startswith("first step: predicted with 1 fold(s)")
    assert found.mask.array.shape == case.geometry.shape
    if recipe.steps[1] == "3d_cascade_fullres":
        first = predict(case, bundle.earlier, device="cpu").mask.array
        suv = case.channels["suv"]
        scaled = {"suv": suv.with_array((np.clip(suv.array, 0, 20) / 5).astype(np.float32))}
        scan = type(case)(case.id, case.patient_id, scaled, "suv")
        np.testing.assert_array_equal(stock_predict(bundle.folder / "3d_lowres", scan), first)
        np.testing.assert_array_equal(stock_predict(bundle.folder, scan, first), found.mask.array)


def test_a_case_that_is_never_held_out_is_predicted_by_a_fold_that_was_not_trained_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plan_tiny(tmp_path / "w", short(**LOCATE))
    workspace, _ = open_workspace(root)
    a, b, left, everywhere, *_ = (f"sphere_{n}" for n in range(6))
    splits = [{"train": [b, left, everywhere], "val": [a]}, {"train": [a, everywhere], "val": [b]}]
    (workspace.preprocessed / "splits_final.json").write_text(json.dumps(splits))
    used: dict[str, int] = {}

    def predicted(name: str, bundle: SimpleNamespace, *_: object, **__: object) -> None:
        used[name] = bundle.fold

    def bundle(_: object, __: object, fold: int) -> SimpleNamespace:
        return SimpleNamespace(sha256="", fold=fold)

    monkeypatch.setattr(steps, "train_fold", lambda *_, **__: root)
    monkeypatch.setattr(steps, "leave_curves", lambda *_: None)
    monkeypatch.setattr(steps, "step_bundle", bundle)
    monkeypatch.setattr("lesionlab.predict.training_cases.predict_training_case", predicted)
    train_first_step(root, device="cpu")
    assert used == {a: 0, b: 1, left: 1, everywhere: 0}


def test_a_recipe_of_one_step_has_no_first(tiny_workspace: Path) -> None:
    assert train_first_step(tiny_workspace, device="cpu") == []
