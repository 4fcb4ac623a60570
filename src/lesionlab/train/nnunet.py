"""The one trainer: nnU-Net's, reading its hyperparameters from the recipe.

Data loading, augmentation, loss and schedule are nnU-Net's own. Ours are the precision of a step, the average
of the weights, early stopping, curves, and checkpoints that load without executing pickled code.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import random
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from lesionlab.core.errors import TrainingError
from lesionlab.core.files import jsonable, writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Progress
from lesionlab.core.workspace import Workspace
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.train.curves import EpochRow, converged, read_curves, write_curves

log = logging.getLogger(__name__)

FINAL, LATEST = "checkpoint_final.pth", "checkpoint_latest.pth"
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class RecipeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with everything that may vary taken from a recipe; see `follow`."""

    def follow(self, recipe: Recipe, progress: Progress) -> None:
        """Take hyperparameters from the recipe. Call once, right after construction."""
        settings = recipe.training
        self.recipe, self.progress = recipe, progress
        self.num_epochs = settings.epochs
        self.num_iterations_per_epoch = settings.iterations
        self.num_val_iterations_per_epoch = settings.validation_iterations
        self.initial_lr = settings.learning_rate
        self.weight_decay = settings.weight_decay
        self.oversample_foreground_percent = settings.foreground_share
        self.autocast_dtype = autocast_dtype(settings.precision, self.device)
        self.grad_scaler: Any = self.grad_scaler if self.autocast_dtype is torch.float16 else None
        self.rows: list[EpochRow] = []
        self.average: list[torch.Tensor] | None = None
        self.steps = 0
        self.last_saved = time.monotonic()

    def configure_optimizers(self) -> tuple[Any, Any]:
        """SGD with Nesterov momentum and nnU-Net's polynomial decay."""
        optimizer = torch.optim.SGD(
            self.network.parameters(),
            self.initial_lr,
            weight_decay=self.weight_decay,
            momentum=self.recipe.training.momentum,
            nesterov=self.recipe.training.momentum > 0,
        )
        return optimizer, PolyLRScheduler(optimizer, self.initial_lr, self.num_epochs)

    def print_to_log_file(self, *words: Any, **_: Any) -> None:
        """Write to nnU-Net's own training log, never to the console."""
        with Path(self.log_file).open("a", encoding="utf-8") as file:
            file.write(" ".join(str(word) for word in words) + "\n")

    def plot_network_architecture(self) -> None:
        """Not drawn: it needs a library that is no longer maintained."""

    def _save_debug_information(self) -> None:
        """Not written: run.json and the model card say what is needed, without the host's name."""

    def _cast(self) -> Any:
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype)

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One optimiser step; the loss is taken in float32. Raises TrainingError when it is not finite."""
        data = batch["data"].to(self.device, non_blocking=True)
        target = [t.to(self.device, non_blocking=True) for t in _as_list(batch["target"])]
        self.optimizer.zero_grad(set_to_none=True)
        with self._cast():
            output = self.network(data)
        loss = self.loss(*_for_loss(output, target))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(
                f"fold {self.fold}, epoch {self.current_epoch}, cases {list(batch['keys'])}",
                f"loss {value}",
                "a finite loss; try precision = 'fp32' or a lower learning_rate",
            )
        self._apply_gradients(loss)
        self._update_average()
        return {"loss": np.float32(value)}

    def _apply_gradients(self, loss: torch.Tensor) -> None:
        if self.grad_scaler is None:
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
            self.optimizer.step()
            return
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def _update_average(self) -> None:
        decay = self.recipe.training.weight_averaging
        if decay == 0:
            return
        weights = [p.detach() for p in self.network.parameters()]
        self.steps += 1
        if self.average is None:
            self.average = [w.clone() for w in weights]
            return
        # A young average forgets faster, so that it does not remember the random start.
        decay = min(decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.average, weights, 1 - decay)

    @contextlib.contextmanager
    def averaged(self) -> Any:
        """Work on the averaged weights, then put the trained ones back."""
        if self.average is None:
            yield
            return
        weights = [p.data for p in self.network.parameters()]
        kept = [w.clone() for w in weights]
        torch._foreach_copy_(weights, self.average)
        try:
            yield
        finally:
            torch._foreach_copy_(weights, kept)

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """nnU-Net's own, at this recipe's precision."""
        with self._cast():
            return dict(super().validation_step(batch))

    def run_training(self) -> None:
        """Epochs until the recipe's number or convergence; goes on from `current_epoch`."""
        self.on_train_start()
        settings = self.recipe.training
        while self.current_epoch < self.num_epochs:
            if converged(self.rows, settings.stop_after, settings.stop_improvement):
                log.info("fold %s converged after %s epochs", self.fold, self.current_epoch)
                break
            self.one_epoch()
        self.on_train_end()

    def one_epoch(self) -> None:
        """Train and validate one epoch, note the curves, keep a checkpoint now and then."""
        self.on_epoch_start()
        self.on_train_epoch_start()
        losses = []
        for step in range(self.num_iterations_per_epoch):
            self._report(step)
            losses.append(self.train_step(next(self.dataloader_train)))
        self.on_train_epoch_end(losses)
        with torch.no_grad(), self.averaged():
            self.on_validation_epoch_start()
            self.on_validation_epoch_end(
                [
                    self.validation_step(next(self.dataloader_val))
                    for _ in range(self.num_val_iterations_per_epoch)
                ]
            )
        self.on_epoch_end()

    def _report(self, step: int) -> None:
        done = (self.current_epoch + step / self.num_iterations_per_epoch) / self.num_epochs
        last = f", Dice {self.rows[-1].smoothed_dice:.3f}" if self.rows else ""
        self.progress(f"fold {self.fold}, epoch {self.current_epoch + 1}/{self.num_epochs}{last}", done)

    def on_epoch_end(self) -> None:
        """Note the epoch and save a checkpoint when the last one is a minute old."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        keys = ("train_losses", "val_losses", "mean_fg_dice", "ema_fg_dice", "lrs")
        train, validation, dice, smoothed, rate = (float(self.logger.get_value(key, step=-1)) for key in keys)
        began = self.logger.get_value("epoch_start_timestamps", step=-1)
        seconds = float(self.logger.get_value("epoch_end_timestamps", step=-1) - began)
        self.rows.append(EpochRow(self.current_epoch, train, validation, dice, smoothed, rate, seconds))
        write_curves(self.rows, Path(self.output_folder))
        if time.monotonic() - self.last_saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save_checkpoint(str(Path(self.output_folder) / LATEST))
            self.last_saved = time.monotonic()
        self.current_epoch += 1

    def on_train_end(self) -> None:
        """Keep the averaged weights, where there are any, as the final ones."""
        with self.averaged():
            super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """Tensors and plain values only, in nnU-Net's layout, through a temporary name."""
        checkpoint = {
            "network_weights": self.network.state_dict(),
            "optimizer_state": self.optimizer.state_dict(),
            "grad_scaler_state": self.grad_scaler.state_dict() if self.grad_scaler else None,
            "logging": jsonable(self.logger.get_checkpoint()),
            "_best_ema": None,
            "current_epoch": self.current_epoch + 1,
            "init_args": {
                "plans": jsonable(self.plans_manager.plans),
                "configuration": self.configuration_name,
                "fold": self.fold,
                "dataset_json": jsonable(self.dataset_json),
            },
            "trainer_name": nnUNetTrainer.__name__,
            "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
            "lesionlab_recipe": self.recipe.model_dump(mode="json"),
            "lesionlab_average": self.average,
            "lesionlab_steps": self.steps,
        }
        final = Path(filename).name == FINAL
        if final:
            # What only resuming needs would double the size of what is deployed.
            checkpoint.update(optimizer_state=None, lesionlab_average=None)
        with writing(Path(filename)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Go on from a checkpoint of this trainer, curves included."""
        if not self.was_initialized:
            self.initialize()
        state = torch.load(filename_or_checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network_weights"])
        self.optimizer.load_state_dict(state["optimizer_state"])
        if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(state["grad_scaler_state"])
        self.logger.load_checkpoint(state["logging"])
        self.current_epoch = state["current_epoch"]
        self.average, self.steps = state["lesionlab_average"], state["lesionlab_steps"]
        self.rows = read_curves(Path(self.output_folder))[: self.current_epoch]


# nnU-Net derives the names of folders from the class's name, and stock tools look the class up by it.
RecipeTrainer.__name__ = nnUNetTrainer.__name__


def _as_list(target: Any) -> list[Any]:
    return list(target) if isinstance(target, list | tuple) else [target]


def _for_loss(output: Any, target: list[Any]) -> tuple[Any, Any]:
    """Outputs in float32; lists stay lists (deep supervision), a single one stays single."""
    if isinstance(output, list | tuple):
        return [o.float() for o in output], target
    return output.float(), target[0]


def build_trainer(
    workspace: Workspace, recipe: Recipe, fold: int | str, device: torch.device, progress: Progress
) -> RecipeTrainer:
    """A trainer for one fold of a planned workspace. The workspace's environment must be entered."""
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = RecipeTrainer(plans, recipe.network.configuration, fold, dataset, device)
    trainer.follow(recipe, progress)
    return trainer


def train_network(
    workspace: Workspace, recipe: Recipe, fold: int | str, device: str, progress: Progress
) -> Path:
    """Train one fold to its end, going on from its last checkpoint; returns the fold's folder."""
    folder = workspace.model(recipe.network.configuration) / f"fold_{fold}"
    if (folder / FINAL).is_file():
        return folder
    seed = recipe.training.seed + (fold if isinstance(fold, int) else 0)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (nnU-Net's loader draws from numpy's global state)
    torch.manual_seed(seed)
    with workspace.environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = build_trainer(workspace, recipe, fold, pick_device(device), progress)
        trainer.initialize()
        if (folder / LATEST).is_file():
            trainer.load_checkpoint(folder / LATEST)
        trainer.run_training()
    return folder
