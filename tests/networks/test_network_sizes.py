"""How large each network is at its full size, against its authors' code, their papers or who counted it.

Where no count could be looked up, the layers that the source describes are counted here by hand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from lesionlab.networks.build import build_network
from lesionlab.networks.denseseg import DenseSeg
from lesionlab.networks.efficientnet_lite import EfficientNetLiteUNet
from lesionlab.networks.from_monai import UNETR, EfficientNetUNet, SwinUNETR
from lesionlab.networks.pspnet import PSPNet
from lesionlab.networks.transunet import TransUNet
from lesionlab.networks.unet import AttentionUNet, UNet
from lesionlab.networks.unet_plus_plus import UNetPlusPlus
from lesionlab.networks.unext import UNeXt
from lesionlab.networks.vgg_unet import VGGUNet
from lesionlab.networks.vnet import VNet
from nnunet_plans import nnunet_plan

ISOTROPIC = {d: [[1] * d] + [[2] * d] * 4 for d in (2, 3)}
VGG_CLASSIFIER = 25088 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 1000 + 1000
EFFICIENTNET_CLASSIFIER = 320 * 1280 + 2 * 1280 + 1280 * 1000 + 1000

PUBLISHED: list[tuple[str, Callable[[], int], float, float]] = [
    # "Total params" above U_Net and UNetPlusPlus in the authors' keras/helper_functions.py
    # (github.com/MrGiovanni/UNetPlusPlus), which have a head on the last node only
    (
        "unet",
        lambda: (
            count(UNet(1, 1, strides=ISOTROPIC[2], features=widths(32), norm="none")) - heads(64, 128, 256)
        ),
        7_759_521,
        0,
    ),
    (
        "unet-plus-plus",
        lambda: (
            count(UNetPlusPlus(1, 1, strides=ISOTROPIC[2], features=widths(32), norm="none"))
            - heads(32, 32, 32)
        ),
        9_041_601,
        0,
    ),
    # 3D U-Net: Cicek et al. 2016 (arXiv:1606.06650), section 2; ours has two heads more, for deep supervision
    (
        "3D unet",
        lambda: count(UNet(3, 3, strides=ISOTROPIC[3][:4], features=widths(64)[:4], narrow_first=True)),
        19_069_955,
        5e-4,
    ),
    # counted layer by layer in the authors' unet_CT_single_att_dsv_3D, and there without signal and gates
    # (github.com/ozan-oktay/Attention-Gated-Networks, feature_scale 4, one channel, two classes); theirs has
    # two 1 x 1 x 1 convolutions in a row after a gate, ours one: 22,000 parameters less
    (
        "attention-unet",
        lambda: count(AttentionUNet(1, 2, strides=ISOTROPIC[3], features=widths(16))),
        6_213_613,
        4e-3,
    ),
    ("attention-unet, gates left out", lambda: ungated(), 5_887_466, 5e-4),
    # counted in the authors' make_3D_DenseSeg.py (github.com/tbuikr/3D_DenseSeg), two channels, four classes;
    # some of its convolutions before a normalisation have biases. Bui et al. 2017 (arXiv:1709.03199): 1.55 M
    ("denseseg", lambda: count(DenseSeg(2, 4, strides=ISOTROPIC[3])), 1_552_484, 5e-4),
    # settings of the authors' UNETR/BTCV/README.md (github.com/Project-MONAI/research-contributions);
    # 92.8 M in the table of later methods in the README of github.com/leeh43/Rep3D
    ("unetr", lambda: count(UNETR(1, 14, patch=[96, 96, 96])), 92.8e6, 5e-4),
    # the same row of DA-TransUNet's table 3 (arXiv:2310.12570), and 105.32 M in UNeXt's table 1
    ("transunet", lambda: count(TransUNet(3, 2, patch=[224, 224])), 105_276_066, 0),
    # Valanarasu and Patel 2022 (arXiv:2203.04967), table 1
    ("unext", lambda: count(UNeXt(3, 1)), 1.47e6, 2e-3),
    # counted in model/pspnet.py of github.com/hszhao/semseg, ResNet-101, 19 classes, no auxiliary head;
    # 65.9 M in Sun et al. 2019 (arXiv:1904.04514), table of Cityscapes
    ("pspnet", lambda: count(PSPNet(3, 19, blocks=(3, 4, 23, 3))), 65_707_475, 0),
    # torchvision's `num_params` of VGG16_Weights and EfficientNet_B0_Weights; "138" and "5.3" M in the papers
    # (arXiv:1409.1556, table 2, configuration D; arXiv:1905.11946, table 2)
    ("vgg16 encoder", lambda: count(VGGUNet(3, 2, norm="none").encoder) + VGG_CLASSIFIER, 138_357_544, 0),
    (
        "efficientnet encoder",
        lambda: count(EfficientNetUNet(3, 2).network.encoder) + EFFICIENTNET_CLASSIFIER,
        5_288_548,
        0,
    ),
    # counted in the package efficientnet-lite-pytorch 0.1.0, whose encoder gives the same features to the bit
    (
        "efficientnet-lite encoder",
        lambda: count(EfficientNetLiteUNet(3, 2).encoder) + EFFICIENTNET_CLASSIFIER,
        4_652_008,
        0,
    ),
]


def widths(first: int) -> list[int]:
    return [first * 2**level for level in range(5)]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def heads(*widths: int) -> int:
    """Parameters of heads for one class on so many features each."""
    return sum(width + 1 for width in widths)


def ungated() -> int:
    network = AttentionUNet(1, 2, strides=ISOTROPIC[3], features=widths(16))
    return count(network) - count(network.decoder.gates) - count(network.decoder.signal)


@pytest.mark.parametrize(("name", "size", "published", "tolerance"), PUBLISHED, ids=[p[0] for p in PUBLISHED])
def test_full_size_is_the_papers(
    name: str, size: Callable[[], int], published: float, tolerance: float
) -> None:
    with torch.device("meta"):
        assert size() == pytest.approx(published, rel=tolerance)


@pytest.mark.parametrize(("features", "millions"), [(48, 62.1), (24, 15.7), (12, 4.0)])
def test_swin_unetr_is_as_large_as_its_authors_three_sizes(features: int, millions: float) -> None:
    """SwinUNETR/BTCV/README.md of github.com/Project-MONAI/research-contributions, which rounds down.

    It reads numbers out of its tensors as it is built, so that it cannot be built without memory.
    """
    size = count(SwinUNETR(1, 14, dimensions=3, features=features))
    assert math.floor(size / 1e5) / 10 == millions


def test_vnet_has_the_convolutions_of_the_authors_network_and_of_the_papers_figure() -> None:
    """Counted in Prototxt/train_noPooling_ResNet_cinque.prototxt of github.com/faustomilletari/VNet.

    There a level has 1, 1, 2, 3, 3 convolutions and 3, 2, 1, 1 on the way up; in the paper's figure 2 it has
    1, 2, 3, 3, 3 and 3, 3, 2, 1, as ours by default.
    """

    def convolved(**kinds: Any) -> int:
        network = VNet(1, 2, strides=ISOTROPIC[3], features=widths(16), **kinds)
        return sum(p.numel() for p in network.parameters() if p.ndim == 5) - network.head.weight.numel()

    with torch.device("meta"):
        assert convolved(convs=(1, 1, 2, 3, 3), up_convs=(3, 2, 1, 1)) == 61_968_336
        figure = convolved(convs=(1, 2, 3, 3, 3), up_convs=(3, 3, 2, 1))
        assert convolved() == figure == 61_968_336 + 125 * (32**2 + 64**2 + 128**2 + 64**2)


def full_size(name: str, blocks: list[int]) -> int:
    """Parameters of nnU-Net's 3D network of six levels (a patch of 128), one channel and one label."""
    strides = ISOTROPIC[3] + [[2, 2, 2]]
    plan = nnunet_plan(name, strides, [32, 64, 128, 256, 320, 320], blocks)
    with torch.device("meta"):
        return count(build_network(plan, 1, 2, deep_supervision=True, subject="full size"))


def test_nnunets_plain_network_is_as_large_as_others_count_it() -> None:
    """31.2 M: "nn-UNet" in the table of the README of github.com/leeh43/Rep3D, for a patch of 96 voxels."""
    size = full_size("plain", [2] * 6)
    assert size == pytest.approx(31.2e6, rel=1e-3)


def test_nnunets_residual_network_has_the_blocks_of_its_planner() -> None:
    """No paper counts it: 1, 3, 4, 6, 6, 6 blocks on the way down and one convolution a level up, by hand.

    The numbers are those of ResEncUNetPlanner; blocks as in He et al. 2019 (arXiv:1812.01187), a 1 x 1 x 1
    convolution beside them only where the features change.
    """

    def conv(inputs: int, outputs: int) -> int:
        return 27 * inputs * outputs + 3 * outputs

    blocks, features = [1, 3, 4, 6, 6, 6], [32, 64, 128, 256, 320, 320]
    by_hand, inputs = conv(1, 32), 32
    for number, width in zip(blocks, features, strict=True):
        beside = 0 if inputs == width else inputs * width + 2 * width
        by_hand += conv(inputs, width) + beside + (2 * number - 1) * conv(width, width)
        inputs = width
    for coarse, fine in zip(features[:0:-1], features[-2::-1], strict=True):
        by_hand += 8 * coarse * fine + fine + conv(2 * fine, fine) + 2 * (fine + 1)
    size = full_size("residual", blocks)
    assert size == by_hand == 102_349_770
