"""TransUNet: a ResNet-50, a vision transformer on its last features, and a cascaded upsampler, in 2D.

Chen et al. 2021 (arXiv:2102.04306), the hybrid "R50-ViT-B_16". The ResNet is BiT's: standardised weights
(Qiao et al. 2019, arXiv:1903.10520) and group normalisation. Position embeddings tie it to one patch size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from lesionlab.networks.blocks import conv_block, enlarge, he_weights, token_weights

REDUCTION = 16
"""Pixels of the image along one edge of a token."""


class StandardisedConv(nn.Conv2d):
    """A convolution whose kernels have mean 0 and variance 1 when they are used; without bias."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """As a convolution."""
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        variance = weight.square().mean(dim=(1, 2, 3), keepdim=True)
        weight = weight * torch.rsqrt(variance + 1e-5)
        return functional.conv2d(image, weight, None, self.stride, self.padding)


class GroupNorm(nn.Module):
    """Group normalisation, said as layer normalisation of each group.

    OpenVINO 2026.4 crashes as it compiles two residual blocks with torch's own.
    """

    def __init__(self, groups: int, channels: int) -> None:
        super().__init__()
        self.groups = groups
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The image (n, c, y, x), each group of channels with mean 0 and variance 1, scaled and shifted."""
        groups = image.reshape(image.shape[0], self.groups, -1)
        normed = functional.layer_norm(groups, groups.shape[2:], eps=1e-6).view(image.shape)
        return normed * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolution, added to the input."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.steps = nn.Sequential(
            StandardisedConv(inputs, width, 1),
            _groups(width),
            nn.ReLU(inplace=True),
            StandardisedConv(width, width, 3, stride),
            _groups(width),
            nn.ReLU(inplace=True),
            StandardisedConv(width, outputs, 1),
            _groups(outputs),
        )
        self.beside: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.beside = nn.Sequential(
                StandardisedConv(inputs, outputs, 1, stride), GroupNorm(outputs, outputs)
            )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Features with four times the width."""
        return torch.relu(self.steps(image) + self.beside(image))


class ResNet(nn.Module):
    """The first three stages of a ResNet; gives features at 1/2, 1/4, 1/8 and 1/16 of the resolution."""

    def __init__(self, input_channels: int, width: int, blocks: Sequence[int]) -> None:
        super().__init__()
        self.root = nn.Sequential(
            StandardisedConv(input_channels, width, 7, 2), _groups(width), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        stages, inputs = [], width
        for number, count in enumerate(blocks):
            inner = width * 2**number
            stage = []
            for block in range(count):
                stage.append(Bottleneck(inputs, inner, 2 if block == 0 and number > 0 else 1))
                inputs = 4 * inner
            stages.append(nn.Sequential(*stage))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features, finest first."""
        found = [self.root(image)]
        current = self.pool(found[0])
        for stage in self.stages:
            current = stage(current)
            found.append(current)
        return found


class TransformerLayer(nn.Module):
    """Self-attention and a perceptron, each after normalisation and added to its input."""

    def __init__(self, hidden: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(hidden, eps=1e-6), nn.LayerNorm(hidden, eps=1e-6)
        self.ask, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.mlp = nn.Sequential(nn.Linear(hidden, mlp), nn.GELU(), nn.Linear(mlp, hidden))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (n, count, hidden), changed."""
        number, count, hidden = tokens.shape
        asked = self.ask(self.before(tokens)).view(number, count, 3, self.heads, hidden // self.heads)
        query, key, value = asked.permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(seen.transpose(1, 2).reshape(number, count, hidden))
        changed: torch.Tensor = tokens + self.mlp(self.between(tokens))
        return changed


class TransUNet(nn.Module):
    """TransUNet for one `patch` size, whose edges are multiples of 16.

    `width` is that of the ResNet's root (64 in the paper), `hidden` that of a token (768); the upsampler's
    widths follow the root's.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        patch: Sequence[int],
        width: int = 64,
        blocks: Sequence[int] = (3, 4, 9),
        hidden: int = 768,
        layers: int = 12,
        heads: int = 12,
    ) -> None:
        super().__init__()
        self.resnet = ResNet(input_channels, width, blocks)
        self.embed = nn.Conv2d(16 * width, hidden, 1)
        grid = [edge // REDUCTION for edge in patch]
        self.position = nn.Parameter(torch.zeros(1, math.prod(grid), hidden))
        self.layers = nn.Sequential(*(TransformerLayer(hidden, heads, 4 * hidden) for _ in range(layers)))
        self.after = nn.LayerNorm(hidden, eps=1e-6)
        self.widen = conv_block(2, hidden, 8 * width, "batch")
        skips, widths = (8 * width, 4 * width, width, 0), (4 * width, 2 * width, width, max(1, width // 4))
        inputs, ups = 8 * width, []
        for skip, outputs in zip(skips, widths, strict=True):
            ups.append(
                nn.Sequential(
                    conv_block(2, inputs + skip, outputs, "batch"),
                    conv_block(2, outputs, outputs, "batch"),
                )
            )
            inputs = outputs
        self.ups = nn.ModuleList(ups)
        self.head = nn.Conv2d(inputs, num_classes, 3, padding=1)
        self.apply(he_weights)
        self.apply(token_weights)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, y, x) of an image (n, channels, y, x) of the patch size."""
        found = self.resnet(image)
        tokens = self.embed(found[-1])
        grid = tokens.shape[2:]
        tokens = self.after(self.layers(tokens.flatten(2).transpose(1, 2) + self.position))
        current = self.widen(tokens.transpose(1, 2).unflatten(2, (grid[0], grid[1])))
        for number, up in enumerate(self.ups):
            current = enlarge(current, [2 * n for n in current.shape[2:]])
            if number < len(found) - 1:
                current = torch.cat([current, found[-2 - number]], dim=1)
            current = up(current)
        logits: torch.Tensor = self.head(current)
        return logits


def _groups(channels: int) -> GroupNorm:
    return GroupNorm(math.gcd(32, channels), channels)
