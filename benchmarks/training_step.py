"""A training step beside nnU-Net's trainer: the same losses first, then seconds and memory.

    python benchmarks/training_step.py DATA -o benchmarks/results

Two data sets, both planned by nnU-Net with nothing pinned but the patch of the second: PET of sarcoma
patients (DATA/sts), and synthetic PET/CT whose patch is 64 x 128 x 128. The peer is nnU-Net's own trainer
class with its own loaders in processes, as shipped and with its memory allocator tuned. Ours is the recipe's
trainer. Every run is a process of its own; a step is loading, augmenting, forward, backward and update of two
patches. Steps are counted after the first two. About six minutes on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.memory import keep_freed_memory
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.tasks import silent
from lesionlab.core.units import HOUNSFIELD, ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline.training import plan_cohort
from lesionlab.plan import plan_dataset
from lesionlab.report import save_volume

TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""What `keep_freed_memory` does, from outside."""
EQUAL_STEPS = 4
TOLERANCE = 1e-4
"""Largest relative difference of a loss that passes."""
WARM_UP = 2
SEED = 3


def recipe_of(name: str, channels: tuple[str, ...], network: dict[str, Any]) -> Recipe:
    """Nothing pinned but what `network` pins; channels z-scored, as stock nnU-Net does."""
    return parse_recipe(
        {
            "name": name,
            "channels": {channel: {"normalisation": "zscore"} for channel in channels},
            "reference": channels[0],
            "network": network,
            "training": {"folds": 2},
        },
        name,
    )


def phantom(number: int) -> Case:
    """Noise with a hot sphere, large enough for the patch that is pinned."""
    shape, random = (96, 160, 160), np.random.default_rng(number)
    geometry = Geometry(shape, (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    z, y, x = np.ogrid[tuple(map(slice, shape))]
    centre = [n * random.uniform(0.3, 0.7) for n in shape]
    inside = sum((axis - c) ** 2 for axis, c in zip((z, y, x), centre, strict=True)) < 12.0**2
    suv = random.gamma(2.0, 0.5, shape) + 8 * inside
    ct = random.normal(40.0, 20.0, shape)
    return Case(
        f"phantom{number}",
        f"patient{number}",
        {
            "suv": Volume(suv.astype(np.float32), geometry, SUVBW),
            "ct": Volume(ct.astype(np.float32), geometry, HOUNSFIELD),
        },
        "suv",
        Volume(inside.astype(np.uint8), geometry, ONE),
    )


@contextlib.contextmanager
def quiet(environment: contextlib.AbstractContextManager[None]) -> Iterator[None]:
    """An environment of nnU-Net, without what it prints and warns."""
    with environment, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def trainer_of(kind: str, root: Path) -> Any:
    """Our trainer or nnU-Net's on fold 0, with the same first weights; the environment must be entered."""
    import torch

    from lesionlab.train.nnunet import build_trainer, seed_all

    workspace, recipe = open_workspace(root)
    if kind.startswith("ours"):
        precision = "fp32" if kind == "ours-fp32" else "auto"
        trainer: Any = build_trainer(
            workspace, recipe.changed(training={"precision": precision}), 0, torch.device("cpu"), silent
        )
    else:
        from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

        plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
        plans["continue_training"] = False
        dataset = json.loads((workspace.raw / "dataset.json").read_text())
        trainer = nnUNetTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))
    seed_all(SEED)
    trainer.initialize()
    trainer.network.train()
    return trainer


def work(kind: str, root: Path, steps: int, loaders: str) -> None:
    """Train some steps; prints seconds and loss of each, and peak memory, as JSON."""
    if kind.startswith("ours"):
        keep_freed_memory()
    from lesionlab.train.nnunet import seed_all

    workspace, _ = open_workspace(root)
    with quiet(workspace.environment(loaders=0)):
        if loaders == "own" and kind == "peer":
            del os.environ["nnUNet_n_proc_DA"]  # noqa: SIM112 (so nnU-Net spells it)
        trainer = trainer_of(kind, root)
        batches, others = trainer.get_dataloaders()
        seed_all(SEED)
        seconds, losses, began = [], [], time.perf_counter()
        for batch in _batches(kind, batches, steps):
            losses.append(float(trainer.train_step(batch)["loss"]))
            seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
        for loader in (batches, others):
            if hasattr(loader, "_finish"):
                loader._finish()
    print(json.dumps({"seconds": seconds, "losses": losses}))


def _batches(kind: str, batches: Iterator[Any], steps: int) -> Iterator[Any]:
    if kind.startswith("ours"):
        from lesionlab.train.ahead import ahead

        return ahead(batches, steps)
    return itertools.islice(batches, steps)


def ask(kind: str, root: Path, steps: int, loaders: str = "own", tuned: bool = False) -> dict[str, Any]:
    """What `work` found in a process of its own, with its peak memory and that of its children in GB."""
    from fingerprint import watched

    command = [sys.executable, __file__, "--work", kind, str(root), str(steps), loaders]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(TUNED if tuned else {})},
    ) as process:
        text, complaint, gb = watched(process)
    if process.returncode:
        raise RuntimeError(complaint[-2000:])
    return {**json.loads(text.splitlines()[-1]), "gb": gb}


def apart(first: list[float], second: list[float]) -> float:
    """Largest relative difference of two curves."""
    return max(abs(a - b) / abs(b) for a, b in zip(first, second, strict=True))


def compare(name: str, root: Path, steps: int) -> list[str]:
    """Rows of the table for one planned workspace."""
    kinds = ("peer", "ours-fp32", "ours")
    alone = {kind: ask(kind, root, EQUAL_STEPS, "none", tuned=True) for kind in kinds}
    same, near = (apart(alone[kind]["losses"], alone["peer"]["losses"]) for kind in ("ours-fp32", "ours"))
    if same > TOLERANCE:
        raise RuntimeError(f"found losses of {name} that are {same:.2g} apart; needed {TOLERANCE}")
    found = {
        "as shipped": ask("peer", root, steps),
        "malloc tuned": ask("peer", root, steps, tuned=True),
        "fp32": ask("ours-fp32", root, steps),
        "auto": ask("ours", root, steps),
    }
    seconds = {label: statistics.median(item["seconds"][WARM_UP:]) for label, item in found.items()}
    peers = "as shipped", "malloc tuned"
    rows = []
    for label, loss in (("fp32", same), ("auto", near)):
        ratios = [f"{seconds[peer]:.2f} | {seconds[peer] / seconds[label]:.1f}x" for peer in peers]
        memory = " / ".join(f"{found[one]['gb']:.1f}" for one in (label, *peers))
        mine = f"| {name}, ours in {label} | {seconds[label]:.2f}"
        rows.append(f"{mine} | {' | '.join(ratios)} | {memory} | {loss:.1e} |")
    return rows


def plan_both(data: Path, scratch: Path) -> dict[str, Path]:
    """The two planned workspaces by name."""
    pinned = {"patch_size": [64, 128, 128]}
    plan_cohort(data / "sts", recipe_of("sarcoma", ("suv",), {}), scratch / "sts")
    cases = (phantom(number) for number in range(4))
    plan_dataset(cases, recipe_of("phantom", ("suv", "ct"), pinned), scratch / "phantom", save_volume)
    found = {"sarcoma PET": scratch / "sts", "synthetic PET/CT": scratch / "phantom"}
    return {f"{name}, {_patch_of(root)}": root for name, root in found.items()}


def _patch_of(root: Path) -> str:
    workspace, _ = open_workspace(root)
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    patch = " x ".join(map(str, configuration["patch_size"]))
    return f"{configuration['batch_size']} patches of {patch}"


def main() -> int:
    """Plan, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("-o", "--out", type=Path, help="folder for training_step.md")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, root, steps, loaders = options.work
        work(kind, Path(root), int(steps), loaders)
        return 0
    if options.data is None or options.out is None:
        parser.error("found no DATA or no folder to write to; needed both")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for (name, root), steps in zip(plan_both(options.data, Path(folder)).items(), (20, 5), strict=True):
            rows += compare(name, root, steps)
    lines = [
        "# A training step beside nnU-Net's trainer",
        "",
        "Made by `python benchmarks/training_step.py DATA -o benchmarks/results` on "
        f"{len(os.sched_getaffinity(0))} cores ({platform.machine()}, {platform.system()}), nnU-Net "
        f"{version('nnunetv2')}, torch {version('torch')}.",
        "",
        "| what | ours, s | nnU-Net as shipped, s | ratio | malloc tuned, s | ratio "
        "| GB: ours / shipped / tuned | losses apart |",
        "|---|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Losses: largest relative difference over {EQUAL_STEPS} steps from the same weights and the same "
        "draws, the peer in fp32 and loading in its own process. `auto` is bf16 where the processor has it.",
    ]
    write_text(options.out / "training_step.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
