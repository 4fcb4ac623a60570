"""Plans of nnU-Net's own two networks, as its planners write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

CLASSES = {
    "plain": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "residual": "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet",
}


def nnunet_plan(
    name: str, strides: Sequence[Sequence[int]], features: Sequence[int], blocks: Sequence[int]
) -> dict[str, Any]:
    """The architecture `plain` or `residual`; `blocks` are its convolutions or residual blocks a level.

    On the way up `plain` has two convolutions a level and `residual` one, as their planners have it.
    """
    dimensions, levels = len(strides[0]), len(features)
    return {
        "network_class_name": CLASSES[name],
        "arch_kwargs": {
            "n_stages": levels,
            "features_per_stage": list(features),
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": [[3] * dimensions] * levels,
            "strides": [list(stride) for stride in strides],
            "n_conv_per_stage" if name == "plain" else "n_blocks_per_stage": list(blocks),
            "n_conv_per_stage_decoder": [2 if name == "plain" else 1] * (levels - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
