"""3D-DenseSeg: a narrow network of densely connected blocks whose every resolution speaks for itself.

Bui, Shin and Moon 2017 (arXiv:1709.03199), and the authors' published network for its numbers: growth 16,
four layers a block, 1 x 1 x 1 bottlenecks of four times the growth, transitions that halve the features and
then the grid by a strided convolution, and each block brought to full resolution in one transposed
convolution. It is 3D, and normalised by batch as in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from lesionlab.networks.blocks import Norm, conv, down, he_weights, norm
from lesionlab.networks.unet import Strides

DIMENSIONS = 3
BOTTLENECK = 4
"""Width of a layer's 1 x 1 x 1 convolution, in growth rates."""


class DenseLayer(nn.Module):
    """Bottleneck and 3 x 3 x 3 convolution, each after normalisation and ReLU; its input is kept beside."""

    def __init__(self, inputs: int, growth: int, kind: Norm, dropout: float) -> None:
        super().__init__()
        middle = BOTTLENECK * growth
        self.steps = nn.Sequential(
            *_active(inputs, kind),
            conv(DIMENSIONS, inputs, middle, 1, bias=False),
            *_active(middle, kind),
            conv(DIMENSIONS, middle, growth, bias=False),
            nn.Dropout3d(dropout),
        )

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        """The input with `growth` more channels."""
        return torch.cat([tensor, self.steps(tensor)], dim=1)


class DenseSeg(nn.Module):
    """DenseSeg with a dense block on every level below the finest.

    `features` are those of the first convolutions; the growth is half of them.
    """

    initialize = staticmethod(he_weights)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        strides: Strides,
        features: int = 32,
        layers: int = 4,
        dropout: float = 0.2,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        growth = max(1, features // 2)
        self.first = nn.Sequential(
            conv(DIMENSIONS, input_channels, features, bias=False),
            *_active(features, norm),
            conv(DIMENSIONS, features, features, bias=False),
            *_active(features, norm),
            conv(DIMENSIONS, features, features, bias=False),
        )
        self.bring = nn.ModuleList(
            [
                nn.Sequential(
                    *_active(features, norm), down(DIMENSIONS, features, features, strides[1], bias=False)
                )
            ]
        )
        self.blocks, self.voices = nn.ModuleList(), nn.ModuleList()
        channels, total = features, [1] * DIMENSIONS
        for level in range(1, len(strides)):
            total = [t * int(s) for t, s in zip(total, strides[level], strict=True)]
            block = [DenseLayer(channels + n * growth, growth, norm, dropout) for n in range(layers)]
            self.blocks.append(nn.Sequential(*block))
            channels += layers * growth
            self.voices.append(_voice(channels, num_classes, total))
            if level + 1 < len(strides):
                self.bring.append(_transition(channels, channels // 2, strides[level + 1], norm))
                channels //= 2
        together = features + num_classes * len(self.blocks)
        self.head = nn.Sequential(*_active(together, norm), conv(DIMENSIONS, together, num_classes, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, z, y, x) of an image (n, channels, z, y, x)."""
        fine = self.first(image)
        voices, current = [fine], fine
        for bring, block, voice in zip(self.bring, self.blocks, self.voices, strict=True):
            current = block(bring(current))
            voices.append(voice(current))
        logits: torch.Tensor = self.head(torch.cat(voices, dim=1))
        return logits


def _active(channels: int, kind: Norm) -> list[nn.Module]:
    return [norm(kind, DIMENSIONS, channels), nn.ReLU(inplace=False)]


def _transition(inputs: int, outputs: int, stride: Sequence[int], kind: Norm) -> nn.Sequential:
    return nn.Sequential(
        *_active(inputs, kind),
        conv(DIMENSIONS, inputs, outputs, 1, bias=False),
        *_active(outputs, kind),
        down(DIMENSIONS, outputs, outputs, stride, bias=False),
    )


def _voice(channels: int, num_classes: int, stride: Sequence[int]) -> nn.Module:
    """From a block to a map per class at full resolution; each class listens to its own share of features
    where they can be shared out evenly.
    """
    return nn.ConvTranspose3d(
        channels,
        num_classes,
        tuple(s + 2 for s in stride),
        stride=tuple(stride),
        padding=1,
        groups=math.gcd(channels, num_classes),
        bias=False,
    )
