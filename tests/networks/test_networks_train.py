"""Each network planned, trained two steps and used on spheres, through OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesionlab.core.errors import BundleError, RecipeError
from lesionlab.core.learning import NetworkSettings
from lesionlab.core.recipe import Recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.build import build_network
from lesionlab.networks.registry import NETWORKS, plan_network
from lesionlab.plan import plan_dataset
from lesionlab.predict import Bundle, load_bundle, predict, write_bundle
from lesionlab.report import save_volume
from lesionlab.study.held_out import cost_of
from lesionlab.train import train_fold
from networks_phantom import sphere_case, tiny_recipe

IN_2D = [name for name, entry in NETWORKS.items() if 2 in entry.first and name not in ("unetr", "vnet")]
EXTRA: dict[str, dict[str, Any]] = {
    "unetr": {"first_features": 4, "max_features": 24, "patch_size": [16, 16, 16]},
    "transunet": {"max_features": 24},
    "swin-unetr": {"first_features": 12, "patch_size": [32, 64]},
}


def recipe_of(name: str, **changes: Any) -> Recipe:
    """The tiny recipe with another network, four features wide, in 2D where the network is for that."""
    flat = name in IN_2D
    network = {
        "architecture": name,
        "configuration": "2d" if flat else "3d_fullres",
        "patch_size": [32, 32] if flat else [16, 16, 16],
        "first_features": 4,
        "max_features": 8 if "max_features" in NETWORKS[name].takes else None,
        **EXTRA.get(name, {}),
        **changes,
    }
    training = {"epochs": 1, "iterations": 2, "validation_iterations": 1, "weight_averaging": 0.5}
    return tiny_recipe().changed(network=network, training=training, prediction={"mirror": False})


def bundle_of(root: Path, recipe: Recipe) -> Bundle:
    plan_dataset([sphere_case(number) for number in range(3)], recipe, root, save_volume)
    train_fold(root, 0, device="cpu")
    workspace, recipe = open_workspace(root)
    model = workspace.model(recipe.network.configuration)
    return load_bundle(write_bundle(model, recipe, "# tiny\n", root / "bundle"))


@pytest.mark.parametrize("name", ["swin-unetr", "unext", "efficientnet-unet"])
def test_the_parameters_that_a_study_tells_are_those_that_are_trained(name: str, tmp_path: Path) -> None:
    entry = NETWORKS[name]
    settings = NetworkSettings(architecture=name, first_features=12)
    plan = plan_network(entry, settings, [32, 64], [])
    network = build_network(plan, 1, 2, deep_supervision=False, subject=name)
    torch.save({"network_weights": network.state_dict()}, tmp_path / "checkpoint_final.pth")
    cost = cost_of(tmp_path, tiny_recipe(), 2)
    assert cost.parameters == sum(one.numel() for one in network.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_plans_trains_and_predicts(name: str, tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "work", recipe_of(name))
    plans = json.loads((bundle.folder / "plans.json").read_text())
    planned = plans["configurations"][bundle.recipe.network.configuration]
    assert planned["architecture"]["network_class_name"] == NETWORKS[name].path
    assert planned["patch_size"] == list(bundle.recipe.network.patch_size)
    case = sphere_case(9)
    prediction = predict(case, bundle, device="cpu", probability=True)
    assert prediction.mask.geometry.matches(case.geometry)
    probability = prediction.probability.array
    assert np.isfinite(probability).all() and np.ptp(probability) > 0
    # what could not be converted would be told in a note and run by torch
    assert "openvino" in next(note for note in prediction.notes if "predicted" in note)


def test_a_pinned_patch_that_does_not_fit_is_refused_when_planning(tmp_path: Path) -> None:
    cases = [sphere_case(number) for number in range(3)]
    with pytest.raises(
        RecipeError, match=r"\[40, 32\] for unext; needed 2 multiples of 32, such as \[32, 32\]"
    ):
        plan_dataset(iter(()), recipe_of("unext", patch_size=[40, 32]), tmp_path / "a", save_volume)
    with pytest.raises(RecipeError, match=r"patch_size \[42, 32\]; needed multiples of \[8, 8\]"):
        plan_dataset(cases, recipe_of("unet", patch_size=[42, 32]), tmp_path / "b", save_volume)
    with pytest.raises(RecipeError, match=r"unext in 3D; needed 2D for this network"):
        plan_dataset(iter(()), recipe_of("unext", configuration="3d_fullres"), tmp_path / "c", save_volume)
    # the first and the last before a case is read, the second once the voxels are known; none leaves anything
    assert list(tmp_path.iterdir()) == []


def test_both_steps_of_a_cascade_get_a_patch_that_fits(tmp_path: Path) -> None:
    cases = [sphere_case(number) for number in range(3)]
    recipe = recipe_of("unetr", configuration="3d_cascade_fullres")
    plans = plan_dataset(cases, recipe, tmp_path / "work", save_volume).plans["configurations"]
    for name in ("3d_lowres", "3d_fullres"):
        assert plans[name]["patch_size"] == [16, 16, 16]
        assert plans[name]["architecture"]["network_class_name"] == NETWORKS["unetr"].path


def test_a_plan_that_names_another_class_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "work", recipe_of("unet"))
    file = bundle.folder / "plans.json"
    text = file.read_text()
    assert NETWORKS["unet"].path in text
    file.write_text(text.replace(NETWORKS["unet"].path, "subprocess.Popen"))
    with pytest.raises(BundleError, match=r"found the class 'subprocess.Popen'; needed one of"):
        predict(sphere_case(9), load_bundle(bundle.folder), device="cpu")
