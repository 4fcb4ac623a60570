"""Upsampling folded into the convolution that follows it: the same network with less arithmetic.

A decoder doubles its features with a transposed convolution, joins them to those of the encoder and convolves
both. Two linear steps are one: of what is upsampled, transposed convolution and convolution together are a
transposed convolution with a larger kernel, whose results are computed from the small grid at once. With
kernels of 2 and then 3 voxels that takes 2 x 2 x 2 multiplications for each voxel and pair of channels where
3 x 3 x 3 are taken otherwise, and neither the upsampled features nor the joined ones lie in memory. Sums add
up in another order, so results differ by float32's rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Upsampled:
    """A transposed convolution that a convolution reads in its channels from `start`.

    `given` is what it upsamples; `weights` (channels in, out, kernel); `bias` None where it has none.
    """

    given: Any
    weights: NDArray[np.float32]
    bias: NDArray[np.float32] | None
    start: int


def folded(model: Any) -> Any:
    """A copy of an OpenVINO model in which upsampling is folded, or the model where there is none to fold.

    Folded is a transposed convolution whose kernel is its stride, which a plain convolution alone reads
    beside other channels, where fewer multiplications remain.
    """
    places = [place for place, node in enumerate(model.get_ordered_ops()) if _found(node) is not None]
    if not places:
        return model
    copy = model.clone()
    nodes = copy.get_ordered_ops()
    for place in places:
        _fold(nodes[place])
    copy.validate_nodes_and_infer_types()
    return copy


def _found(concatenation: Any) -> tuple[Any, _Upsampled] | None:
    """The convolution that reads a concatenation, and the part to fold; None where it does not fit."""
    readers = _readers(concatenation)
    if concatenation.get_type_name() != "Concat" or len(readers) != 1:
        return None
    convolution, rank = readers[0], len(concatenation.get_output_shape(0))
    if not _plain(convolution) or concatenation.get_attributes()["axis"] % rank != 1:
        return None
    weights, start = _data(convolution.input(1)), 0
    for given in concatenation.inputs():
        part = _upsampled(_source(given), start)
        if part is not None and _pays(part, weights):
            return convolution, part
        start += given.get_source_output().get_shape()[1]
    return None


def _plain(node: Any) -> bool:
    """Whether this is a convolution with stated weights that keeps the size of what it convolves."""
    if node.get_type_name() != "Convolution" or _source(node.input(1)).get_type_name() != "Constant":
        return False
    how = node.get_attributes()
    half = [size // 2 for size in node.get_input_shape(1)[2:]]
    steps = [*how["strides"], *how["dilations"]]
    padded: bool = how["auto_pad"] == "explicit" and how["pads_begin"] == how["pads_end"] == half
    odd = all(size % 2 for size in node.get_input_shape(1)[2:])
    return padded and set(steps) == {1} and odd


def _upsampled(node: Any, start: int) -> _Upsampled | None:
    """A transposed convolution and its bias, None where the node is something else."""
    bias = None
    if node.get_type_name() == "Add":
        bias = _channels(_source(node.input(1)))
        if bias is None or len(_readers(node)) != 1:
            return None
        node = _source(node.input(0))
    if node.get_type_name() != "ConvolutionBackpropData" or len(node.inputs()) != 2:
        return None
    how, shape = node.get_attributes(), node.get_input_shape(1)
    moved = [*how["pads_begin"], *how["pads_end"], *how["output_padding"], *(n - 1 for n in how["dilations"])]
    fits = (
        _source(node.input(1)).get_type_name() == "Constant"
        and how["auto_pad"] == "explicit"
        and list(how["strides"]) == list(shape[2:])
        and not any(moved)
        and len(_readers(node)) == 1
    )
    return _Upsampled(node.input(0).get_source_output(), _data(node.input(1)), bias, start) if fits else None


def _channels(node: Any) -> NDArray[np.float32] | None:
    """One number a channel, from a constant that is added along the other axes; None for anything else."""
    shape = list(node.get_output_shape(0))
    node = _source(node.input(0)) if node.get_type_name() == "Reshape" else node
    if node.get_type_name() != "Constant" or len(shape) < 2 or math.prod(shape) != shape[1]:
        return None
    values: NDArray[np.float32] = np.array(node.get_data(), dtype=np.float32).ravel()
    return values


def _pays(part: _Upsampled, weights: NDArray[np.float32]) -> bool:
    """Whether fewer multiplications remain for each voxel of the large grid."""
    entering, between, *steps = part.weights.shape
    leaving, _, *sizes = weights.shape
    before: float = between * leaving * math.prod(sizes) + entering * between
    taps = math.prod((step + size - 1) / step for step, size in zip(steps, sizes, strict=True))
    after: float = (entering + (part.bias is not None)) * leaving * taps
    return after < before


def _fold(concatenation: Any) -> None:
    """Put a larger transposed convolution and convolutions of the other parts in place of a convolution."""
    from openvino import op, opset8

    found = _found(concatenation)
    if found is None:
        raise ValueError("found another graph than was looked at; needed the same")
    convolution, part = found
    weights, how = _data(convolution.input(1)), convolution.get_attributes()
    given, kernel = part.given, part.weights
    if part.bias is not None:
        # beyond the edges there is no bias: it comes from a channel of ones, which ends there too
        size = [1, 1, *given.get_shape()[2:]]
        given = opset8.concat([given, op.Constant(np.ones(size, np.float32))], 1)
        spread = np.broadcast_to(part.bias.reshape(-1, *[1] * (kernel.ndim - 2)), kernel.shape[1:])
        kernel = np.concatenate([kernel, spread[None]])
    own = slice(part.start, part.start + kernel.shape[1])
    total = opset8.convolution_backprop_data(
        given,
        op.Constant(composed(kernel, weights[:, own])),
        strides=list(kernel.shape[2:]),
        pads_begin=how["pads_begin"],
        pads_end=how["pads_end"],
        dilations=how["dilations"],
    )
    start = 0
    for other in (entry.get_source_output() for entry in concatenation.inputs()):
        channels = other.get_shape()[1]
        if start != part.start:
            share = op.Constant(np.ascontiguousarray(weights[:, start : start + channels]))
            steps = how["strides"], how["pads_begin"], how["pads_end"], how["dilations"]
            # OpenVINO adds what it convolves onto the summand on the right
            total = opset8.add(opset8.convolution(other, share, *steps), total)
        start += channels
    for reader in convolution.output(0).get_target_inputs():
        reader.replace_source_output(total.output(0))


def composed(upsampling: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The kernel of a transposed convolution that does what one and then a convolution do.

    `upsampling` (channels in, channels between, steps) has its steps for strides; `weights` (channels out,
    channels between, sizes). The result is (channels in, channels out, steps + sizes - 1), for the same
    strides and the convolution's padding.
    """
    steps, sizes = upsampling.shape[2:], weights.shape[2:]
    axes = tuple(range(len(steps)))
    # channels last, so that each pair of voxels is one matrix product
    first = np.ascontiguousarray(np.moveaxis(upsampling, (0, 1), (-2, -1)))
    second = np.ascontiguousarray(np.flip(np.moveaxis(weights, (1, 0), (-2, -1)), axes))
    whole = [step + size - 1 for step, size in zip(steps, sizes, strict=True)]
    kernel = np.zeros((*whole, first.shape[-2], second.shape[-1]), np.float32)
    for place in np.ndindex(*steps):
        there = tuple(slice(at, at + size) for at, size in zip(place, sizes, strict=True))
        kernel[there] += first[place] @ second
    return np.ascontiguousarray(np.moveaxis(kernel, (-2, -1), (0, 1)))


def _readers(node: Any) -> list[Any]:
    """What reads a node's only result, apart from those that look at its shape alone."""
    if len(node.outputs()) != 1:
        return []
    nodes = [given.get_node() for given in node.output(0).get_target_inputs()]
    return [reader for reader in nodes if reader.get_type_name() != "ShapeOf"]


def _source(given: Any) -> Any:
    return given.get_source_output().get_node()


def _data(given: Any) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = _source(given).get_data()
    return weights
