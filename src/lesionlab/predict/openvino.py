"""The OpenVINO backend: converting a torch network once, keeping the result, running it on the processor.

Nothing here leaves the machine: importing OpenVINO reports to its maker unless the package that does so is
missing, so to this process it is. Torch is loaded only to convert: a network that was kept runs without it.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlab.core.errors import WriteError
from lesionlab.core.files import sha256_of, writing
from lesionlab.core.memory import let_go
from lesionlab.networks.device import bf16_is_quicker, thread_count
from lesionlab.predict.backends import BuildNetwork, FloatArray, Wish
from lesionlab.predict.openvino_fold import folded
from lesionlab.predict.openvino_graph import in_parts, openvino_bytes

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402

if TYPE_CHECKING:
    import torch

TOLERANCE = {"f32": 1e-3, "bf16": 0.1}
"""Largest difference from torch, as a share of its largest logit, that a fresh conversion may show."""

PACKAGES = ("torch", "openvino", "dynamic-network-architectures", "monai")
"""Their versions made a converted network what it is, beside our own code. One of others is made anew."""


class OpenVinoBackend:
    """A network in OpenVINO, in bf16 or fp32, for tiles of one size."""

    device = "cpu"
    keeps = True

    def __init__(self, build: BuildNetwork, name: str, wish: Wish) -> None:
        self.classes, self.flat = wish.classes, wish.flat
        hint, self.notes = _precision(wish.precision)
        self.name = f"openvino on cpu in {'fp32' if hint == 'f32' else hint}"
        shape = (1, wish.channels, *(wish.patch[1:] if wish.flat else wish.patch))
        element_bytes = 4 if hint == "f32" else 2
        for file in _cached(name, shape, wish.caches):
            # a damaged file, or one that another process replaces just now: converted anew
            with suppress(RuntimeError):
                model = _leaner(_core().read_model(file), hint)
                self.work = openvino_bytes(model, element_bytes)
                self.request = _compiled(model, hint)
                # the weights were put in the processor's order elsewhere
                let_go(file.with_suffix(".bin"))
                return
        network = build().eval()
        model = folded(_convert(network, shape))
        leaner = _leaner(model, hint)
        self.work = openvino_bytes(leaner, element_bytes)
        self.request = _compiled(leaner, hint)
        self._check(network, shape, TOLERANCE[hint])
        _keep(model, name, shape, wish.caches)

    def run(self, batch: FloatArray) -> FloatArray:
        """See `Backend.run`."""
        logits = self._infer(batch[:, :, 0] if self.flat else batch)
        return logits[:, :, None] if self.flat else logits

    def held(self, array: FloatArray) -> FloatArray:
        """See `Backend.held`."""
        return array

    def _infer(self, tile: FloatArray) -> FloatArray:
        results = self.request.infer([tile], share_inputs=True, share_outputs=True)
        self.work = 0
        logits: FloatArray = results[0]
        return logits

    def _check(self, network: torch.nn.Module, shape: tuple[int, ...], tolerance: float) -> None:
        """RuntimeError unless the converted network gives torch's logits on noise."""
        import torch

        noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            expected = network(noise)
        found = torch.from_numpy(self._infer(noise.numpy()))
        if found.shape != expected.shape:
            raise RuntimeError(f"converted to shape {tuple(found.shape)} for {tuple(expected.shape)}")
        worst, scale = float((found - expected).abs().max()), float(expected.abs().max())
        # not finite is the weights' fault, which the engine tells with the name of the case
        if worst > tolerance * max(scale, 1.0):
            raise RuntimeError(f"converted with a difference of {worst:.2g} in logits up to {scale:.2g}")


@lru_cache(maxsize=1)
def _core() -> Any:
    return openvino.Core()


def _precision(wanted: str) -> tuple[str, tuple[str, ...]]:
    """OpenVINO's precision hint, and a note where the processor cannot do what was asked."""
    native = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "bf16" and not native:
        return "f32", ("this processor has no bf16, so the network ran in fp32",)
    wins = wanted == "bf16" or (wanted == "auto" and native and bf16_is_quicker())
    return ("bf16" if wins else "f32"), ()


def _leaner(model: Any, hint: str) -> Any:
    """What is compiled of a kept model. The file itself is the same for each precision."""
    # a sum of parts is rounded once more than a convolution of all: nothing in fp32, a little in bf16
    return in_parts(model) if hint == "f32" else model


def _compiled(model: Any, hint: str) -> Any:
    options = {
        "INFERENCE_PRECISION_HINT": hint,
        "PERFORMANCE_HINT": "LATENCY",
        # the user's limit for torch (OMP_NUM_THREADS) holds here too
        "INFERENCE_NUM_THREADS": thread_count(),
    }
    return _core().compile_model(model, "CPU", options).create_infer_request()


def _convert(network: torch.nn.Module, shape: tuple[int, ...]) -> Any:
    """The network as an OpenVINO model for one input shape; RuntimeError where it cannot be."""
    import torch
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with warnings.catch_warnings(), torch.no_grad():
        # torch calls its tracer deprecated, and it is what the frontend builds on
        warnings.simplefilter("ignore")
        traced = TorchScriptPythonDecoder(
            network, example_input=torch.zeros(shape), trace_kwargs={"check_trace": False}
        )
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(traced))
    model.reshape(list(shape))
    return model


def _file_name(name: str, shape: tuple[int, ...]) -> str:
    """Content address: the weights and plans (`name`), the tile, and all that made the file."""
    return hashlib.sha256("|".join([name, str(shape), _made_by()]).encode()).hexdigest()[:24]


@lru_cache(maxsize=1)
def _made_by() -> str:
    """Hash of the code of the networks and of their conversion, with the versions of what both rest on."""
    here = Path(__file__).resolve().parent
    files = sorted((*here.parent.joinpath("networks").glob("*.py"), *here.glob("openvino*.py")))
    return "|".join([sha256_of(files), *map(version, PACKAGES)])


def _cached(name: str, shape: tuple[int, ...], caches: tuple[Path, ...]) -> list[Path]:
    files = [folder / _file_name(name, shape) / "network.xml" for folder in caches]
    return [file for file in files if file.is_file()]


def _keep(model: Any, name: str, shape: tuple[int, ...], caches: tuple[Path, ...]) -> None:
    """Save in the first folder that lets us; a conversion that cannot be kept is only made again."""
    for folder in caches:
        target = folder / _file_name(name, shape)
        try:
            with writing(target) as temporary:
                temporary.mkdir()
                openvino.save_model(model, temporary / "network.xml", compress_to_fp16=False)
        except (WriteError, RuntimeError):
            continue
        return
