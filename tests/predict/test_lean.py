"""A network that was converted before runs without torch, and its sums are those of torch."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from lesionlab.core.errors import BundleError
from lesionlab.core.units import ONE
from lesionlab.predict import load_bundle, predict
from lesionlab.predict.backends import TurnedBackend, Wish
from lesionlab.predict.checkpoints import Told, keep_words, kept_words
from lesionlab.predict.engine import Window, slide
from lesionlab.predict.torch_backend import TorchBackend
from lesionlab.read import open_case
from lesionlab.read.nifti import load_volume
from lesionlab.report import save_volume
from two_step_phantom import NAME, PLAIN, model_folder, two_channel_case

HEAVY = ("torch", "nnunetv2", "monai", "pandas", "dynamic_network_architectures", "batchgenerators")
SPARED = (*HEAVY, "scipy.ndimage", "pydicom", "tifffile", "PIL", "matplotlib")
"""What a mask of NIfTI files does without; a report needs some of it."""
PROGRAM = """
import atexit, json, sys
from lesionlab.cli import main
atexit.register(lambda: print(json.dumps([name for name in {!r} if name in sys.modules])))
main()
"""


DATASET = {**PLAIN, "channel_names": {"0": "PET", "1": "CT"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return model_folder(tmp_path_factory.mktemp("lean") / f"{NAME}3d_fullres", "3d_fullres", DATASET, folds=2)


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    case, where = two_channel_case(), tmp_path_factory.mktemp("scan")
    save_volume(case.channels["suv"], where / "suv.nii.gz")
    save_volume(case.channels["ct"], where / "ct.nii.gz")
    return where


def test_examining_with_a_kept_conversion_loads_no_torch(folder, scan, tmp_path):
    case = open_case(scan)
    expected = predict(case, load_bundle(folder), device="cpu")
    truth = (case.channels["suv"].array > 2.5).astype(np.uint8)
    save_volume(case.channels["suv"].with_array(truth, ONE), tmp_path / "truth.nii.gz")
    kept = sorted(path.name for path in (folder / "converted").iterdir())
    # two networks and the words of the first checkpoint
    assert len(kept) == 3
    words = ["examine", scan, "-m", folder, "-o", tmp_path / "out", "--truth", tmp_path / "truth.nii.gz"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(HEAVY), *map(str, words), "--device", "cpu"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert sorted(path.name for path in (folder / "converted").iterdir()) == kept
    found = load_volume(tmp_path / "out" / "mask.nii.gz").array
    assert set(np.unique(found)) == {0, 1, 2}
    np.testing.assert_array_equal(found, expected.mask.array)
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert "openvino" in run["versions"] and "torch" not in run["versions"] and run["device"] == "cpu"


def test_masks_of_volumes_load_neither_dicom_nor_pictures(folder, scan, tmp_path):
    case, copy = open_case(scan), shutil.copytree(folder, tmp_path / "b")
    plans = json.loads((copy / "plans.json").read_text())
    # a body's holes and another spacing need scipy
    spacing = [case.geometry.spacing[axis] for axis in plans["transpose_forward"]]
    own = {"use_mask_for_norm": [False, False], "spacing": spacing}
    plans["configurations"]["3d_fullres"] |= own
    (copy / "plans.json").write_text(json.dumps(plans))
    predict(case, load_bundle(copy), device="cpu")  # kept, so that nothing is converted below
    words = ["predict", scan, "-m", copy, "-o", tmp_path / "out", "--device", "cpu"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(SPARED), *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == []
    assert list((tmp_path / "out").glob("*.nii.gz"))


def test_what_was_kept_and_is_damaged_is_read_again(folder, scan, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("converted"))
    case = open_case(scan)
    expected = predict(case, load_bundle(copy), device="cpu")
    words = next((copy / "converted").glob("*.json"))
    told = json.loads(words.read_text())
    assert told == {"configuration": "3d_fullres", "mirroring": [0, 2]}
    for text in (
        "{",
        "[]",
        '{"configuration": 3, "mirroring": []}',
        '{"configuration": "x", "mirroring": [7]}',
    ):
        words.write_text(text)
        assert kept_words(words.stem, [words.parent]) is None
    moved = copy.rename(tmp_path / "c")  # another path, so that the model is loaded anew
    found = predict(case, load_bundle(moved), device="cpu")
    np.testing.assert_array_equal(found.mask.array, expected.mask.array)
    assert json.loads((moved / "converted" / words.name).read_text()) == told


def test_words_that_cannot_be_kept_are_only_read_again(tmp_path):
    closed = tmp_path / "file"
    closed.write_text("no folder can be made here")
    told = Told("2d", (1,))
    keep_words(told, "name", [closed / "converted"])
    assert kept_words("name", [closed / "converted"]) is None
    keep_words(told, "name", [closed / "converted", tmp_path / "user"])
    assert kept_words("name", [closed / "converted", tmp_path / "user"]) == told


def test_weights_that_change_after_the_bundle_was_opened_are_refused(folder, scan, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "b", ignore=shutil.ignore_patterns("converted"))
    bundle = load_bundle(copy)
    file = bundle.checkpoints[1]
    state = torch.load(file, weights_only=True)
    torch.save({**state, "trainer_name": "another"}, file)
    with pytest.raises(BundleError, match="found weights that changed since the bundle was opened"):
        predict(open_case(scan), bundle, device="cpu")
    assert predict(open_case(scan), load_bundle(copy), device="cpu").mask.array.any()


class OnGpu:
    """A backend as on a GPU: logits are left as tensors, and so are the sums."""

    device, work, keeps, name = "cuda", 0, False, "as on a GPU"

    def __init__(self, inner):
        self.inner, self.classes = inner, inner.classes

    def run(self, batch):
        return torch.from_numpy(self.inner.run(batch))

    def held(self, array):
        return torch.from_numpy(array.copy())


class Network(torch.nn.Module):
    """Logits that differ from voxel to voxel and from class to class."""

    def __init__(self, classes, seed):
        super().__init__()
        torch.manual_seed(seed)
        self.inner = torch.nn.Conv3d(2, classes, 3, padding=1)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(
    ("classes", "regions", "flips"),
    [(2, False, ()), (2, True, (0, 2)), (3, False, (1,)), (2, False, (0, 1, 2))],
)
def test_sums_of_arrays_are_those_of_tensors_to_the_bit(classes, regions, flips):
    data = np.random.default_rng(4).normal(size=(2, 19, 11, 21)).astype(np.float32)
    window = Window((8, 12, 10), 0.4, flips, regions)
    wish = Wish("torch", "fp32", "cpu", 2, classes, window.patch, False)
    arrays = [TorchBackend(Network(classes, seed), wish) for seed in range(3)]
    wanted = np.zeros(data.shape[1:], bool)
    wanted[:9, :, 12:] = True
    for axes in ((0, 1, 2), (2, 0, 1)):
        turned, there = window.turned(axes), data.transpose(0, *(axis + 1 for axis in axes))
        answers = []
        for backends in (arrays, [OnGpu(one) for one in arrays]):
            used = [TurnedBackend(one, axes) for one in backends]
            slabs = slide(there, used, turned, subject="c", wanted=wanted.transpose(axes))
            answers.append(np.concatenate([slab.logits for slab in slabs], axis=1))
        assert np.ptp(answers[0][np.abs(answers[0]) < 30]) > 1
        np.testing.assert_array_equal(answers[0], answers[1])
