"""Folds of the sarcoma patients, ours beside stock nnU-Net: same patients, same folds, Dice and minutes.

The peer is nnU-Net's own trainer class with its own plan (z-scored PET, 32 first features, float32) and its
default of flips at prediction; only the number of iterations is set. Both run with freed memory kept, and
their steps are timed in turns, so the ratio is against a tuned peer.

    python benchmarks/sts_peer.py DATA -w WORKSPACE -p PEER_WORKSPACE --fold 0 2 -o sts_peer.md

A workspace that is not there is planned; one of `make sts` is used as it is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from lesionlab.core.memory import keep_freed_memory

keep_freed_memory()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # noqa: E402

from lesionlab.core.files import write_text  # noqa: E402
from lesionlab.core.recipe import Recipe, parse_recipe  # noqa: E402
from lesionlab.core.registry import find_recipe  # noqa: E402
from lesionlab.core.tasks import silent  # noqa: E402
from lesionlab.core.workspace import Workspace, open_workspace  # noqa: E402
from lesionlab.evaluate import score_case  # noqa: E402
from lesionlab.evaluate.bootstrap import bootstrap_interval  # noqa: E402
from lesionlab.pipeline.patient import open_standardised  # noqa: E402
from lesionlab.pipeline.training import SOURCES_FILE, fold_bundle, plan_cohort, train_folds  # noqa: E402
from lesionlab.predict import predict  # noqa: E402
from lesionlab.train.nnunet import build_trainer  # noqa: E402

ITERATIONS = 50
"""Of an epoch, as in our recipe, so that both schedules decay in steps of equal length."""
TIMED_STEPS = 12


def peer_recipe(ours: Recipe) -> Recipe:
    """Nothing pinned and z-score: plans exactly as stock nnU-Net plans a channel called PET."""
    return parse_recipe(
        {
            "name": "stock",
            "channels": {"suv": {"normalisation": "zscore"}},
            "reference": "suv",
            "training": {"folds": ours.training.folds, "seed": ours.training.seed},
        },
        "stock",
    )


def stock_trainer(workspace: Workspace, fold: int, epochs: int) -> nnUNetTrainer:
    """nnU-Net's own trainer class on a planned workspace; its environment must be entered."""
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    trainer = nnUNetTrainer(plans, "3d_fullres", fold, dataset, torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, ITERATIONS
    trainer.num_val_iterations_per_epoch = 3
    return trainer


@contextlib.contextmanager
def nnunet_of(workspace: Workspace) -> Iterator[None]:
    """The workspace's environment, without what nnU-Net prints and warns."""
    with workspace.environment(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def train_peer(workspace: Workspace, fold: int, epochs: int) -> None:
    """Train stock nnU-Net's class on one fold unless that was done before."""
    if (workspace.model("3d_fullres") / f"fold_{fold}" / "checkpoint_final.pth").is_file():
        return
    torch.manual_seed(fold)
    with nnunet_of(workspace):
        stock_trainer(workspace, fold, epochs).run_training()


def seconds_per_step(ours: Workspace, recipe: Recipe, peer: Workspace, fold: int) -> tuple[float, float]:
    """Median seconds of a training step, data loading included, the two taking turns."""
    steppers: list[Callable[[], None]] = []
    for workspace in (ours, peer):
        with nnunet_of(workspace):
            if workspace is ours:
                trainer: Any = build_trainer(ours, recipe, fold, torch.device("cpu"), silent)
            else:
                trainer = stock_trainer(peer, fold, 1)
            trainer.initialize()
            batches, _ = trainer.get_dataloaders()
            trainer.network.train()
            steppers.append(partial(_step, trainer, batches))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(TIMED_STEPS):
        for taken, step in zip(seconds, steppers, strict=True):
            began = time.perf_counter()
            step()
            taken.append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _step(trainer: Any, batches: Iterator[dict[str, Any]]) -> None:
    trainer.train_step(next(batches))


def dice_of(root: Path, fold: int) -> dict[str, float]:
    """Dice of a fold's model on each of its held-out patients."""
    workspace, recipe = open_workspace(root)
    bundle = fold_bundle(workspace, recipe, fold)
    sources = json.loads((root / SOURCES_FILE).read_text())["cases"]
    splits = json.loads((workspace.preprocessed / "splits_final.json").read_text())
    found = {}
    for name in splits[fold]["val"]:
        case = open_standardised(sources[name]["source"], recipe, case_id=name)
        mask = predict(case, bundle, device="cpu").mask
        found[name] = score_case(name, mask, case.truth).values["dice"]
    return found


Found = dict[str, tuple[int, float, float]]
"""Patient: fold, our Dice, the peer's."""


def table(found: Found, recipe: Recipe, peer_steps: int, seconds: tuple[float, float]) -> list[str]:
    """The result as Markdown: every patient, every fold, all of them."""
    steps = recipe.training.epochs * recipe.training.iterations
    mine, theirs = (np.array([item[k] for item in found.values()]) for k in (1, 2))
    better = bootstrap_interval(mine - theirs)
    folds = sorted({fold for fold, _, _ in found.values()})
    means = [
        f"| mean of fold {fold} | | {np.mean([m for f, m, _ in found.values() if f == fold]):.3f} "
        f"| {np.mean([t for f, _, t in found.values() if f == fold]):.3f} |"
        for fold in folds
    ]
    return [
        f"# The sarcoma patients, fold {', '.join(map(str, folds))}: {recipe.name} beside stock nnU-Net",
        "",
        f"| patient | fold | {recipe.name}, {steps} iterations | stock nnU-Net, {peer_steps} iterations |",
        "|---|---|---|---|",
        *(f"| {name} | {fold} | {m:.3f} | {t:.3f} |" for name, (fold, m, t) in found.items()),
        *means,
        f"| mean of {len(found)} patients | | {mine.mean():.3f} | {theirs.mean():.3f} |",
        f"| seconds per step, side by side | | {seconds[0]:.2f} | {seconds[1]:.2f} |",
        f"| minutes of training a fold at that | | {seconds[0] * steps / 60:.1f} "
        f"| {seconds[1] * peer_steps / 60:.1f} |",
        "",
        f"Difference in Dice, patient by patient: {better.estimate:+.3f} "
        f"(95 % interval {better.low:+.3f} to {better.high:+.3f}, patients drawn 10,000 times). "
        f"A step of {recipe.name} takes {seconds[0] / seconds[1]:.2f} of the peer's time.",
    ]


def main() -> int:
    """Train what is not trained, compare on the held-out patients, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("-w", "--workspace", type=Path, required=True, help="workspace for pet-small")
    parser.add_argument("-p", "--peer", type=Path, required=True, help="workspace for stock nnU-Net")
    parser.add_argument("--fold", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, default=30, help="of 50 iterations each, for the peer")
    parser.add_argument("--our-epochs", type=int, help="of a workspace that is not there; the recipe's 50")
    parser.add_argument("-o", "--out", type=Path, required=True, help="the table, FILE.md")
    options = parser.parse_args()

    if not (options.workspace / "recipe.toml").is_file():
        changes = {"epochs": options.our_epochs} if options.our_epochs else {}
        plan_cohort(options.data, find_recipe("pet-small").changed(training=changes), options.workspace)
    ours, recipe = open_workspace(options.workspace)
    if not (options.peer / "recipe.toml").is_file():
        plan_cohort(options.data, peer_recipe(recipe), options.peer)
    peer, _ = open_workspace(options.peer)
    splits = [json.loads((w.preprocessed / "splits_final.json").read_text()) for w in (ours, peer)]
    if splits[0] != splits[1]:
        raise SystemExit("found different folds in the two workspaces; needed the same")
    train_folds(options.workspace, options.fold)
    found: Found = {}
    for fold in options.fold:
        train_peer(peer, fold, options.epochs)
        mine, theirs = dice_of(options.workspace, fold), dice_of(options.peer, fold)
        found |= {name: (fold, mine[name], theirs[name]) for name in mine}
    seconds = seconds_per_step(ours, recipe, peer, options.fold[0])
    lines = table(found, recipe, options.epochs * ITERATIONS, seconds)
    folds = " ".join(map(str, options.fold))
    lines[2:2] = [
        "Made by `python benchmarks/sts_peer.py DATA -w WORKSPACE -p PEER_WORKSPACE "
        f"--fold {folds} --epochs {options.epochs} --our-epochs {recipe.training.epochs} "
        f"-o benchmarks/results/{options.out.name}`.",
        "",
    ]
    write_text(options.out, "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
