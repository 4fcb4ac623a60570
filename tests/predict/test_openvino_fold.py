"""Upsampling is folded into the convolution after it, and the network stays the same but for rounding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dynamic_network_architectures.architectures.unet import PlainConvUNet

from lesionlab.predict.openvino import _compiled, _convert
from lesionlab.predict.openvino_fold import composed, folded
from lesionlab.predict.openvino_graph import openvino_bytes

CONVOLUTIONS = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}
NORMS = {2: torch.nn.InstanceNorm2d, 3: torch.nn.InstanceNorm3d}


def u_net(strides, kernels=3, bias=True, norm=True):
    torch.manual_seed(0)
    axes = len(strides[-1])
    network = PlainConvUNet(
        1, 3, [4, 8, 16], CONVOLUTIONS[axes], kernels, strides, 1, 2, 1, conv_bias=bias,
        norm_op=NORMS[axes] if norm else None, norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU, nonlin_kwargs={"inplace": True},
    )  # fmt: skip
    for name, values in network.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(values)
    return network.eval()


class Decoder(torch.nn.Module):
    """One step of a decoder, whose parts may be such that they cannot be folded."""

    def __init__(self, up, last, join=torch.cat):
        super().__init__()
        torch.manual_seed(1)
        self.down, self.up, self.last, self.join = torch.nn.Conv3d(1, 8, 2, stride=2), up, last, join

    def forward(self, x):
        upsampled = self.up(torch.relu(self.down(x)))
        return self.last(self.join([upsampled, x.expand(-1, 4, -1, -1, -1)], 1))


def kinds(model):
    return [node.get_type_name() for node in model.get_ordered_ops()]


def answers(model, shape):
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return _compiled(model, "f32").infer([values])[0].copy()


@pytest.mark.parametrize(
    "network, shape",
    [
        (u_net([(1, 1, 1), (2, 2, 2), (2, 2, 2)]), (1, 1, 12, 16, 8)),
        (u_net([(1, 1, 1), (2, 2, 2), (2, 2, 2)], norm=False), (1, 1, 8, 4, 8)),
        (u_net([(1, 1, 1), (1, 2, 2), (2, 2, 2)], [(1, 3, 3), (3, 3, 3), (3, 3, 3)]), (1, 1, 6, 16, 8)),
        (u_net([(1, 1, 1), (2, 2, 2), (2, 2, 2)], bias=False), (1, 1, 8, 8, 8)),
        (u_net([(1, 1), (2, 2), (2, 2)]), (1, 1, 20, 12)),
    ],
    ids=["cubes", "edges that no norm hides", "thick slices", "no bias", "slices"],
)
def test_a_folded_network_answers_the_same_from_less(network, shape):
    plain = _convert(network, shape)
    found = folded(plain)
    assert kinds(found).count("ConvolutionBackpropData") == 2
    # of features none is joined but the small ones to a channel of ones
    joined = [node for node in found.get_ordered_ops() if node.get_type_name() == "Concat"]
    assert not any(node.get_output_shape(0)[1] == 8 for node in joined if len(node.get_output_shape(0)) > 2)
    expected, got = answers(plain, shape), answers(found, shape)
    with torch.inference_mode():
        values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        in_torch = network(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(got, expected, atol=2e-5 * np.abs(expected).max(), rtol=0)
    np.testing.assert_allclose(got, in_torch, atol=2e-5 * np.abs(in_torch).max(), rtol=0)
    assert openvino_bytes(found) < openvino_bytes(plain)


@pytest.mark.parametrize(
    "up, last",
    [
        (torch.nn.Upsample(scale_factor=2), torch.nn.Conv3d(12, 4, 3, padding=1)),
        (torch.nn.ConvTranspose3d(8, 8, 4, stride=2, padding=1), torch.nn.Conv3d(12, 4, 3, padding=1)),
        (torch.nn.ConvTranspose3d(8, 8, 2, stride=2), torch.nn.Conv3d(12, 4, 3, stride=2, padding=1)),
        (torch.nn.ConvTranspose3d(8, 8, 2, stride=2), torch.nn.Conv3d(12, 4, 3, padding=2, dilation=2)),
        (torch.nn.ConvTranspose3d(8, 8, 2, stride=2), torch.nn.Conv3d(12, 4, 3, padding=0)),
        (torch.nn.ConvTranspose3d(8, 8, 2, stride=2), torch.nn.Conv3d(12, 4, 3, padding=1, groups=4)),
        (torch.nn.ConvTranspose3d(8, 1, 2, stride=2), torch.nn.Conv3d(5, 8, 3, padding=1)),
        (torch.nn.Sequential(torch.nn.ConvTranspose3d(8, 8, 2, stride=2), torch.nn.ReLU()),
         torch.nn.Conv3d(12, 4, 3, padding=1)),
    ],
    ids=["no weights", "overlapping", "steps", "dilated", "unpadded", "groups", "dearer", "bent"],
)  # fmt: skip
def test_what_cannot_be_folded_or_does_not_pay_stays(up, last):
    plain = _convert(Decoder(up, last).eval(), (1, 1, 8, 8, 8))
    assert folded(plain) is plain


def test_a_composed_kernel_is_one_step_for_two():
    torch.manual_seed(2)
    up = torch.nn.ConvTranspose3d(3, 5, (1, 2, 3), stride=(1, 2, 3), bias=False)
    after = torch.nn.Conv3d(5, 4, (3, 1, 5), padding=(1, 0, 2), bias=False)
    kernel = torch.from_numpy(composed(up.weight.detach().numpy(), after.weight.detach().numpy()))
    assert kernel.shape == (3, 4, 3, 2, 7)
    values = torch.randn(1, 3, 4, 5, 6)
    with torch.inference_mode():
        once = torch.nn.functional.conv_transpose3d(values, kernel, stride=(1, 2, 3), padding=(1, 0, 2))
        torch.testing.assert_close(once, after(up(values)), atol=1e-5, rtol=0)
