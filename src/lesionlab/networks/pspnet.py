"""PSPNet: a dilated ResNet and a pyramid of pooled contexts, in 2D.

Zhao et al. 2017 (arXiv:1612.01105). Its answer is at an eighth of the resolution and interpolated, so thin
structures are out of its reach. Without the auxiliary loss.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lesionlab.networks.blocks import enlarge, he_weights

BINS = (1, 2, 3, 6)
"""Cells along one edge of each level of the pyramid."""


class DilatedBottleneck(nn.Module):
    """1 x 1, dilated 3 x 3 and 1 x 1 convolution, added to the input."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.steps = nn.Sequential(
            *_conv(inputs, width, 1),
            nn.ReLU(inplace=True),
            *_conv(width, width, 3, stride, dilation),
            nn.ReLU(inplace=True),
            *_conv(width, outputs, 1),
        )
        self.beside: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.beside = nn.Sequential(*_conv(inputs, outputs, 1, stride))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features with four times the width."""
        return torch.relu(self.steps(image) + self.beside(image))


class PSPNet(nn.Module):
    """PSPNet; `features` are those of its ResNet's first stage (64 in the paper), `blocks` its depth.

    (3, 4, 6, 3) is ResNet-50, (3, 4, 23, 3) ResNet-101. Edges must be multiples of 8.
    """

    initialize = staticmethod(he_weights)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        features: int = 64,
        blocks: Sequence[int] = (3, 4, 6, 3),
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            *_conv(input_channels, features, 3, 2),
            nn.ReLU(inplace=True),
            *_conv(features, features, 3),
            nn.ReLU(inplace=True),
            *_conv(features, 2 * features, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        stages, inputs = [], 2 * features
        strides_dilations = ((1, 1), (2, 1), (1, 2), (1, 4))
        for number, (count, (stride, dilation)) in enumerate(zip(blocks, strides_dilations, strict=True)):
            width = features * 2**number
            for block in range(count):
                stages.append(DilatedBottleneck(inputs, width, stride if block == 0 else 1, dilation))
                inputs = 4 * width
        self.stages = nn.Sequential(*stages)
        share = inputs // len(BINS)
        self.pyramid = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(bins), *_conv(inputs, share, 1), nn.ReLU(inplace=True))
            for bins in BINS
        )
        self.head = nn.Sequential(
            *_conv(2 * inputs, 8 * features, 3),
            nn.ReLU(inplace=True),
            nn.Dropout2d(dropout),
            nn.Conv2d(8 * features, num_classes, 1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, y, x) of an image (n, channels, y, x)."""
        found = self.stages(self.stem(image))
        contexts = [enlarge(level(found), found.shape[2:]) for level in self.pyramid]
        return enlarge(self.head(torch.cat([found, *contexts], dim=1)), image.shape[2:])


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=dilation, bias=False)
    return [layer, nn.BatchNorm2d(outputs)]
