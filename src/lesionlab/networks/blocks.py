"""What several network families share: convolutions and normalisations in 2D or 3D, and their first weights.

Whole networks are in the files named after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional

Size = int | Sequence[int]
Norm = Literal["instance", "batch", "none"]

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS = {
    ("instance", 2): nn.InstanceNorm2d,
    ("instance", 3): nn.InstanceNorm3d,
    ("batch", 2): nn.BatchNorm2d,
    ("batch", 3): nn.BatchNorm3d,
}
CONVOLUTIONS: Any = (*CONV.values(), *TRANSPOSED.values())
LINEAR = {2: "bilinear", 3: "trilinear"}


def conv(
    dimensions: int, inputs: int, outputs: int, kernel: int = 3, stride: Size = 1, *, bias: bool = True
) -> nn.Module:
    """A convolution that keeps the grid, or divides it by the stride."""
    return CONV[dimensions](
        inputs, outputs, kernel, stride=_plain(stride), padding=(kernel - 1) // 2, bias=bias
    )


def transposed(dimensions: int, inputs: int, outputs: int, stride: Size, *, bias: bool = True) -> nn.Module:
    """A transposed convolution that multiplies the grid by the stride, its kernel as large as the stride."""
    return TRANSPOSED[dimensions](inputs, outputs, _plain(stride), stride=_plain(stride), bias=bias)


def down(dimensions: int, inputs: int, outputs: int, stride: Size, *, bias: bool = True) -> nn.Module:
    """A convolution that divides the grid by the stride, its kernel as large as the stride."""
    return CONV[dimensions](inputs, outputs, _plain(stride), stride=_plain(stride), bias=bias)


def norm(kind: Norm, dimensions: int, channels: int) -> nn.Module:
    """The normalisation of a kind, with learnt scale and offset; `none` is the identity."""
    if kind == "none":
        return nn.Identity()
    return NORMS[kind, dimensions](channels, affine=True)


def conv_block(dimensions: int, inputs: int, outputs: int, kind: Norm, kernel: int = 3) -> nn.Sequential:
    """Convolution, normalisation, ReLU; a bias only where no normalisation would take it away again."""
    return nn.Sequential(
        conv(dimensions, inputs, outputs, kernel, bias=kind == "none"),
        norm(kind, dimensions, outputs),
        nn.ReLU(inplace=True),
    )


class CarefulConv3d(nn.Conv3d):
    """A 3D convolution whose weights get the right gradient in bfloat16 on a CPU.

    There torch 2.13 gives wrong ones, some infinite, where the image has fewer slices than the kernel has;
    so this is done in float32.
    """

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """As a convolution."""
        thin = image.shape[2] < self.kernel_size[0] and image.device.type == "cpu"
        if not (thin and torch.is_grad_enabled() and torch.is_autocast_enabled("cpu")):
            return super().forward(image)
        with torch.autocast("cpu", enabled=False):
            return super().forward(image.float())


def make_careful(network: nn.Module) -> None:
    """Turn every 3D convolution of a network into a `CarefulConv3d`; its weights stay as they are."""
    for module in network.modules():
        if type(module) is nn.Conv3d:
            module.__class__ = CarefulConv3d


def enlarge(tensor: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Linear interpolation of (n, c, ...) to a size of its grid."""
    return functional.interpolate(tensor, size=tuple(size), mode=LINEAR[tensor.ndim - 2], align_corners=False)


def he_weights(module: nn.Module) -> None:
    """First weights of a convolution for rectified units (He et al. 2015, arXiv:1502.01852); biases zero."""
    if isinstance(module, CONVOLUTIONS):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def token_weights(module: nn.Module) -> None:
    """First weights of linear layers in transformers: normal, deviation 0.02, cut at 2; biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _plain(size: Size) -> int | tuple[int, ...]:
    return size if isinstance(size, int) else tuple(size)
