"""UNeXt: three convolutional stages and two of shifted, tokenised perceptrons, in 2D.

Valanarasu and Patel 2022 (arXiv:2203.04967). A perceptron mixes channels only; it sees its neighbours because
fifths of the channels are shifted by -2 to 2 pixels, along one axis before it and along the other within.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from lesionlab.networks.blocks import enlarge, he_weights, token_weights

REACH = 2
"""Largest shift in pixels, so that there are 2 x REACH + 1 groups of channels."""
WIDTHS = (1, 2, 8, 10, 16)
"""Features of the five stages, in those of the first; the paper's are 16, 32, 128, 160, 256."""


class ShiftedPerceptron(nn.Module):
    """Shift along y, linear, depth-wise convolution, GELU, shift along x, linear; added to its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """The image (n, c, y, x), changed."""
        tokens = _as_image(self.norm(_as_tokens(image)))
        hidden = _as_image(self.first(_as_tokens(shift(tokens, 2))))
        hidden = functional.gelu(self.near(hidden))
        return image + _as_image(self.second(_as_tokens(shift(hidden, 3))))


class UNeXt(nn.Module):
    """UNeXt; `features` are those of its first stage. Edges must be multiples of 32."""

    def __init__(
        self, input_channels: int, num_classes: int, *, deep_supervision: bool = False, features: int = 16
    ) -> None:
        super().__init__()
        one, two, three, four, five = (w * features for w in WIDTHS)
        self.convs = nn.ModuleList([_stage(input_channels, one), _stage(one, two), _stage(two, three)])
        self.embed4, self.embed5 = _Embed(three, four), _Embed(four, five)
        self.mix4, self.mix5 = ShiftedPerceptron(four), ShiftedPerceptron(five)
        self.after4, self.after5 = nn.LayerNorm(four), nn.LayerNorm(five)
        self.back = nn.ModuleList(
            [_stage(five, four), _stage(four, three), _stage(three, two), _stage(two, one)]
        )
        self.back_mix = nn.ModuleList([ShiftedPerceptron(four), ShiftedPerceptron(three)])
        self.back_after = nn.ModuleList([nn.LayerNorm(four), nn.LayerNorm(three)])
        self.last = nn.Conv2d(one, one, 3, padding=1)
        self.head = nn.Conv2d(one, num_classes, 1)
        self.apply(he_weights)
        self.apply(token_weights)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, y, x) of an image (n, channels, y, x)."""
        found, current = [], image
        for stage in self.convs:
            current = torch.relu(functional.max_pool2d(stage(current), 2))
            found.append(current)
        current = _normed(self.after4, self.mix4(self.embed4(current)))
        found.append(current)
        current = _normed(self.after5, self.mix5(self.embed5(current)))
        for number, stage in enumerate(self.back):
            skip = found[3 - number]
            current = torch.relu(enlarge(stage(current), skip.shape[2:])) + skip
            if number < len(self.back_mix):
                current = _normed(self.back_after[number], self.back_mix[number](current))
        current = torch.relu(enlarge(self.last(current), image.shape[2:]))
        logits: torch.Tensor = self.head(current)
        return logits


class _Embed(nn.Module):
    """Overlapping patches of half the resolution as tokens."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return _normed(self.norm, self.conv(image))


def shift(image: torch.Tensor, axis: int) -> torch.Tensor:
    """Groups of channels of (n, c, y, x) moved by -2 to 2 pixels along axis 2 or 3, zeros coming in."""
    room = [REACH, REACH, 0, 0] if axis == 3 else [0, 0, REACH, REACH]
    size = image.shape[axis]
    groups = functional.pad(image, room).chunk(2 * REACH + 1, dim=1)
    moved = [group.narrow(axis, 2 * REACH - number, size) for number, group in enumerate(groups)]
    return torch.cat(moved, dim=1)


def _stage(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))


def _normed(layer: nn.Module, image: torch.Tensor) -> torch.Tensor:
    return _as_image(layer(_as_tokens(image)))


def _as_tokens(image: torch.Tensor) -> torch.Tensor:
    """Channels last (n, y, x, c)."""
    return image.movedim(1, -1)


def _as_image(tokens: torch.Tensor) -> torch.Tensor:
    return tokens.movedim(-1, 1)
