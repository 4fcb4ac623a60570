"""A GPU that fails is replaced by the CPU once, and said."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from unittest.mock import Mock

import pytest
import torch

from lesionlab.core.errors import TrainingError
from lesionlab.networks import device as devices
from lesionlab.networks.device import (
    autocast_dtype,
    bf16_is_quicker,
    device_name,
    may_have_gpu,
    on_device,
    pick_device,
)


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


def test_a_gpu_is_looked_for_before_torch_is_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    bus = tmp_path / "sys" / "bus" / "pci" / "devices"
    for number, vendor in enumerate(("0x8086", "0x1002")):
        (bus / str(number)).mkdir(parents=True)
        (bus / str(number) / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "dev").mkdir()
    assert not may_have_gpu(tmp_path)
    for name in ("nvidia0", "kfd", "dxg", "nvhost-gpu"):
        (tmp_path / "dev" / name).touch()
        assert may_have_gpu(tmp_path)
        (tmp_path / "dev" / name).unlink()
    (bus / "0" / "vendor").write_text("0x10de\n")
    assert may_have_gpu(tmp_path)
    (bus / "0" / "vendor").write_text("0x8086\n")
    assert not may_have_gpu(tmp_path)
    for other in ("darwin", "win32"):
        monkeypatch.setattr(sys, "platform", other)
        assert may_have_gpu(tmp_path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch is always asked")
@pytest.mark.parametrize("limits", [{}, {"OMP_NUM_THREADS": "1,4"}, {"OMP_NUM_THREADS": "64"}])
def test_threads_are_counted_as_torch_does(limits) -> None:
    program = (
        "import sys; from lesionlab.networks.device import thread_count; ours = thread_count(); "
        "assert 'torch' not in sys.modules; import torch; "
        "print(ours, torch.get_num_threads(), thread_count())"
    )
    clean = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**clean, **limits}, capture_output=True, text=True, check=True
    )
    ours, torchs, after = done.stdout.split()
    assert ours == torchs == after


PROCESSORS = {
    "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 amx_bf16 amx_tile\n\nprocessor\t: 1\n": True,
    "vendor_id\t: GenuineIntel\nflags\t\t: fpu avx512_bf16 avx512_fp16\n\nprocessor\t: 1\n": False,
    "vendor_id\t: AuthenticAMD\nflags\t\t: fpu avx512_bf16\n\nprocessor\t: 1\n": True,
    "CPU implementer\t: 0x41\nFeatures\t: fp asimd bf16\n\nprocessor\t: 1\n": True,
}


@pytest.mark.parametrize(("words", "quicker"), PROCESSORS.items())
def test_auto_is_bfloat16_only_where_that_is_quicker(tmp_path, monkeypatch, words, quicker) -> None:
    from lesionlab.predict import openvino

    file = tmp_path / "cpuinfo"
    file.write_text(words)
    monkeypatch.setattr(devices, "CPU_FILE", file)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True, raising=False)
    monkeypatch.setattr(openvino, "_core", lambda: Mock(get_property=lambda *_: ["FP32", "BF16"]))
    cpu = torch.device("cpu")
    assert autocast_dtype("auto", cpu) == (torch.bfloat16 if quicker else None)
    assert openvino._precision("auto") == ("bf16" if quicker else "f32", ())
    assert openvino._precision("bf16") == ("bf16", ()) and autocast_dtype("bf16", cpu) is torch.bfloat16


def test_a_processor_that_says_nothing_is_believed_to_be_quicker(tmp_path) -> None:
    assert bf16_is_quicker(tmp_path / "none")
