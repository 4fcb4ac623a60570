"""V-Net: a volumetric U of residual stages with 5 x 5 x 5 convolutions and strided ones between them.

Milletari et al. 2016 (arXiv:1606.04797). MONAI has one with fixed widths that refuses three input channels;
this one takes any. Added to the paper: a normalisation after each convolution, and strides from the plan.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from lesionlab.networks.blocks import Norm, conv, down, he_weights, norm, transposed
from lesionlab.networks.unet import Strides

KERNEL = 5


class Residual(nn.Module):
    """Convolutions whose result is added to what came in, then activated."""

    def __init__(self, dimensions: int, inputs: int, outputs: int, convs: int, kind: Norm) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        for number in range(convs):
            steps.append(conv(dimensions, inputs if number == 0 else outputs, outputs, KERNEL, bias=False))
            steps.append(norm(kind, dimensions, outputs))
            if number < convs - 1:
                steps.append(nn.PReLU(outputs))
        self.steps = nn.Sequential(*steps)
        self.act = nn.PReLU(outputs)

    def forward(self, tensor: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """`tensor` through the convolutions, plus `kept`."""
        result: torch.Tensor = self.act(self.steps(tensor) + kept)
        return result


class VNet(nn.Module):
    """V-Net in 2D and 3D; `convs` on the way down (one number a level) and `up_convs` on the way up.

    None = as in the paper: one in the finest level, two in the next, three below, and the same on the way up.
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
        convs: Sequence[int] | None = None,
        up_convs: Sequence[int] | None = None,
        norm: Norm = "instance",
    ) -> None:
        super().__init__()
        dimensions = len(strides[0])
        convs = convs or [min(level + 1, 3) for level in range(len(features))]
        up_convs = up_convs or list(convs[-2::-1])
        self.first = Residual(dimensions, input_channels, features[0], convs[0], norm)
        self.downs, self.stages = nn.ModuleList(), nn.ModuleList()
        for level in range(1, len(features)):
            coarse, fine, stride = features[level], features[level - 1], strides[level]
            self.downs.append(
                _Step(down(dimensions, fine, coarse, stride, bias=False), coarse, norm, dimensions)
            )
            self.stages.append(Residual(dimensions, coarse, coarse, convs[level], norm))
        self.ups, self.joins = nn.ModuleList(), nn.ModuleList()
        brought = features[-1]
        for level in range(len(features) - 2, -1, -1):
            fine = features[level]
            number = len(features) - 2 - level
            up = transposed(dimensions, brought, fine, strides[level + 1], bias=False)
            self.ups.append(_Step(up, fine, norm, dimensions))
            brought = 2 * fine
            self.joins.append(Residual(dimensions, brought, brought, up_convs[number], norm))
        self.head = conv(dimensions, brought, num_classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, ...) of an image (n, channels, ...)."""
        width = self.first.act.num_parameters
        repeats = -(-width // image.shape[1])
        found = [self.first(image, torch.cat([image] * repeats, dim=1)[:, :width])]
        for bring, stage in zip(self.downs, self.stages, strict=True):
            smaller = bring(found[-1])
            found.append(stage(smaller, smaller))
        current = found[-1]
        for skip, bring, join in zip(reversed(found[:-1]), self.ups, self.joins, strict=True):
            both = torch.cat([bring(current), skip], dim=1)
            current = join(both, both)
        logits: torch.Tensor = self.head(current)
        return logits


class _Step(nn.Sequential):
    """A change of resolution, normalised and activated."""

    def __init__(self, change: nn.Module, channels: int, kind: Norm, dimensions: int) -> None:
        super().__init__(change, norm(kind, dimensions, channels), nn.PReLU(channels))
