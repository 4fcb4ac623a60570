"""Winograd's convolution along one axis beside OpenVINO's own: what half the multiplications would bring.

F(4, 3) along the depth (Lavin and Gray, CVPR 2016, doi 10.1109/CVPR.2016.435) computes four outputs of a
3 x 3 x 3 convolution with 6 instead of 12 products each, as six convolutions of 1 x 3 x 3 between sums of
planes. Here these are nodes of an OpenVINO network, because nothing else computes at its rate. Planes lie in
the order 0, 4, 8, ..., 1, 5, 9, ..., so that each sum is one of whole blocks; a network would keep that order
from layer to layer. Equal answers first, then seconds of one thread.

    python benchmarks/winograd.py -o benchmarks/results

Half a minute on one core.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset8 as nodes

from lesionlab.core.files import write_text

Array = np.ndarray[Any, Any]
LAYERS = ((32, 64), (64, 64), (128, 32), (256, 16))
"""Features and edge of the layers: nnU-Net's second to fourth level at its patch; of the first an eighth."""
TOLERANCE = 2e-5
"""Largest difference that passes, as a share of the largest value."""
INPUT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
OUTPUT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def direct(features: int, edge: int, kernel: Array) -> openvino.Model:
    """The convolution as it is."""
    given = nodes.parameter([1, features, edge, edge, edge], np.float32)
    ones = [1, 1, 1]
    return openvino.Model([nodes.convolution(given, nodes.constant(kernel), ones, ones, ones, ones)], [given])


def winograd(features: int, edge: int, kernel: Array) -> openvino.Model:
    """The same on planes in the order 0, 4, 8, ..., 1, 5, 9, ..."""
    given = nodes.parameter([1, features, edge, edge, edge], np.float32)
    axis, count = nodes.constant(2), edge // 4
    blocks = nodes.split(given, axis, 4).outputs()
    empty = nodes.constant(np.zeros((1, features, 1, edge, edge), np.float32))
    rest, one = nodes.constant([count - 1, 1]), nodes.constant([1, count - 1])
    before = nodes.concat([empty, nodes.variadic_split(blocks[3], axis, rest).output(0)], 2)
    after = nodes.concat([nodes.variadic_split(blocks[0], axis, one).output(1), empty], 2)
    planes = [before, *blocks, after]
    turned = np.einsum("kd,oidhw->koihw", KERNEL, kernel.astype(np.float64)).astype(np.float32)[:, :, :, None]
    strides, around = [1, 1, 1], [0, 1, 1]
    products = [
        nodes.convolution(_sum(row, planes), nodes.constant(one), strides, around, around, strides)
        for row, one in zip(INPUT, turned, strict=True)
    ]
    return openvino.Model([nodes.concat([_sum(row, products) for row in OUTPUT], 2)], [given])


def _sum(factors: Array, terms: Sequence[Any]) -> Any:
    parts = [(f, term) for f, term in zip(factors.tolist(), terms, strict=True) if f]
    parts.sort(key=lambda part: part[0] < 0)
    total = None
    for factor, term in parts:
        size = abs(factor)
        scaled = term if size == 1 else nodes.multiply(term, nodes.constant(np.float32(size)))
        total = scaled if total is None else (nodes.add if factor > 0 else nodes.subtract)(total, scaled)
    return total


def answer(model: openvino.Model, image: Array, repeats: int) -> tuple[Array, float]:
    """The result, and the least seconds that its nodes took on one thread, those at the ends left out."""
    config = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True}
    request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()
    seconds = []
    for _ in range(repeats):
        found = next(iter(request.infer({0: image}).values()))
        # A network hands its features on as they lie; only here they are brought into order and back.
        kept = [one for one in request.profiling_info if one.node_type != "Reorder"]
        seconds.append(sum(one.real_time.total_seconds() for one in kept))
    return found, min(seconds)


def main() -> None:
    """Check, measure and write `winograd.md`."""
    parser = argparse.ArgumentParser(description="Winograd's convolution along the depth beside OpenVINO's.")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    given = parser.parse_args()
    random, rows = np.random.default_rng(0), []
    for features, edge in LAYERS:
        image = random.standard_normal((1, features, edge, edge, edge), dtype=np.float32)
        kernel = random.standard_normal((features, features, 3, 3, 3), dtype=np.float32) / features**0.5 / 5
        order = np.arange(edge).reshape(-1, 4).T.ravel()
        wanted, usual = answer(direct(features, edge, kernel), image, given.repeats)
        turned = np.ascontiguousarray(image[:, :, order])
        found, ours = answer(winograd(features, edge, kernel), turned, given.repeats)
        error = float(abs(found - wanted[:, :, order]).max() / abs(wanted).max())
        if error > TOLERANCE:
            raise SystemExit(
                f"{features} features: found a difference of {error:.1e}; needed {TOLERANCE:.0e}"
            )
        rows.append(f"| {features} | {edge} | {usual:.3f} | {ours:.3f} | {usual / ours:.2f} | {error:.0e} |")
        print(rows[-1])
    table = [
        "# Winograd's convolution along the depth beside OpenVINO's own",
        "",
        f"`python benchmarks/winograd.py`, {time.strftime('%Y-%m-%d')}, one thread in fp32, the least of",
        f"{given.repeats} runs. {platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"OpenVINO {version('openvino').split('-')[0]}.",
        "",
        "| features | edge | direct, s | Winograd, s | times as fast | largest difference |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    write_text(given.out / "winograd.md", "\n".join(table) + "\n")


if __name__ == "__main__":
    main()
