import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.experiment_planning.experiment_planners.residual_unets.residual_encoder_unet_planners import (
    ResEncUNetPlanner,
)
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lesionlab.core.errors import DatasetError, RecipeError
from lesionlab.core.inputs import NetworkArrays
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import Workspace, open_workspace
from lesionlab.networks.nnunet import load_prepared
from lesionlab.plan import OwnFolds, gather_dataset, nnunet_id, patient_folds, plan_dataset
from lesionlab.plan.nnunet import make_plans
from lesionlab.predict.space import Space
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


@pytest.mark.parametrize("architecture", ["plain", "residual"])
@pytest.mark.parametrize("configuration", ["2d", "3d_fullres"])
def test_a_pinned_patch_gets_the_network_that_nnunet_plans_for_it(architecture, configuration, tmp_path):
    """The patch is larger than what nnU-Net plans for scans so small, so the network has more levels."""
    sizes = [512, 512] if configuration == "2d" else [128, 128, 128]
    pinned = {"architecture": architecture, "configuration": configuration, "patch_size": sizes}
    recipe = tiny_recipe().changed(network={**pinned, "first_features": None, "max_features": None})
    workspace = Workspace(tmp_path / "w", recipe.name)
    gather_dataset([sphere_case(number) for number in range(4)], recipe, workspace.root, save_volume)
    planned = make_plans(workspace, recipe)["configurations"][configuration]
    planner = ResEncUNetPlanner if architecture == "residual" else ExperimentPlanner
    with workspace.environment(loaders=1):
        stock = planner(workspace.dataset, plans_name="Stock", gpu_memory_target_in_gb=1000)
        assert stock.UNet_max_features_2d == 512
        # a scan as large as the patch, and memory without end, leave nnU-Net that patch
        found = stock.get_plans_for_configuration(np.array(planned["spacing"]), sizes, "x", 1e9, {})
    assert found["patch_size"] == tuple(sizes)
    theirs, ours = found["architecture"]["arch_kwargs"], planned["architecture"]["arch_kwargs"]
    assert len(ours["strides"]) > 5
    for key in set(theirs) - {"conv_op", "norm_op", "nonlin"}:
        assert json.loads(json.dumps(theirs[key])) == ours[key], key


def test_an_impossible_patch_is_refused_with_the_sizes_that_fit(tmp_path):
    recipe = tiny_recipe().changed(network={"patch_size": [18, 16, 17]})
    with pytest.raises(RecipeError, match="multiples of"):
        plan_tiny(tmp_path / "w", recipe)


def test_a_pinned_patch_lies_along_the_axes_of_the_scan(tmp_path):
    """Of these scans y is coarsest, which nnU-Net makes its first axis."""
    cases = [sphere_case(number) for number in range(4)]
    recipe = tiny_recipe().changed(network={"patch_size": [24, 16, 32], "spacing_mm": [3.0, 4.5, 3.0]})
    workspace = Workspace(tmp_path / "w", recipe.name)
    gather_dataset(cases, recipe, workspace.root, save_volume)
    plans = make_plans(workspace, recipe)
    assert plans["transpose_forward"] == [1, 0, 2]
    assert plans["configurations"]["3d_fullres"]["patch_size"] == [16, 24, 32]
    wrong = recipe.changed(network={"patch_size": [24, 18, 48]})
    with pytest.raises(
        RecipeError, match=r"found patch_size \[24, 18, 48\]; needed multiples of \[4, 4, 8\]"
    ):
        make_plans(workspace, wrong)


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


def test_a_scan_thinner_than_half_a_voxel_of_the_plan_is_one_voxel_thick(tmp_path):
    """As prediction has it; nnU-Net rounds its shape to nothing."""
    thin = sphere_case(9, shape=(1, 28, 26))
    recipe = tiny_recipe().changed(network={"spacing_mm": [10.0, 3.0, 3.5]})
    cases = [*(sphere_case(number) for number in range(5)), thin]
    workspace = plan_dataset(cases, recipe, tmp_path / "w", save_volume).workspace
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    manager = PlansManager(plans)
    folder = workspace.preprocessed / f"{workspace.plans_name}_3d_fullres"
    prepared, labels = load_prepared(folder, thin.id)
    space = Space(manager, manager.get_configuration("3d_fullres"), thin.id, thin.geometry.spacing)
    np.testing.assert_allclose(prepared, space.enter(NetworkArrays(thin, recipe)), atol=1e-6)
    assert sorted(prepared.shape[1:]) == [1, 26, 28] and labels.shape == prepared.shape[1:]


def test_planning_again_makes_what_was_deleted(tmp_path):
    root = plan_tiny(tmp_path / "w")
    gone = [next(root.glob(f"preprocessed/*/*/{name}")) for name in ("sphere_1.b2nd", "sphere_2_seg.b2nd")]
    for file in gone:
        file.unlink()
    plan_tiny(root)
    assert all(file.is_file() for file in gone)


def test_what_is_to_be_ignored_is_no_lesion(tmp_path):
    recipe = tiny_recipe().changed(labels={"ignore": 2})
    cases = [sphere_case(number) for number in range(6)]
    truth = cases[5].truth
    assert truth is not None
    cases[5] = with_truth(cases[5], truth.with_array(truth.array * 2))
    found = gather_dataset(cases, recipe, tmp_path / "w", save_volume)
    kept = json.loads(found.workspace.cases_file.read_text(encoding="utf-8"))["with_lesion"]
    assert kept == {f"sphere_{number}": number != 5 for number in range(6)}
    only = [with_truth(case, case.truth.with_array(case.truth.array * 0 + 2)) for case in cases if case.truth]
    with pytest.raises(DatasetError, match="6 cases without any lesion"):
        gather_dataset(only, recipe, tmp_path / "other", save_volume)


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


@pytest.mark.parametrize("what", ["blank", "copy"])
def test_a_trained_workspace_may_be_planned_again_with_what_was_left_out_of_it(what, tmp_path):
    recipe = tiny_recipe().changed(training={"duplicates": "drop"})
    extra = with_truth(sphere_case(9), None)
    if what == "copy":
        extra = replace(sphere_case(1), id="copy", patient_id="other")
    cases = [*(sphere_case(number) for number in range(6)), extra]
    first = plan_dataset(cases, recipe, tmp_path / "w", save_volume)
    trained = first.workspace.model("3d_fullres") / "fold_0" / "checkpoint_latest.pth"
    trained.parent.mkdir(parents=True)
    trained.touch()
    before = {file: file.read_bytes() for file in first.workspace.raw.rglob("*.nii.gz")}
    again = plan_dataset(cases, recipe, tmp_path / "w", save_volume)
    assert (again.failed, again.dropped, again.folds) == (first.failed, first.dropped, first.folds)
    assert {file: file.read_bytes() for file in first.workspace.raw.rglob("*.nii.gz")} == before
    with pytest.raises(DatasetError, match="needed a new workspace"):
        plan_dataset([*cases, sphere_case(10)], recipe, tmp_path / "w", save_volume)
    assert {file: file.read_bytes() for file in first.workspace.raw.rglob("*.nii.gz")} == before


@pytest.mark.parametrize("what", ["truth", "image", "folds"])
def test_a_trained_workspace_is_not_planned_with_other_images_or_folds(what, tiny_workspace, tmp_path):
    """Else weights would be taken for those of the new plan, and of patients that are now held out."""
    root = Path(shutil.copytree(tiny_workspace, tmp_path / "w"))
    workspace, recipe = open_workspace(root)
    cases = [sphere_case(number, lesion=number != 5) for number in range(6)]
    suv, truth = cases[2].channels["suv"], cases[2].truth
    assert truth is not None
    if what == "truth":
        cases[2] = with_truth(cases[2], truth.with_array(truth.array[::-1]))
    elif what == "image":
        cases[2] = replace(cases[2], channels={"suv": suv.with_array(suv.array + 1)})

    def other(patients: Mapping[str, str]) -> list[dict[str, list[str]]]:
        return patient_folds(patients, 3, 7)

    official = OwnFolds("others", other) if what == "folds" else None
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    with pytest.raises(
        DatasetError, match="other cases, images or folds, or of another recipe; needed a new"
    ):
        gather_dataset(cases, recipe, root, save_volume, official=official)
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    missing = workspace.raw / "imagesTr" / "sphere_2_0000.nii.gz"
    missing.unlink()
    assert plan_tiny(root, recipe) == root
    assert missing.read_bytes() == before[missing]


def test_case_ids_survive_as_file_names():
    assert nnunet_id("Müller/1 a_b.c-d") == "M-ller-1-a_b.c-d"
    assert nnunet_id("a_seg_b_seg") == "a_seg_b-seg"


def test_no_case_takes_the_place_of_another_ones_labels(tmp_path):
    """nnU-Net keeps the labels of `a` in a file whose name would be that of the image of `a_seg`."""
    cases = [*(sphere_case(number) for number in range(5)), replace(sphere_case(5), id="sphere_0_seg")]
    plan = plan_dataset(cases, tiny_recipe(), tmp_path / "w", save_volume)
    folder = plan.workspace.preprocessed / f"{plan.workspace.plans_name}_3d_fullres"
    for name in ("sphere_0", "sphere_0-seg"):
        image, labels = load_prepared(folder, name)
        assert image.dtype == np.float32 and np.unique(labels).tolist() == [0, 1]
