"""What the benchmarks of prediction share: a scan, a network, and both roads from the scan to a mask.

Both roads run in a process of their own, from channels in memory to labels on the scan's grid. Of the tiles
only the first few go through the network; the others take the last answer again, so that everything around
the network and the memory are those of the whole scan, and the seconds of the tiles that were not computed
are added.
No script by itself: whole_body.py, scaling.py, logits_to_mask.py and prediction.py use it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
"""What `keep_freed_memory` does, from outside; glibc ignores a MALLOC_MMAP_THRESHOLD_ above 32 MB."""
BEGAN = time.perf_counter()
POSITIVE_SHARE = 0.03
"""Share of the voxels that the network of random weights calls lesion."""
AIR = 0.01
"""Uptake around the patient, as a share of what it would be in it; CT is random there too."""
STATED = {"mean": 0.0, "std": 1.0, "percentile_00_5": -3.0, "percentile_99_5": 3.0}


@dataclass(frozen=True)
class Setting:
    """One scan and one network: sizes (z, y, x), features of the stages, the network's spacing in voxels."""

    shape: tuple[int, int, int]
    patch: tuple[int, int, int]
    features: tuple[int, ...]
    target: float = 1.0
    computed: int = 3
    """Tiles that are really computed."""
    patient: bool = False
    """A patient with air around, see `body_of`; uptake everywhere otherwise."""
    over_body: bool = False
    """Ours lays its tiles over the patient alone (`skip_outside_body`)."""


def body_of(shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """Where a patient lies from crown to thighs, bool (z, y, x), in a field of view of 98 x 82 x 82 cm.

    A head of 16 x 20 cm over 23 cm, a trunk with both arms down of 50 x 25 cm over 52 cm, thighs of 17 cm.
    """
    z, y, x = (
        (np.arange(n) + 0.5) / n * size - half
        for n, size, half in zip(shape, (98.0, 82.0, 82.0), (0.0, 41.0, 41.0), strict=True)
    )

    def oval(width: float, depth: float, centre: float = 0.0) -> np.ndarray[Any, Any]:
        return ((x - centre) / width * 2) ** 2 + (y[:, None] / depth * 2) ** 2 <= 1

    head, trunk = oval(16, 20), oval(50, 25)
    thighs = oval(17, 17, -9) | oval(17, 17, 9)
    return np.stack([head if at < 23 else trunk if at < 75 else thighs for at in z])


def scan_of(setting: Setting) -> np.ndarray[Any, Any]:
    """Smooth random uptake and CT, float32 (2, z, y, x); uptake in a patient, or everywhere."""
    coarse = np.random.default_rng(0).normal(size=(2, *(-(-n // 8) for n in setting.shape)))
    scan = coarse.astype(np.float32)
    for axis, size in enumerate(setting.shape, start=1):
        scan = scan.repeat(8, axis=axis).take(range(size), axis=axis)
    if setting.patient:
        # next to nothing around the patient, but not nothing: nnU-Net cuts zeros away
        np.abs(scan[0], out=scan[0])
        scan[0] += 0.2
        scan[0, ~body_of(setting.shape)] *= AIR
    return np.ascontiguousarray(scan)


def network_of(setting: Setting) -> Any:
    """nnU-Net's 3D U-Net with weights drawn at random from a fixed seed, which finds few lesions."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    stages = len(setting.features)
    network = PlainConvUNet(
        2,
        stages,
        list(setting.features),
        torch.nn.Conv3d,
        3,
        [1, *[2] * (stages - 1)],
        2,
        2,
        2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    ).eval()
    with torch.inference_mode():
        logits = network(torch.randn((1, 2, 64, 64, 64), generator=torch.Generator().manual_seed(0)))
        apart = (logits[0, 1] - logits[0, 0]).flatten()
        network.decoder.seg_layers[-1].bias[1] -= torch.quantile(apart[:100_000], 1 - POSITIVE_SHARE)
    return network


def plan_of(setting: Setting) -> tuple[Any, Any]:
    """Plans and configuration as nnU-Net's own objects; see `content_of`."""
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

    plans, configuration = content_of(setting)
    return PlansManager(plans), ConfigurationManager(configuration)


def content_of(setting: Setting) -> tuple[dict[str, Any], dict[str, Any]]:
    """nnU-Net's plans and configuration: PET scaled by case, CT by stated numbers, default resampling."""
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configuration = {
        "architecture": {},
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": [setting.target] * 3,
        "patch_size": list(setting.patch),
        "normalization_schemes": ["ZScoreNormalization", "CTNormalization"],
        "use_mask_for_norm": [False, False],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
    }
    plans = {
        "plans_name": "benchmark",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": STATED, "1": STATED},
        "configurations": {"3d": configuration},
    }
    return plans, configuration


class Sampled:
    """Calls a function for the first tiles only, notes their seconds, then gives the last answer again."""

    def __init__(self, function: Any, computed: int) -> None:
        self.function, self.computed = function, computed
        self.seconds: list[float] = []
        self.calls, self.last = 0, None

    def __call__(self, tile: Any) -> Any:
        """The function's answer, or a copy of its last one."""
        self.calls += 1
        if self.calls <= self.computed:
            start = time.perf_counter()
            self.last = self.function(tile)
            self.seconds.append(time.perf_counter() - start)
            self.last = self.last if isinstance(self.last, np.ndarray) else self.last.clone()
        if isinstance(self.last, np.ndarray):
            # the engine leaves a backend's answers as they are, the peer works in them
            return self.last
        assert self.last is not None  # noqa: S101
        return self.last.clone()

    def missing(self) -> float:
        """Seconds of the tiles that were not computed, each like the median of those that were."""
        return (self.calls - len(self.seconds)) * float(np.median(self.seconds))


def our_road(setting: Setting, precision: str, caches: Path) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The mask by LesionLab's engine, and what it took; without torch where a conversion is kept."""
    from lesionlab.networks.device import thread_count
    from lesionlab.predict.backends import Wish, make_backends
    from lesionlab.predict.engine import Window, slide
    from lesionlab.predict.nnunet import FAINT_UPTAKE
    from lesionlab.predict.plans import Configuration, Plans
    from lesionlab.predict.space import Space

    plans, configuration = content_of(setting)
    wish = Wish("auto", precision, "cpu", 2, 2, setting.patch, False, (caches,))
    backends, notes = make_backends([lambda: network_of(setting)], [repr(setting.features)], wish)
    scan = scan_of(setting)
    reset_peak()
    before = memory_gb("VmRSS")
    sampled = Sampled(backends[0].run, setting.computed)
    backends[0].run = sampled  # type: ignore[method-assign]
    start = time.perf_counter()
    spacing = (1.0, 1.0, 1.0)
    space = Space(Plans(plans), Configuration(configuration), "synthetic", spacing, thread_count())
    prepared = space.tiles(scan)
    entered = time.perf_counter()
    wanted = space.nearest(scan[0] > FAINT_UPTAKE) if setting.over_body else None
    slabs = slide(prepared, backends, Window(setting.patch), subject="synthetic", wanted=wanted)
    del wanted
    mask, _ = space.leave(slab.logits for slab in slabs)
    end = time.perf_counter()
    facts = record(sampled, (start, entered, end), before)
    return mask, {**facts, "name": "; ".join([backends[0].name, *notes])}


def peer_road(setting: Setting) -> tuple[np.ndarray[Any, Any], dict[str, Any]]:
    """The mask by nnU-Net's preprocessor, predictor and export, in one process, and what it took."""
    import torch
    from nnunetv2.inference.export_prediction import (
        convert_predicted_logits_to_segmentation_with_correct_shape,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor

    class Network(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = network_of(setting)
            self.sampled = Sampled(self.inner, setting.computed)

        def forward(self, tile: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.sampled(tile)
            return answer

    plans, configuration = plan_of(setting)
    labels = plans.get_label_manager({"labels": {"background": 0, "lesion": 1}})
    predictor = nnUNetPredictor(0.5, True, False, False, torch.device("cpu"), allow_tqdm=False)
    predictor.configuration_manager, predictor.label_manager = configuration, labels
    predictor.network = network = Network()
    predictor.list_of_parameters = [network.state_dict()]
    scan = scan_of(setting)
    reset_peak()
    before = memory_gb("VmRSS")
    start = time.perf_counter()
    prepared, _, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        scan, None, {"spacing": [1.0, 1.0, 1.0]}, plans, configuration, {}
    )
    entered = time.perf_counter()
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(prepared))
    mask = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, labels, properties
    )
    end = time.perf_counter()
    return mask, {**record(network.sampled, (start, entered, end), before), "name": "nnU-Net"}


def record(sampled: Sampled, times: tuple[float, float, float], before: float) -> dict[str, Any]:
    """Seconds of the whole scan and of its parts, tiles, and memory."""
    start, entered, end = times
    network = sum(sampled.seconds) + sampled.missing()
    return {
        "seconds": end - start + sampled.missing(),
        "preparing": entered - start,
        "network": network,
        "around": end - entered - sum(sampled.seconds),
        "tiles": sampled.calls,
        "computed": len(sampled.seconds),
        "peak_gb": memory_gb("VmHWM"),
        "added_gb": memory_gb("VmHWM") - before,
    }


def multiplications(setting: Setting) -> int:
    """Multiplications of one tile's convolutions, counted without computing them."""
    import torch

    network, total = network_of(setting).to("meta"), 0

    def count(layer: Any, given: Any, answer: Any) -> None:
        nonlocal total
        transposed = isinstance(layer, torch.nn.ConvTranspose3d)
        # each weight is used once per output voxel, or per input voxel of a transposed convolution
        voxels = (given[0] if transposed else answer)[0, 0].numel()
        total += layer.weight.numel() * voxels

    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d | torch.nn.ConvTranspose3d):
            module.register_forward_hook(count)
    with torch.no_grad():
        network(torch.empty((1, 2, *setting.patch), device="meta"))
    return total


def product_rate(precision: str, size: int = 3072) -> float:
    """Multiplications a second of torch's product of two square matrices: the best of five."""
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    first, second = (torch.randn(size, size).to(kind) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        first @ second
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def reset_peak() -> None:
    """Let VmHWM begin anew at what the process holds now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def memory_gb(field: str) -> float:
    """Memory that this process holds now (VmRSS) or has held at most (VmHWM), in units of 10**9 bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 / 1e9 for line in lines if line.startswith(field))


def ask(
    road: str, setting: Setting, folder: Path, precision: str = "fp32", extra: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One road in a fresh process; its facts, with the mask at the path `mask`."""
    target = folder / f"{road}_{precision}_{len(list(folder.iterdir()))}.npy"
    order = json.dumps([road, asdict(setting), precision, str(target), str(folder / "converted")])
    done = subprocess.run(
        [sys.executable, __file__, order],
        env={**os.environ, **(extra or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return {**json.loads(done.stdout.splitlines()[-1]), "mask": target}


def dice(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    """Dice of two masks; 1 for two empty ones."""
    both = int(first.sum()) + int(second.sum())
    return 1.0 if both == 0 else 2 * int((first & second).sum()) / both


def agreement(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """Dice of the masks of two answers of `ask`."""
    return dice(np.load(first["mask"]) > 0, np.load(second["mask"]) > 0)


def say(line: str) -> None:
    """Tell on stderr how far a benchmark is, with the seconds since it began."""
    print(f"{time.perf_counter() - BEGAN:6.1f} s: {line}", file=sys.stderr, flush=True)


def environment() -> str:
    """What a table was made on, in a line."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    names = ("numpy", "torch", "openvino", "nnunetv2")
    return (
        f"{cores} cores, {processor()}, {platform.system()}, Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in names)
    )


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), platform.machine())


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [
        f"| {' | '.join(head)} |",
        "|" + "---|" * len(head),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main() -> int:
    """What a process of `ask` does."""
    road, fields, precision, target, caches = json.loads(sys.argv[1])
    setting = Setting(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    )
    if road == "ours":
        mask, facts = our_road(setting, precision, Path(caches))
    else:
        mask, facts = peer_road(setting)
    np.save(target, np.asarray(mask, np.uint8))
    print(json.dumps(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
