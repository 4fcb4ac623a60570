"""A training step beside nnU-Net's trainer: the same losses first, then seconds and memory.

    python benchmarks/training_step.py DATA -o benchmarks/results

PET of the first sarcoma patients (DATA/sts), planned by nnU-Net with nothing pinned: two patches of about
40 x 72 x 40 voxels and its 3D U-Net of four stages. The peer is nnU-Net's own trainer class with its own
loaders in processes, as shipped and with its memory allocator tuned. Ours is the recipe's trainer. Every
trainer is a process of its own; a step is loading, augmenting, forward, backward and update of both patches.
On the clock the four take steps in turns, and the table is written anew after each round. About four minutes
on two cores.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fingerprint import tree_gb

from lesionlab.core.files import write_text
from lesionlab.core.memory import keep_freed_memory
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.tasks import silent
from lesionlab.core.workspace import open_workspace
from lesionlab.networks.device import bf16_is_quicker
from lesionlab.pipeline.training import plan_cohort

TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""What `keep_freed_memory` does, from outside."""
TOLERANCE = 1e-4
"""Largest relative difference of a loss that passes."""
WARM_UP = 2
SEED = 3
BEGAN = time.perf_counter()


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
        recipe = recipe.changed(training={"precision": kind.removeprefix("ours-")})
        trainer: Any = build_trainer(workspace, recipe, 0, torch.device("cpu"), silent)
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
    """Train a step for each line on stdin, at most `steps`; writes seconds and loss of each as JSON."""
    if kind.startswith("ours"):
        keep_freed_memory()
    from lesionlab.train.nnunet import seed_all

    workspace, _ = open_workspace(root)
    # what nnU-Net prints must not come between our lines
    answers, sys.stdout = sys.stdout, sys.stderr
    with quiet(workspace.environment(loaders=0)):
        if loaders == "own" and kind == "peer":
            del os.environ["nnUNet_n_proc_DA"]  # noqa: SIM112 (so nnU-Net spells it)
        trainer = trainer_of(kind, root)
        batches, others = trainer.get_dataloaders()
        seed_all(SEED)
        coming = _batches(kind, batches, steps)
        for _ in sys.stdin:
            began = time.perf_counter()
            loss = float(trainer.train_step(next(coming))["loss"])
            found = {"seconds": time.perf_counter() - began, "loss": loss}
            print(json.dumps(found), file=answers, flush=True)
        for loader in (batches, others):
            if hasattr(loader, "_finish"):
                loader._finish()


def _batches(kind: str, batches: Iterator[Any], steps: int) -> Iterator[Any]:
    if kind.startswith("ours"):
        from lesionlab.train.ahead import ahead

        return ahead(batches, steps)
    return itertools.islice(batches, steps)


class Worker:
    """A trainer in a process of its own that stands still, loaders included, except while it takes a step."""

    def __init__(
        self, kind: str, root: Path, steps: int, *, loaders: str = "own", tuned: bool = False
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--work", kind, str(root), str(steps), loaders],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(complaints := tempfile.TemporaryFile("w+")),  # noqa: SIM115 (closed by `end`)
            text=True,
            env={**os.environ, **(TUNED if tuned else {})},
            start_new_session=True,
        )
        self.complaints, self.seconds, self.losses, self.gb = complaints, [], [], 0.0
        self.seconds: list[float]
        self.losses: list[float]

    def step(self) -> None:
        """One step; the first waits for all that comes before. RuntimeError when the process fails."""
        asked, told = self.process.stdin, self.process.stdout
        if asked is None or told is None:
            raise RuntimeError("found a process without pipes")
        self._signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):
            asked.write("step\n")
            asked.flush()
        with ThreadPoolExecutor(1) as thread:
            answer = thread.submit(told.readline)
            while not answer.done():
                wait([answer], timeout=0.2)
                self.gb = max(self.gb, tree_gb(self.process.pid))
        line = answer.result()
        if not line:
            self.process.wait()
            self.complaints.seek(0)
            raise RuntimeError(self.complaints.read()[-2000:])
        found = json.loads(line)
        self.seconds.append(found["seconds"])
        self.losses.append(found["loss"])
        self._signal(signal.SIGSTOP)

    def end(self) -> None:
        """Close it, its loaders too."""
        self._signal(signal.SIGCONT)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        # loaders that outlived it too
        self._signal(signal.SIGKILL)
        self.process.wait()
        self.complaints.close()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


def apart(first: Sequence[float], second: Sequence[float]) -> float:
    """Largest relative difference of two curves."""
    return max(abs(a - b) / abs(b) for a, b in zip(first, second, strict=True))


def curves(root: Path, steps: int) -> dict[str, list[float]]:
    """Losses of the first steps from the same weights and draws, loaded in the process itself."""
    found = {}
    for kind in ("peer", "ours-fp32", "ours-bf16"):
        worker = Worker(kind, root, steps, loaders="none", tuned=True)
        try:
            for _ in range(steps):
                worker.step()
        finally:
            worker.end()
        found[kind] = worker.losses
        say(f"losses of {kind}: {', '.join(f'{loss:.4f}' for loss in worker.losses)}")
    return found


def timed(root: Path, steps: int) -> Iterator[dict[str, Worker]]:
    """The four trainers after each round of one step each; those of the warm-up are left out."""
    asked = {
        "as shipped": ("peer", False),
        "malloc tuned": ("peer", True),
        "fp32": ("ours-fp32", False),
        "bf16": ("ours-bf16", False),
    }
    workers = {}
    try:
        for label, (kind, tuned) in asked.items():
            workers[label] = Worker(kind, root, WARM_UP + steps, tuned=tuned)
            for _ in range(WARM_UP):
                workers[label].step()
            say(f"{label}: warm after {sum(workers[label].seconds):.1f} s")
        for number in range(steps):
            for worker in workers.values():
                worker.step()
            seconds = ", ".join(f"{label} {worker.seconds[-1]:.2f} s" for label, worker in workers.items())
            say(f"step {number + 1} of {steps}: {seconds}")
            yield workers
    finally:
        for worker in workers.values():
            worker.end()


def table(name: str, found: dict[str, list[float]], workers: dict[str, Worker]) -> list[str]:
    """The lines of the results so far."""
    near = {one: apart(found[f"ours-{one}"], found["peer"]) for one in ("fp32", "bf16")}
    seconds = {label: statistics.median(worker.seconds[WARM_UP:]) for label, worker in workers.items()}
    steps, peers, rows = len(workers["fp32"].seconds) - WARM_UP, ("as shipped", "malloc tuned"), []
    for label, loss in near.items():
        ratios = [f"{seconds[peer]:.2f} | {seconds[peer] / seconds[label]:.1f}x" for peer in peers]
        memory = " / ".join(f"{workers[one].gb:.1f}" for one in (label, *peers))
        mine = f"| {name}, ours in {label} | {seconds[label]:.2f}"
        rows.append(f"{mine} | {' | '.join(ratios)} | {memory} | {loss:.1e} |")
    return [
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
        f"Medians of {steps} steps each, taken in turns after {WARM_UP} of warm-up; who waits stands still.",
        f"Losses: largest relative difference over {len(found['peer'])} steps from the same weights and the "
        "same draws, the peer in fp32 and loading in its own process. `auto` takes "
        f"{'bf16' if bf16_is_quicker() else 'fp32'} on this processor.",
    ]


def planned(data: Path, patients: int, scratch: Path) -> Path:
    """A workspace that nnU-Net planned for the first patients, with nothing pinned."""
    cohort = scratch / "cohort"
    cohort.mkdir()
    for folder in sorted(path for path in (data / "sts").iterdir() if path.is_dir())[:patients]:
        (cohort / folder.name).symlink_to(folder.resolve())
    plan_cohort(cohort, recipe_of("sarcoma", ("suv",), {}), scratch / "sts")
    return scratch / "sts"


def _patch_of(root: Path) -> str:
    workspace, _ = open_workspace(root)
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    configuration = plans["configurations"]["3d_fullres"]
    patch = " x ".join(map(str, configuration["patch_size"]))
    return f"{configuration['batch_size']} patches of {patch}"


def say(line: str) -> None:
    """Tell how far it is, at once."""
    print(f"{time.perf_counter() - BEGAN:6.1f} s: {line}", file=sys.stderr, flush=True)


def main() -> int:
    """Plan, compare, write the table after each round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--patients", type=int, default=12, help="so many of the sarcoma patients")
    parser.add_argument("--losses", type=int, default=10, help="steps whose losses must be equal")
    parser.add_argument("--steps", type=int, default=5, help="steps of each trainer on the clock")
    parser.add_argument("-o", "--out", type=Path, help="folder for training_step.md")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        kind, root, steps, loaders = options.work
        work(kind, Path(root), int(steps), loaders)
        return 0
    if options.data is None or options.out is None:
        parser.error("found no DATA or no folder to write to; needed both")
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = planned(options.data, options.patients, Path(folder))
        name = f"sarcoma PET, {_patch_of(root)}"
        say(f"planned: {name}")
        found = curves(root, options.losses)
        same = apart(found["ours-fp32"], found["peer"])
        if same > TOLERANCE:
            raise RuntimeError(f"found losses that are {same:.2g} apart; needed {TOLERANCE}")
        for workers in timed(root, options.steps):
            lines = table(name, found, workers)
            write_text(options.out / "training_step.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
