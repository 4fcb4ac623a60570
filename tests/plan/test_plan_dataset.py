import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError, RecipeError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.plan import nnunet_id, plan_dataset
from lesionlab.report import save_volume
from networks_phantom import plan_tiny, sphere_case, tiny_recipe


def with_truth(case, truth):
    return type(case)(case.id, case.patient_id, case.channels, case.reference, truth)


def test_writes_a_raw_folder_that_stock_nnunet_accepts(tiny_workspace):
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    workspace, _ = open_workspace(tiny_workspace)
    with workspace.environment():
        verify_dataset_integrity(str(workspace.raw), num_processes=1)
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    assert dataset["channel_names"] == {"0": "noNorm"}
    assert dataset["labels"] == {"background": 0, "lesion": 1}
    assert dataset["numTraining"] == 6


def test_raw_files_hold_the_scaled_suv(tiny_workspace):
    from lesionlab.read.nifti import load_volume

    workspace, _ = open_workspace(tiny_workspace)
    case = sphere_case(0)
    raw = load_volume(workspace.raw / "imagesTr" / "sphere_0_0000.nii.gz")
    expected = np.clip(case.channels["suv"].array, 0, 20) / 5
    np.testing.assert_allclose(raw.array, expected, atol=1e-6)
    assert raw.geometry.matches(case.geometry)


def test_plans_name_the_scheme_the_pinned_patch_and_the_recipe(tiny_workspace):
    workspace, recipe = open_workspace(tiny_workspace)
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    assert configuration["normalization_schemes"] == ["NoNormalization"]
    assert configuration["patch_size"] == [16, 16, 16]
    network = configuration["architecture"]["arch_kwargs"]
    assert network["features_per_stage"] == [4, 8, 8]
    assert len(network["strides"]) == network["n_stages"] == 3
    assert configuration["lesionlab_recipe"]["sha256"] == recipe.sha256


def test_unpinned_plans_equal_those_of_stock_nnunet(tmp_path):
    """Same raw folder, nnU-Net's own fingerprint and planner: identical but for sampled intensities."""
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )

    recipe = tiny_recipe().changed(network={"patch_size": None, "first_features": None, "max_features": None})
    workspace, _ = open_workspace(plan_tiny(tmp_path / "w", recipe))
    ours = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    with workspace.environment(loaders=1):
        extractor = DatasetFingerprintExtractor(workspace.dataset, num_processes=1)
        extractor.num_foreground_voxels_for_intensitystats = 60_000
        extractor.run(overwrite_existing=True)
        ExperimentPlanner(workspace.dataset, plans_name="Stock").plan_experiment()
    stock = json.loads((workspace.preprocessed / "Stock.json").read_text())
    mine, theirs = ours["configurations"]["3d_fullres"], stock["configurations"]["3d_fullres"]
    for key in set(theirs) - {"data_identifier"}:
        assert mine[key] == theirs[key], key
    for key in ("transpose_forward", "original_median_shape_after_transp", "image_reader_writer"):
        assert ours[key] == stock[key]


def test_an_impossible_patch_is_refused_with_the_sizes_that_fit(tmp_path):
    recipe = tiny_recipe().changed(network={"patch_size": [18, 16, 17]})
    with pytest.raises(RecipeError, match="multiples of"):
        plan_tiny(tmp_path / "w", recipe)


def test_a_patch_of_the_wrong_dimension_is_refused(tmp_path):
    recipe = tiny_recipe().changed(network={"patch_size": [16, 16]})
    with pytest.raises(RecipeError, match="3 sizes"):
        plan_tiny(tmp_path / "w", recipe)


def test_a_3d_network_for_2d_images_is_refused(tmp_path):
    recipe = tiny_recipe().changed(network={"patch_size": None})
    flat = [sphere_case(n, shape=(1, 64, 64)) for n in range(4)]
    for case in flat:
        assert case.truth is not None
    with pytest.raises(RecipeError, match="one of 2d"):
        plan_dataset(flat, recipe, tmp_path / "w", save_volume)


def test_unusable_cases_are_listed_and_the_others_planned(tmp_path):
    recipe, case = tiny_recipe(), sphere_case(1)
    assert case.truth is not None
    other_grid = Geometry(case.geometry.shape, (1.0, 1.0, 1.0))
    broken = {
        "blank": with_truth(case, None),
        "odd": with_truth(case, case.truth.with_array(case.truth.array * 3)),
        "moved": with_truth(case, Volume(case.truth.array, other_grid, "1")),
        "other": replace(case, channels={"ct": case.channels["suv"]}, reference="ct"),
    }
    cases = [replace(one, id=name) for name, one in broken.items()]
    cases += [sphere_case(number) for number in range(2, 6)]
    plan = plan_dataset(cases, recipe, tmp_path / "w", save_volume)
    assert list(plan.patients) == [f"sphere_{number}" for number in range(2, 6)]
    assert plan.failed["blank"] == "blank: found no truth; needed a mask or contour for training"
    assert "odd: found labels [3]; needed labels of the recipe" in plan.failed["odd"]
    assert plan.failed["moved"].startswith("truth of moved: found grid")
    assert "needed channel 'suv'" in plan.failed["other"]


def test_nothing_to_plan_is_refused(tmp_path):
    recipe, case = tiny_recipe(), sphere_case(1)
    with pytest.raises(DatasetError, match="second case"):
        plan_dataset([case, case], recipe, tmp_path / "w", save_volume)
    with pytest.raises(DatasetError, match="no case"):
        plan_dataset([], recipe, tmp_path / "w", save_volume)
    with pytest.raises(DatasetError, match="sphere_1: found no truth"):
        plan_dataset([with_truth(case, None)], recipe, tmp_path / "w", save_volume)
    assert not (tmp_path / "w" / "recipe.toml").exists()


def test_planning_again_takes_what_changed_and_forgets_what_went(tmp_path):
    root = plan_tiny(tmp_path / "w")
    workspace, recipe = open_workspace(root)
    folder = next(path.parent for path in workspace.preprocessed.glob("*/sphere_1.pkl"))
    before = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.pkl")}
    changed = sphere_case(2)
    suv = changed.channels["suv"]
    changed = replace(changed, channels={"suv": suv.with_array(suv.array + 1)})
    cases = [sphere_case(0), sphere_case(1), changed, sphere_case(3)]
    plan_dataset(cases, recipe, root, save_volume)
    after = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.pkl")}
    assert after["sphere_2.pkl"] != before["sphere_2.pkl"]
    raw = {path.name for path in (workspace.raw / "imagesTr").iterdir()}
    assert raw == {f"sphere_{number}_0000.nii.gz" for number in range(4)}


def test_a_trained_workspace_is_not_planned_for_something_else(tiny_workspace, tmp_path):
    root = Path(shutil.copytree(tiny_workspace, tmp_path / "w"))
    _, recipe = open_workspace(root)
    raw = sorted((path.name, path.stat().st_mtime_ns) for path in root.glob("raw/*/*Tr/*"))
    with pytest.raises(DatasetError, match="needed a new workspace"):
        plan_dataset([sphere_case(number) for number in range(7, 11)], recipe, root, save_volume)
    with pytest.raises(DatasetError, match="needed a new workspace"):
        plan_tiny(root, recipe.changed(training={"epochs": 9}))
    assert sorted((path.name, path.stat().st_mtime_ns) for path in root.glob("raw/*/*Tr/*")) == raw
    with pytest.raises(DatasetError, match="needed a new workspace"):
        plan_dataset([sphere_case(number) for number in range(4)], recipe, root, save_volume)
    assert plan_tiny(root, recipe) == root


def test_case_ids_survive_as_file_names():
    assert nnunet_id("Müller/1 a_b.c-d") == "M-ller-1-a_b.c-d"
