"""DICOM results on real scanners' series: the mask comes back to the voxel, and validators find no error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_results as results
from lesionlab.core.registry import find_recipe
from lesionlab.pipeline import examine, write_dicom
from lesionlab.read import load_mask
from lesionlab.report.dicom_settings import DicomSettings

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


def test_a_sagittal_breast_series_with_phases(shared_data: Path, tmp_path: Path) -> None:
    scan = shared_data / "dce_breast" / "UCSF-BR-06" / "image_dce_3dfgre_orig"
    mask = np.zeros((60, 256, 256), np.uint8)
    mask[20:26, 100:110, 100:115] = 1
    mask[40, 50:60, 50:60] = 1
    findings = results.findings_on(scan, mask, recipe=find_recipe("dce-measure"))
    assert findings.case.reference == "pre"
    written = write_dicom(findings, None, tmp_path, DicomSettings(kinds=("seg", "sr", "rtstruct", "sc")))
    for kind in ("seg", "rtstruct"):
        np.testing.assert_array_equal(load_mask(written[kind], findings.case.geometry).array, mask)
    for path in written.values():
        assert results.validated(path) == []
    seg = pydicom.dcmread(written["seg"], stop_before_pixels=True)
    assert [s.AnatomicRegionSequence[0].CodeMeaning for s in seg.SegmentSequence] == ["Breast", "Breast"]
    images = {
        frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for frame in seg.PerFrameFunctionalGroupsSequence
    }
    before = findings.case.facts.channels["pre"].slices
    assert images == {before[z]["SOPInstanceUID"] for z in (*range(20, 26), 40)}
