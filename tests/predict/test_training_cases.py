import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from nnunetv2.inference.export_prediction import resample_and_save
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lesionlab.core.errors import BundleError
from lesionlab.core.learning import LocateSettings
from lesionlab.networks.nnunet import load_prepared
from lesionlab.predict import load_bundle
from lesionlab.predict.training_cases import Between, found_wrongly, predict_training_case
from two_step_phantom import PLAIN, model_folder

FULL = (15, 22, 23)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """One preprocessed case for both networks, its truth in a corner."""
    root = tmp_path_factory.mktemp("places")
    random = np.random.default_rng(1)
    truth = np.zeros((1, *FULL), np.int16)
    truth[0, :5, :6, :6] = 1
    for name, shape, seg in (("low", (9, 13, 12), np.zeros((1, 9, 13, 12), np.int16)), ("full", FULL, truth)):
        (root / name).mkdir()
        lumps = np.kron(random.normal(size=(2, 8, 8, 8)), np.ones((1, 3, 3, 3)))
        data = lumps[:, : shape[0], : shape[1], : shape[2]].astype(np.float32)
        block = {"chunks": data.shape, "blocks": data.shape}
        seg_block = {"chunks_seg": seg.shape, "blocks_seg": seg.shape}
        nnUNetDatasetBlosc2.save_case(data, seg, {}, str(root / name / "a"), **block, **seg_block)
    return root


def between(root, **locate):
    return Between(root / "low", root / "full", root / "masks", LocateSettings(**locate))


def mask_of(root, folder):
    """The mask of the case as nnU-Net's loader sees it."""
    return np.asarray(nnUNetDatasetBlosc2(str(root / "full"), ["a"], str(folder)).load_case("a")[2][:])


def test_the_mask_for_the_second_network_equals_nnunets(tmp_path, places, monkeypatch):
    folder = model_folder(tmp_path / "low", "3d_lowres", PLAIN)
    predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    # nnU-Net sums in half precision; torch itself must have read a checkpoint with its own types before
    monkeypatch.setattr(torch, "half", torch.float32)
    data, _ = load_prepared(places / "low", "a")
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    plans = PlansManager(json.loads((folder / "plans.json").read_text()))
    low, dataset = plans.get_configuration("3d_lowres"), json.loads((folder / "dataset.json").read_text())
    properties = {"spacing": [4.0, 3.0, 3.5], "shape_after_cropping_and_before_resampling": (1, 1, 1)}
    where = [str(tmp_path / "a"), plans, low, properties, dataset]
    resample_and_save(logits, list(FULL), *where, 1, nnUNetDatasetBlosc2)
    file = predict_training_case("a", load_bundle(folder), between(places), device="cpu")
    stock, ours = mask_of(places, tmp_path), mask_of(places, file.parent)
    assert set(np.unique(ours)) == {0, 1, 2} and ours.dtype == stock.dtype
    np.testing.assert_array_equal(ours, stock)
    assert [path.name for path in file.parent.iterdir()] == ["a.b2nd"]


def test_where_the_recipe_locates_only_what_was_found_wrongly_is_left(tmp_path, places):
    folder = model_folder(tmp_path / "low", "3d_lowres", PLAIN)
    bundle = load_bundle(folder)
    every = predict_training_case("a", bundle, between(places), device="cpu")
    labels = mask_of(places, every.parent)
    _, truth = load_prepared(places / "full", "a")
    settings = {"spacing_mm": [6, 5, 5], "minimum_probability": 0.99}
    file = predict_training_case("a", bundle, between(places, **settings), device="cpu")
    wrong = mask_of(places, file.parent) > 0
    assert wrong.any() and not (wrong & (truth > 0)).any()
    assert not (wrong & (labels == 0)).any()


def test_any_label_may_be_likely_enough_to_be_found_wrongly(tmp_path, places):
    folder = model_folder(tmp_path / "low", "3d_lowres", PLAIN)
    file = folder / "fold_0" / "checkpoint_final.pth"
    state = torch.load(file, weights_only=True)
    # background 0.53, one label 0, the other 0.47, everywhere
    for label, logits in enumerate(((0.0, -0.1, -20.0), (0.0, -20.0, -0.1)), start=1):
        for key, tensor in state["network_weights"].items():
            if "seg_layers" in key:
                tensor[:] = torch.tensor(logits) if key.endswith("bias") else 0.0
        torch.save(state, file)
        for least, wrong in ((0.3, True), (0.6, False)):
            located = between(places, spacing_mm=[6, 5, 5], minimum_probability=least)
            without_truth = replace(located, second=places / "low")
            made = predict_training_case("a", load_bundle(folder), without_truth, device="cpu")
            assert mask_of(places, made.parent).any() == wrong, label


def test_candidates_that_touch_the_truth_are_right():
    likely = np.zeros((3, 3, 12), bool)
    likely[1, 1, [0, 1, 4, 5, 8]] = True
    truth = np.zeros_like(likely)
    truth[1, 1, 5:7] = True
    wrong = found_wrongly(likely, truth)
    assert np.flatnonzero(wrong[1, 1]).tolist() == [0, 1, 8] and wrong.sum() == 3
    assert not found_wrongly(np.zeros_like(likely), truth).any()


def test_a_case_that_was_not_preprocessed_is_named(tmp_path, places):
    bundle = load_bundle(model_folder(tmp_path / "low", "3d_lowres", PLAIN))
    with pytest.raises(BundleError, match="b: found no preprocessed case"):
        predict_training_case("b", bundle, between(places), device="cpu")
