"""Starting from trained weights: what is taken, what stays random, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lesionlab.core.errors import BundleError, RecipeError, TrainingError
from lesionlab.core.recipe import dump_recipe, load_recipe, parse_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.efficientnet_lite import GROUPS, EfficientNetLiteUNet
from lesionlab.networks.unet import UNet
from lesionlab.pipeline.card import model_card
from lesionlab.predict import load_bundle, write_bundle
from lesionlab.study.bench import by_content
from lesionlab.train import train_fold
from lesionlab.train.nnunet import FINAL
from lesionlab.train.start import start_network
from networks_phantom import plan_tiny, tiny_recipe


def small_unet(channels: int, classes: int) -> UNet:
    return UNet(channels, classes, strides=[[1, 1], [2, 2], [2, 2]], features=[4, 8, 16])


def published_lite() -> dict[str, torch.Tensor]:
    """Tensors by the names of the published EfficientNet-Lite0, every value drawn."""
    encoder = EfficientNetLiteUNet(3, 2).encoder.state_dict()
    parts = {
        "expand": ("_expand_conv", "_bn0"),
        "depthwise": ("_depthwise_conv", "_bn1"),
        "project": ("_project_conv", "_bn2"),
    }
    found: dict[str, torch.Tensor] = {}
    for name, tensor in encoder.items():
        if name.startswith("stem"):
            _, layer, kind = name.split(".")
            key = f"{'_conv_stem' if layer == 'conv' else '_bn0'}.{kind}"
        else:
            _, number, part, layer, kind = name.split(".")
            key = f"_blocks.{number}.{parts[part][layer == 'norm']}.{kind}"
        found[key] = torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(7)
    ends = {"_conv_head.weight": (1280, 320, 1, 1), "_bn1.weight": (1280,), "_fc.weight": (1000, 1280)}
    return found | {name: torch.randn(shape) for name, shape in ends.items()}


def test_same_network_takes_everything(tmp_path: Path) -> None:
    source, network = small_unet(1, 2), small_unet(1, 2)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    taken = start_network(network, tmp_path / "w.pth")
    assert (taken.file, taken.share, taken.fresh) == ("w.pth", 1.0, ())
    image = torch.randn(1, 1, 16, 16)
    assert torch.equal(source(image), network(image))


def test_another_head_stays_random_and_is_told(tmp_path: Path) -> None:
    source, network = small_unet(1, 2), small_unet(1, 5)
    before = network.decoder.heads[-1].weight.clone()
    torch.save({"network_weights": source.state_dict(), "epoch": 3}, tmp_path / "w.pth")
    taken = start_network(network, tmp_path / "w.pth")
    assert set(taken.fresh) == {"decoder.heads.0", "decoder.heads.1"} and "random: decoder" in str(taken)
    assert torch.equal(before, network.decoder.heads[-1].weight)
    assert torch.equal(source.encoder.stages[1][0][0].weight, network.encoder.stages[1][0][0].weight)


@pytest.mark.parametrize(("theirs", "ours"), [(3, 1), (1, 2), (4, 2)])
def test_other_channels_give_what_the_image_in_each_of_them_gave(
    tmp_path: Path, theirs: int, ours: int
) -> None:
    source, network = small_unet(theirs, 2), small_unet(ours, 2)
    torch.save(source.state_dict(), tmp_path / "w.pth")
    assert start_network(network, tmp_path / "w.pth").fresh == ()
    image = torch.randn(1, 1, 16, 16)
    expected = source(image.expand(1, theirs, 16, 16))
    assert torch.allclose(expected, network(image.expand(1, ours, 16, 16)), atol=1e-4)


def test_weights_published_under_other_names_fill_the_whole_encoder(tmp_path: Path) -> None:
    given, network = published_lite(), EfficientNetLiteUNet(1, 2)
    torch.save(given, tmp_path / "lite.pth")
    taken = start_network(network, tmp_path / "lite.pth")
    assert {name.split(".")[0] for name in taken.fresh} == {"levels", "head"}
    encoder = network.encoder
    assert torch.allclose(encoder.stem.conv.weight[:, 0], given["_conv_stem.weight"].sum(1), atol=1e-5)
    last = sum(group[0] for group in GROUPS) - 1
    assert torch.equal(
        encoder.blocks[last].project.conv.weight, given[f"_blocks.{last}._project_conv.weight"]
    )
    assert torch.equal(encoder.blocks[5].expand.norm.running_var, given["_blocks.5._bn0.running_var"])
    assert torch.equal(encoder.blocks[5].project.norm.bias, given["_blocks.5._bn2.bias"])


@pytest.mark.parametrize(
    "name", ["_fc.weight", "_bn1.bias", "_blocks.0._se_reduce.weight", "levels.0.0.0.weight"]
)
def test_names_that_the_encoder_has_no_place_for_are_not_translated(name: str) -> None:
    assert EfficientNetLiteUNet.own_name(name) is None


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    torch.save(small_unet(1, 2).state_dict(), tmp_path / "unet.pth")
    with pytest.raises(TrainingError, match=r"unet.pth: found 0 % .*weights of this network \(Efficient"):
        start_network(EfficientNetLiteUNet(1, 2), tmp_path / "unet.pth")
    torch.save({"state_dict": {"epoch": 3}}, tmp_path / "none.pth")
    with pytest.raises(TrainingError, match=r"no named tensors; needed a checkpoint"):
        start_network(small_unet(1, 2), tmp_path / "none.pth")
    torch.save(small_unet(1, 2), tmp_path / "pickled.pth")
    with pytest.raises(BundleError, match=r"pickled.pth: found UnpicklingError"):
        start_network(small_unet(1, 2), tmp_path / "pickled.pth")
    with pytest.raises(BundleError, match=r"missing.pth: found FileNotFoundError"):
        start_network(small_unet(1, 2), tmp_path / "missing.pth")


def test_training_starts_from_a_folds_checkpoint_and_its_bundle_keeps_no_path(
    tiny_workspace: Path, tmp_path: Path
) -> None:
    workspace, recipe = open_workspace(tiny_workspace)
    source = workspace.model("3d_fullres") / "fold_0" / FINAL
    settings = {"start_from": str(source), "epochs": 1, "iterations": 1, "learning_rate": 1e-9}
    root = plan_tiny(tmp_path / "w", tiny_recipe().changed(training=settings))
    folder = train_fold(root, 0, device="cpu")
    weights = [torch.load(file, weights_only=True)["network_weights"] for file in (source, folder / FINAL)]
    assert all(torch.allclose(weights[0][key], weights[1][key], atol=1e-6) for key in weights[0])
    log = next(folder.glob("training_log*")).read_text()
    assert f"started from {FINAL}" in log and "100 % of all weights" in log
    started, recipe = open_workspace(root)
    bundle = write_bundle(started.model("3d_fullres"), recipe, "card", tmp_path / "bundle")
    assert load_recipe(bundle / "recipe.toml").training.start_from == FINAL
    for file in filter(Path.is_file, bundle.rglob("*")):
        state = repr(torch.load(file, weights_only=True)) if file.suffix == ".pth" else file.read_text()
        assert str(tiny_workspace) not in state, file
    assert load_bundle(bundle).recipe.training.start_from == FINAL


def test_recipes_look_beside_themselves_and_studies_go_by_content(tmp_path: Path) -> None:
    recipe = tiny_recipe().changed(training={"start_from": "w.pth"})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "r.toml").write_text(dump_recipe(recipe))
        (tmp_path / name / "w.pth").write_bytes(b"weights")
    first, second = (find_recipe(tmp_path / name / "r.toml") for name in ("a", "b"))
    assert first.training.start_from == str(tmp_path / "a" / "w.pth")
    assert first.sha256 != second.sha256 and by_content(first) == by_content(second)
    (tmp_path / "b" / "w.pth").write_bytes(b"others")
    assert by_content(first) != by_content(second)
    (tmp_path / "b" / "w.pth").unlink()
    with pytest.raises(RecipeError, match=r"no file .*w.pth; needed training.start_from as a file"):
        by_content(second)
    assert by_content(tiny_recipe()) == tiny_recipe()


def test_a_missing_file_is_refused_before_anything_is_planned(tmp_path: Path) -> None:
    recipe = tiny_recipe().changed(training={"start_from": str(tmp_path / "w.pth")})
    with pytest.raises(RecipeError, match=r"tiny: found no file .*w.pth; needed training.start_from"):
        plan_tiny(tmp_path / "work", recipe)
    assert list(tmp_path.iterdir()) == []


def test_the_card_says_where_weights_started() -> None:
    started = tiny_recipe().changed(training={"start_from": "/somewhere/lite0.pth"})
    assert "weights at the start: `lite0.pth`" in model_card(started, {}, ["0"], None)
    assert "weights at the start: random" in model_card(tiny_recipe(), {}, ["0"], None)


def test_the_card_says_what_stock_nnunet_does_not_do() -> None:
    channels = {
        "suv": {"normalisation": "fixed", "clip": [0.0, 50.0], "divide_by": 2.0, "curve": "log"},
        "ct": {"normalisation": "ct"},
    }
    recipe = parse_recipe({"name": "x", "reference": "suv", "channels": channels}, "x")
    card = model_card(recipe, {}, ["0"], None)
    assert "`suv`: clipped to 0 to 50, divided by 2, then ln(1 + x), the same for every patient" in card
    assert "stock nnU-Net wants files that have it: the scaling of `suv`\n" in card
    resized = recipe.changed(standardise={"size": [64, 32]}, network={"configuration": "2d"})
    assert "the scaling of `suv`, slices resized to 64 x 32 (rows, columns)\n" in model_card(
        resized, {}, ["0"], None
    )
    plain = parse_recipe({"name": "x", "reference": "ct", "channels": {"ct": {"normalisation": "ct"}}}, "x")
    assert "stock nnU-Net" not in model_card(plain, {}, ["0"], None)


def test_single_features_train_in_float32_within_bfloat16() -> None:
    network = EfficientNetLiteUNet(1, 2)
    seen: dict[str, torch.dtype] = {}
    block = network.encoder.blocks[3]
    for name in ("depthwise", "project"):
        getattr(block, name).register_forward_hook(
            lambda _m, _i, out, name=name: seen.__setitem__(name, out.dtype)
        )
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.randn(2, 1, 32, 32)).float().sum().backward()
        assert seen == {"depthwise": torch.float32, "project": torch.bfloat16}
        with torch.no_grad():
            network(torch.randn(2, 1, 32, 32))
    assert seen["depthwise"] == torch.bfloat16
