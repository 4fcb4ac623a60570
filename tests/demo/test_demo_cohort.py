"""The cohort as files: what is read back must be what was put in."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.registry import find_recipe
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.demo.cohort import draw_patient, patient_name, read_known, study_facts, write_cohort
from lesionlab.demo.phantom import PET_GRID
from lesionlab.read import find_cases, load_mask, open_case
from lesionlab.standardise import standardise

SEED = 31


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    write_cohort(folder, 3, SEED)
    return folder


def test_patients_are_found_as_cases(cohort: Path) -> None:
    assert [path.name for path in find_cases(cohort / "patients")] == ["P01", "P02", "P03"]


@pytest.mark.parametrize("number", [1, 3])
def test_round_trip_through_dicom(cohort: Path, number: int) -> None:
    phantom = draw_patient(SEED, number)
    name = patient_name(number)
    case = standardise(open_case(cohort / "patients" / name), find_recipe("pet-threshold"))
    suv, ct = case.channels["suv"], case.channels["ct"]
    assert suv.unit == SUVBW and ct.unit == HOUNSFIELD
    assert case.patient_id == name
    assert suv.geometry.matches(PET_GRID) and ct.geometry.matches(PET_GRID)
    half_slope = phantom.suv.array.max(axis=(1, 2)) / 65534
    error = np.abs(suv.array - phantom.suv.array).max(axis=(1, 2))
    assert (error <= half_slope + 1e-5 * phantom.suv.array.max()).all()
    assert case.truth is not None
    assert np.array_equal(case.truth.array > 0, phantom.labels.array > 0)
    labels = load_mask(cohort / "known" / f"{name}.nii.gz")
    assert labels.geometry.matches(PET_GRID)
    assert np.array_equal(labels.array, phantom.labels.array)


def test_ct_comes_from_its_own_grid(cohort: Path) -> None:
    case = open_case(cohort / "patients" / "P01")
    pet, ct = case.channels["pet"], case.channels["ct"]
    assert not ct.geometry.matches(pet.geometry)
    whole = draw_patient(SEED, 1).ct
    assert ct.geometry.matches(whole.geometry)
    assert np.abs(ct.array - whole.array).max() <= 0.5 + 1e-4


def test_pet_is_bqml_corrected_to_start_with_a_slope_per_slice(cohort: Path) -> None:
    headers = [
        pydicom.dcmread(path, stop_before_pixels=True)
        for path in (cohort / "patients" / "P01" / "pet").iterdir()
    ]
    assert {(h.Modality, h.Units, h.DecayCorrection) for h in headers} == {("PT", "BQML", "START")}
    assert len({float(h.RescaleSlope) for h in headers}) > 10


def test_known_answers_are_those_of_the_phantom(cohort: Path) -> None:
    known = read_known(cohort)
    assert list(known) == ["P01", "P02", "P03"]
    assert known["P03"] == ()
    phantom = draw_patient(SEED, 1)
    assert len(known["P01"]) == len(phantom.lesions) > 0
    for answer, lesion in zip(known["P01"], phantom.lesions, strict=True):
        assert (answer.number, answer.site) == (lesion.number, lesion.site)
        assert answer.suv == pytest.approx(lesion.suv, abs=1e-3)
        assert answer.volume_ml == pytest.approx(lesion.volume_ml, abs=1e-3)
        assert answer.centre_mm == pytest.approx(lesion.centre_mm, abs=0.01)


def test_the_same_seed_writes_the_same_bytes_and_a_cohort_may_start_later(
    cohort: Path, tmp_path: Path
) -> None:
    folders = write_cohort(tmp_path / "again", 1, SEED, first=2)
    assert [folder.name for folder in folders] == ["P02"]
    written = sorted(path for path in folders[0].rglob("*") if path.is_file())
    assert len(written) == 96 + 97 + 1
    for path in written:
        twin = cohort / "patients" / "P02" / path.relative_to(folders[0])
        assert path.read_bytes() == twin.read_bytes()


def test_every_fifth_patient_is_healthy_and_the_others_are_not() -> None:
    counts = [len(draw_patient(7, number).lesions) for number in range(1, 11)]
    assert [number for number, count in enumerate(counts, start=1) if count == 0] == [3, 8]
    assert max(counts) <= 5 and len(Counter(counts)) > 2


def test_weight_and_dose_make_a_plausible_study() -> None:
    for number in range(1, 5):
        study = study_facts(draw_patient(7, number), 7, number)
        assert 40 < study.weight_kg < 110
        assert 1e8 < study.dose_bq < 6e8
        assert 3000 < study.uptake_s < 5000


def test_a_cohort_replaces_an_older_one_as_a_whole(tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    (folder / "patients" / "P09").mkdir(parents=True)
    write_cohort(folder, 1, SEED)
    assert [path.name for path in (folder / "patients").iterdir()] == ["P01"]


@pytest.mark.parametrize("text", [None, "[]", "{", json.dumps({"patients": {"P01": [{"suv": 1}]}})])
def test_a_folder_without_answers_is_refused(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "known.json").write_text(text)
    with pytest.raises(DatasetError, match=r"known\.json.*answers of a demo cohort"):
        read_known(tmp_path)
