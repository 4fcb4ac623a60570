"""Networks that MONAI has: UNETR, Swin UNETR and a U-Net with an EfficientNet encoder.

Thin classes, so that they are built and called like all others. MONAI takes seconds to import and is imported
when one of them is built. No weights are downloaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

EFFICIENTNET_ENDS = ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc")
"""Parts of an EfficientNet that only classify."""


class _Wrapped(nn.Module):
    """A network that needs nothing but to be called."""

    network: Any

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, ...) of an image (n, channels, ...)."""
        logits: torch.Tensor = self.network(image)
        return logits


class UNETR(_Wrapped):
    """UNETR: Hatamizadeh et al. 2022 (arXiv:2103.10504), a vision transformer with a convolutional decoder.

    For one `patch` size, whose edges are multiples of 16. Always twelve layers; `features` (16 in the paper)
    are those of the decoder's finest level, `hidden` (768) those of a token.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        patch: Sequence[int],
        features: int = 16,
        hidden: int = 768,
        heads: int = 12,
    ) -> None:
        from monai.networks.nets.unetr import UNETR as MonaiUNETR

        super().__init__()
        self.network = MonaiUNETR(
            in_channels=input_channels,
            out_channels=num_classes,
            img_size=tuple(patch),
            feature_size=features,
            hidden_size=hidden,
            mlp_dim=4 * hidden,
            num_heads=heads,
            spatial_dims=len(patch),
        )
        # MONAI's layers carry a normalisation for an attention across two inputs, which this network has not
        for layer in self.network.vit.blocks:
            layer.norm_cross_attn = nn.Identity()


class SwinUNETR(_Wrapped):
    """Swin UNETR: Hatamizadeh et al. 2022 (arXiv:2201.01266), attention within shifted windows.

    Edges must be multiples of 32 and `features` (48 in the paper) of 12.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        deep_supervision: bool = False,
        dimensions: int,
        features: int = 48,
    ) -> None:
        from monai.networks.nets.swin_unetr import SwinUNETR as MonaiSwinUNETR

        super().__init__()
        self.network = MonaiSwinUNETR(
            in_channels=input_channels,
            out_channels=num_classes,
            feature_size=features,
            spatial_dims=dimensions,
        )


class EfficientNetUNet(_Wrapped):
    """A U-Net whose encoder is EfficientNet-B0: Tan and Le 2019 (arXiv:1905.11946), in 2D.

    `features` are those of the decoder's finest level. Edges must be multiples of 32.
    """

    def __init__(
        self, input_channels: int, num_classes: int, *, deep_supervision: bool = False, features: int = 16
    ) -> None:
        from monai.networks.nets.flexible_unet import FlexibleUNet

        super().__init__()
        self.network = FlexibleUNet(
            in_channels=input_channels,
            out_channels=num_classes,
            backbone="efficientnet-b0",
            pretrained=False,
            decoder_channels=tuple(features * 2**level for level in range(4, -1, -1)),
            spatial_dims=2,
            is_pad=False,
        )
        # the memory-saving activation hides from tracing and compiling
        self.network.encoder.set_swish(memory_efficient=False)
        for part in EFFICIENTNET_ENDS:
            setattr(self.network.encoder, part, nn.Identity())
