"""Fixtures of the command line's tests: a runner, and small patients as files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import phantoms
from lesionlab.cli import app

Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Call the command line in this process with the given arguments (paths and numbers may be mixed in)."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    """A patient with two lesions in SUVbw 1: a ball of 12 mm at SUVbw 8 and one of 10 mm at SUVbw 5."""
    balls = [((40.0, 60.0, 40.0), 12.0, 8.0), ((90.0, 60.0, 60.0), 10.0, 5.0)]
    return phantoms.write_pet_patient(tmp_path / "anna", balls)


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three patients: one lesion, none, and a file that is no image."""
    root = tmp_path / "cohort"
    phantoms.write_pet_patient(root / "berta", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    phantoms.write_pet_patient(root / "clara")
    broken = phantoms.write_pet_patient(root / "dora", truth=False)
    whole = (broken / "suv.nii.gz").read_bytes()
    (broken / "suv.nii.gz").write_bytes(whole[: len(whole) // 2])
    return root
