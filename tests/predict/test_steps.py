import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

import two_step_phantom
from lesionlab.core.components import foreground_box
from lesionlab.core.errors import BundleError
from lesionlab.core.results import Prediction
from lesionlab.core.tasks import silent
from lesionlab.core.units import ONE
from lesionlab.predict import load_bundle, predict
from lesionlab.predict.nnunet import predict_network
from two_step_phantom import NAME, PLAIN, REGIONS, cascade_folders, model_folder, stock_predict


@pytest.fixture(scope="module")
def case():
    return two_step_phantom.two_channel_case()


def in_torch(bundle):
    """The bundle run by torch, as nnU-Net runs it, so that masks are equal to the voxel."""
    recipe = bundle.recipe.changed(prediction={"backend": "torch"})
    earlier = None if bundle.earlier is None else in_torch(bundle.earlier)
    return replace(bundle, recipe=recipe, earlier=earlier)


@pytest.mark.parametrize("dataset", [PLAIN, REGIONS], ids=["labels", "regions"])
def test_a_cascade_equals_stock_nnunet(tmp_path, case, dataset):
    folder = cascade_folders(tmp_path, dataset)
    bundle = in_torch(load_bundle(folder))
    first = stock_predict(tmp_path / f"{NAME}3d_lowres", case)
    second = stock_predict(folder, case, first)
    found = predict(case, bundle, device="cpu")
    assert set(np.unique(second)) == {0, 1, 2}
    np.testing.assert_array_equal(predict(case, bundle.earlier, device="cpu").mask.array, first)
    np.testing.assert_array_equal(found.mask.array, second)
    assert not np.array_equal(stock_predict(folder, case, np.zeros_like(first)), second)
    assert found.notes[0].startswith("first step: predicted with 1 fold(s)")
    assert found.notes[1].startswith("predicted with 2 fold(s)")


def test_the_first_network_may_lie_inside_and_changes_the_hash(tmp_path, case):
    folder = cascade_folders(tmp_path, PLAIN)
    beside = load_bundle(folder)
    shutil.move(tmp_path / f"{NAME}3d_lowres", folder / "3d_lowres")
    renamed = folder.rename(tmp_path / "renamed")
    inside = load_bundle(renamed)
    assert inside.earlier.folder == renamed / "3d_lowres"
    assert inside.sha256 == beside.sha256 != inside.earlier.sha256
    file = renamed / "3d_lowres" / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes() + b"\0")
    assert load_bundle(renamed).sha256 != beside.sha256


def test_a_second_network_alone_is_refused(tmp_path, case):
    folder = model_folder(tmp_path / f"{NAME}3d_cascade_fullres", "3d_cascade_fullres", PLAIN, channels=4)
    with pytest.raises(BundleError, match=r"no first step 3d_lowres; needed 3d_lowres/ in it or nnUNet"):
        load_bundle(folder)
    unnamed = load_bundle(folder.rename(tmp_path / "unnamed"))
    with pytest.raises(
        BundleError, match="the second network of a cascade alone; needed the folder of 3d_lo"
    ):
        predict(case, unnamed, device="cpu")


def locating(tmp_path, **settings):
    """A bundle that locates with the low resolution and refines with the full one, weights random."""
    folder = model_folder(tmp_path / "bundle", "3d_fullres", PLAIN)
    bundle = in_torch(load_bundle(folder))
    earlier = in_torch(load_bundle(model_folder(folder / "3d_lowres", "3d_lowres", PLAIN)))
    recipe = bundle.recipe.changed(locate={"spacing_mm": [6.0, 5.0, 5.5], **settings})
    return bundle, replace(bundle, recipe=recipe, earlier=earlier)


def test_crops_that_cover_the_scan_equal_one_step(tmp_path, case):
    single, double = locating(tmp_path, minimum_probability=0.01, margin_mm=200.0)
    one, two = (predict(case, bundle, device="cpu", probability=True) for bundle in (single, double))
    np.testing.assert_array_equal(two.mask.array, one.mask.array)
    np.testing.assert_allclose(two.probability.array, one.probability.array, atol=1e-6)
    assert two.notes[-1] == "located 1 candidate(s); refined in 1 crop(s), 100.0% of the scan"


def test_nothing_located_is_an_empty_mask(tmp_path, case):
    _, double = locating(tmp_path)
    file = double.earlier.folder / "fold_0" / "checkpoint_final.pth"
    quiet_weights(file)
    double = replace(double, earlier=in_torch(load_bundle(double.earlier.folder)))
    found = predict(case, double, device="cpu", probability=True)
    assert not found.mask.array.any()
    assert found.probability.array.max() < 1e-6
    assert found.notes[-1] == "located 0 candidate(s); refined in 0 crop(s), 0.0% of the scan"


def test_a_second_label_below_one_half_is_located_too(tmp_path, case):
    _, double = locating(tmp_path)
    # background 0.53, the first label 0, the second 0.47, everywhere
    quiet_weights(double.earlier.folder / "fold_0" / "checkpoint_final.pth", (0.0, -20.0, -0.1))
    double = replace(double, earlier=in_torch(load_bundle(double.earlier.folder)))
    assert not predict(case, double.earlier, device="cpu").mask.array.any()
    assert predict(case, double, device="cpu").notes[-1].startswith("located 1 candidate(s)")


def quiet_weights(file, logits=(20.0, 0.0, 0.0)):
    """Change a checkpoint so that its network gives the same everywhere, by default background."""
    state = torch.load(file, weights_only=True)
    weights = state["network_weights"]
    last = [key for key in weights if "seg_layers" in key]
    for key in last:
        weights[key] = torch.zeros_like(weights[key])
        if key.endswith("bias"):
            weights[key][:] = torch.tensor(logits)
    torch.save(state, file)


def test_outside_the_crops_is_background(tmp_path, case):
    single, double = locating(tmp_path, margin_mm=0.0, maximum_crops=1, minimum_probability=0.9)
    small = np.zeros(case.geometry.shape, np.uint8)
    small[9:11, 10:12, 10:12] = 1
    found = Prediction(case.channels["suv"].with_array(small, ONE))
    one = predict(case, single, device="cpu").mask.array
    two = predict_network(case, double, device="cpu", progress=silent, before=found)
    inside = two.mask.array > 0
    assert inside.any() and not inside.all()
    box = foreground_box(inside)
    # a patch of 8 x 12 x 12 voxels of 3 x 2.5 x 2.5 mm, the first axis being the scan's last
    reach = [
        math.ceil(n * mm / step) + 1
        for n, mm, step in zip((12, 12, 8), (2.5, 2.5, 3), (4, 3, 3.5), strict=True)
    ]
    assert all(side.stop - side.start <= most for side, most in zip(box, reach, strict=True))
    assert (one > 0).sum() > inside.sum()
