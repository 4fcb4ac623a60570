"""Two processes on the CPU, as torchrun starts them on two GPUs."""

import json
import os
import subprocess
import sys

import pytest
import torch

from lesionlab.core.errors import TrainingError
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.workspace import open_workspace
from lesionlab.train import first_process, read_curves, train_fold
from lesionlab.train.nnunet import build_trainer
from lesionlab.train.spread import summed, under_torchrun
from networks_phantom import plan_tiny, tiny_recipe

SCRIPT = """
import json, sys
import torch
from torch import nn
from lesionlab.cli import main
from lesionlab.core.learning import LossSettings
from lesionlab.train.losses import make_loss
from lesionlab.train.spread import first_process, joined

recipe = LossSettings(tversky=1, fn_weight=0.9, binary_cross_entropy=1, positive_weight="batch",
                      batch_overlap=True)

def gradient(network, data, truth):
    make_loss(recipe, False)(network(data), truth).backward()
    return [p.grad.tolist() for p in network.parameters()]

torch.manual_seed(0)
data, truth = torch.randn(4, 1, 5, 5), torch.randint(0, 3, (4, 1, 5, 5))
network = nn.Conv2d(1, 3, 3, padding=1)
whole = gradient(network, data, truth)
network.zero_grad()
with joined(torch.device("cpu")):
    part = slice(2 * torch.distributed.get_rank(), 2 * torch.distributed.get_rank() + 2)
    spread = gradient(nn.parallel.DistributedDataParallel(network), data[part], truth[part])
if first_process():
    with open(sys.argv.pop(1), "w") as file:
        json.dump([whole, spread], file)
else:
    sys.argv.pop(1)
main()
"""


def test_two_processes_have_the_gradient_of_one_train_folds_and_one_of_them_answers(tmp_path):
    short = {"epochs": 2, "iterations": 1, "validation_iterations": 1, "precision": "fp32"}
    root = plan_tiny(tmp_path / "w", tiny_recipe().changed(training=short))
    (tmp_path / "script.py").write_text(SCRIPT)
    words = ["train", str(root), "--fold", "0", "--fold", "1", "--no-validate", "--device", "cpu"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    process = subprocess.Popen(
        [*command, str(tmp_path / "script.py"), str(tmp_path / "gradients.json"), *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        answer, complaints = process.communicate(timeout=200)
    finally:
        # torchrun ends its processes when it is asked to end, not when it is killed
        process.terminate()
        process.wait()
    assert process.returncode == 0, complaints
    assert answer.count("trained:") == 2
    whole, spread = json.loads((tmp_path / "gradients.json").read_text())
    for one, other in zip(whole, spread, strict=True):
        torch.testing.assert_close(torch.tensor(other), torch.tensor(one), atol=1e-6, rtol=1e-5)
    workspace, _ = open_workspace(root)
    for fold in ("fold_0", "fold_1"):
        folder = workspace.model("3d_fullres") / fold
        assert [row.epoch for row in read_curves(folder)] == [0, 1]
        state = torch.load(folder / "checkpoint_final.pth", weights_only=True)
        assert not any(name.startswith("module.") for name in state["network_weights"])
        assert len(list(folder.glob("training_log_*"))) == 1


def test_a_batch_smaller_than_the_number_of_processes(tmp_path, monkeypatch):
    root = plan_tiny(tmp_path / "w")
    workspace, recipe = open_workspace(root)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with workspace.environment():
        trainer = build_trainer(workspace, recipe, 0, torch.device("cpu"), lambda message, share: None)
        trainer.is_ddp = True
        with pytest.raises(
            TrainingError, match="tiny: found batch_size 2 for 3 processes; needed at least one"
        ):
            trainer.initialize()


def test_two_steps_are_not_for_several_processes(tmp_path, monkeypatch):
    recipe = tiny_recipe().changed(locate={"spacing_mm": [8, 8, 8]})
    (tmp_path / "recipe.toml").write_text(dump_recipe(recipe), encoding="utf-8")
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="found two steps in several processes; needed one process"):
        train_fold(tmp_path, "all")


def test_alone_a_process_is_the_first(monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert first_process() and not under_torchrun()
    assert summed(torch.tensor(3.0)) == 3.0
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert under_torchrun() and not first_process()
