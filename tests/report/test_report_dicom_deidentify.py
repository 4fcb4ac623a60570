"""De-identified results: nothing of the patient is left, references hold together, the objects stay valid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import dicom_results as results
from dicom_phantoms import edit_all
from lesionlab.core.results import Findings
from lesionlab.pipeline import write_dicom
from lesionlab.read import load_mask
from lesionlab.report.dicom_deidentify import deidentified
from lesionlab.report.dicom_settings import DicomSettings

SECRETS = {
    "PatientName": "Curie^Marie",
    "PatientID": "MC-1867-11-07",
    "PatientBirthDate": "18671107",
    "AccessionNumber": "ACC987654",
    "StudyID": "STUDY4711",
    "StudyDescription": "Staging of Mme Curie",
    "ReferringPhysicianName": "Becquerel^Henri",
    "InstitutionName": "Radium Institute",
    "OperatorsName": "Debierne^Andre",
    "StudyDate": "19110318",
    "StudyTime": "101112.25",
    "PatientAge": "043Y",
    "StationName": "PAVILLON",
    "IssuerOfPatientID": "SORBONNE",
}
KINDS = ("seg", "labelmap", "sr", "rtstruct", "sc")


def _findings(folder: Path) -> Findings:
    results.pet_findings(folder)
    edit_all(sorted(folder.iterdir()), **SECRETS)
    return results.findings_on(folder, results.two_lesions())


def _strings(path: Path) -> str:
    """All that a file says, its pixels left out."""
    dataset = pydicom.dcmread(path)
    for keyword in ("PixelData", "ICCProfile"):
        if keyword in dataset:
            del dataset[keyword]
    return str(dataset.file_meta) + str(dataset)


def test_nothing_of_the_patient_is_left(tmp_path: Path) -> None:
    findings = _findings(tmp_path / "scan")
    image = pydicom.dcmread(tmp_path / "scan" / "pt_0002.dcm")
    uids = [image.StudyInstanceUID, image.SeriesInstanceUID, image.SOPInstanceUID, image.FrameOfReferenceUID]
    told = "".join(map(_strings, write_dicom(findings, None, tmp_path / "open", _settings()).values()))
    assert "Curie^Marie" in told  # the test would see it
    assert all(uid in told for uid in uids)
    written = write_dicom(findings, None, tmp_path / "out", _settings(pseudonym="Case0042"))
    for path in written.values():
        said = _strings(path)
        found = [value for value in (*SECRETS.values(), *uids, "Curie", "pt_0002") if value in said]
        assert found == []
        dataset = pydicom.dcmread(path)
        assert (str(dataset.PatientName), dataset.PatientID) == ("Case0042", "Case0042")
        assert dataset.PatientIdentityRemoved == "YES"
        assert [c.CodeValue for c in dataset.DeidentificationMethodCodeSequence] == [
            "113100",
            "113104",
            "113105",
        ]
        assert "PatientWeight" not in dataset
        if path.stem != "labelmap":  # a class younger than the validator
            assert results.validated(path) == []


def _settings(**changes: object) -> DicomSettings:
    return DicomSettings(kinds=KINDS, **changes)  # type: ignore[arg-type]


def test_references_still_hold_together(tmp_path: Path) -> None:
    findings = _findings(tmp_path / "scan")
    written = write_dicom(findings, None, tmp_path / "out", _settings(pseudonym="Case0042"))
    seg, report, contours = (pydicom.dcmread(written[kind]) for kind in ("seg", "sr", "rtstruct"))
    assert seg.file_meta.MediaStorageSOPInstanceUID == seg.SOPInstanceUID
    assert seg.StudyInstanceUID == report.StudyInstanceUID == contours.StudyInstanceUID
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    named = {str(item.ReferencedSOPInstanceUID) for s in evidence for item in s.ReferencedSOPSequence}
    assert seg.SOPInstanceUID in named
    series = seg.ReferencedSeriesSequence[0].SeriesInstanceUID
    frame = contours.ReferencedFrameOfReferenceSequence[0]
    assert frame.FrameOfReferenceUID == seg.FrameOfReferenceUID
    assert frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].SeriesInstanceUID == series
    for kind in ("seg", "labelmap", "rtstruct"):
        mask = load_mask(written[kind], findings.case.geometry)
        np.testing.assert_array_equal(mask.array, results.two_lesions())


def test_kept_uids_fit_the_images(tmp_path: Path) -> None:
    findings = _findings(tmp_path / "scan")
    image = pydicom.dcmread(tmp_path / "scan" / "pt_0002.dcm")
    written = write_dicom(findings, None, tmp_path / "out", _settings(pseudonym="Case0042", keep_uids=True))
    seg = pydicom.dcmread(written["seg"])
    assert seg.StudyInstanceUID == image.StudyInstanceUID
    assert seg.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert seg.DeidentificationMethodCodeSequence[-1].CodeValue == "113110"
    assert "Curie" not in _strings(written["seg"])


def test_another_call_cannot_be_linked(tmp_path: Path) -> None:
    findings = _findings(tmp_path / "scan")
    chosen = DicomSettings(kinds=("seg",), pseudonym="Case0042")
    first, second = (
        pydicom.dcmread(write_dicom(findings, None, tmp_path / name, chosen)["seg"]) for name in "ab"
    )
    assert first.StudyInstanceUID != second.StudyInstanceUID
    assert first.SegmentSequence[0].TrackingUID != second.SegmentSequence[0].TrackingUID


@pytest.mark.parametrize(
    ("keyword", "value", "left"),
    [
        ("PatientComments", "lives next door", None),
        ("ContentDate", "20240102", "19000101"),
        ("SeriesDate", "20240102", None),
        ("PatientBirthDate", "19700101", ""),
        ("SegmentLabel", "Lesion 1", "Lesion 1"),
        ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.4"),
        ("PatientWeight", "70", None),
        ("EncapsulatedDocument", b"\0\1", None),
        ("Rows", 12, 12),
    ],
)
def test_what_stays_and_what_goes(keyword: str, value: object, left: object) -> None:
    inner, outer = Dataset(), Dataset()
    setattr(inner, keyword, value)
    outer.SOPInstanceUID = "1.2.3"
    outer.ReferencedSeriesSequence = [inner]
    inner.add_new(0x00091001, "LO", "private")
    inner.IrradiationEventUID = ["1.2.3", "1.2.4"]
    other = deidentified(outer, "P1", secret="s")
    cleaned = other.ReferencedSeriesSequence[0]
    assert inner[keyword].value == value  # the given one is as it was
    assert (0x0009, 0x1001) not in cleaned
    assert cleaned.IrradiationEventUID[0] == other.SOPInstanceUID != "1.2.3"
    if left is None:
        assert keyword not in cleaned
    else:
        assert cleaned[keyword].value == left


@pytest.mark.parametrize("stated", ["", "ISO_IR 100"])
def test_a_pseudonym_of_other_letters_is_written_as_it_is(tmp_path: Path, stated: str) -> None:
    results.pet_findings(tmp_path / "scan")
    edit_all(sorted((tmp_path / "scan").iterdir()), SpecificCharacterSet=stated)
    findings = results.findings_on(tmp_path / "scan", results.two_lesions())
    written = write_dicom(findings, None, tmp_path / "out", _settings(pseudonym="患者7"))
    for path in written.values():
        dataset = pydicom.dcmread(path)
        assert (str(dataset.PatientName), dataset.PatientID) == ("患者7", "患者7")
