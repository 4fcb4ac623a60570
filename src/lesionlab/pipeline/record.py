"""The record of a run: stage timings, versions, hashes; and progress over nested work.

What is recorded is decided here; writing it to run.json and the report belongs to `report/`.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.files import sha256_of
from lesionlab.core.results import Provenance
from lesionlab.core.tasks import Progress
from lesionlab.predict import Bundle
from lesionlab.report.corrected import MASK_GIVEN

ALWAYS = ("lesionlab", "numpy", "scipy", "SimpleITK", "pydicom", "connected-components-3d")
WHEN_LOADED = {"numba": "numba", "torch": "torch", "openvino": "openvino", "nnunetv2": "nnunetv2"}


class Stopwatch:
    """Wall-clock seconds of each stage, in the order in which they ran, and when the run started."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what happens inside; a repeated name adds up."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def part(progress: Progress, low: float, high: float, prefix: str = "") -> Progress:
    """A progress callback for a share of larger work: its 0 to 1 becomes `low` to `high`."""

    def report(message: str, share: float) -> None:
        text = f"{prefix}: {message}" if prefix and message else prefix or message
        progress(text, low + (high - low) * min(max(share, 0.0), 1.0))

    return report


def versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that numbers depend on (torch only if it ran)."""
    names = [*ALWAYS, *(package for module, package in WHEN_LOADED.items() if module in sys.modules)]
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance(
    case: Case,
    bundle: Bundle,
    watch: Stopwatch,
    *,
    device: str,
    paths: tuple[Path | None, Path | None] = (None, None),
    mask: Path | None = None,
) -> Provenance:
    """The record of a finished run; `paths` are those of the scan and of a truth given separately.

    `mask` is the file that the lesions were given in, where no method drew them.
    """
    source, truth = paths
    inputs = {name: facts.sha256 for name, facts in case.facts.channels.items() if facts.sha256}
    for name, file in (("truth file", truth), (MASK_GIVEN, mask)):
        if file is not None and file.is_file():
            inputs[name] = sha256_of([file])
    return Provenance(
        versions=versions(),
        recipe_name=bundle.recipe.name,
        recipe_sha256=bundle.recipe.sha256,
        bundle=bundle.name,
        bundle_sha256=bundle.sha256,
        inputs=inputs,
        seconds=dict(watch.seconds),
        device=device,
        started=watch.started,
        settings=bundle.recipe.model_dump(mode="json"),
        source="" if source is None else str(source.absolute()),
        truth="" if truth is None else str(truth.absolute()),
        suv=next((f.suv.record() for f in case.facts.channels.values() if f.suv is not None), {}),
    )


def device_of(bundle: Bundle, device: str) -> str:
    """The device that a bundle's prediction runs on: cpu for methods without a network."""
    if bundle.recipe.method != "network" or not (bundle.checkpoints or bundle.members):
        return "cpu"
    from lesionlab.networks.device import device_name

    return device_name(device)
