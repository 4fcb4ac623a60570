import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import network_input
from lesionlab.core.workspace import open_workspace
from lesionlab.predict import load_bundle, predict
from lesionlab.predict.backends import make_backends
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from lesionlab.read.nifti import load_volume
from lesionlab.report import save_volume
from networks_phantom import sphere_case

STOCK = """
import sys, torch
arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", arguments)
from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder
sys.argv = ["nnUNetv2_predict_from_modelfolder", *sys.argv[1:]]
predict_entry_point_modelfolder()
"""
"""The stock command. Its class finder imports torchvision, whose operators a CPU-only torch lacks."""


def test_finds_a_sphere_it_has_not_seen(tiny_bundle):
    case = sphere_case(40)
    prediction = predict(case, tiny_bundle, device="cpu", probability=True)
    assert prediction.mask.geometry.matches(case.geometry)
    assert prediction.probability is not None and prediction.probability.array.dtype == np.float32
    assert prediction.probability.array.min() >= 0 and prediction.probability.array.max() <= 1
    found, truth = prediction.mask.array > 0, case.truth.array > 0
    assert prediction.probability.array[truth].mean() > prediction.probability.array[~truth].mean() + 0.2
    np.testing.assert_array_equal(found, prediction.probability.array > 0.5)
    plain = predict(case, tiny_bundle, device="cpu")
    assert plain.probability is None
    np.testing.assert_array_equal(plain.mask.array, prediction.mask.array)


@pytest.mark.parametrize("threshold", [0.2, 0.8])
def test_a_recipe_may_decide_at_another_probability(tiny_bundle, threshold):
    case = sphere_case(40)
    recipe = tiny_bundle.recipe.changed(prediction={"threshold": threshold})
    found = predict(case, replace(tiny_bundle, recipe=recipe), device="cpu", probability=True)
    usual = predict(case, tiny_bundle, device="cpu", probability=True)
    np.testing.assert_array_equal(found.probability.array, usual.probability.array)
    np.testing.assert_array_equal(found.mask.array > 0, usual.probability.array > threshold)
    assert np.count_nonzero(found.mask.array) != np.count_nonzero(usual.mask.array)


def test_a_recipe_may_draw_the_mask_with_the_largest_expected_dice(tiny_bundle):
    case = sphere_case(40)
    recipe = tiny_bundle.recipe.changed(prediction={"threshold": "expected_dice"})
    own = replace(tiny_bundle, recipe=recipe)
    found, usual = (
        predict(case, own, device="cpu"),
        predict(case, tiny_bundle, device="cpu", probability=True),
    )
    assert found.probability is None
    wanted = largest_expected_dice(levels(usual.probability.array))
    np.testing.assert_array_equal(found.mask.array > 0, wanted)
    assert found.mask.array.dtype == usual.mask.array.dtype
    assert 0 < wanted.sum() != np.count_nonzero(usual.mask.array)


def test_prediction_is_repeatable_and_indifferent_to_channel_order(tiny_bundle):
    case = sphere_case(41, shape=(30, 15, 33))
    more = replace(case, channels={"ct": case.channels["suv"], **case.channels})
    first, second = predict(case, tiny_bundle, device="cpu"), predict(more, tiny_bundle, device="cpu")
    np.testing.assert_array_equal(first.mask.array, second.mask.array)


@pytest.mark.parametrize("ct", [False, True])
def test_tiles_lie_over_the_body_alone_where_asked(tiny_bundle, ct):
    case = sphere_case(40, shape=(24, 28, 90))
    suv = case.channels["suv"].array.copy()
    suv[..., 40:] = 0.01
    channels = {"suv": case.channels["suv"].with_array(suv)}
    if ct:
        tissue = np.full(suv.shape, -1000.0, dtype=np.float32)
        tissue[:, :, :40] = 40.0
        channels["ct"] = case.channels["suv"].with_array(tissue, "[hnsf'U]")
    case = replace(case, channels=channels)
    plan = json.loads((tiny_bundle.folder / "plans.json").read_text())
    patch = plan["configurations"]["3d_fullres"]["patch_size"][2]
    recipe = tiny_bundle.recipe.changed(prediction={"skip_outside_body": True})
    told = []
    prediction = predict(
        case,
        replace(tiny_bundle, recipe=recipe),
        device="cpu",
        probability=True,
        progress=lambda words, share: told.append(words),
    )
    found = prediction.probability.array
    assert "looked at the body alone, 44% of the scan" in prediction.notes
    # the answer is that of a scan which ends a voxel and a sixteenth of a patch beyond the body
    end = 41 + round(patch / 16)
    reference = case.channels["suv"]
    narrow = replace(
        reference, array=suv[..., :end], geometry=replace(reference.geometry, shape=(24, 28, end))
    )
    expected = predict(
        replace(case, channels={"suv": narrow}, truth=None), tiny_bundle, device="cpu", probability=True
    ).probability.array
    np.testing.assert_allclose(found[..., :end], expected, atol=1e-6)
    assert found[..., end:].max() < 1e-10 < expected.min()
    everywhere = []
    predict(case, tiny_bundle, device="cpu", progress=lambda words, share: everywhere.append(words))
    tiles, usual = (sum("tile" in words for words in one) for one in (told, everywhere))
    assert 0 < tiles < usual


def test_where_no_body_is_found_tiles_lie_everywhere(tiny_bundle):
    case = sphere_case(41)
    air = np.full(case.channels["suv"].array.shape, -1000.0, np.float32)
    case = replace(case, channels={**case.channels, "ct": case.channels["suv"].with_array(air, "[hnsf'U]")})
    usual = predict(case, tiny_bundle, device="cpu")
    found = predict(case, tiny_bundle.predicting(skip_outside_body=True), device="cpu")
    assert "found no body on CT or uptake, so looked everywhere" in found.notes
    np.testing.assert_array_equal(found.mask.array, usual.mask.array)


def test_a_case_without_the_channel_is_refused(tiny_bundle):
    case = sphere_case(1)
    other = replace(case, channels={"ct": case.channels["suv"]}, reference="ct")
    with pytest.raises(BundleError, match="sphere_1: found channels ct; needed channel 'suv'"):
        predict(other, tiny_bundle, device="cpu")


def test_a_channel_on_another_grid_is_refused(tiny_bundle):
    case = sphere_case(1)
    small = sphere_case(1, shape=(8, 8, 8)).channels["suv"]
    mixed = replace(case, channels={"suv": small, "ct": case.channels["suv"]}, reference="ct", truth=None)
    with pytest.raises(BundleError, match="needed the reference grid"):
        predict(mixed, tiny_bundle, device="cpu")


def test_weights_of_another_channel_count_are_refused(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "b")
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["channel_names"]["1"] = "CT"
    (folder / "dataset.json").write_text(json.dumps(dataset))
    recipe = (folder / "recipe.toml").read_text() + '\n[channels.ct]\nnormalisation = "none"\n'
    (folder / "recipe.toml").write_text(recipe)
    case = sphere_case(2)
    both = replace(case, channels={**case.channels, "ct": case.channels["suv"]})
    with pytest.raises(BundleError, match="weights that do not fit"):
        predict(both, load_bundle(folder), device="cpu")


def test_network_output_that_is_not_finite_names_the_case(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "b")
    file = folder / "fold_0" / "checkpoint_final.pth"
    state = torch.load(file, weights_only=True)
    state["network_weights"] = {k: v * float("nan") for k, v in state["network_weights"].items()}
    torch.save(state, file)
    with pytest.raises(BundleError, match="sphere_2: found network output that is not finite"):
        predict(sphere_case(2), load_bundle(folder), device="cpu")


class LostBackend:
    """A GPU that disappears after its first tile."""

    name, classes, work, keeps, device = "torch on cuda in fp32", 2, 0, False, "cuda"

    def __init__(self):
        self.calls = 0

    def held(self, array):
        return torch.from_numpy(array)

    def run(self, batch):
        self.calls += 1
        if self.calls > 1:
            raise torch.cuda.OutOfMemoryError("CUDA error: the device is gone")
        return torch.zeros((1, 2, *batch.shape[2:]))


def test_a_gpu_that_disappears_is_replaced_by_the_cpu(tiny_bundle, monkeypatch):
    case = sphere_case(40, shape=(24, 28, 60))
    expected = predict(case, tiny_bundle, device="cpu")
    lost = LostBackend()

    def make(builders, names, wish):
        return ([lost], []) if wish.device == "cuda" else make_backends(builders, names, wish)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("lesionlab.networks.device._lost", {})
    monkeypatch.setattr("lesionlab.predict.nnunet.make_backends", make)
    found = predict(case, tiny_bundle, device="auto")
    np.testing.assert_array_equal(found.mask.array, expected.mask.array)
    assert "cuda failed (CUDA error: the device is gone), so the CPU ran the network" in found.notes
    assert found.notes[0] == expected.notes[0]
    again = predict(case, tiny_bundle, device="auto")
    assert lost.calls == 2 and again.notes == found.notes


def test_new_weights_in_the_same_files_are_read_again(tiny_bundle, tmp_path):
    folder = shutil.copytree(tiny_bundle.folder, tmp_path / "b")
    case = sphere_case(3)
    before = predict(case, load_bundle(folder), device="cpu", probability=True)
    file = folder / "fold_0" / "checkpoint_final.pth"
    state = torch.load(file, weights_only=True)
    state["network_weights"] = {k: v * 0.5 for k, v in state["network_weights"].items()}
    torch.save(state, file)
    after = predict(case, load_bundle(folder), device="cpu", probability=True)
    assert not np.array_equal(before.probability.array, after.probability.array)


def test_a_bundle_without_a_folder_has_no_network(tiny_bundle):
    with pytest.raises(BundleError, match="no model folder"):
        predict(sphere_case(2), replace(tiny_bundle, folder=None), device="cpu")


@pytest.mark.slow
def test_the_stock_command_loads_a_bundle_and_gives_the_same_mask(tiny_bundle, tiny_workspace, tmp_path):
    workspace, _ = open_workspace(tiny_workspace)
    cases = [sphere_case(50), sphere_case(51, shape=(31, 20, 18))]
    source, target = tmp_path / "in", tmp_path / "out"
    for case in cases:
        save_volume(network_input(case, tiny_bundle.recipe)[0], source / f"{case.id}_0000.nii.gz")
    command = ["-i", source, "-o", target, "-m", tiny_bundle.folder, "-f", "0", "-device", "cpu"]
    extra = ["-npp", "1", "-nps", "1", "--disable_progress_bar"]
    with workspace.environment(loaders=1):
        done = subprocess.run(
            [sys.executable, "-c", STOCK, *map(str, command), *extra],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    for case in cases:
        stock = load_volume(target / f"{case.id}.nii.gz")
        ours = predict(case, tiny_bundle, device="cpu").mask
        assert ours.array.any()
        np.testing.assert_array_equal(ours.array, stock.array)
