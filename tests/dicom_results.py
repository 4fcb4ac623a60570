"""Findings on small DICOM series, and what other programs say of the objects written from them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_phantoms import PET_GRID, pet_volume, write_pet
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Findings, Prediction, Provenance
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.pipeline import open_standardised

RUN = Provenance(
    versions={"lesionlab": "0.1.0"},
    recipe_name="pet-threshold",
    recipe_sha256="a1" * 32,
    bundle="pet-threshold",
    bundle_sha256="b2" * 32,
    inputs={},
    seconds={},
    device="cpu",
    started="2026-01-02T03:04:05+00:00",
    settings={"method": "threshold"},
)


def two_lesions(shape: tuple[int, int, int] = PET_GRID.shape) -> np.ndarray:
    """A block with a hole, and a bar in two slices that touches the border."""
    mask = np.zeros(shape, np.uint8)
    mask[1:4, 2:6, 1:6] = 1
    mask[2, 3:5, 3] = 0
    mask[4:6, 1, 8:10] = 1
    return mask


def findings_on(
    scan: Path, mask: np.ndarray, *, recipe: Recipe | None = None, probability: bool = False
) -> Findings:
    """The findings of a mask drawn on the reference grid of a scan, measured as the recipe says."""
    recipe = recipe or find_recipe("pet-threshold")
    case = open_standardised(scan, recipe)
    drawn = Volume(mask, case.geometry, ONE)
    sure = Volume(np.where(mask > 0, 0.75, 0.125).astype(np.float32), case.geometry, ONE)
    lesions = measure(case, drawn, recipe.biomarkers, recipe.radiomics)
    return Findings(case, Prediction(drawn, sure if probability else None), lesions, RUN)


def pet_findings(folder: Path, mask: np.ndarray | None = None, grid: Geometry = PET_GRID) -> Findings:
    """Findings of two lesions (or of `mask`) on a small PET series written into `folder`."""
    write_pet(folder, pet_volume(grid))
    return findings_on(folder, two_lesions(grid.shape) if mask is None else mask)


def renamed(findings: Findings, **changes: object) -> Findings:
    """The findings with another record of the run."""
    return replace(findings, provenance=replace(findings.provenance, **changes))  # type: ignore[arg-type]


def validated(path: Path) -> list[str]:
    """The errors that dciodvfy (Debian's dicom3tools) finds in a DICOM file; skips, plainly, without it."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy is absent: install Debian's package dicom3tools")
    told = subprocess.run([tool, str(path)], capture_output=True, text=True, check=False)
    lines = (told.stdout + told.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Abort"))]


def dcmqi(tool: str, *arguments: str) -> str:
    """Run one of dcmqi's programs and return what it says; skips, plainly, without it."""
    program = Path(sys.executable).with_name(tool)
    if not program.exists():
        pytest.skip(f"{tool} is absent: install the package dcmqi")
    told = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


def measurements_by_dcmqi(path: Path, folder: Path) -> list[dict[str, object]]:
    """The measurement groups of a structured report as dcmqi's reader gives them."""
    out = folder / "sr.json"
    dcmqi("tid1500reader", "--inputDICOM", str(path), "--outputMetadata", str(out))
    found: list[dict[str, object]] = json.loads(out.read_text(encoding="utf-8"))["Measurements"]
    return found
