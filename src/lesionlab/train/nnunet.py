"""The one trainer: nnU-Net's, reading its hyperparameters from the recipe.

Data loading and the default augmentation are nnU-Net's own. Loss, schedule, sampling, other augmentations,
first and averaged weights, early stopping, curves and safe checkpoints are wired in here, written beside it.
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed
from nnunetv2.training.loss.dice import get_tp_fp_fn_tn
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch.nn.parallel import DistributedDataParallel

from lesionlab.core.errors import DatasetError, TrainingError
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.workspace import Workspace
from lesionlab.networks.build import build_network
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.train.ahead import ahead
from lesionlab.train.averaging import WeightAverage, averaged_tensors
from lesionlab.train.checkpoints import load_state, save_state
from lesionlab.train.curves import (
    EpochRow,
    converged,
    out_of_time,
    read_curves,
    smoothed,
    time_share,
    write_curves,
)
from lesionlab.train.losses import NetworkLoss, make_loss
from lesionlab.train.patches.nnunet import Geometry, patch_geometry, patch_loaders
from lesionlab.train.progressive import at_its_size, since_full
from lesionlab.train.sampling import training_cases
from lesionlab.train.schedules import Schedule, make_optimiser
from lesionlab.train.spread import first_process, joined
from lesionlab.train.start import start_network

log = logging.getLogger(__name__)

FINAL, LATEST = "checkpoint_final.pth", "checkpoint_latest.pth"
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class RecipeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with everything that may vary taken from a recipe; see `follow`."""

    is_ddp: bool
    network: Any

    def follow(self, recipe: Recipe, with_lesion: Mapping[str, bool], progress: Progress) -> None:
        """Take hyperparameters from the recipe. Call once, right after construction.

        `with_lesion` tells of each case of the plan whether it has a lesion.
        """
        settings = recipe.training
        self.recipe, self.with_lesion, self.progress = recipe, with_lesion, progress
        self.num_epochs = settings.epochs
        self.num_iterations_per_epoch = settings.iterations
        self.num_val_iterations_per_epoch = settings.validation_iterations
        self.initial_lr = settings.learning_rate
        self.weight_decay = settings.weight_decay
        self.oversample_foreground_percent = settings.foreground_share
        self.enable_deep_supervision = recipe.loss.deep_supervision
        self.autocast_dtype = autocast_dtype(settings.precision, self.device)
        self.grad_scaler: Any = self.grad_scaler if self.autocast_dtype is torch.float16 else None
        self.located: Path | None = None
        if recipe.locate.spacing_mm is not None:
            # the network sees crops around what was located, never a scan as a whole
            first = Path(self.output_folder_base).parent / self._folder_of(recipe.steps[0])
            self.located = first / "predicted_next_stage" / self.configuration_name
            self.oversample_foreground_percent = 1.0
        self.rows: list[EpochRow] = []
        self.average = WeightAverage(settings.weight_averaging)
        self.last_saved, self.step = -math.inf, 0

    def _folder_of(self, configuration: str) -> str:
        """nnU-Net's name of the folder that another configuration of this plan is trained in."""
        return f"{nnUNetTrainer.__name__}__{self.plans_manager.plans_name}__{configuration}"

    def configure_optimizers(self) -> tuple[Any, Any]:
        """The recipe's optimiser and schedule."""
        optimiser = make_optimiser(self.network.parameters(), self.recipe.training)
        return optimiser, Schedule(optimiser, self.recipe.training, self.place)

    def place(self, epoch: int) -> float:
        """Where in the schedule an epoch is: at its number, or at the share of the minutes gone by."""
        minutes = self.recipe.training.minutes
        return float(epoch) if minutes is None else time_share(self.rows, minutes) * self.num_epochs

    def done(self) -> float:
        """The share of the training that is over: of all steps, or of the minutes by whole epochs."""
        minutes = self.recipe.training.minutes
        epochs = self.current_epoch + self.step / self.num_iterations_per_epoch
        return epochs / self.num_epochs if minutes is None else time_share(self.rows, minutes)

    @staticmethod
    def build_network_architecture(
        plans_manager: Any, configuration_manager: Any, channels: int, classes: int, supervised: bool = True
    ) -> torch.nn.Module:
        """The network of the plan, with its first weights."""
        plan, name = configuration_manager.configuration["architecture"], plans_manager.plans_name
        how = {"deep_supervision": supervised, "initialise": True}
        return build_network(plan, channels, classes, subject=name, **how)

    def _build_loss(self) -> NetworkLoss:
        plan = self.configuration_manager
        return make_loss(self.recipe.loss, bool(plan.batch_dice), self.label_manager.ignore_label)

    def _get_deep_supervision_scales(self) -> None:
        """None: the loss scales the truth down itself, to whatever outputs a network has."""

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch it on or off in a network that has such a switch, in itself or in its decoder."""
        for holder in (self.plain_network, getattr(self.plain_network, "decoder", None)):
            if holder is not None and hasattr(holder, "deep_supervision"):
                holder.deep_supervision = enabled

    def initialize(self) -> None:
        """Build network, optimiser and loss; under torchrun also this process's part of the batch.

        Raises TrainingError for a batch with fewer patches than there are processes.
        """
        spread, self.is_ddp = self.is_ddp, False
        super().initialize()
        self.is_ddp = spread
        if not spread:
            return
        batch, processes = self.batch_size, torch.distributed.get_world_size()
        if batch < processes:
            found = f"batch_size {batch} for {processes} processes"
            raise TrainingError(self.recipe.name, found, "at least one patch for each")
        with contextlib.redirect_stdout(io.StringIO()):
            self._set_batch_size_and_oversample()
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            self.network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        self.network = DistributedDataParallel(self.network, device_ids=[self.device] if on_gpu else None)

    @property
    def plain_network(self) -> Any:
        """The network itself, where `network` is spread over processes or compiled."""
        network = getattr(self.network, "module", self.network)
        return getattr(network, "_orig_mod", network)

    def _do_i_compile(self) -> bool:
        return self.recipe.training.compile and self.device.type == "cuda"

    def do_split(self) -> tuple[list[str], list[str]]:
        """The plan's cases of this fold (of `all` sorted); training: not those that the recipe excludes."""
        training, validation = (sorted(s) if self.fold == "all" else s for s in super().do_split())
        subject = f"fold {self.fold} of {self.recipe.name}"
        chosen = training_cases(training, self.with_lesion, self.recipe.training, subject)
        return chosen, [case for case in validation if case in self.with_lesion]

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> Geometry:
        """Angles, whether slices are thick, size that patches are cut at, axes to mirror: by augmentation."""
        planned = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        size, transposed = self.configuration_manager.patch_size, self.plans_manager.transpose_forward
        geometry = patch_geometry(planned, self.recipe.training, size, transposed)
        self.inference_allowed_mirroring_axes = geometry[-1]
        return geometry

    def get_dataloaders(self) -> tuple[Any, Any]:
        """Endless batches of training and of validation patches."""
        return patch_loaders(self, self.configure_rotation_dummyDA_mirroring_and_inital_patch_size())

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, so that one after an interruption draws what it would have drawn without."""
        fold = self.fold if isinstance(self.fold, int) else len(self.with_lesion)
        place = [self.recipe.training.seed, fold, self.current_epoch]
        sequence = np.random.SeedSequence([*place, self.local_rank] if self.local_rank else place)
        seed_all(int(sequence.generate_state(1)[0]))
        super().on_train_epoch_start()

    def print_to_log_file(self, *words: Any, **_: Any) -> None:
        """Write to nnU-Net's own training log, never to the console."""
        if self.local_rank == 0:
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

    def _forward(self, batch: dict[str, Any]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Output and truth of a batch, and the loss between them in float32."""
        target = batch["target"].to(self.device, non_blocking=True)
        with self._cast():
            output = self.network(batch["data"].to(self.device, non_blocking=True))
        loss = self.loss(output, target)
        if self.is_ddp and isinstance(output, list | tuple):
            # Gradients are only exchanged once all weights have one, those of outputs that weigh nothing too.
            loss = loss + sum(0 * coarse.float().mean() for coarse in output)
        return output, target, loss

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One optimiser step.

        Raises TrainingError for a loss or gradient that is not finite, before it reaches the weights, and
        DatasetError for a label that dataset.json does not name.
        """
        where = f"fold {self.fold}, epoch {self.current_epoch}, cases {list(map(str, batch['keys']))}"
        highest = max(*self.label_manager.all_labels, self.label_manager.ignore_label or 0)
        if int(batch["target"].max()) > highest:
            found = f"label {int(batch['target'].max())}"
            raise DatasetError(where, found, f"labels of dataset.json, up to {highest}")
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._forward(at_its_size(self, batch))[2]
        value = float(loss.detach())
        self._require_finite(where, "loss", value)
        self._apply_gradients(loss, where)
        self.average.update(averaged_tensors(self.plain_network))
        return {"loss": np.float32(value)}

    def _require_finite(self, where: str, name: str, value: float) -> None:
        if math.isfinite(value):
            return
        kept = Path(self.output_folder) / LATEST
        last = f"; {LATEST} holds the last good weights" if kept.is_file() else ""
        advice = f"a finite {name}; try precision = 'fp32' or a lower learning_rate{last}"
        raise TrainingError(where, f"{name} {value}", advice)

    def _apply_gradients(self, loss: torch.Tensor, where: str) -> None:
        limit = self.recipe.training.clip_gradients or math.inf
        if self.grad_scaler is None:
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
            self._require_finite(where, "gradient", float(norm))
            self.optimizer.step()
            return
        # float16 overflows now and then: the scaler leaves such a step out and scales less.
        self.grad_scaler.scale(loss).backward()
        self.grad_scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Work on the averaged weights, where there are any, then put the trained ones back."""
        return self.average.applied(averaged_tensors(self.plain_network))

    def validation_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Loss, and per class the voxels hit, false and missed in a batch, for nnU-Net's pseudo Dice."""
        output, target, loss = self._forward(batch)
        finest = output[0] if isinstance(output, list | tuple) else output
        chosen = torch.zeros_like(finest).scatter_(1, finest.argmax(1, keepdim=True), 1)
        ignored, mask = self.label_manager.ignore_label, None
        if ignored is not None:
            mask = (target != ignored).float()
            target = torch.where(target == ignored, 0, target)
        axes = [0, *range(2, finest.ndim)]
        counts = [c.cpu().numpy()[1:] for c in get_tp_fp_fn_tn(chosen.float(), target, axes, mask)[:3]]
        names = ("tp_hard", "fp_hard", "fn_hard")
        return {"loss": loss.cpu().numpy(), **dict(zip(names, counts, strict=True))}

    def run_training(self) -> None:
        """Epochs until the recipe's number or minutes (one in full) or convergence; from `current_epoch`."""
        self.on_train_start()
        settings = self.recipe.training
        while settings.minutes is not None or self.current_epoch < self.num_epochs:
            if (full := since_full(self.rows, settings)) and out_of_time(self.rows, settings.minutes):
                break
            if converged(full, settings.stop_after, settings.stop_improvement):
                log.info("fold %s converged after %s epochs", self.fold, self.current_epoch)
                break
            self.one_epoch()
        self.on_train_end()

    def one_epoch(self) -> None:
        """Train and validate one epoch, note the curves, keep a checkpoint now and then."""
        self.on_epoch_start()
        self.on_train_epoch_start()
        losses = []
        with contextlib.closing(ahead(self.dataloader_train, self.num_iterations_per_epoch)) as batches:
            for self.step, batch in enumerate(batches):
                self._report()
                losses.append(self.train_step(batch))
        self.on_train_epoch_end(losses)
        with torch.no_grad(), self.averaged():
            self.on_validation_epoch_start()
            count = self.num_val_iterations_per_epoch
            found = [self.validation_step(next(self.dataloader_val)) for _ in range(count)]
            self.on_validation_epoch_end(found)
        self.on_epoch_end()

    def _report(self) -> None:
        minutes = self.recipe.training.minutes
        of = f"/{self.num_epochs}" if minutes is None else f", {minutes:g} minutes"
        last = f", Dice {self.rows[-1].smoothed_dice:.3f}" if self.rows else ""
        self.progress(f"fold {self.fold}, epoch {self.current_epoch + 1}{of}{last}", self.done())

    def on_epoch_end(self) -> None:
        """Note the epoch; save a checkpoint after the first, and when the last one is a minute old."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        keys = ("train_losses", "val_losses", "mean_fg_dice", "lrs")
        train, validation, dice, rate = (float(self.logger.get_value(key, step=-1)) for key in keys)
        began = self.logger.get_value("epoch_start_timestamps", step=-1)
        seconds = self._same(float(self.logger.get_value("epoch_end_timestamps", step=-1) - began))
        mean = smoothed(self.rows, dice)
        self.rows.append(EpochRow(self.current_epoch, train, validation, dice, mean, rate, seconds))
        if self.local_rank == 0:
            write_curves(self.rows, Path(self.output_folder))
        if time.monotonic() - self.last_saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save_checkpoint(str(Path(self.output_folder) / LATEST))
            self.last_saved = time.monotonic()
        self.current_epoch += 1

    def _same(self, value: float) -> float:
        """The first process's value, for decisions that all must take alike."""
        values = [value]
        if self.is_ddp:
            torch.distributed.broadcast_object_list(values)
        return values[0]

    def on_train_end(self) -> None:
        """Keep the averaged weights, where there are any, as the final ones."""
        with self.averaged():
            super().on_train_end()

    def save_checkpoint(self, filename: str) -> None:
        """Tensors and plain values only, in nnU-Net's layout, through a temporary name."""
        if self.local_rank == 0:
            save_state(self, Path(filename), deployed=Path(filename).name == FINAL)

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Go on from a checkpoint of this trainer, curves included."""
        if not self.was_initialized:
            self.initialize()
        load_state(self, Path(filename_or_checkpoint))
        self.rows = read_curves(Path(self.output_folder))[: self.current_epoch]


# nnU-Net derives the names of folders from the class's name, and stock tools look the class up by it.
RecipeTrainer.__name__ = nnUNetTrainer.__name__


def seed_all(seed: int) -> None:
    """Seed every generator that training draws from."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (nnU-Net's loader draws from numpy's global state)
    torch.manual_seed(seed)


def build_trainer(
    workspace: Workspace, recipe: Recipe, fold: int | str, device: torch.device, progress: Progress
) -> RecipeTrainer:
    """A trainer for one fold of a planned workspace. The workspace's environment must be entered."""
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = RecipeTrainer(plans, recipe.network.configuration, fold, dataset, device)
    # nnU-Net takes its own choice among several GPUs, and a GPU where several processes have none.
    trainer.device = device
    with_lesion = json.loads(workspace.cases_file.read_text())["with_lesion"]
    trainer.follow(recipe, with_lesion, progress if first_process() else silent)
    return trainer


def train_network(
    workspace: Workspace, recipe: Recipe, fold: int | str, device: str, progress: Progress
) -> Path:
    """Train one fold to its end, going on from its last checkpoint; returns the fold's folder."""
    folder = workspace.model(recipe.network.configuration) / f"fold_{fold}"
    if (folder / FINAL).is_file():
        return folder
    seed_all(recipe.training.seed + (fold if isinstance(fold, int) else 0))
    with workspace.environment(), warnings.catch_warnings(), joined(pick_device(device)) as place:
        warnings.simplefilter("ignore")
        trainer = build_trainer(workspace, recipe, fold, place, progress)
        trainer.initialize()
        if (folder / LATEST).is_file():
            trainer.load_checkpoint(folder / LATEST)
        elif (start := recipe.start_file()) is not None:
            trainer.print_to_log_file(f"started from {start_network(trainer.plain_network, start)}")
        trainer.run_training()
    return folder
