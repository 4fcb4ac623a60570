"""The PET series alone: other channels and contours beside it are neither decoded nor in the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dicom_phantoms import pet_volume, write_ct, write_pet
from lesionlab.core.errors import ReadError
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case, open_pet


def test_the_same_channel_as_in_the_whole_case(tmp_path: Path) -> None:
    write_pet(tmp_path / "anna" / "pet")
    for path in write_ct(tmp_path / "anna" / "ct"):
        path.write_bytes(path.read_bytes()[:-64])  # a damaged CT is not looked into
    case = open_pet(tmp_path / "anna")
    assert list(case.channels) == ["pet"]
    assert (case.id, case.patient_id, case.reference) == ("anna", "PHANTOM-001", "pet")
    whole = open_case(tmp_path / "anna" / "pet")
    np.testing.assert_array_equal(case.channels["pet"].array, whole.channels["pet"].array)
    assert case.facts.channels["pet"] == whole.facts.channels["pet"]
    assert case.geometry.matches(pet_volume().geometry)


def test_several_patients_are_refused(tmp_path: Path) -> None:
    write_pet(tmp_path / "a")
    write_pet(tmp_path / "b", study=StudyFacts(patient_id="PHANTOM-002"))
    with pytest.raises(ReadError, match="2 patients"):
        open_pet(tmp_path)


def test_a_source_without_pet_is_refused(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    with pytest.raises(ReadError, match="CT series"):
        open_pet(tmp_path / "ct")
    with pytest.raises(ReadError, match="no such file"):
        open_pet(tmp_path / "gone")
