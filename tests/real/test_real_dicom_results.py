"""DICOM results on real scanners' series: the mask comes back to the voxel, and validators find no error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dicom_results as results
from lesionlab.pipeline import examine, write_dicom
from lesionlab.read import load_mask
from lesionlab.report.dicom_source import DicomSettings

pytestmark = pytest.mark.real


@pytest.mark.parametrize("scan", ["sts_dicom/STS_010/PET", "pet_raw_ge/image"])
def test_lesions_come_back_to_the_voxel(shared_data: Path, tmp_path: Path, scan: str) -> None:
    findings = examine(shared_data / scan, "pet-threshold")
    chosen = DicomSettings(kinds=("seg", "labelmap", "sr", "rtstruct"))
    written = write_dicom(findings, None, tmp_path, chosen)
    labels, geometry = findings.lesions.labels.array, findings.case.geometry
    assert len(findings.lesions.rows) == {"sts_dicom/STS_010/PET": 1, "pet_raw_ge/image": 23}[scan]
    for kind in ("seg", "labelmap", "rtstruct"):
        np.testing.assert_array_equal(load_mask(written[kind], geometry).array > 0, labels > 0)
    for number in (1, len(findings.lesions.rows)):
        for kind in ("seg", "rtstruct"):
            found = load_mask(written[kind], geometry, names=[f"Lesion {number}"]).array
            np.testing.assert_array_equal(found > 0, labels == number)
    # STS_010 came with a StudyID that is too long for its attribute; results repeat it, as they must.
    faults = ("Study ID", "invalid data values for Value Representations")
    inherited = faults if scan.startswith("sts_dicom") else ()
    for kind in ("seg", "sr", "rtstruct"):
        errors = results.validated(written[kind])
        assert [line for line in errors if not any(words in line for words in inherited)] == []
    groups = results.measurements_by_dcmqi(written["sr"], tmp_path)
    assert len(groups) == len(findings.lesions.rows) + 1
