"""An OpenVINO model as a graph: how much its activations take, and the same network with less of them.

In a U-Net most is taken where features kept from the encoder meet upsampled ones: both, and their
concatenation, live at once. A convolution of a concatenation is the sum of the convolutions of its parts, and
OpenVINO adds onto one part's result while it computes the other's. `in_parts` rewrites a model so where that
takes less. Reading, converting and running models is in `openvino.py`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

WORTH_IT = 1 << 26
"""Elements (0.27 GB in fp32) that may live at once before a model is rewritten, which takes 0.07 seconds."""
TIE_SHARE = 8
"""An activation is made to wait only where it is so many times smaller than what it waits for."""
IN_PLACE = frozenset(("Add", "Subtract", "Multiply", "Divide", "PRelu", "Relu", "Sigmoid", "Elu", "Clamp"))
"""Operations that OpenVINO computes where their input lies, or with what computes their input."""


def openvino_bytes(model: Any, element_bytes: int = 4) -> int:
    """Bytes of activations that live at once in a model, each element taking so many.

    Each operation's results live until the last operation that reads them, as `live.torch_bytes` counts.
    OpenVINO takes 1.0 to 1.3 times as much (five kinds of U-Net), because it lays them out with holes.
    """
    return _followed(model)[0] * element_bytes


def in_parts(model: Any, least: int = WORTH_IT) -> Any:
    """The model, or a rewritten copy that gives the same but for rounding and takes less memory.

    Where the most lives at once as channels are concatenated for a convolution, each part has a convolution
    of its own, and their results are added. A model in which never more than `least` elements live at once,
    and what no such rewriting makes smaller, is returned as it is.
    """
    elements, place = _followed(model)
    while elements > least:
        copies = (_copy_in_parts(model, place, early) for early in (True, False))
        better = next((copy for copy in copies if copy is not None and _followed(copy)[0] < elements), None)
        if better is None:
            break
        model = better
        elements, place = _followed(model)
    return model


def _followed(model: Any) -> tuple[int, int]:
    """The most elements that live at once, and which of the ordered operations has its results made then."""
    sizes: dict[str, int] = {}
    readers: dict[str, int] = {}
    now = peak = place = 0
    for index, node in enumerate(model.get_ordered_ops()):
        if node.get_type_name() == "Constant":
            continue
        name = node.get_name()
        size = sum(math.prod(out.get_shape()) for out in node.outputs())
        sources = [_source(given).get_name() for given in node.inputs()]
        for source in sources:
            if source in readers:
                readers[source] -= 1
        last = {source for source in sources if readers.get(source) == 0}
        reused = node.get_type_name() in IN_PLACE and any(sizes[source] == size for source in last)
        peer = _summand(node)
        # what is added onto another's result takes none, and the sum lies where that result was
        sizes[name] = 0 if readers.get(peer) == 1 and sizes[peer] == size else size
        readers[name] = sum(len(out.get_target_inputs()) for out in node.outputs())
        taken = 0 if reused else sizes[name]
        if now + taken > peak:
            peak, place = now + taken, index
        now += sizes[name] - sum(sizes[source] for source in last)
    return peak, place


def _summand(node: Any) -> str:
    """The name of what a convolution's result is added to and to nothing else is done with it, else ''."""
    readers = list(node.output(0).get_target_inputs()) if node.get_type_name() == "Convolution" else []
    if len(readers) != 1 or readers[0].get_node().get_type_name() != "Add":
        return ""
    name: str = _source(readers[0].get_node().input(1 - readers[0].get_index())).get_name()
    return name


def _source(given: Any) -> Any:
    return given.get_source_output().get_node()


def _copy_in_parts(model: Any, place: int, early: bool) -> Any | None:
    """A copy of the model without the concatenation at `place`, None where that cannot be taken apart.

    With `early` the parts that are there first are convolved as soon as they are there, so that they need
    not be kept.
    """
    if model.get_ordered_ops()[place].get_type_name() != "Concat":
        return None
    copy = model.clone()
    nodes = copy.get_ordered_ops()
    concatenation = nodes[place]
    convolution = _convolution(concatenation)
    if convolution is None:
        return None
    order = {node.get_name(): index for index, node in enumerate(nodes)}
    parts = _parts(concatenation, convolution)
    *first, last = sorted(parts, key=lambda part: order[_source(part.input(0)).get_name()])
    total = _total(first, last)
    readers = convolution.output(0).get_target_inputs()
    for reader in readers:
        reader.replace_source_output(total.output(0))
    if early and not _tie(copy, _source(total.input(1)), _source(last.input(0))):
        return None
    copy.validate_nodes_and_infer_types()
    return copy


def _convolution(node: Any) -> Any | None:
    """The convolution that alone reads a concatenation of channels, None where it is not so."""
    if node.get_type_name() != "Concat" or len(node.inputs()) < 2:
        return None
    readers = list(node.output(0).get_target_inputs())
    if len(readers) != 1 or readers[0].get_index() != 0:
        return None
    convolution, rank = readers[0].get_node(), len(node.get_output_shape(0))
    fits = (
        convolution.get_type_name() == "Convolution"
        and _source(convolution.input(1)).get_type_name() == "Constant"
        and node.get_attributes()["axis"] % rank == 1
    )
    return convolution if fits else None


def _parts(concatenation: Any, convolution: Any) -> list[Any]:
    """A convolution for each part of a concatenation, with its channels' share of the weights."""
    from openvino import opset8

    weights, how = _source(convolution.input(1)).get_data(), convolution.get_attributes()
    parts, start = [], 0
    for given in concatenation.inputs():
        channels = given.get_source_output().get_shape()[1]
        share = opset8.constant(np.ascontiguousarray(weights[:, start : start + channels]))
        padding = (how["pads_begin"], how["pads_end"])
        part = opset8.convolution(
            given.get_source_output(),
            share,
            how["strides"],
            *padding,
            how["dilations"],
            how["auto_pad"].lower(),
        )
        parts.append(part)
        start += channels
    return parts


def _total(first: list[Any], last: Any) -> Any:
    """The sum of all parts. Of two summands OpenVINO computes the left one second, onto the right one."""
    from openvino import opset8

    before = first[0]
    for part in first[1:]:
        before = opset8.add(part, before)
    return opset8.add(last, before)


def _tie(model: Any, result: Any, last: Any) -> bool:
    """Have `result` computed before `last`; False where nothing on the way to `last` can be made to wait.

    OpenVINO goes back from the outputs and computes what it meets first, whatever has to be kept for the
    rest meanwhile. So the smallest activation on the way to `last` is made to depend on `result`: a zero is
    added to it that is made of one of the result's elements (min(|x|, 0)).
    """
    from openvino import opset8

    done, way = _behind(result), _behind(last)
    rank = len(result.get_output_shape(0))
    smallest, least = None, math.prod(result.get_output_shape(0)) // TIE_SHARE
    moving: set[str] = set()
    for node in model.get_ordered_ops():
        kind, name = node.get_type_name(), node.get_name()
        follows = any(_source(given).get_name() in moving for given in node.inputs())
        # what only depends on shapes is a constant once the model is compiled
        if kind != "Parameter" and (kind == "ShapeOf" or not follows):
            continue
        moving.add(name)
        fits = name in way and name not in done and len(node.outputs()) == 1
        if not fits or len(node.get_output_shape(0)) != rank:
            continue
        size = math.prod(node.get_output_shape(0))
        if size <= least and node.get_output_element_type(0) == result.get_output_element_type(0):
            smallest, least = node, size
    if smallest is None:
        return False
    readers = smallest.output(0).get_target_inputs()
    ones, zeros = np.ones(rank, np.int64), np.zeros(rank, np.int64)
    one = opset8.slice(result, zeros, ones, ones)
    zero = opset8.minimum(opset8.abs(one), np.zeros((1,) * rank, np.float32))
    waiting = opset8.add(smallest, zero)
    for reader in readers:
        reader.replace_source_output(waiting.output(0))
    return True


def _behind(node: Any) -> set[str]:
    """The names of a node and of all that it depends on."""
    names: set[str] = set()
    ahead = [node]
    while ahead:
        one = ahead.pop()
        if one.get_name() not in names:
            names.add(one.get_name())
            ahead += [_source(given) for given in one.inputs()]
    return names
