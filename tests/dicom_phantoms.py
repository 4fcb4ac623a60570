"""Small DICOM cases with known answers: helpers of the reading tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_series import StudyFacts, write_ct_series, write_mr_series, write_pet_series

PET_GRID = Geometry((6, 8, 10), (3.0, 4.0, 4.5), (-20.0, -15.0, 100.0))
CT_GRID = Geometry((9, 16, 20), (2.0, 2.0, 2.25), (-21.0, -16.0, 100.0))


def pet_volume(grid: Geometry = PET_GRID, seed: int = 3) -> Volume:
    """Random SUVbw of 0 to about 10."""
    return Volume(np.random.default_rng(seed).gamma(2.0, 1.0, grid.shape), grid, SUVBW)


def ct_volume(grid: Geometry = CT_GRID, seed: int = 4) -> Volume:
    """Random whole HU."""
    return Volume(
        np.random.default_rng(seed).integers(-1000, 1500, grid.shape).astype(float), grid, HOUNSFIELD
    )


def mr_volume(grid: Geometry = PET_GRID, seed: int = 5) -> Volume:
    """Random grey levels."""
    return Volume(np.random.default_rng(seed).integers(0, 900, grid.shape).astype(float), grid, "{stored}")


def write_pet(folder: Path, volume: Volume | None = None, study: StudyFacts | None = None) -> list[Path]:
    """Write a PT series of a random volume."""
    return write_pet_series(folder, volume or pet_volume(), study or StudyFacts())


def write_ct(folder: Path, volume: Volume | None = None, study: StudyFacts | None = None) -> list[Path]:
    """Write a CT series of a random volume."""
    return write_ct_series(folder, volume or ct_volume(), study or StudyFacts())


def write_mr(folder: Path, volume: Volume | None = None, study: StudyFacts | None = None) -> list[Path]:
    """Write an MR series of a random volume."""
    return write_mr_series(folder, volume or mr_volume(), study or StudyFacts())


def edit(path: Path, change: Callable[[pydicom.Dataset], Any]) -> Path:
    """Change a DICOM file in place."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def edit_all(paths: list[Path], **values: Any) -> None:
    """Set attributes in all files; None deletes."""

    def change(dataset: pydicom.Dataset) -> None:
        for keyword, value in values.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    for path in paths:
        edit(path, change)
