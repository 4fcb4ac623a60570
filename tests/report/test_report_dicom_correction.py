"""Corrected results: which lesions are still the same, who says so, and what other programs make of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

import dicom_results as results
from dicom_phantoms import edit_all
from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings
from lesionlab.pipeline import write_dicom
from lesionlab.pipeline.dicom_sources import dicom_source
from lesionlab.read import load_mask
from lesionlab.report.dicom_correction import (
    Attestation,
    attested,
    correction_of,
    person_name,
    same_lesions,
)
from lesionlab.report.dicom_files import dicom_objects, write_objects
from lesionlab.report.dicom_settings import Correction, DicomSettings
from lesionlab.report.dicom_source import zone_of

KINDS = ("seg", "sr", "rtstruct", "sc")
BY = Attestation("Muster^Anna", "City Hospital", datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))
NOTE = "mask as given in the file mask.nii.gz"


def line(*values: int) -> np.ndarray:
    return np.asarray(values, np.int32).reshape(1, 1, -1)


def test_lesions_are_the_same_where_most_of_them_is() -> None:
    assert same_lesions(line(1, 1, 1, 1, 0, 2, 2), line(1, 0, 2, 2, 0, 3, 3)) == {2: 1, 3: 2}
    assert same_lesions(line(1, 1, 0, 2), line(1, 1, 1, 1)) == {1: 1}  # merged: the larger share
    assert same_lesions(line(0, 0, 1), line(1, 0, 0)) == {}
    assert same_lesions(line(0, 0), line(0, 0)) == {}
    with pytest.raises(WriteError, match="needed the corrected one's"):
        same_lesions(line(1, 1), line(1))


def test_methods_tell_what_nobody_touched_what_was_changed_and_what_is_new() -> None:
    segments = Dataset()
    segments.SegmentSequence = [Dataset() for _ in range(3)]
    for number, item in enumerate(segments.SegmentSequence, start=1):
        item.SegmentNumber, item.TrackingUID = number, f"2.25.{number}"
        item.SegmentAlgorithmType = "AUTOMATIC"
    before = line(1, 1, 0, 2, 2, 0, 3, 0, 0)
    after = line(1, 1, 0, 2, 0, 0, 0, 0, 3)
    kept = correction_of(before, after, segments, "Muster^Anna")
    assert kept.tracking == {1: "2.25.1", 2: "2.25.2"}
    assert kept.methods == {1: "AUTOMATIC", 2: "SEMIAUTOMATIC", 3: "MANUAL"}
    blind = correction_of(before, after, None, "")
    assert (blind.tracking, blind.methods) == ({}, {1: "SEMIAUTOMATIC", 2: "SEMIAUTOMATIC", 3: "MANUAL"})


def corrected_pair(folder: Path) -> tuple[Findings, Path, Findings, Correction]:
    """A result, its objects, the result after a hand took voxels off one lesion and drew a new one."""
    first = results.pet_findings(folder / "scan")
    sent = folder / "sent"
    write_dicom(first, None, sent, DicomSettings(kinds=KINDS))
    mask = results.two_lesions()
    mask[3] = 0
    mask[4:6, 5:7, 3] = 1
    drawn = results.findings_on(folder / "scan", mask)
    second = replace(
        results.renamed(drawn, started="2026-01-02T04:00:00+00:00"),
        prediction=replace(drawn.prediction, notes=(NOTE,)),
    )
    segments = pydicom.dcmread(sent / "seg.dcm", stop_before_pixels=True)
    labels = (first.lesions.labels.array, second.lesions.labels.array)
    return first, sent, second, correction_of(*labels, segments, "Weber^Jan")


def test_a_corrected_and_accepted_result_says_so_everywhere(tmp_path: Path) -> None:
    _, sent, second, correction = corrected_pair(tmp_path)
    chosen = DicomSettings(kinds=KINDS, correction=correction)
    made = dicom_objects(second, dicom_source(second), chosen)
    drafts = {kind: str(item.SOPInstanceUID) for kind, item in made.items()}
    old_report = pydicom.dcmread(sent / "sr.dcm")
    written = write_objects(attested(made, BY, old_report), tmp_path / "out")
    for path in written.values():
        assert results.validated(path) == []
    old = {kind: pydicom.dcmread(sent / f"{kind}.dcm") for kind in KINDS}
    new = {kind: pydicom.dcmread(path) for kind, path in written.items()}
    for kind in KINDS:
        assert new[kind].StudyInstanceUID == old[kind].StudyInstanceUID
        assert new[kind].SeriesInstanceUID != old[kind].SeriesInstanceUID
        assert new[kind].SOPInstanceUID != old[kind].SOPInstanceUID
        assert new[kind].file_meta.MediaStorageSOPInstanceUID == new[kind].SOPInstanceUID
        assert new[kind].SeriesDescription.endswith(", corrected by Weber^Jan")
        assert new[kind].SeriesNumber == old[kind].SeriesNumber + 100
        same = kind in ("seg", "sc")  # nothing in them changed when they were accepted
        assert (new[kind].SOPInstanceUID == drafts[kind]) == same
    seg, report, contours = new["seg"], new["sr"], new["rtstruct"]
    assert (seg.ContentLabel, str(seg.ContentCreatorName)) == ("CORRECTED", "Weber^Jan")
    kinds = [item.SegmentAlgorithmType for item in seg.SegmentSequence]
    assert kinds == ["SEMIAUTOMATIC", "AUTOMATIC", "MANUAL"]
    tracked = [[item.TrackingUID for item in s.SegmentSequence] for s in (old["seg"], seg)]
    assert tracked[1][:2] == tracked[0]
    assert tracked[1][2] not in tracked[0]
    assert [roi.ROIGenerationAlgorithm for roi in contours.StructureSetROISequence] == kinds
    assert (contours.ApprovalStatus, str(contours.ReviewerName)) == ("APPROVED", "Muster^Anna")
    assert (contours.ReviewDate, contours.ReviewTime) == ("20260304", "050607")
    np.testing.assert_array_equal(
        load_mask(written["seg"], second.case.geometry).array > 0, second.lesions.labels.array > 0
    )
    check_report(report, old_report)


def check_report(report: Dataset, old: Dataset) -> None:
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "VERIFIED")
    [observer] = report.VerifyingObserverSequence
    assert (str(observer.VerifyingObserverName), observer.VerifyingOrganization) == (
        "Muster^Anna",
        "City Hospital",
    )
    assert observer.VerificationDateTime == "20260304050607+0000"
    [study] = report.PredecessorDocumentsSequence
    [series] = study.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == old.SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == old.SOPInstanceUID
    names = [str(item.PersonName) for item in report.ContentSequence if item.ValueType == "PNAME"]
    assert names == ["Muster^Anna"]


def test_the_corrected_report_is_read_by_dcmqi(tmp_path: Path) -> None:
    _, _, second, correction = corrected_pair(tmp_path)
    made = dicom_objects(second, dicom_source(second), DicomSettings(correction=correction))
    path = write_objects(attested(made, BY, None), tmp_path / "out")["sr"]
    groups = results.measurements_by_dcmqi(path, tmp_path)
    volumes = [
        float(item["value"])
        for group in groups[1:]
        for item in group["measurementItems"]  # type: ignore[attr-defined]
        if item["quantity"]["CodeValue"] == "126032"
    ]
    assert volumes == pytest.approx([row["MTV"] for row in second.lesions.rows])


def test_nobody_is_named_where_nobody_is_known(tmp_path: Path) -> None:
    _, _, second, correction = corrected_pair(tmp_path)
    chosen = DicomSettings(kinds=KINDS, correction=replace(correction, person=""))
    made = attested(dicom_objects(second, dicom_source(second), chosen), replace(BY, person=""), None)
    assert made["sr"].VerificationFlag == "UNVERIFIED"
    assert made["rtstruct"].ApprovalStatus == "UNAPPROVED"
    assert made["seg"].ContentCreatorName == ""
    assert made["seg"].SeriesDescription == "LesionLab seg, corrected"
    unplaced = dicom_objects(second, dicom_source(second), replace(chosen, kinds=("sr",)))
    report = attested(unplaced, replace(BY, organisation=""), None)["sr"]
    assert report.VerificationFlag == "UNVERIFIED"
    assert "Muster^Anna" in str(report.ContentSequence)
    for path in write_objects({"sr": report}, tmp_path / "out").values():
        assert results.validated(path) == []


def test_a_pseudonym_takes_the_name_of_who_corrected_away(tmp_path: Path) -> None:
    _, _, second, correction = corrected_pair(tmp_path)
    chosen = DicomSettings(kinds=KINDS, correction=correction, pseudonym="Case1")
    for made in dicom_objects(second, dicom_source(second), chosen).values():
        assert "Weber" not in str(made)


def test_names_are_what_every_character_set_holds() -> None:
    assert person_name("Müller^José\\=x") == "Muller^Jose  x"
    assert len(person_name("a" * 100)) == 64


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 100"], "Müller^Jürgen"),
        ("ISO_IR 6", "Muster^Anna"),
        (None, "Muster^Anna"),
        ("ISO_IR 100", "Müller^Jürgen"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("", "Muster^Anna"),
    ],
)
def test_names_of_every_character_set_stay_and_so_does_the_organisation(
    tmp_path: Path, stated: str | list[str] | None, name: str
) -> None:
    results.pet_findings(tmp_path / "scan")
    for file in (tmp_path / "scan").iterdir():
        header = pydicom.dcmread(file)
        header.SpecificCharacterSet, header.PatientName = stated, name
        header.save_as(file)
    findings = results.findings_on(tmp_path / "scan", results.two_lesions())
    kinds = (*KINDS, "labelmap")
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=kinds))
    made = {kind: pydicom.dcmread(path) for kind, path in written.items()}
    assert [str(item.PatientName) for item in made.values()] == [name] * len(kinds)
    accepted = write_objects(
        attested(made, replace(BY, organisation="Klinik Köln 病院"), None), tmp_path / "a"
    )
    report = pydicom.dcmread(accepted["sr"])
    assert report.VerifyingObserverSequence[0].VerifyingOrganization == "Klinik Köln 病院"
    assert str(report.PatientName) == name


@pytest.mark.parametrize(("stated", "review"), [("+0900", "140607"), ("-0330", "013607"), ("noon", "050607")])
def test_times_of_contours_are_in_the_zone_that_the_scan_states(
    tmp_path: Path, stated: str, review: str
) -> None:
    results.pet_findings(tmp_path / "scan")
    edit_all(sorted((tmp_path / "scan").iterdir()), TimezoneOffsetFromUTC=stated)
    findings = results.findings_on(tmp_path / "scan", results.two_lesions())
    made = dicom_objects(findings, dicom_source(findings), DicomSettings(kinds=("rtstruct",)))["rtstruct"]
    assert made.TimezoneOffsetFromUTC == stated
    drawn = datetime.strptime(f"{made.StructureSetDate}{made.StructureSetTime}", "%Y%m%d%H%M%S")
    age = datetime.now(zone_of(made)).replace(tzinfo=None) - drawn
    assert age.total_seconds() < 600
    attested({"rtstruct": made}, BY, None)
    assert made.ReviewTime == review
