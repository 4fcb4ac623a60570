"""The U-Net and, with gates on its skip connections, the Attention U-Net, in 2D and 3D.

Strides come from the plan, so that thick slices are not pooled across. Both depart from their papers in two
ways: convolutions are padded, and every convolution is normalised (`norm`, by default per image).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lesionlab.networks.blocks import (
    MAX_POOL,
    Norm,
    conv,
    conv_block,
    down,
    enlarge,
    he_weights,
    norm,
    transposed,
)

Strides = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Levels:
    """The resolutions of a U, finest first: features, the stride that leads to each, the normalisation."""

    features: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    norm: Norm = "instance"
    narrow_first: bool = False
    """As in the 3D U-Net: the first convolution of a level has half its features, and upsampling keeps the
    coarser level's. Otherwise as in the U-Net: both are equal, and upsampling brings the finer level's."""

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return len(self.strides[0])


def make_levels(
    strides: Strides, features: Sequence[int], kind: Norm = "instance", *, narrow_first: bool = False
) -> Levels:
    """Levels from the lists of a plan."""
    return Levels(tuple(features), tuple(tuple(s) for s in strides), kind, narrow_first)


class Encoder(nn.Module):
    """Two convolutions a level, max-pooling between; gives the features of all levels, finest first."""

    def __init__(self, input_channels: int, levels: Levels) -> None:
        super().__init__()
        stages, channels = [], input_channels
        for width in levels.features:
            middle = max(1, width // 2) if levels.narrow_first else width
            stages.append(_two(levels, channels, middle, width))
            channels = width
        self.stages = nn.ModuleList(stages)
        self.pools = nn.ModuleList(MAX_POOL[levels.dimensions](stride) for stride in levels.strides[1:])

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features (n, features[i], ...) of every level."""
        found = [self.stages[0](image)]
        for pool, stage in zip(self.pools, self.stages[1:], strict=True):
            found.append(stage(pool(found[-1])))
        return found


class Decoder(nn.Module):
    """From the features of all levels to logits, a head on each level.

    All heads exist whether or not `deep_supervision` makes them speak, so that weights fit either way.
    """

    def __init__(self, levels: Levels, num_classes: int, *, deep_supervision: bool, gated: bool = False):
        super().__init__()
        self.deep_supervision = deep_supervision
        ups, convs, heads, gates = [], [], [], []
        widths, dimensions = levels.features, levels.dimensions
        for level in range(len(widths) - 2, -1, -1):
            width, coarser, stride = widths[level], widths[level + 1], levels.strides[level + 1]
            brought = coarser if levels.narrow_first or gated else width
            ups.append(_Enlarge(stride) if gated else transposed(dimensions, coarser, brought, stride))
            convs.append(_two(levels, brought + width, width, width))
            heads.append(conv(dimensions, width, num_classes, 1))
            # the paper leaves the finest skip connection without a gate: its features are too plain
            gates.append(Gate(levels, level) if gated and level > 0 else None)
        self.ups, self.convs, self.heads = map(nn.ModuleList, (ups, convs, heads))
        self.gates = nn.ModuleList(gate if gate is not None else _Open() for gate in gates)
        self.signal = (
            conv_block(dimensions, widths[-1], widths[-1], levels.norm, 1) if gated else nn.Identity()
        )

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Logits on the finest grid; with deep supervision those of every level, finest first."""
        current, logits = features[-1], []
        signal = self.signal(current)
        last = len(self.ups) - 1
        for number, skip in enumerate(reversed(features[:-1])):
            skip = self.gates[number](skip, signal)
            current = self.convs[number](torch.cat([skip, self.ups[number](current)], dim=1))
            signal = current
            if self.deep_supervision or number == last:
                logits.append(self.heads[number](current))
        return logits[::-1] if self.deep_supervision else logits[0]


class Gate(nn.Module):
    """An additive attention gate: where the coarser level finds nothing, its skip connection is closed.

    Oktay et al. 2018 (arXiv:1804.03999), section 3: skip and signal meet on the signal's grid.
    """

    def __init__(self, levels: Levels, level: int) -> None:
        super().__init__()
        dimensions, width = levels.dimensions, levels.features[level]
        self.look = down(dimensions, width, width, levels.strides[level + 1], bias=False)
        self.listen = conv(dimensions, levels.features[level + 1], width, 1)
        self.decide = conv(dimensions, width, 1, 1)
        self.passed = nn.Sequential(
            conv(dimensions, width, width, 1, bias=levels.norm == "none"),
            norm(levels.norm, dimensions, width),
        )

    def forward(self, skip: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        """The skip features (n, c, ...), each place multiplied by its attention in [0, 1]."""
        attention = torch.sigmoid(self.decide(torch.relu(self.look(skip) + self.listen(signal))))
        passed: torch.Tensor = self.passed(skip * enlarge(attention, skip.shape[2:]))
        return passed


class UNet(nn.Module):
    """U-Net: Ronneberger et al. 2015 (arXiv:1505.04597).

    With `narrow_first` the 3D U-Net: Cicek et al. 2016 (arXiv:1606.06650).
    """

    initialize = staticmethod(he_weights)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        strides: Strides,
        features: Sequence[int],
        norm: Norm = "instance",
        narrow_first: bool = False,
    ) -> None:
        super().__init__()
        levels = make_levels(strides, features, norm, narrow_first=narrow_first)
        self.encoder = Encoder(input_channels, levels)
        self.decoder = Decoder(levels, num_classes, deep_supervision=deep_supervision)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (n, classes, ...) of an image (n, channels, ...); see `Decoder` for deep supervision."""
        logits: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(image))
        return logits


class AttentionUNet(nn.Module):
    """Attention U-Net: Oktay et al. 2018 (arXiv:1804.03999)."""

    initialize = staticmethod(he_weights)

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        strides: Strides,
        features: Sequence[int],
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        levels = make_levels(strides, features, norm)
        self.encoder = Encoder(input_channels, levels)
        self.decoder = Decoder(levels, num_classes, deep_supervision=deep_supervision, gated=True)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (n, classes, ...) of an image (n, channels, ...); see `Decoder` for deep supervision."""
        logits: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(image))
        return logits


class _Enlarge(nn.Module):
    """Linear upsampling by a stride."""

    def __init__(self, stride: tuple[int, ...]) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return enlarge(tensor, [n * s for n, s in zip(tensor.shape[2:], self.stride, strict=True)])


class _Open(nn.Module):
    """No gate."""

    def forward(self, skip: torch.Tensor, signal: torch.Tensor) -> torch.Tensor:
        return skip


def _two(levels: Levels, inputs: int, middle: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        conv_block(levels.dimensions, inputs, middle, levels.norm),
        conv_block(levels.dimensions, middle, outputs, levels.norm),
    )
