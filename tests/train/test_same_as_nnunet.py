"""The same seed gives the losses of nnU-Net's own trainer."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lesionlab.core.tasks import silent
from lesionlab.core.workspace import open_workspace
from lesionlab.train.ahead import ahead
from lesionlab.train.nnunet import build_trainer, seed_all
from networks_phantom import plan_tiny, tiny_recipe

STEPS = 5


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return plan_tiny(
        tmp_path_factory.mktemp("same") / "w", tiny_recipe().changed(training={"momentum": 0.99})
    )


def losses(root: Path, kind: str) -> list[float]:
    """Losses of the first steps of a trainer, with its loader in this process, and of the weights after."""
    workspace, recipe = open_workspace(root)
    with workspace.environment(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "nnunet":
            trainer = nnunet_trainer(workspace)
        else:
            changed = recipe.changed(training={"precision": kind})
            trainer = build_trainer(workspace, changed, 0, torch.device("cpu"), silent)
        seed_all(11)
        trainer.initialize()
        batches, _ = trainer.get_dataloaders()
        seed_all(12)
        trainer.network.train()
        return [float(trainer.train_step(batch)["loss"]) for batch in ahead(batches, STEPS)]


def nnunet_trainer(workspace: Any) -> Any:
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    plans["continue_training"] = False
    dataset = json.loads((workspace.raw / "dataset.json").read_text())
    return nnUNetTrainer(plans, "3d_fullres", 0, dataset, torch.device("cpu"))


def test_in_float32_the_losses_are_those_of_nnunets_trainer(planned: Path) -> None:
    expected = losses(planned, "nnunet")
    assert len(set(expected)) == STEPS
    assert np.ptp(expected) > 0.01
    assert losses(planned, "fp32") == pytest.approx(expected, rel=1e-5)


def test_in_bfloat16_the_losses_stay_close(planned: Path) -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    assert losses(planned, "bf16") == pytest.approx(losses(planned, "fp32"), rel=1e-2)
