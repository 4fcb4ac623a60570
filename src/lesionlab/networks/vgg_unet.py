"""A U-Net whose encoder is the convolutional part of VGG16, in 2D.

Encoder: configuration D of Simonyan and Zisserman 2015 (arXiv:1409.1556), its last pooling left out; decoder:
the U-Net's (Ronneberger et al. 2015, arXiv:1505.04597). Weights are trained from the start, so that every
convolution is normalised by batch.
"""

from __future__ import annotations

import torch
from torch import nn

from lesionlab.networks.blocks import Norm, conv_block, he_weights
from lesionlab.networks.unet import Decoder, make_levels

CONVS = (2, 2, 3, 3, 3)
WIDTHS = (1, 2, 4, 8, 8)
"""Features of the five stages, in those of the first (64 in the paper)."""


class VGGEncoder(nn.Module):
    """The thirteen convolutions of VGG16; gives the features of its five stages, finest first."""

    def __init__(self, input_channels: int, features: int, norm: Norm) -> None:
        super().__init__()
        stages, inputs = [], input_channels
        for count, width in zip(CONVS, WIDTHS, strict=True):
            stage: list[nn.Module] = []
            for _ in range(count):
                stage.append(conv_block(2, inputs, width * features, norm))
                inputs = width * features
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)
        self.pool = nn.MaxPool2d(2)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features (n, c, ...) of every stage."""
        found = [self.stages[0](image)]
        for stage in self.stages[1:]:
            found.append(stage(self.pool(found[-1])))
        return found


class VGGUNet(nn.Module):
    """U-Net with VGG16's encoder. Edges must be multiples of 16."""

    initialize = staticmethod(he_weights)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        features: int = 64,
        norm: Norm = "batch",
    ) -> None:
        super().__init__()
        strides = [[1, 1], *[[2, 2]] * (len(WIDTHS) - 1)]
        levels = make_levels(strides, [w * features for w in WIDTHS], norm)
        self.encoder = VGGEncoder(input_channels, features, norm)
        self.decoder = Decoder(levels, num_classes, deep_supervision=deep_supervision)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (n, classes, y, x) of an image (n, channels, y, x); see `Decoder` for deep supervision."""
        logits: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(image))
        return logits
