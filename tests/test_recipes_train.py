"""Every shipped recipe with a network trains two steps and examines; stock nnU-Net runs the default ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlab.core.inputs import network_input
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import RECIPES, find_recipe
from lesionlab.core.volume import Geometry
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.registry import NETWORKS
from lesionlab.pipeline import examine
from lesionlab.pipeline.training import finish, plan_cohort, train_folds
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.train import read_curves
from recipes_phantom import grid_of, made_case, shrunk, write_cases
from two_step_phantom import stock_prediction

pytestmark = pytest.mark.slow

TRAINED = [name for name in RECIPES if find_recipe(name).method == "network"]
CLASSES = {
    "plain": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "residual": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
    **{name: entry.path for name, entry in NETWORKS.items()},
}


@pytest.fixture(scope="module")
def cohort_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Recipe], Path]:
    """The folder of cases with a recipe's channels, written once for all recipes that want the same."""
    root = tmp_path_factory.mktemp("recipes")

    def cohort(recipe: Recipe) -> Path:
        channels, grid = tuple(recipe.channels), grid_of(recipe)
        folder = root / f"{'-'.join(channels)}-{grid.shape[0]}"
        return folder if folder.is_dir() else write_cases(folder, channels, grid)

    return cohort


def trained(recipe: Recipe, cohort: Path, root: Path) -> Bundle:
    """Fold 0 of a recipe, planned and trained on the cohort, as a bundle."""
    plan_cohort(cohort, recipe, root / "work")
    train_folds(root / "work", [0], device="cpu")
    return load_bundle(finish(root / "work", root / "bundle"))


@pytest.mark.parametrize("name", TRAINED)
def test_a_recipe_trains_examines_and_runs_in_stock_nnunet(
    name: str, cohort_of: Callable[[Recipe], Path], tmp_path: Path
) -> None:
    recipe = shrunk(find_recipe(name))
    bundle = trained(recipe, cohort_of(recipe), tmp_path)
    assert bundle.recipe == recipe
    planned = planned_network(bundle)
    assert planned["network_class_name"] == CLASSES[recipe.network.architecture]
    workspace, _ = open_workspace(tmp_path / "work")
    rows = read_curves(workspace.model(recipe.network.configuration) / "fold_0")
    assert [np.isfinite(row.train_loss) for row in rows] == [True]
    findings = examine(cohort_of(recipe) / "case_1", bundle, device="cpu")
    assert findings.prediction.mask.geometry.matches(findings.case.geometry)
    assert findings.scores is not None and 0 <= findings.scores.values["dice"] <= 1
    assert set(findings.case.channels) >= set(recipe.channels)
    if recipe.network.architecture in ("plain", "residual") and len(recipe.steps) == 1:
        agrees_with_stock(bundle)


def planned_network(bundle: Bundle) -> dict[str, Any]:
    """The network in a bundle's plans."""
    plans = json.loads((bundle.folder / "plans.json").read_text(encoding="utf-8"))["configurations"]
    planned = plans[bundle.recipe.network.configuration]
    while "architecture" not in planned:
        planned = plans[planned["inherits_from"]]
    return dict(planned["architecture"])


def agrees_with_stock(bundle: Bundle) -> None:
    """Stock nnU-Net's predictor loads the bundle as it is and gives the same mask."""
    recipe = bundle.recipe.changed(prediction={"mirror": True})
    size = recipe.standardise.size
    grid = (
        Geometry((18, 20, 17), grid_of(recipe).spacing) if size is None else Geometry((1, *size), (1.0,) * 3)
    )
    case = made_case(9, tuple(recipe.channels), grid)
    volumes = network_input(case, recipe)
    fed = replace(case, channels={str(n): volume for n, volume in enumerate(volumes)}, reference="0")
    ours = predict(case, replace(bundle, recipe=recipe), device="cpu", probability=True)
    mask, probabilities = stock_prediction(bundle.folder, fed)
    assert ours.probability is not None and np.ptp(probabilities[1]) > 0
    np.testing.assert_allclose(ours.probability.array, probabilities[1], atol=1e-4)
    clear = np.abs(probabilities[1] - 0.5) > 1e-4
    np.testing.assert_array_equal(ours.mask.array[clear], mask[clear])
