"""The one trainer: nnU-Net's, reading its hyperparameters from the recipe.

Data loading and the default augmentation are nnU-Net's own. Loss, schedule, sampling and other augmentations
are wired in here and written beside this file. Ours too are the precision of a step, the average of the
weights, early stopping, curves, and checkpoints that load without executing pickled code.
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
from batchgenerators.dataloading.single_threaded_augmenter import SingleThreadedAugmenter
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from nnunetv2.training.data_augmentation.compute_initial_patch_size import get_patch_size
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2
from nnunetv2.training.loss.dice import get_tp_fp_fn_tn
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from lesionlab.core.errors import DatasetError, TrainingError
from lesionlab.core.files import jsonable, writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Progress
from lesionlab.core.workspace import Workspace
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.train.augment import ANGLE_RAD, flips_rotation_crop
from lesionlab.train.averaging import WeightAverage
from lesionlab.train.curves import EpochRow, converged, read_curves, smoothed, write_curves
from lesionlab.train.losses import NetworkLoss, make_loss
from lesionlab.train.located import AroundLocated
from lesionlab.train.sampling import EvenLesions, case_shares, training_cases
from lesionlab.train.schedules import Schedule, make_optimiser

log = logging.getLogger(__name__)

FINAL, LATEST = "checkpoint_final.pth", "checkpoint_latest.pth"
SECONDS_BETWEEN_CHECKPOINTS = 60.0


class RecipeTrainer(nnUNetTrainer):
    """nnU-Net's trainer with everything that may vary taken from a recipe; see `follow`."""

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
        self.last_saved = -math.inf

    def _folder_of(self, configuration: str) -> str:
        """nnU-Net's name of the folder that another configuration of this plan is trained in."""
        return f"{nnUNetTrainer.__name__}__{self.plans_manager.plans_name}__{configuration}"

    def configure_optimizers(self) -> tuple[Any, Any]:
        """The recipe's optimiser and schedule."""
        optimiser = make_optimiser(self.network.parameters(), self.recipe.training)
        return optimiser, Schedule(optimiser, self.recipe.training)

    def _build_loss(self) -> NetworkLoss:
        plan = self.configuration_manager
        return make_loss(self.recipe.loss, bool(plan.batch_dice), self.label_manager.ignore_label)

    def _get_deep_supervision_scales(self) -> None:
        """None: the loss scales the truth down itself, to whatever outputs a network has."""

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch it on or off in a network that has such a switch, in itself or in its decoder."""
        for holder in (self._network, getattr(self._network, "decoder", None)):
            if holder is not None and hasattr(holder, "deep_supervision"):
                holder.deep_supervision = enabled

    @property
    def _network(self) -> Any:
        """The network itself, where `network` is a compiled one."""
        return getattr(self.network, "_orig_mod", self.network)

    def _do_i_compile(self) -> bool:
        return self.recipe.training.compile and self.device.type == "cuda"

    def do_split(self) -> tuple[list[str], list[str]]:
        """The plan's cases of this fold, without those that the recipe excludes from training."""
        training, validation = super().do_split()
        subject = f"fold {self.fold} of {self.recipe.name}"
        return training_cases(training, self.with_lesion, self.recipe.training, subject), list(validation)

    def configure_rotation_dummyDA_mirroring_and_inital_patch_size(self) -> tuple[Any, ...]:
        """Angles, whether slices are thick, size that patches are cut at, axes to mirror: by augmentation."""
        angles, in_plane, cut, axes = super().configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        size = self.configuration_manager.patch_size
        if self.recipe.training.augmentation == "flips_rotation_crop":
            turn = (-ANGLE_RAD, ANGLE_RAD)
            cut = get_patch_size(size, turn, turn, turn, (1.0, 1.0))
            if in_plane:
                cut[0] = size[0]
        elif self.recipe.training.augmentation == "none":
            cut, axes = size, None
            self.inference_allowed_mirroring_axes = None
        return angles, in_plane, cut, axes

    def _transforms(self, angles: Any, in_plane: bool, axes: Any) -> tuple[Any, Any]:
        """The transforms of training and validation patches."""
        size = self.configuration_manager.patch_size
        labels, ignored = self.label_manager.foreground_labels, self.label_manager.ignore_label
        plain = self.get_validation_transforms(None, self.is_cascaded, labels, None, ignored)
        if self.recipe.training.augmentation == "none":
            return plain, plain
        if self.recipe.training.augmentation == "flips_rotation_crop":
            return ComposeTransforms([flips_rotation_crop(size, axes, in_plane=in_plane), plain]), plain
        masked, cascaded = self.configuration_manager.use_mask_for_norm, self.is_cascaded
        augmented = self.get_training_transforms(
            size, angles, None, axes, in_plane, masked, cascaded, labels, None, ignored
        )
        return augmented, plain

    def _wrong(self, case: str) -> Any:
        """Where the network that locates found something in a case that is none, 0 elsewhere."""
        folder = str(self.preprocessed_dataset_folder)
        previous = nnUNetDatasetBlosc2(folder, [case], str(self.located)).load_case(case)[2]
        return np.asarray(previous[:])

    def get_dataloaders(self) -> tuple[Any, Any]:
        """nnU-Net's loaders in this process, drawing cases and places as the recipe says."""
        angles, in_plane, cut, axes = self.configure_rotation_dummyDA_mirroring_and_inital_patch_size()
        size, settings = self.configuration_manager.patch_size, self.recipe.training
        training, validation = self.get_tr_and_val_datasets()
        shares = case_shares(training.identifiers, self.with_lesion, settings.lesion_free_share)
        if settings.sampling == "lesion_size":
            training = EvenLesions(training, self.label_manager.foreground_labels)
        if self.located is not None:
            training = AroundLocated(training, self._wrong, size)
        augmented, plain = self._transforms(angles, in_plane, axes)
        loaders = [
            nnUNetDataLoader(
                data,
                self.batch_size,
                patch,
                size,
                self.label_manager,
                oversample_foreground_percent=self.oversample_foreground_percent,
                sampling_probabilities=probabilities,
                transforms=transforms,
            )
            for data, patch, probabilities, transforms in (
                (training, cut, shares, augmented),
                (validation, size, None, plain),
            )
        ]
        return SingleThreadedAugmenter(loaders[0], None), SingleThreadedAugmenter(loaders[1], None)

    def on_train_epoch_start(self) -> None:
        """Seed the epoch, so that one after an interruption draws what it would have drawn without."""
        fold = self.fold if isinstance(self.fold, int) else len(self.with_lesion)
        sequence = np.random.SeedSequence([self.recipe.training.seed, fold, self.current_epoch])
        seed_all(int(sequence.generate_state(1)[0]))
        super().on_train_epoch_start()

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

    def _forward(self, batch: dict[str, Any]) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Output and truth of a batch, and the loss between them in float32."""
        target = batch["target"].to(self.device, non_blocking=True)
        with self._cast():
            output = self.network(batch["data"].to(self.device, non_blocking=True))
        return output, target, self.loss(output, target)

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
        loss = self._forward(batch)[2]
        value = float(loss.detach())
        self._require_finite(where, "loss", value)
        self._apply_gradients(loss, where)
        self.average.update(self.network.parameters())
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
        return self.average.applied(self.network.parameters())

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
        """Note the epoch; save a checkpoint after the first, and when the last one is a minute old."""
        self.logger.log("epoch_end_timestamps", time.time(), self.current_epoch)
        keys = ("train_losses", "val_losses", "mean_fg_dice", "lrs")
        train, validation, dice, rate = (float(self.logger.get_value(key, step=-1)) for key in keys)
        began = self.logger.get_value("epoch_start_timestamps", step=-1)
        seconds = float(self.logger.get_value("epoch_end_timestamps", step=-1) - began)
        mean = smoothed(self.rows, dice)
        self.rows.append(EpochRow(self.current_epoch, train, validation, dice, mean, rate, seconds))
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
            "network_weights": self._network.state_dict(),
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
            "lesionlab_average": self.average.weights,
            "lesionlab_steps": self.average.steps,
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
        self._network.load_state_dict(state["network_weights"])
        self.optimizer.load_state_dict(state["optimizer_state"])
        if self.grad_scaler is not None and state["grad_scaler_state"] is not None:
            self.grad_scaler.load_state_dict(state["grad_scaler_state"])
        self.logger.load_checkpoint(state["logging"])
        self.current_epoch = state["current_epoch"]
        self.average.weights, self.average.steps = state["lesionlab_average"], state["lesionlab_steps"]
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
    trainer.follow(recipe, json.loads(workspace.cases_file.read_text())["with_lesion"], progress)
    return trainer


def train_network(
    workspace: Workspace, recipe: Recipe, fold: int | str, device: str, progress: Progress
) -> Path:
    """Train one fold to its end, going on from its last checkpoint; returns the fold's folder."""
    folder = workspace.model(recipe.network.configuration) / f"fold_{fold}"
    if (folder / FINAL).is_file():
        return folder
    seed_all(recipe.training.seed + (fold if isinstance(fold, int) else 0))
    with workspace.environment(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = build_trainer(workspace, recipe, fold, pick_device(device), progress)
        trainer.initialize()
        if (folder / LATEST).is_file():
            trainer.load_checkpoint(folder / LATEST)
        trainer.run_training()
    return folder
