import json

import numpy as np
import pytest

from lesionlab.core.errors import RecipeError
from lesionlab.core.workspace import open_workspace
from lesionlab.plan import require_fit
from lesionlab.plan.coarse import pinned_steps, plan_coarse
from networks_phantom import plan_tiny, tiny_recipe

CASCADE = {"configuration": "3d_cascade_fullres"}


class Planner:
    """Stands for nnU-Net's planner: says what it was asked for."""

    def __init__(self):
        self.dataset_json = {"numTraining": 7}

    def generate_data_identifier(self, name):
        return f"plans_{name}"

    def get_plans_for_configuration(self, spacing, shape, name, voxels, cache):
        return {
            "spacing": spacing,
            "median_image_size_in_voxels": shape,
            "data_identifier": name,
            "n": voxels,
        }


def full_plans(**more):
    full = {"spacing": [2.0, 1.0, 1.5], "median_image_size_in_voxels": [40.0, 60.0, 51.0]}
    return {"transpose_forward": [2, 0, 1], "configurations": {"2d": {}, "3d_fullres": full, **more}}


def test_twice_the_voxels_where_nothing_says_otherwise():
    plans = full_plans()
    plan_coarse(Planner(), plans, None)
    low = plans["configurations"]["3d_lowres"]
    assert low["spacing"] == [4.0, 2.0, 3.0]
    assert low["median_image_size_in_voxels"] == [20, 30, 26]
    assert low["n"] == 20 * 30 * 26 * 7
    assert (low["batch_dice"], low["next_stage"]) == (False, "3d_cascade_fullres")
    assert plans["configurations"]["3d_fullres"]["batch_dice"] is True
    cascade = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    assert plans["configurations"]["3d_cascade_fullres"] == cascade
    json.dumps(plans)


def test_nnunets_own_low_resolution_stays_unless_the_recipe_gives_one():
    plans = full_plans(**{"3d_lowres": {"spacing": [9.0, 9.0, 9.0]}})
    plan_coarse(Planner(), plans, None)
    assert plans["configurations"]["3d_lowres"]["spacing"] == [9.0, 9.0, 9.0]
    plan_coarse(Planner(), plans, (5.0, 6.0, 8.0))
    assert plans["configurations"]["3d_lowres"]["spacing"] == [8.0, 5.0, 6.0]


def test_slices_have_no_low_resolution():
    plans = {"transpose_forward": [0, 1, 2], "configurations": {"2d": {}}}
    plan_coarse(Planner(), plans, None)
    assert list(plans["configurations"]) == ["2d"]


@pytest.mark.parametrize(
    ("sizes", "patch"),
    [([40, 42, 9], [40, 48, 10]), ([300, 65, 3], [64, 64, 8]), ([33.5, 17, 8], [40, 20, 8])],
)
def test_a_pinned_patch_is_clipped_to_the_coarse_scan_and_can_be_pooled(sizes, patch):
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    plans = full_plans(**{"3d_lowres": {"median_image_size_in_voxels": sizes}})
    recipe = tiny_recipe().changed(network={**CASCADE, "patch_size": [64, 64, 64]})
    low, full = pinned_steps(plans, recipe)
    assert list(low.network.patch_size) == patch
    assert list(get_pool_and_conv_props([1.0] * 3, patch, 4, 999)[3]) == patch
    assert (full.network.configuration, list(full.network.patch_size)) == ("3d_fullres", [64, 64, 64])


def test_a_pinned_patch_is_that_of_the_scan_however_nnunet_turns_it():
    """As all sizes are, z first; `transpose_forward` says which axis of the scan is the plan's first."""
    plans = full_plans(**{"3d_lowres": {"median_image_size_in_voxels": [80, 17, 80]}})
    recipe = tiny_recipe().changed(network={**CASCADE, "patch_size": [32, 48, 64]})
    low, full = pinned_steps(plans, recipe)
    assert (low.network.patch_size, full.network.patch_size) == ((64, 20, 48), (64, 32, 48))
    (flat,) = pinned_steps(plans, recipe.changed(network={"configuration": "2d", "patch_size": [32, 48]}))
    assert flat.network.patch_size == (32, 48)


@pytest.mark.parametrize("more", [{}, {"locate": {"spacing_mm": [9, 8, 7]}}])
def test_the_spacing_of_a_network_that_is_not_there_is_refused(more):
    recipe = tiny_recipe().changed(network={"lowres_spacing_mm": [8, 8, 8]}, **more)
    with pytest.raises(RecipeError, match=r"found network\.lowres_spacing_mm for 3d_fullres; needed"):
        require_fit(recipe)
    for configuration in ("3d_lowres", "3d_cascade_fullres"):
        require_fit(
            tiny_recipe().changed(network={**recipe.network.model_dump(), "configuration": configuration})
        )


@pytest.mark.parametrize("architecture", ["plain", "denseseg"])
def test_scans_too_small_for_any_halving_are_refused_before_training(architecture, tmp_path):
    """A spacing so coarse that a scan has 3 voxels along its edges: a U-Net of it has no decoder."""
    network = {"architecture": architecture, "patch_size": None, "max_features": None}
    recipe = tiny_recipe().changed(network=network, locate={"spacing_mm": [30, 30, 30]})
    told = r"3d_lowres with a patch of \d x \d x \d voxels at 30 x 30 x 30 mm; needed a patch that nnU-Net's"
    with pytest.raises(RecipeError, match=told):
        plan_tiny(tmp_path / "w", recipe)
    assert not (tmp_path / "w").exists()


def test_steps_of_a_recipe():
    recipe = tiny_recipe()
    assert recipe.steps == ("3d_fullres",) and recipe.step("3d_fullres") is recipe
    cascade = recipe.changed(network={**CASCADE, "lowres_spacing_mm": [8, 8, 8]})
    assert cascade.steps == ("3d_lowres", "3d_cascade_fullres")
    assert cascade.step("3d_lowres").network.lowres_spacing_mm == (8, 8, 8)
    locate = recipe.changed(locate={"spacing_mm": [9, 8, 7]})
    assert locate.steps == ("3d_lowres", "3d_fullres")
    assert cascade.changed(prediction={"threshold": 0.3}).step("3d_lowres").prediction.threshold == 0.5
    first = locate.step("3d_lowres")
    with pytest.raises(RecipeError, match=r"two steps need scans as they are, found standardise\.size"):
        cascade.changed(standardise={"size": [64, 64]})
    assert (first.network.lowres_spacing_mm, first.steps) == ((9, 8, 7), ("3d_lowres",))
    with pytest.raises(RecipeError, match=r"needs network\.configuration '3d_fullres', found '3d_cascade_f"):
        cascade.changed(locate={"spacing_mm": [9, 8, 7]})


def test_a_cascade_is_planned_and_preprocessed_for_both_networks(tmp_path):
    recipe = tiny_recipe().changed(network=CASCADE)
    workspace, _ = open_workspace(plan_tiny(tmp_path / "w", recipe))
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    low, full = (plans["configurations"][name] for name in ("3d_lowres", "3d_fullres"))
    np.testing.assert_allclose(low["spacing"], 2 * np.array(full["spacing"]))
    assert (full["patch_size"], low["patch_size"]) == ([16, 16, 16], [12, 14, 14])
    assert low["architecture"]["arch_kwargs"]["features_per_stage"] == [4, 8]
    assert low["normalization_schemes"] == ["NoNormalization"]
    for name in ("3d_lowres", "3d_fullres"):
        assert plans["configurations"][name]["lesionlab_recipe"]["sha256"] == recipe.sha256
        folder = workspace.preprocessed / f"{workspace.plans_name}_{name}"
        assert len(list(folder.glob("*.pkl"))) == 6
