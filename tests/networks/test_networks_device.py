"""A GPU that fails is replaced by the CPU once, and said."""

from __future__ import annotations

import logging

import pytest
import torch

from lesionlab.core.errors import TrainingError
from lesionlab.networks import device as devices
from lesionlab.networks.device import device_name, on_device, pick_device


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(devices, "_lost", {})


def test_a_device_that_works_is_used(cuda) -> None:
    assert on_device("auto", lambda device: device) == ("cuda", ())
    assert on_device("cpu", lambda device: device) == ("cpu", ())


@pytest.mark.parametrize(
    "error",
    [torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: device lost\nmore")],
)
def test_a_device_that_fails_is_not_asked_again(cuda, caplog, error) -> None:
    asked = []

    def run(device: str) -> str:
        asked.append(device)
        if device == "cuda":
            raise error
        return "mask"

    with caplog.at_level(logging.WARNING):
        first, notes = on_device("auto", run)
        again, later = on_device("cuda", run)
    assert first == again == "mask" and asked == ["cuda", "cpu", "cpu"]
    text = str(error).splitlines()[0]
    assert notes == later == (f"cuda failed ({text}), so the CPU ran the network",)
    assert len(caplog.records) == 1
    assert device_name("auto") == device_name("cuda:0") == "cpu"
    assert on_device("cpu", run) == ("mask", ())


def test_what_fails_on_the_cpu_is_raised(cuda) -> None:
    def run(device: str) -> None:
        raise RuntimeError(f"broken on {device}")

    with pytest.raises(RuntimeError, match="broken on cpu"):
        on_device("cpu", run)
    with pytest.raises(RuntimeError, match="broken on cpu"):
        on_device("auto", run)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrainingError, match="device: found tpu; needed one of auto"):
        pick_device("tpu")
