"""Held-out predictions of a study as small files, and the pace and the cost of a training.

A mask is kept as predicted, before any clean-up, and of a network the probability of each label in steps of
1/256, so that post-processing can be chosen, and the mean of several networks taken, without running them
again. No report is written.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.errors import LesionLabError, MemoryNeedError, ReadError
from lesionlab.core.files import writing
from lesionlab.core.learning import PredictionSettings
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Wanted
from lesionlab.core.tasks import Progress
from lesionlab.predict import Bundle, predict
from lesionlab.predict.ensemble import likeliest
from lesionlab.predict.expected_dice import LEVELS, levels
from lesionlab.study.data import Kept
from lesionlab.train import read_curves


@dataclass(frozen=True)
class Timed:
    """What predicting cost: the median of seconds per case, and the cases that failed with the reason."""

    seconds_per_case: float
    failed: dict[str, str]

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def predict_held_out(
    cases: Kept[Case], names: Sequence[str], bundle: Bundle, folder: Path, device: str, progress: Progress
) -> Timed:
    """Predict cases into `folder/NAME.npz`, files that are there already kept; one that fails is listed.

    Raises ReadError and MemoryNeedError: those may pass, and the case must not count as missed for ever.
    """
    failed = {}
    wanted: Wanted = "every" if bundle.recipe.method == "network" else False
    for number, name in enumerate(names):
        progress(f"predicting {name}", number / len(names))
        file = folder / f"{name}.npz"
        if file.is_file():
            continue
        try:
            case = cases.get(name)
            start = time.perf_counter()
            found = predict(case, bundle, device=device, probability=wanted)
        except (ReadError, MemoryNeedError):
            raise
        except LesionLabError as error:
            failed[name] = str(error)
            continue
        seconds = time.perf_counter() - start
        chances = [] if found.probability is None else [found.probability, *found.others]
        _write(file, found.mask.array, [levels(one.array) for one in chances], seconds)
    took = [_seconds(folder / f"{name}.npz") for name in names if name not in failed]
    return Timed(float(np.median(took)) if took else float("nan"), failed)


def mean_held_out(
    folders: Sequence[Path],
    names: Sequence[str],
    folder: Path,
    settings: PredictionSettings,
    progress: Progress,
) -> Timed:
    """The mean probabilities of several networks for each case, into `folder/NAME.npz`.

    They are decided as `settings` say, and their seconds are the sum of the networks'. A case that one of
    them lacks, or predicted on another grid, is listed as failed.
    """
    failed, seconds = {}, []
    for number, name in enumerate(names):
        progress(f"mean of {len(folders)} networks: {name}", number / len(names))
        files = [one / f"{name}.npz" for one in folders]
        if not all(file.is_file() for file in files):
            failed[name] = "not predicted by every member"
            continue
        found = [load_steps(file) for file in files]
        shapes = {one.shape for one in found}
        if len(shapes) > 1 or (0,) in shapes:
            failed[name] = f"found probabilities of shapes {sorted(shapes)}; needed one shape"
            continue
        steps = mean_steps(found)
        seconds.append(sum(_seconds(file) for file in files))
        mask = likeliest((steps.astype(np.float32) + 0.5) / LEVELS, settings)
        _write(folder / f"{name}.npz", mask, list(steps), seconds[-1])
    return Timed(float(np.median(seconds)) if seconds else float("nan"), failed)


def mean_steps(steps: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """The mean of probabilities that are kept in steps, each step counting as its middle."""
    total = np.zeros(steps[0].shape, np.float32)
    for one in steps:
        total += one
    return levels((total / len(steps) + 0.5) / LEVELS)


def _write(file: Path, mask: NDArray[Any], steps: Sequence[NDArray[np.uint8]], seconds: float) -> None:
    """Keep a mask, the steps of its labels' probabilities and the seconds that it took."""
    arrays: dict[str, Any] = {"mask": mask.astype(np.uint8), "seconds": seconds}
    if len(steps) == 1:
        arrays["probability"] = steps[0]
    elif len(steps):
        arrays["probabilities"] = np.stack(steps)
    with writing(file) as temporary, temporary.open("wb") as target:
        np.savez_compressed(target, **arrays)


def _seconds(file: Path) -> float:
    with np.load(file) as arrays:
        return float(arrays["seconds"])


def load_held_out(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """The mask as predicted, and the steps of its probability where there is one label, else None."""
    with np.load(file) as arrays:
        return arrays["mask"], arrays.get("probability")


def load_steps(file: Path) -> NDArray[np.uint8]:
    """The steps of every label's probability (label, z, y, x); of shape (0,) where there are none."""
    with np.load(file) as arrays:
        if "probability" in arrays:
            return np.asarray(arrays["probability"][None])
        return np.asarray(arrays["probabilities"] if "probabilities" in arrays else np.zeros(0, np.uint8))


def paced(recipe: Recipe, protocol: str, amount: float, batch_size: int) -> Recipe:
    """The recipe with epochs and iterations such that the training sees `amount` patches, or lasts so long.

    Patches: as many whole steps of `batch_size` as come nearest, in epochs of about the recipe's length;
    with fewer steps than it has epochs of warm-up, all but the last step are warm-up.
    Minutes: `training.minutes`; the recipe's epochs are then what its schedule counts by.
    """
    if protocol == "minutes":
        return recipe.changed(training={"minutes": amount})
    steps = max(1, round(amount / batch_size))
    warm_up = min(recipe.training.warm_up_epochs, steps - 1)
    epochs = max(1 + warm_up, round(steps / recipe.training.iterations))
    # epochs of a long warm-up are short: rounding their length up or down would be many patches
    short = steps // epochs
    lengths = ((epochs, round(steps / epochs)), (round(steps / short), short))
    epochs, iterations = min(lengths, key=lambda pair: abs(pair[0] * pair[1] - steps))
    paced = {"epochs": epochs, "iterations": iterations, "warm_up_epochs": warm_up}
    return recipe.changed(training=paced)


@dataclass(frozen=True)
class Cost:
    """What a training took: minutes and epochs of its curves, patches seen, trainable parameters."""

    minutes: float
    epochs: int
    patches: int
    parameters: int

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def __add__(self, other: Cost) -> Cost:
        """The cost of two networks, one after the other."""
        return Cost(
            self.minutes + other.minutes,
            self.epochs + other.epochs,
            self.patches + other.patches,
            self.parameters + other.parameters,
        )


NO_COST = Cost(0.0, 0, 0, 0)
"""Of a method that needs no training."""


def cost_of(fold: Path, recipe: Recipe, batch_size: int) -> Cost:
    """The cost of a finished fold, from its curves and its final checkpoint."""
    rows = read_curves(fold)
    steps = len(rows) * recipe.training.iterations
    minutes = sum(row.seconds for row in rows) / 60
    return Cost(minutes, len(rows), steps * batch_size, _parameters(fold / "checkpoint_final.pth"))


def _parameters(checkpoint: Path) -> int:
    """Weights of a checkpoint, each counted once however many names it has; no statistics, no tables."""
    import torch

    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["network_weights"]
    seen = {}
    for name, tensor in weights.items():
        # whole numbers are counters and tables of places, which nothing trains
        if tensor.is_floating_point() and not name.endswith(("running_mean", "running_var")):
            seen[tensor.data_ptr()] = tensor.numel()
    return sum(seen.values())
