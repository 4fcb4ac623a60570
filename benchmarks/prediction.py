"""Prediction beside stock nnU-Net: the whole command on real patients, and a large network tile by tile.

    python benchmarks/prediction.py -w WORKSPACE -o benchmarks/results

WORKSPACE was made by sts_crossvalidation.py. Two held-out patients of one fold go through our command and
through nnU-Net's, as shipped and with its memory allocator tuned, in processes of their own. Then a 3D U-Net
of 31 million random weights runs the tiles of a part of a synthetic whole-body PET/CT (2 x 326 x 400 x 400
voxels, patches of 128 x 128 x 128, no flips); the time for the whole scan is that of a tile times the number
of tiles, and the table says so. About eight minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lesionlab.core.files import write_text
from lesionlab.core.inputs import network_input
from lesionlab.core.memory import keep_freed_memory
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline import open_standardised
from lesionlab.read import load_volume
from lesionlab.report import save_volume

BODY = (326, 400, 400)
PATCH = (128, 128, 128)
SAMPLE = (128, 128, 256)
"""Three tiles: the part of the whole body that is computed."""
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""What `keep_freed_memory` does, from outside; glibc ignores a MALLOC_MMAP_THRESHOLD_ above 32 MB."""
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


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two masks; 1 for two empty ones."""
    both = int(first.sum()) + int(second.sum())
    return 1.0 if both == 0 else 2 * int((first & second).sum()) / both


def one_fold_bundle(workspace: Path, fold: int, target: Path) -> tuple[Path, list[str]]:
    """A bundle of one fold, and the names of the patients whom that fold has not seen."""
    opened, recipe = open_workspace(workspace)
    model = opened.model(recipe.network.configuration)
    (target / f"fold_{fold}").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", f"fold_{fold}/checkpoint_final.pth"):
        shutil.copyfile(model / name, target / name)
    write_text(target / "recipe.toml", dump_recipe(recipe))
    return target, json.loads((opened.preprocessed / "splits_final.json").read_text())[fold]["val"]


def compare_commands(workspace: Path, fold: int, scratch: Path) -> list[str]:
    """Table rows of the whole command on two held-out patients."""
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
    rows = []
    for label in ("fp32", "bf16"):
        scores = [
            dice(mask_of(scratch / label, c["case_id"]), mask_of(scratch / "shipped", c["case_id"]))
            for c in cases
        ]
        rows.append(row(f"{len(cases)} patients, whole command, {label}", ours[label], peers, min(scores)))
    rows.append(row("the same in fp32, converting the network first", ours["first"], peers, None))
    return rows


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


def large_network() -> Any:
    """nnU-Net's 3D U-Net at its full size, 31 million weights drawn at random from a fixed seed."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    return PlainConvUNet(
        2,
        6,
        [32, 64, 128, 256, 320, 320],
        torch.nn.Conv3d,
        3,
        [1, 2, 2, 2, 2, 2],
        2,
        2,
        2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()


def synthetic_scan() -> np.ndarray:
    """Smooth random uptake and CT for the tiles that are computed, float32 (2, z, y, x)."""
    coarse = np.random.default_rng(0).normal(size=(2, *(n // 8 for n in SAMPLE))).astype(np.float32)
    for axis in (1, 2, 3):
        coarse = coarse.repeat(8, axis=axis)
    return coarse


def work(kind: str, precision: str, out: Path) -> None:
    """What a process of its own does: the sampled tiles by one road; seconds and peak memory as JSON."""
    if kind == "ours":
        keep_freed_memory()
    import torch

    data, network = synthetic_scan(), large_network()
    if kind == "ours":
        from lesionlab.predict.backends import Wish, make_backends
        from lesionlab.predict.engine import Window, slide

        wish = Wish("auto", precision, torch.device("cpu"), 2, 2, PATCH, False, (out.parent / "converted",))
        backends, notes = make_backends([lambda: network], ["31 million random weights"], wish)
        start = time.perf_counter()
        slabs = slide(data, backends, Window(PATCH), subject="synthetic")
        difference = np.concatenate([slab.logits for slab in slabs], axis=1)[0]
        name = "; ".join([backends[0].name, *notes])
    else:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(0.5, True, False, False, torch.device("cpu"), allow_tqdm=False)
        predictor.configuration_manager = SimpleNamespace(patch_size=list(PATCH))
        predictor.label_manager = SimpleNamespace(num_segmentation_heads=2)
        predictor.network, predictor.list_of_parameters = network, [network.state_dict()]
        start = time.perf_counter()
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).float().numpy()
        difference, name = logits[1] - logits[0], "nnU-Net's predictor"
    seconds = time.perf_counter() - start
    np.save(out, difference.astype(np.float32))
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps({"seconds": seconds, "gb": peak_gb, "name": name}))


def tiles(shape: tuple[int, ...]) -> int:
    """How many tiles of half overlap a scan of this shape needs."""
    return math.prod(math.ceil((n - p) / (p / 2)) + 1 for n, p in zip(shape, PATCH, strict=True))


def compare_tiles(scratch: Path) -> list[str]:
    """Table rows of the large network, and a line on memory."""

    def ask(label: str, kind: str, precision: str, extra: dict[str, str] | None = None) -> dict[str, Any]:
        command = [sys.executable, __file__, "--work", kind, precision, scratch / f"{label}.npy"]
        _, text = timed(command, extra)
        return {**json.loads(text.splitlines()[-1]), "positive": np.load(scratch / f"{label}.npy") > 0}

    # the first converts and keeps; what is timed is what every later run does
    ask("converting", "ours", "fp32")
    found = {
        "fp32": ask("fp32", "ours", "fp32"),
        "bf16": ask("bf16", "ours", "bf16"),
        "shipped": ask("shipped", "peer", "fp32"),
        "tuned": ask("tuned", "peer", "fp32", TUNED),
    }
    factor = tiles(BODY) / tiles(SAMPLE)
    peers = {label: found[label]["seconds"] * factor for label in ("shipped", "tuned")}
    rows = []
    for label in ("fp32", "bf16"):
        what = f"whole body, forward ({found[label]['name']})"
        agreement = dice(found[label]["positive"], found["shipped"]["positive"])
        rows.append(row(what, found[label]["seconds"] * factor, peers, agreement))
    memory = ", ".join(f"{label} {item['gb']:.1f}" for label, item in found.items())
    note = f"Whole-body times are {tiles(SAMPLE)} tiles times {factor:.0f}, for {tiles(BODY)} tiles."
    return [*rows, "", f"{note} Peak memory of the sampled tiles in GB: {memory}."]


def main() -> int:
    """Run both comparisons and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-w", "--workspace", type=Path, help="made by sts_crossvalidation.py")
    parser.add_argument("--fold", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="folder for prediction.md")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], options.work[1], Path(options.work[2]))
        return 0
    if options.workspace is None or options.out is None:
        parser.error("found no WORKSPACE or no folder to write to; needed -w and -o")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            *compare_commands(options.workspace, options.fold, Path(folder)),
            *compare_tiles(Path(folder)),
        ]
    lines = [
        "# Prediction beside stock nnU-Net",
        "",
        "Made by `python benchmarks/prediction.py -w WORKSPACE -o benchmarks/results` on "
        f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()}).",
        "",
        "| what | ours, s | nnU-Net as shipped, s | ratio | malloc tuned, s | ratio | Dice of both |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    write_text(options.out / "prediction.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
