"""What a training keeps on disk: nnU-Net's checkpoint, of tensors and plain values only.

It loads with `weights_only`, that is without executing pickled code, here and in stock nnU-Net.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lesionlab.core.errors import TrainingError
from lesionlab.core.files import jsonable, writing
from lesionlab.networks.plain import plain_load

TRAINER = "nnUNetTrainer"
"""The class that stock tools look up by this name."""


def save_state(trainer: Any, file: Path, *, deployed: bool) -> None:
    """Write the trainer's state through a temporary name.

    `deployed` leaves out what only going on would need, half of the size.
    """
    scaler, average = trainer.grad_scaler, trainer.average
    state = {
        "network_weights": trainer.plain_network.state_dict(),
        "optimizer_state": None if deployed else trainer.optimizer.state_dict(),
        "grad_scaler_state": scaler.state_dict() if scaler else None,
        "logging": jsonable(trainer.logger.get_checkpoint()),
        "_best_ema": None,
        "current_epoch": trainer.current_epoch + 1,
        "init_args": {
            "plans": jsonable(trainer.plans_manager.plans),
            "configuration": trainer.configuration_name,
            "fold": trainer.fold,
            "dataset_json": jsonable(trainer.dataset_json),
        },
        "trainer_name": TRAINER,
        "inference_allowed_mirroring_axes": trainer.inference_allowed_mirroring_axes,
        "lesionlab_recipe": trainer.recipe.to_hand_on().model_dump(mode="json"),
        "lesionlab_average": None if deployed else average.weights,
        "lesionlab_steps": average.steps,
    }
    with writing(file) as temporary:
        torch.save(state, temporary)


def load_state(trainer: Any, file: Path) -> None:
    """Bring an initialised trainer to where `save_state` found another one.

    Raises BundleError for a damaged file, and TrainingError for weights of another network.
    """
    state = plain_load(file)
    try:
        trainer.plain_network.load_state_dict(state["network_weights"])
    except RuntimeError as error:
        found = f"weights that do not fit: {' '.join(str(error).split())[:200]}"
        raise TrainingError(file, found, "those of the plan's network, or a new workspace") from None
    trainer.optimizer.load_state_dict(state["optimizer_state"])
    if trainer.grad_scaler is not None and state["grad_scaler_state"] is not None:
        trainer.grad_scaler.load_state_dict(state["grad_scaler_state"])
    trainer.logger.load_checkpoint(state["logging"])
    trainer.current_epoch = state["current_epoch"]
    weights, trainer.average.steps = state["lesionlab_average"], state["lesionlab_steps"]
    trainer.average.weights = None if weights is None else [one.to(trainer.device) for one in weights]
