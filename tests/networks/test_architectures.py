"""Every network: shapes, gradients, what fits and what not."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from lesionlab.core.errors import BundleError, RecipeError
from lesionlab.core.learning import Architecture, NetworkSettings
from lesionlab.networks.blocks import CarefulConv3d, make_careful
from lesionlab.networks.build import build_network
from lesionlab.networks.registry import NETWORKS, fitting_patch, network_entry, plan_network, widths_as_unet
from lesionlab.networks.unet import AttentionUNet
from lesionlab.networks.unext import shift
from nnunet_plans import nnunet_plan

TINY = {"swin-unetr": {"first_features": 12}, "unetr": {"first_features": 4, "max_features": 24}}
EVERY = [(name, dimensions) for name, entry in NETWORKS.items() for dimensions in entry.first]
EVERY += [(name, dimensions) for name in ("plain", "residual") for dimensions in (2, 3)]


def tiny(name: str, dimensions: int) -> tuple[dict[str, Any], list[int]]:
    """The plan's architecture of the smallest useful network of a name, and its patch."""
    # the first step is within slices only, as for thick ones
    strides = [[1] * dimensions, [1, *[2] * (dimensions - 1)], [2] * dimensions]
    if name not in NETWORKS:
        return nnunet_plan(name, strides, [4, 8, 8], [1, 2, 2]), [16] * (dimensions - 1) + [32]
    settings = NetworkSettings(architecture=name, **TINY.get(name, {"first_features": 4}))
    entry = NETWORKS[name]
    edge = 32 if dimensions == 2 or (entry.multiple or 0) > 16 else 16
    patch = [16] * dimensions if name == "unetr" else [edge] * (dimensions - 1) + [2 * edge]
    if "max_features" in entry.takes:
        settings = settings.model_copy(update={"max_features": 24})
    return plan_network(entry, settings, patch, [] if entry.stages is None else strides), patch


def test_every_architecture_of_the_recipe_is_nnunets_or_in_the_table() -> None:
    assert {"plain", "residual", *NETWORKS} == set(get_args(Architecture))


@pytest.mark.parametrize(("name", "dimensions"), EVERY)
def test_logits_have_the_images_grid_and_every_parameter_learns(name: str, dimensions: int) -> None:
    torch.manual_seed(1)
    architecture, patch = tiny(name, dimensions)
    deep = name not in NETWORKS or NETWORKS[name].deep_supervision
    network = build_network(
        architecture, 3, 3, deep_supervision=deep, subject="test", initialise=True
    ).train()
    for key, weight in network.named_parameters():
        if key.endswith("norm.weight") and not weight.any():
            # nnU-Net begins with residual branches that add nothing, and so learn nothing at the first step
            nn.init.ones_(weight)
    output = network(torch.randn(2, 3, *patch))
    assert isinstance(output, list) is deep
    outputs = output if deep else [output]
    assert outputs[0].shape == (2, 3, *patch)
    sum((o * torch.randn_like(o)).sum() for o in outputs).backward()
    silent = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert silent == []
    # for prediction it is built without deep supervision, and the same weights fit
    alone = build_network(architecture, 3, 3, deep_supervision=False, subject="test").eval()
    alone.load_state_dict(network.state_dict())
    if deep:
        network.decoder.deep_supervision = False
    network.eval()
    with torch.inference_mode():
        image = torch.randn(1, 3, *patch)
        assert torch.equal(alone(image), network(image))


def test_deep_supervision_speaks_finest_first() -> None:
    for name, sizes in (
        ("unet", [(16, 32), (16, 16)]),
        ("attention-unet", [(16, 32), (16, 16)]),
        ("unet-plus-plus", [(16, 32), (16, 32)]),
    ):
        architecture, _ = tiny(name, 2)
        network = build_network(architecture, 1, 2, deep_supervision=True, subject="test")
        assert [tuple(o.shape[2:]) for o in network(torch.randn(2, 1, 16, 32))] == sizes
    vgg = build_network(tiny("vgg16-unet", 2)[0], 1, 2, deep_supervision=True, subject="test")
    assert [o.shape[-1] for o in vgg(torch.randn(2, 1, 32, 32))] == [32, 16, 8, 4]


ISOTROPIC = {d: [[1] * d] + [[2] * d] * 4 for d in (2, 3)}


def test_shifts_move_fifths_of_the_channels_and_bring_in_zeros() -> None:
    image = torch.arange(1.0, 7.0).expand(1, 5, 2, 6)
    moved = shift(image, 3)
    assert moved[0, :, 0].tolist() == [
        [3, 4, 5, 6, 0, 0],
        [2, 3, 4, 5, 6, 0],
        [1, 2, 3, 4, 5, 6],
        [0, 1, 2, 3, 4, 5],
        [0, 0, 1, 2, 3, 4],
    ]
    assert torch.equal(shift(image.mT, 2), moved.mT)


def test_a_gate_can_close_its_skip_connection() -> None:
    network = AttentionUNet(1, 2, strides=ISOTROPIC[2][:3], features=[4, 8, 8], norm="none")
    gate = network.decoder.gates[0]
    with torch.no_grad():
        gate.passed[0].bias.zero_()
        gate.decide.weight.zero_()
        gate.decide.bias.fill_(-100.0)
    skip, signal = torch.randn(1, 8, 8, 8), torch.randn(1, 8, 4, 4)
    assert gate(skip, signal).abs().max() < 1e-30
    with torch.no_grad():
        gate.decide.bias.fill_(100.0)
    assert torch.allclose(gate(skip, signal), gate.passed(skip))


@pytest.mark.parametrize(("kernel", "slices"), [(3, 2), (5, 4), (5, 1)])
def test_weights_of_thin_images_get_the_gradient_of_float32_in_bfloat16(kernel: int, slices: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv3d(16, 16, kernel, padding=kernel // 2))
    make_careful(network)
    assert type(network[0]) is CarefulConv3d
    image, wanted = torch.randn(2, 16, slices, 6, 6), torch.randn(2, 16, slices, 6, 6)
    network(image).backward(wanted)
    exact = network[0].weight.grad
    for _ in range(3):
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            output = network(image)
        output.backward(wanted.to(output.dtype))
        assert (network[0].weight.grad - exact).abs().max() < 0.02 * exact.abs().max()


def settings(name: str, **changes: Any) -> NetworkSettings:
    return NetworkSettings(architecture=name, **changes)


def test_what_a_network_is_not_made_for_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"r: found denseseg in 2D; needed 3D"):
        network_entry(settings("denseseg"), 2, "r")
    with pytest.raises(RecipeError, match=r"transunet in 3D; needed 2D"):
        network_entry(settings("transunet"), 3, "r")
    with pytest.raises(
        RecipeError, match=r"network.stages for unetr; needed no more than first_features, max"
    ):
        network_entry(settings("unetr", stages=4), 3, "r")
    with pytest.raises(
        RecipeError, match=r"network.max_features for unext; needed no more than first_features"
    ):
        network_entry(settings("unext", max_features=4), 2, "r")
    with pytest.raises(RecipeError, match=r"first_features = 16 for swin-unetr; needed a multiple of 12"):
        network_entry(settings("swin-unetr", first_features=16), 3, "r")
    assert network_entry(settings("plain"), 3, "r") is None
    assert network_entry(settings("unet", stages=3), 3, "r") is NETWORKS["unet"]


def test_a_pinned_patch_that_does_not_fit_says_which_do() -> None:
    entry = NETWORKS["transunet"]
    with pytest.raises(
        RecipeError, match=r"\[50, 64\] for transunet; needed 2 multiples of 16, such as \[48, 64\]"
    ):
        fitting_patch(entry, settings("transunet", patch_size=(50, 64)), [64, 64], "r")
    with pytest.raises(RecipeError, match=r"needed 2 multiples of 16, such as \[64, 64\]"):
        fitting_patch(entry, settings("transunet", patch_size=(64,)), [64, 64], "r")
    with pytest.raises(RecipeError, match=r"needed 2 multiples of 16, such as \[64, 64\]"):
        fitting_patch(entry, settings("transunet", patch_size=(64, 64, 64)), [64, 64], "r")
    swin = NETWORKS["swin-unetr"]
    with pytest.raises(RecipeError, match=r"multiples of 32, at least one of them 64, such as \[32, 64\]"):
        fitting_patch(swin, settings("swin-unetr", patch_size=(32, 32)), [64, 64], "r")
    assert fitting_patch(swin, settings("swin-unetr", patch_size=(32, 64)), [64, 64], "r") == [32, 64]
    # what nnU-Net planned is brought to the nearest that fits, never to nothing
    assert fitting_patch(entry, settings("transunet"), [90, 6], "r") == [96, 16]
    assert fitting_patch(swin, settings("swin-unetr"), [40, 20, 20], "r") == [32, 32, 64]


def test_widths_count_in_the_planned_patch_only_where_they_mean_the_same() -> None:
    assert widths_as_unet(settings("plain")) and widths_as_unet(settings("vnet"))
    assert not widths_as_unet(settings("unetr")) and not widths_as_unet(settings("denseseg"))


def test_the_full_size_is_planned_when_nothing_is_pinned() -> None:
    strides = ISOTROPIC[3][:4]
    planned = plan_network(NETWORKS["unet"], settings("unet"), [64, 64, 64], strides)
    assert planned["arch_kwargs"]["features"] == [64, 128, 256, 512]
    assert planned["arch_kwargs"]["narrow_first"] is True
    capped = plan_network(NETWORKS["vnet"], settings("vnet", max_features=40), [64, 64, 64], strides)
    assert capped["arch_kwargs"]["features"] == [16, 32, 40, 40]
    tokens = plan_network(NETWORKS["unetr"], settings("unetr", max_features=384), [96, 96, 96], [])
    assert tokens["arch_kwargs"] == {"hidden": 384, "heads": 6, "patch": [96, 96, 96], "features": 16}


PLAIN = {
    "n_stages": 2,
    "features_per_stage": [4, 8],
    "conv_op": "torch.nn.modules.conv.Conv2d",
    "kernel_sizes": [[3, 3]] * 2,
    "strides": [[1, 1], [2, 2]],
    "n_conv_per_stage": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "conv_bias": True,
    "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
    "norm_op_kwargs": {"eps": 1e-5, "affine": True},
    "nonlin": "torch.nn.LeakyReLU",
    "nonlin_kwargs": {"inplace": True},
}
IMPORTS = ["conv_op", "norm_op", "dropout_op", "nonlin"]
PLAIN_CLASS = "dynamic_network_architectures.architectures.unet.PlainConvUNet"


def built(name: str, **changes: Any) -> nn.Module:
    plan = {"network_class_name": name, "arch_kwargs": {**PLAIN, **changes}, "_kw_requires_import": IMPORTS}
    return build_network(plan, 2, 3, deep_supervision=False, subject="a plan")


def test_nnunets_own_networks_are_built_also_from_where_they_used_to_be() -> None:
    for name in (PLAIN_CLASS, PLAIN_CLASS.replace(".unet.", ".plain_unet.")):
        assert built(name)(torch.randn(1, 2, 16, 16)).shape == (1, 3, 16, 16)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "torch.hub.load",
        "torch.nn.Linear",
        "dynamic_network_architectures.architectures.unet.torch.hub.load",
        "dynamic_network_architectures.architectures.unet.nn.Module",
        "dynamic_network_architectures.architectures.unet.InitWeights_He",
        "dynamic_network_architectures.nowhere.Nothing",
        "dynamic_network_architectures",
        "lesionlab.networks.unet.Encoder",
        "lesionlab.cli.main",
        "",
    ],
)
def test_no_other_class_is_imported_for_a_plan(name: str) -> None:
    with pytest.raises(BundleError, match="a plan: found the class"):
        built(name)


@pytest.mark.parametrize(
    "layer", ["subprocess.Popen", "torch.load", "torch.nn.init.zeros_", "torch.nn.Parameter"]
)
def test_no_other_layer_is_imported_for_a_plan(layer: str) -> None:
    with pytest.raises(BundleError, match="a plan: found the class"):
        built(PLAIN_CLASS, norm_op=layer)


def test_arguments_a_network_does_not_take_are_refused() -> None:
    with pytest.raises(BundleError, match="needed arguments that this network takes"):
        built(PLAIN_CLASS, depth=math.inf)
