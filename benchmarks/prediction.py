"""Prediction beside stock nnU-Net: the whole command on real patients, with a trained network.

    python benchmarks/prediction.py -w WORKSPACE -o benchmarks/results

WORKSPACE was made by sts_crossvalidation.py. Two held-out patients of one fold go through our command and
through nnU-Net's, as shipped and with its memory allocator tuned, in processes of their own. About two
minutes on two cores. A whole-body scan is whole_body.py's.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from road import TUNED, dice, environment

from lesionlab.core.files import write_text
from lesionlab.core.inputs import network_input
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline import open_standardised
from lesionlab.read import load_volume
from lesionlab.report import save_volume

LEAST = {"fp32": 0.999, "bf16": 0.998}
"""Dice of each patient that passes."""
STOCK = """
import sys, torch
arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
for name in ("nms", "qnms"):
    torch.library.define(f"torchvision::{name}", arguments)
from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder
sys.argv = ["nnUNetv2_predict_from_modelfolder", *sys.argv[1:]]
if __name__ == "__main__":
    predict_entry_point_modelfolder()
"""
"""nnU-Net's command; its class finder imports torchvision, whose operators a torch without CUDA lacks."""


def timed(command: Sequence[object], extra: dict[str, str] | None = None) -> tuple[float, str]:
    """Seconds of a command and what it wrote on stdout; RuntimeError with its complaint when it fails."""
    start = time.perf_counter()
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(extra or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return time.perf_counter() - start, done.stdout


def one_fold_bundle(workspace: Path, fold: int, target: Path) -> tuple[Path, list[str]]:
    """A bundle of one fold, and the names of the patients whom that fold has not seen."""
    opened, recipe = open_workspace(workspace)
    model = opened.model(recipe.network.configuration)
    (target / f"fold_{fold}").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", f"fold_{fold}/checkpoint_final.pth"):
        shutil.copyfile(model / name, target / name)
    write_text(target / "recipe.toml", dump_recipe(recipe))
    return target, json.loads((opened.preprocessed / "splits_final.json").read_text())[fold]["val"]


def compare_commands(workspace: Path, fold: int, scratch: Path) -> tuple[list[str], bool]:
    """Table rows of the whole command on two held-out patients, and whether the masks agree."""
    bundle, names = one_fold_bundle(workspace, fold, scratch / "bundle")
    sources = json.loads((workspace / "sources.json").read_text())["cases"]
    _, recipe = open_workspace(workspace)
    patients, inputs = scratch / "patients", scratch / "inputs"
    patients.mkdir()
    cases = [sources[name] for name in names[:2]]
    for case in cases:
        (patients / case["case_id"]).symlink_to(case["source"])
        standard = open_standardised(Path(case["source"]), recipe, case_id=case["case_id"])
        for number, volume in enumerate(network_input(standard, recipe)):
            save_volume(volume, inputs / f"{case['case_id']}_{number:04d}.nii.gz")
    ours: dict[str, float] = {}
    for label, precision in (("first", "fp32"), ("fp32", "fp32"), ("bf16", "bf16")):
        command = [sys.executable, "-m", "lesionlab", "predict", patients, "-m", bundle, "--device", "cpu"]
        ours[label], _ = timed([*command, "--precision", precision, "-o", scratch / label])
    model, _ = open_workspace(workspace)
    stock = [sys.executable, "-c", STOCK, "-i", inputs, "-m", bundle, "-f", fold, "-device", "cpu"]
    peers = {}
    with model.environment(loaders=1):
        for label, extra in (("shipped", {}), ("tuned", TUNED)):
            out = ["-o", scratch / label, "--disable_progress_bar"]
            peers[label], _ = timed([*stock, *out], extra)
    rows, agreed = [], True
    for label, least in LEAST.items():
        scores = [
            dice(mask_of(scratch / label, c["case_id"]), mask_of(scratch / "shipped", c["case_id"]))
            for c in cases
        ]
        agreed = agreed and min(scores) >= least
        rows.append(row(f"{len(cases)} patients, whole command, {label}", ours[label], peers, min(scores)))
    rows.append(row("the same in fp32, converting the network first", ours["first"], peers, None))
    return rows, agreed


def mask_of(folder: Path, name: str) -> np.ndarray:
    """The mask that either command wrote for a patient."""
    found = [path for path in folder.rglob("*.nii.gz") if name in str(path.relative_to(folder))]
    return load_volume(found[0]).array > 0


def row(what: str, ours: float, peers: dict[str, float], agreement: float | None) -> str:
    """One line of the table: seconds, ratios, agreement."""
    ratios = [f"{peers[label]:.1f} | {peers[label] / ours:.1f}x" for label in ("shipped", "tuned")]
    return (
        f"| {what} | {ours:.1f} | {' | '.join(ratios)} | {'' if agreement is None else f'{agreement:.4f}'} |"
    )


def main() -> int:
    """Run both comparisons and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-w", "--workspace", type=Path, required=True, help="made by sts_crossvalidation.py")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for prediction.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, agreed = compare_commands(options.workspace, options.fold, Path(folder))
    lines = [
        "# Prediction beside stock nnU-Net",
        "",
        "Made by `python benchmarks/prediction.py -w WORKSPACE -o benchmarks/results`.",
        f"{environment()}.",
        "",
        "| what | ours, s | nnU-Net as shipped, s | ratio | malloc tuned, s | ratio | Dice of both |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if agreed:
        write_text(options.out / "prediction.md", "\n".join(lines) + "\n")
    return 0 if agreed else 1


if __name__ == "__main__":
    sys.exit(main())
