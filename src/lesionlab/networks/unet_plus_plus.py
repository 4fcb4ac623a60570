"""U-Net++: a U-Net whose skip connections are themselves small, nested decoders.

Zhou et al. 2018 (arXiv:1807.10165). Node (i, j) is on level i; column 0 is the encoder. The heads of the
finest row all speak at full resolution, which is this network's deep supervision.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lesionlab.networks.blocks import Norm, conv, conv_block, he_weights, transposed
from lesionlab.networks.unet import Encoder, Levels, Strides, make_levels


class NestedDecoder(nn.Module):
    """All nodes right of the encoder, and a head on each node of the finest row.

    All heads exist whether or not `deep_supervision` makes them speak, so that weights fit either way.
    """

    def __init__(self, levels: Levels, num_classes: int, *, deep_supervision: bool) -> None:
        super().__init__()
        self.deep_supervision = deep_supervision
        self.columns = len(levels.features) - 1
        nodes, ups = {}, {}
        for column in range(1, self.columns + 1):
            for level in range(self.columns + 1 - column):
                ups[_name(level, column)] = transposed(
                    levels.dimensions,
                    levels.features[level + 1],
                    levels.features[level],
                    levels.strides[level + 1],
                )
                nodes[_name(level, column)] = _node(levels, level, column)
        self.nodes, self.ups = nn.ModuleDict(nodes), nn.ModuleDict(ups)
        self.heads = nn.ModuleList(
            conv(levels.dimensions, levels.features[0], num_classes, 1) for _ in range(self.columns)
        )

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor | list[torch.Tensor]:
        """Logits of the last node; with deep supervision of the whole finest row, the deepest node first."""
        rows = [[feature] for feature in features]
        for column in range(1, self.columns + 1):
            for level in range(self.columns + 1 - column):
                name = _name(level, column)
                brought = self.ups[name](rows[level + 1][column - 1])
                rows[level].append(self.nodes[name](torch.cat([*rows[level], brought], dim=1)))
        if not self.deep_supervision:
            logits: torch.Tensor = self.heads[-1](rows[0][-1])
            return logits
        return [head(node) for head, node in zip(self.heads, rows[0][1:], strict=True)][::-1]


class UNetPlusPlus(nn.Module):
    """U-Net++ in 2D and 3D, with strides from the plan and a normalisation after each convolution."""

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
        self.decoder = NestedDecoder(levels, num_classes, deep_supervision=deep_supervision)

    def forward(self, image: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Logits (n, classes, ...) of an image (n, channels, ...); see `NestedDecoder`."""
        logits: torch.Tensor | list[torch.Tensor] = self.decoder(self.encoder(image))
        return logits


def _name(level: int, column: int) -> str:
    return f"{level}_{column}"


def _node(levels: Levels, level: int, column: int) -> nn.Sequential:
    width = levels.features[level]
    return nn.Sequential(
        conv_block(levels.dimensions, width * (column + 1), width, levels.norm),
        conv_block(levels.dimensions, width, width, levels.norm),
    )
