"""Our resizing beside nnU-Net's default resampling: equal answers first, then seconds and memory.

A whole-body scan of two channels goes to a network's grid with its labels, and logits come back. Every call
is the first of its size in a fresh process, ours and the peer's in turns, so nothing is cached and peaks do
not mix.

    python benchmarks/resampling.py -o benchmarks/results

About three minutes on two cores with `--repeats 1`, nine without.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.files import write_text

Array = np.ndarray[Any, Any]
SCAN, NETWORK = (326, 400, 400), (261, 320, 320)
TOLERANCE = 1e-6
"""Largest difference that passes, as a share of a channel's range."""


@dataclass(frozen=True)
class Task:
    """One resampling: of what, to what, and by which rule."""

    name: str
    kind: str
    old: tuple[int, int, int]
    new: tuple[int, int, int]
    order: int = 3
    axis: int | None = None
    workers: int = 1


CORES = len(os.sched_getaffinity(0))
TASKS = (
    Task("images, cubic", "image", SCAN, NETWORK),
    Task(f"images, cubic, {CORES} threads", "image", SCAN, NETWORK, workers=CORES),
    Task("images, cubic in the slices only", "image", SCAN, NETWORK, axis=0),
    Task("labels", "labels", SCAN, NETWORK, order=1),
    Task("two logits, linear", "image", NETWORK, SCAN, order=1),
    Task("two logits to a mask", "mask", NETWORK, SCAN, order=1),
)


def source_of(task: Task) -> Array:
    """What is resampled: noise around a body of two channels, or the labels of three organs and two cuts."""
    if task.kind == "labels":
        labels = np.zeros((1, *task.old), np.int8)
        labels[0, 60:140, 120:200, 150:260] = 1
        labels[0, 140:150, 130:190, 160:250] = 2
        labels[0, 200:260, 50:90, 50:90] = 3
        labels[0, :, :9], labels[0, :, :, -7:] = -1, -1
        return labels
    array = np.random.default_rng(0).standard_normal((2, *task.old), dtype=np.float32)
    array[:, :, task.old[1] // 4 : -task.old[1] // 4, task.old[2] // 5 : -task.old[2] // 5] += 5.0
    array[1] *= 100.0 if task.kind == "image" else 1.0
    return array


def ours(task: Task, array: Array) -> Array:
    """The task by LesionLab; for a mask, one difference of logits and its sign."""
    from lesionlab.core.resize import resize
    from lesionlab.core.resize_labels import resize_labels

    if task.kind == "labels":
        return resize_labels(array, task.new, separate_axis=task.axis)
    if task.kind == "mask":
        return resize(array[1] - array[0], task.new, order=task.order, workers=task.workers) > 0
    return resize(array, task.new, order=task.order, separate_axis=task.axis, workers=task.workers)


def nnunet(task: Task, array: Array) -> Array:
    """The task by nnU-Net's default function; for a mask, both logits and their argmax."""
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg

    result: Array = resample_data_or_seg(
        array, task.new, task.kind == "labels", task.axis, task.order, task.axis is not None
    )
    return result.argmax(axis=0) == 1 if task.kind == "mask" else result


SIDES = {"ours": ours, "nnunet": nnunet}


def memory_mb(field: str) -> float:
    """Memory that this process holds now (VmRSS) or has held at most (VmHWM), on Linux.

    Not getrusage: its maximum is inherited from the process that started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def run_one(side: str, task: Task, folder: Path) -> dict[str, float]:
    """One call in this process on `source.npy` of a folder; imports and reading are not timed."""
    array = np.load(folder / "source.npy")
    tiny = Task("warm", task.kind, (4, 5, 6), (3, 4, 5), task.order, task.axis)
    SIDES[side](tiny, array[:, :4, :5, :6].copy())
    before = memory_mb("VmRSS")
    began = time.perf_counter()
    answer = SIDES[side](task, array)
    seconds = time.perf_counter() - began
    peak = memory_mb("VmHWM")
    measured = {"seconds": seconds, "added_mb": peak - before, "peak_mb": peak}
    np.save(folder / f"{side}.npy", answer)
    return measured


def start(side: str, task: Task, folder: Path) -> dict[str, float]:
    """`run_one` in a fresh process."""
    command = [sys.executable, __file__, "--side", side, "--task", json.dumps(asdict(task))]
    done = subprocess.run([*command, "--folder", str(folder)], check=True, capture_output=True, text=True)
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def difference(task: Task, folder: Path) -> tuple[str, bool]:
    """How far the two answers lie apart, in words, and whether that passes."""
    mine, theirs = (np.load(folder / f"{side}.npy", mmap_mode="r") for side in ("ours", "nnunet"))
    if mine.shape != theirs.shape:
        return f"shapes {mine.shape} and {theirs.shape}", False
    if task.kind != "image":
        apart = int(np.count_nonzero(mine != theirs))
        # A mask may differ where two logits meet within rounding.
        return f"{apart} of {mine.size} voxels", apart <= (
            TOLERANCE * mine.size if task.kind == "mask" else 0
        )
    worst = max(float(np.abs(a - b).max() / np.ptp(b)) for a, b in zip(mine, theirs, strict=True))
    return f"{worst:.1e} of the range", worst <= TOLERANCE


def compare(task: Task, repeats: int, folder: Path) -> tuple[str, bool]:
    """One row of the table, and whether the answers agree."""
    np.save(folder / "source.npy", source_of(task))
    runs: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for _ in range(repeats):
        for side in SIDES:
            runs[side].append(start(side, task, folder))
    apart, passed = difference(task, folder)
    median = {
        side: {key: statistics.median(run[key] for run in runs[side]) for key in runs[side][0]}
        for side in SIDES
    }
    mine, theirs = median["ours"], median["nnunet"]
    cells = (
        task.name,
        " -> ".join("x".join(map(str, shape)) for shape in (task.old, task.new)),
        apart,
        f"{mine['seconds']:.2f}",
        f"{theirs['seconds']:.2f}",
        f"{theirs['seconds'] / mine['seconds']:.1f}x",
        f"{mine['added_mb']:.0f}",
        f"{theirs['added_mb']:.0f}",
        f"{mine['added_mb'] / theirs['added_mb']:.2f}",
        f"{mine['peak_mb']:.0f} / {theirs['peak_mb']:.0f}",
    )
    return "| " + " | ".join(cells) + " |", passed


def page(rows: list[str], repeats: int) -> str:
    """The table as Markdown, with what it was made on."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-image", "nnunetv2"))
    head = (
        "what | grids | apart | ours, s | nnU-Net, s | faster | ours adds, MB | nnU-Net adds, MB | share "
        "| whole processes, MB"
    )
    return "\n".join(
        [
            "# Resampling: ours beside nnU-Net's default",
            "",
            f"Made by `python benchmarks/resampling.py --repeats {repeats} -o benchmarks/results`.",
            f"{CORES} cores, {platform.machine()}, Python {platform.python_version()}, {versions}.",
            f"Medians of {repeats} fresh processes each, in turns; one thread unless a row says otherwise.",
            '"Adds" is the most memory held during the call beyond what was held before it, result included.',
            "",
            f"| {head} |",
            "|" + "---|" * 10,
            *rows,
            "",
        ]
    )


def main() -> int:
    """Compare every task; 1 where answers disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path, help="folder for resampling.md")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(run_one(options.side, Task(**options.task), options.folder)))
        return 0
    rows, agreed = [], True
    with tempfile.TemporaryDirectory() as folder:
        for task in TASKS:
            row, passed = compare(task, options.repeats, Path(folder))
            print(row if passed else f"{row} answers disagree", flush=True)
            rows.append(row)
            agreed = agreed and passed
    if agreed and options.output is not None:
        write_text(options.output / "resampling.md", page(rows, options.repeats))
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
