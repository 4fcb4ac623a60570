"""Writes the synthetic cohort: per patient a PET and a CT series, contours, and the answers.

A folder looks like an export from a hospital:

    patients/P01/pet/*.dcm  patients/P01/ct/*.dcm  patients/P01/contours.dcm
    known/P01.nii.gz        number of the lesion in each PET voxel, 0 = none
    known.json              what was put in: SUVbw, volume, centre and place of every lesion
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import write_json, writing
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.units import MILLILITRE, MILLIMETRE, SUVBW
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts, write_ct_series, write_pet_series
from lesionlab.demo.phantom import Phantom, torso

HEALTHY_EVERY = 5
"""Every fifth patient (P03, P08, ...) has no lesion."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one lesion: its true SUVbw, exact volume in ml, centre (LPS mm) and place."""

    number: int
    site: str
    suv: float
    volume_ml: float
    centre_mm: tuple[float, float, float]
    contrast: float


def patient_name(number: int) -> str:
    """The identifier of the patient with that number, counted from 1."""
    return f"P{number:02d}"


def draw_patient(seed: int, number: int) -> Phantom:
    """The patient of that number (from 1) in the cohort of that seed, independent of the others."""
    lesions = 0 if number % HEALTHY_EVERY == 3 % HEALTHY_EVERY else None
    return torso(np.random.default_rng([seed, number]), lesions=lesions)


def write_cohort(
    folder: Path, patients: int, seed: int, *, first: int = 1, progress: Progress = silent
) -> list[Path]:
    """Write so many patients, numbered from `first`, under `folder` and return their folders, in order.

    The same seed writes the same files. A folder that is there is replaced as a whole. Raises WriteError
    where it cannot be written.
    """
    answers: dict[str, list[dict[str, Any]]] = {}
    folders = []
    with writing(folder) as part:
        for number in range(first, first + patients):
            name = patient_name(number)
            progress(f"writing {name}", (number - first) / patients)
            phantom = draw_patient(seed, number)
            _write_patient(part / "patients" / name, phantom, study_facts(phantom, seed, number))
            _write_labels(part / "known" / f"{name}.nii.gz", phantom.labels)
            answers[name] = [_answer(lesion) for lesion in phantom.lesions]
            folders.append(folder / "patients" / name)
        units = {"suv": SUVBW, "volume_ml": MILLILITRE, "centre_mm": f"{MILLIMETRE}, LPS"}
        write_json(part / "known.json", {"seed": seed, "units": units, "patients": answers})
    progress("cohort written", 1.0)
    return folders


def read_known(folder: Path) -> Mapping[str, tuple[Answer, ...]]:
    """The answers of a cohort by patient; DatasetError where `folder` holds none."""
    path = folder / "known.json"
    try:
        patients = json.loads(path.read_text(encoding="utf-8"))["patients"]
        return {
            name: tuple(Answer(**{**item, "centre_mm": tuple(item["centre_mm"])}) for item in lesions)
            for name, lesions in patients.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(path, f"{type(error).__name__}: {error}", "the answers of a demo cohort") from None


def study_facts(phantom: Phantom, seed: int, number: int) -> StudyFacts:
    """Patient, injection and timing of a phantom's study."""
    return StudyFacts(
        patient_id=patient_name(number),
        seed=seed,
        weight_kg=phantom.weight_kg,
        height_m=phantom.height_m,
        sex="F" if number % 2 else "M",
        dose_bq=phantom.dose_bq,
        injected=datetime(2024, 1, 8, 8, 30) + timedelta(days=number),
        uptake_s=phantom.uptake_s,
        beds=3,
    )


def _write_patient(folder: Path, phantom: Phantom, study: StudyFacts) -> None:
    write_pet_series(folder / "pet", phantom.suv, study)
    write_ct_series(folder / "ct", phantom.ct, study)
    write_rtstruct(folder / "contours.dcm", phantom.truth, study, names=("Lesions",))


def _write_labels(path: Path, labels: Volume) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(labels.array)
    image.SetSpacing(labels.geometry.spacing[::-1])
    image.SetOrigin(labels.geometry.origin)
    sitk.WriteImage(image, str(path), True)


def _answer(lesion: Any) -> dict[str, Any]:
    return {
        "number": lesion.number,
        "site": lesion.site,
        "suv": round(lesion.suv, 3),
        "volume_ml": round(lesion.volume_ml, 3),
        "centre_mm": [round(value, 2) for value in lesion.centre_mm],
        "contrast": round(lesion.contrast, 2),
    }
