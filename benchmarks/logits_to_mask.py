"""From logits in the network's spacing to a mask on the scan's own grid, beside nnU-Net's export.

    python benchmarks/logits_to_mask.py -o benchmarks/results

Whole-body logits of 261 x 320 x 320 voxels become a mask of 326 x 400 x 400: a few lesions as a trained
network draws them, noise (the worst case, because anything may become a lesion everywhere), and five classes.
Each call is the first in a process of its own. About three minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from road import Setting, environment, memory_gb, plan_of, reset_peak, table

from lesionlab.core.files import write_text

NETWORK, SCAN = (261, 320, 320), (326, 400, 400)
KINDS = {"lesions, two classes": 2, "noise, two classes": 2, "lesions, five classes": 5}
ROWS = 32
"""Rows in which the engine hands out logits."""
TOLERANCE = 1e-6
"""Share of the voxels that may differ: where two logits meet within rounding."""
Array = np.ndarray[Any, Any]


def logits_of(kind: str) -> Array:
    """Logits (classes, z, y, x): balls of a few centimetres in what stays background, or noise alone."""
    random = np.random.default_rng(0)
    classes = KINDS[kind]
    logits = random.standard_normal((classes, *NETWORK), dtype=np.float32)
    if kind.startswith("lesions"):
        logits[0] += 12.0
        index = np.ogrid[tuple(slice(n) for n in NETWORK)]
        for number in range(20):
            centre, radius = random.uniform(0.1, 0.9, 3) * NETWORK, random.uniform(3, 12)
            distance = sum((i - c) ** 2 for i, c in zip(index, centre, strict=True)) ** 0.5
            logits[1 + number % (classes - 1)] += 30.0 / (1.0 + np.exp(distance - radius))
    return logits


def ours(logits: Array, repeats: tuple[Any, Any, Any]) -> Array:
    """LesionLab's way: rows as the engine gives them, one difference for two classes."""
    _, _, space = repeats
    given = logits[1:] - logits[:1] if len(logits) == 2 else logits
    slabs = (given[:, start : start + ROWS] for start in range(0, given.shape[1], ROWS))
    mask: Array = space.leave(slabs)[0]
    return mask


def nnunet(logits: Array, made: tuple[Any, Any, Any]) -> Array:
    """nnU-Net's export, from logits of its precision."""
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape,
    )

    plans, configuration, _ = made
    names = {"background": 0, **{f"l{n}": n for n in range(1, len(logits))}}
    properties = {
        "shape_after_cropping_and_before_resampling": SCAN,
        "shape_before_cropping": SCAN,
        "bbox_used_for_cropping": [[0, n] for n in SCAN],
        "spacing": [1.0, 1.0, 1.0],
    }
    mask: Array = convert_predicted_logits_to_segmentation_with_correct_shape(
        torch.from_numpy(logits), plans, configuration, plans.get_label_manager({"labels": names}), properties
    )
    return mask


def run_one(side: str, kind: str, target: Path) -> dict[str, float]:
    """One call in this process; making the logits is not timed."""
    from lesionlab.predict.space import Space

    plans, configuration = plan_of(Setting(SCAN, (64, 64, 64), (), 1.25))
    space = Space(plans, configuration, "benchmark", (1.0, 1.0, 1.0), 1)
    space.forward, space.full, space.shape, space.inner = [0, 1, 2], SCAN, SCAN, NETWORK
    space.box = tuple(slice(0, n) for n in SCAN)  # type: ignore[assignment]
    logits = logits_of(kind)
    work = {"ours": ours, "nnunet": nnunet}[side]
    reset_peak()
    before, start = memory_gb("VmRSS"), time.perf_counter()
    mask = work(logits, (plans, configuration, space))
    facts = {"seconds": time.perf_counter() - start, "added": memory_gb("VmHWM") - before}
    np.save(target, np.asarray(mask, np.uint8))
    return facts


def compare(kind: str, repeats: int, scratch: Path) -> tuple[list[str], bool]:
    """One row of the table, and whether the masks agree."""
    found: dict[str, list[dict[str, float]]] = {"ours": [], "nnunet": []}
    for _ in range(repeats):
        for side, runs in found.items():
            command = [sys.executable, __file__, "--work", side, kind, str(scratch / f"{side}.npy")]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    masks = [np.load(scratch / f"{side}.npy") for side in found]
    apart = int(np.count_nonzero(masks[0] != masks[1]))
    median = {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for side, runs in found.items()
    }
    mine, theirs = median["ours"], median["nnunet"]
    row = [
        *(kind, f"{apart} of {masks[0].size}", f"{np.count_nonzero(masks[0])}"),
        *(
            f"{mine['seconds']:.2f}",
            f"{theirs['seconds']:.2f}",
            f"{theirs['seconds'] / mine['seconds']:.1f}x",
        ),
        *(f"{mine['added']:.2f}", f"{theirs['added']:.2f}"),
    ]
    return row, apart <= TOLERANCE * masks[0].size and bool(masks[0].any())


def main() -> int:
    """Compare every kind of logits; 1 where masks disagree."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="folder for logits_to_mask.md")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        side, kind, target = options.work
        print(json.dumps(run_one(side, kind, Path(target))))
        return 0
    rows, agreed = [], True
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            row, passed = compare(kind, options.repeats, Path(folder))
            rows.append(row)
            agreed = agreed and passed
    head = ["logits", "voxels that differ", "voxels of the mask", "ours, s", "nnU-Net, s", "faster"]
    lines = [
        "# Logits to a mask on the scan's own grid, beside nnU-Net's export",
        "",
        f"Made by `python benchmarks/logits_to_mask.py --repeats {options.repeats} -o benchmarks/results`.",
        f"{environment()}.",
        f"{'x'.join(map(str, NETWORK))} to {'x'.join(map(str, SCAN))}; "
        f"medians of {options.repeats} process(es).",
        "",
        *table([*head, "ours adds, GB", "nnU-Net adds, GB"], rows),
    ]
    print("\n".join(lines))
    if agreed and options.out is not None:
        write_text(options.out / "logits_to_mask.md", "\n".join(lines) + "\n")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
