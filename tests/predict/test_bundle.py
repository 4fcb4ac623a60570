import json
import shutil

import numpy as np
import pytest
import torch

from lesionlab.core.errors import BundleError, LesionLabError, WriteError
from lesionlab.core.workspace import open_workspace
from lesionlab.predict import load_bundle, write_bundle


@pytest.fixture
def copy(tiny_bundle, tmp_path):
    return shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")


def test_a_bundle_is_a_model_folder_with_recipe_and_card(tiny_bundle):
    # another test may have predicted with it, which leaves the converted network beside it
    names = {path.name for path in tiny_bundle.folder.iterdir()} - {"converted"}
    assert names == {
        "dataset.json",
        "plans.json",
        "dataset_fingerprint.json",
        "recipe.toml",
        "MODEL_CARD.md",
        "fold_0",
    }
    assert tiny_bundle.recipe.name == "tiny"
    assert len(tiny_bundle.checkpoints) == 1


def test_the_hash_follows_the_weights(copy):
    before = load_bundle(copy).sha256
    assert load_bundle(copy).sha256 == before
    file = copy / "fold_0" / "checkpoint_final.pth"
    file.write_bytes(file.read_bytes() + b"\0")
    assert load_bundle(copy).sha256 != before


def test_a_network_of_all_patients_is_no_further_fold(copy, tmp_path):
    shutil.copytree(copy / "fold_0", copy / "fold_all")
    bundle = load_bundle(copy)
    assert [file.parent.name for file in bundle.checkpoints] == ["fold_0"]
    write_bundle(copy, bundle.recipe, "card", tmp_path / "again")
    assert not (tmp_path / "again" / "fold_all").exists()
    write_bundle(copy, bundle.recipe, "card", tmp_path / "whole", whole=True)
    assert [file.parent.name for file in load_bundle(tmp_path / "whole").checkpoints] == ["fold_all"]
    shutil.rmtree(copy / "fold_0")
    assert [file.parent.name for file in load_bundle(copy).checkpoints] == ["fold_all"]


def test_a_foreign_model_folder_gets_its_recipe_from_nnunets_files(copy):
    (copy / "recipe.toml").unlink()
    dataset = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**dataset, "channel_names": {"0": "PET"}}))
    bundle = load_bundle(copy)
    assert list(bundle.recipe.channels) == ["suv"]
    assert bundle.recipe.channels["suv"].normalisation == "none"
    assert bundle.recipe.labels == {"lesion": 1}


@pytest.mark.parametrize(
    ("stated", "channel"),
    [
        *[("MRI", "mr"), ("T1 MR", "mr"), ("MR T1", "mr_t1"), ("Ultrasound", "us"), ("pre-contrast", "pre")],
        *[("T2", "t2"), ("FDG", "suv"), ("FDG-PET", "suv"), ("b-value 800", "b_value_800")],
    ],
)
def test_a_foreign_models_channel_is_what_a_file_of_its_name_is_read_as(copy, stated, channel):
    (copy / "recipe.toml").unlink()
    dataset = json.loads((copy / "dataset.json").read_text())
    (copy / "dataset.json").write_text(json.dumps({**dataset, "channel_names": {"0": stated}}))
    assert list(load_bundle(copy).recipe.channels) == [channel]


def test_a_foreign_model_that_hides_its_channels_wants_them_named(copy):
    (copy / "recipe.toml").unlink()
    with pytest.raises(BundleError, match="--channels"):
        load_bundle(copy)
    assert list(load_bundle(copy, channels=("suv",)).recipe.channels) == ["suv"]


@pytest.mark.parametrize("missing", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_missing_files_are_named(copy, missing):
    (copy / missing).unlink()
    with pytest.raises(BundleError, match=missing.split("/")[0].replace("fold_0", "no trained fold")):
        load_bundle(copy)


def test_broken_json_is_named(copy):
    (copy / "plans.json").write_text("{")
    with pytest.raises(BundleError, match=r"plans\.json"):
        load_bundle(copy)
    (copy / "plans.json").write_text("[]")
    with pytest.raises(BundleError, match="no object"):
        load_bundle(copy)


def test_another_channel_count_is_refused(copy):
    dataset = json.loads((copy / "dataset.json").read_text())
    dataset["channel_names"]["1"] = "CT"
    (copy / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(BundleError, match="found a model of 2 channels; needed 1"):
        load_bundle(copy)


def test_regions_of_a_foreign_model_go_with_the_labels_they_paint(copy):
    (copy / "recipe.toml").unlink()
    dataset = json.loads((copy / "dataset.json").read_text())
    labels = {"background": 0, "core": [2], "whole": [1, 2], "ignore": 3}
    dataset.update(channel_names={"0": "PET"}, labels=labels, regions_class_order=[2, 1])
    (copy / "dataset.json").write_text(json.dumps(dataset))
    assert load_bundle(copy).recipe.labels == {"core": 2, "whole": 1}
    (copy / "dataset.json").write_text(json.dumps({**dataset, "regions_class_order": [1]}))
    with pytest.raises(BundleError, match=r"found regions_class_order \[1\]; needed a number for each"):
        load_bundle(copy)
    dataset["regions_class_order"] = [4, 9]
    (copy / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(BundleError, match="integer labels"):
        load_bundle(copy)


def test_names_without_weights():
    assert load_bundle("pet-threshold").folder is None
    with pytest.raises(BundleError, match="trained model"):
        load_bundle("pet")
    with pytest.raises(BundleError, match=r"no such folder or recipe.*pet-radiomics"):
        load_bundle("no/such/bundle")
    with pytest.raises(BundleError, match="a file that is no recipe"):
        load_bundle(__file__)


def test_a_folder_of_something_else_is_never_replaced_by_a_bundle(tiny_workspace, tmp_path):
    workspace, recipe = open_workspace(tiny_workspace)
    (tmp_path / "models" / "other").mkdir(parents=True)
    (tmp_path / "models" / "other" / "weights").write_text("precious")
    with pytest.raises(BundleError, match="models: found a folder with other files; needed a new folder"):
        write_bundle(workspace.model("3d_fullres"), recipe, "card", tmp_path / "models")
    assert (tmp_path / "models" / "other" / "weights").read_text() == "precious"
    (tmp_path / "mine").mkdir()
    for card in ("first", "second"):  # an empty folder, then a bundle
        write_bundle(workspace.model("3d_fullres"), recipe, card, tmp_path / "mine")
    assert (tmp_path / "mine" / "MODEL_CARD.md").read_text() == "second"


def test_nothing_half_written_when_the_disk_is_full(tiny_workspace, tmp_path, monkeypatch):
    workspace, recipe = open_workspace(tiny_workspace)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lesionlab.predict.bundle.shutil.copyfile", full)
    with pytest.raises(WriteError, match="No space left on device"):
        write_bundle(workspace.model("3d_fullres"), recipe, "card", tmp_path / "out" / "bundle")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_untrained_model_cannot_become_a_bundle(tmp_path, tiny_recipe):
    with pytest.raises(BundleError, match="train first"):
        write_bundle(tmp_path, tiny_recipe, "card", tmp_path / "bundle")


def test_pickled_code_is_never_executed(copy):
    from lesionlab.predict.checkpoints import safe_load

    class Trap:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    file = copy / "fold_0" / "checkpoint_final.pth"
    torch.save({"network_weights": {}, "init_args": Trap()}, file)
    with pytest.raises(BundleError, match="plain values"):
        safe_load(file)
    torch.save({"weights": {}}, file)
    with pytest.raises(LesionLabError, match="no network_weights"):
        safe_load(file)
    file.write_bytes(b"PK")
    with pytest.raises(BundleError, match="checkpoint"):
        safe_load(file)


def test_a_stock_checkpoint_with_numpy_scalars_loads(copy):
    """nnU-Net's own trainer keeps its curves as numpy scalars and its device in the checkpoint."""
    from lesionlab.predict.checkpoints import safe_load

    file = copy / "fold_0" / "checkpoint_final.pth"
    state = torch.load(file, weights_only=True)
    state["_best_ema"] = np.float64(0.5)
    state["logging"] = {"mean_fg_dice": [np.float32(0.25)], "epoch": [np.int64(3)]}
    state["init_args"]["device"] = torch.device("cpu")
    torch.save(state, file)
    loaded = safe_load(file)
    assert loaded["_best_ema"] == 0.5
    assert loaded["logging"]["mean_fg_dice"] == [0.25]
