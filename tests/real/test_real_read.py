"""Reading and SUV on real scans, against their published answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.registry import find_recipe
from lesionlab.read import find_cases, load_mask, load_volume, open_case
from lesionlab.standardise import standardise

pytestmark = pytest.mark.real


@pytest.mark.parametrize(("reference", "channel"), [("pet", "pet"), ("ct", "ct")])
def test_dicom_equals_the_published_nifti(shared_data: Path, reference: str, channel: str) -> None:
    case = open_case(shared_data / "sts_dicom" / "STS_010", reference=reference)
    nifti = shared_data / "sts" / "STS_010"
    image = load_volume(nifti / f"{channel}.nii.gz")
    assert case.geometry.matches(image.geometry)
    np.testing.assert_allclose(case.channels[reference].array, image.array, atol=1e-5)
    mask = load_mask(nifti / f"{channel}_mask.nii.gz", case.geometry)
    assert case.truth is not None
    np.testing.assert_array_equal(case.truth.array > 0, mask.array > 0)


def test_a_nifti_patient_with_every_channel(shared_data: Path) -> None:
    case = standardise(open_case(shared_data / "sts" / "STS_010"), find_recipe("petct"))
    assert list(case.channels) == ["suv", "ct"]
    assert case.truth is not None
    assert int(case.truth.array.sum()) == 1861


def test_breast_dce_opens_as_three_phases(shared_data: Path) -> None:
    case = open_case(shared_data / "dce_breast" / "UCSF-BR-06")
    assert list(case.channels) == ["pre", "post1", "post2"]
    assert case.geometry.shape == (60, 256, 256)
    assert case.truth is not None
    folder = shared_data / "dce_breast" / "UCSF-BR-06"
    enhancement = open_case(folder / "image_dce_pe1").channels["mr"]
    before, after = (case.channels[c].array.astype(float) for c in ("pre", "post1"))
    sure = (before > 30) & (enhancement.array > 0) & (enhancement.array < 500)
    ours = 100.0 * (after[sure] - before[sure]) / before[sure]
    assert np.median(np.abs(ours - enhancement.array[sure])) < 1.0


def test_breast_ultrasound_pictures_open_with_their_masks(shared_data: Path) -> None:
    folder = shared_data / "bus_bra"
    cases = find_cases(folder)
    assert len(cases) == 1127
    first = cases[0]
    case = open_case(first, truth=folder / "Masks" / first.name.replace("bus_", "mask_"))
    assert list(case.channels) == ["us"]
    assert case.truth is not None
    assert set(np.unique(case.truth.array)) == {0, 1}
    assert any("pixel spacing unknown" in n for n in case.notes)


def test_cohorts_are_found(shared_data: Path) -> None:
    assert len(find_cases(shared_data / "sts")) == 36
    assert len(find_cases(shared_data / "suv_dro")) == 10
    assert find_cases(shared_data / "sts_dicom" / "STS_010") == [shared_data / "sts_dicom" / "STS_010"]
