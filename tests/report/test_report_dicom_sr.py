"""Structured reports, contours and pictures: numbers, codes, and what they say without lesions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

import dicom_results as results
from dicom_phantoms import PET_GRID, pet_volume, write_pet
from lesionlab.core.errors import WriteError
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.volume import Geometry
from lesionlab.demo.dicom_series import StudyFacts, save, study_header
from lesionlab.pipeline import write_dicom
from lesionlab.pipeline.dicom_sources import dicom_source
from lesionlab.read import load_mask
from lesionlab.report.dicom_codes import quantity, short
from lesionlab.report.dicom_files import dicom_objects
from lesionlab.report.dicom_settings import DicomSettings

EVERYTHING = DicomSettings(kinds=("seg", "sr", "rtstruct", "sc"))


def code(item: Dataset) -> tuple[str, str]:
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return str(value), str(item.CodingSchemeDesignator)


def groups_of(report: Dataset) -> list[Dataset]:
    """The measurement groups of a TID 1500 report."""
    (measured,) = (
        i for i in report.ContentSequence if code(i.ConceptNameCodeSequence[0]) == ("126010", "DCM")
    )
    return list(measured.ContentSequence)


def numbers(group: Dataset) -> dict[tuple[Any, ...], tuple[float, str]]:
    """Value and unit of a group's measurements by concept, derivation and method."""
    found: dict[tuple[Any, ...], tuple[float, str]] = {}
    for item in group.ContentSequence:
        if item.ValueType == "NUM":
            inner = item.get("ContentSequence") or []
            said = {code(i.ConceptNameCodeSequence[0])[0]: code(i.ConceptCodeSequence[0])[0] for i in inner}
            measured = item.MeasuredValueSequence[0]
            key = (*code(item.ConceptNameCodeSequence[0]), said.get("121401"), said.get("370129005"))
            unit = code(measured.MeasurementUnitsCodeSequence[0])
            assert unit[1] == "UCUM"
            found[key] = (float(measured.FloatingPointValue), unit[0])
    return found


def texts(group: Dataset) -> str:
    return "\n".join(i.TextValue for i in group.ContentSequence if i.ValueType == "TEXT")


def answer(group: Dataset) -> str:
    """Whether a lesion was found, as the group says it."""
    (found,) = (
        i
        for i in group.ContentSequence
        if code(i.ConceptNameCodeSequence[0]) == ("lesion-found", "99LESIONLAB")
    )
    return str(found.ConceptCodeSequence[0].CodeMeaning)


def test_every_number_of_the_table_is_there_with_its_code(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    written = write_dicom(findings, None, tmp_path / "out", EVERYTHING)
    report, seg = pydicom.dcmread(written["sr"]), pydicom.dcmread(written["seg"])
    for path in written.values():
        assert results.validated(path) == []
    assert report.SOPClassUID.name == "Comprehensive 3D SR Storage"
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    totals, *lesions = groups_of(report)
    assert [group.ContentTemplateSequence[0].TemplateIdentifier for group in lesions] == ["1411", "1411"]
    for number, (group, row) in enumerate(zip(lesions, findings.lesions.rows, strict=True), start=1):
        measured = numbers(group)
        suv, unit = ("126401", "DCM"), "g/ml{SUVbw}"
        assert measured[*suv, "56851009", "126410"] == (row["SUVmax"], unit)
        assert measured[*suv, "373098007", "126410"] == (row["SUVmean"], unit)
        assert measured[*suv, "126031", "peak-sphere"] == (row["SUVpeak"], unit)
        assert measured["126032", "DCM", None, "126030"] == (row["MTV"], "ml")
        assert measured["126033", "DCM", None, None] == (row["TLG"], "g")
        assert measured["81827009", "SCT", "56851009", "voxels-3d"] == (row["diameter_3d"], "mm")
        assert measured["103339001", "SCT", None, "voxels-in-slice"] == (row["diameter_in_slice"], "mm")
        assert len(measured) == len(findings.lesions.columns) - 2  # all but number and label
        (reference,) = (i for i in group.ContentSequence if i.ValueType == "IMAGE")
        segment = reference.ReferencedSOPSequence[0]
        assert segment.ReferencedSOPInstanceUID == seg.SOPInstanceUID
        assert segment.ReferencedSegmentNumber == number
        (tracking,) = (
            i.UID for i in group.ContentSequence if i.get("ConceptNameCodeSequence")[0].CodeValue == "112040"
        )
        assert tracking == seg.SegmentSequence[number - 1].TrackingUID
    measured = numbers(totals)
    assert measured["126032", "DCM", "255619001", "126030"] == (findings.lesions.totals["TMTV"], "ml")
    assert measured["lesions", "99LESIONLAB", None, None] == (2.0, "1")
    assert answer(totals) == "Yes"
    assert "SUVbw by" in texts(totals)
    assert "2 lesions found" in texts(totals)


def test_dcmqi_reads_the_same_numbers(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    path = write_dicom(findings, None, tmp_path / "out")["sr"]
    groups = results.measurements_by_dcmqi(path, tmp_path)
    assert [group["TrackingIdentifier"] for group in groups] == ["Patient totals", "Lesion 1", "Lesion 2"]
    for group, row in zip(groups[1:], findings.lesions.rows, strict=True):
        items: Any = group["measurementItems"]
        volume = [float(i["value"]) for i in items if i["quantity"]["CodeValue"] == "126032"]
        assert volume == pytest.approx([row["MTV"]])


def test_radiomics_carry_the_standards_codes_and_the_aggregation(tmp_path: Path) -> None:
    write_pet(tmp_path / "scan", pet_volume())
    recipe = find_recipe("pet-radiomics")
    findings = results.findings_on(tmp_path / "scan", results.two_lesions(), recipe=recipe)
    path = write_dicom(findings, None, tmp_path / "out")["sr"]
    assert results.validated(path) == []
    group = groups_of(pydicom.dcmread(path))[1]
    measured = numbers(group)
    joint = [c for c in findings.lesions.columns if c.name.startswith("cm_joint_max")]
    assert joint
    for column in joint:
        kind = quantity(column)
        assert kind.name[:2] == ("GYBY", "IBSI")
        assert kind.name.meaning == "Joint Maximum of GLCM"
        assert kind.method is not None
        value = findings.lesions.rows[0][column.name]
        assert measured["GYBY", "IBSI", None, kind.method.value] == (value, "1")
    # What could not be computed is named, never a number.
    undefined = {c.name for c in findings.lesions.columns if np.isnan(findings.lesions.rows[1][c.name])}
    said = texts(groups_of(pydicom.dcmread(path))[2]).splitlines()[-1]
    assert undefined
    assert said == "Not computed: " + ", ".join(
        c.name for c in findings.lesions.columns if c.name in undefined
    )


def test_no_lesion_is_said_plainly(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan", np.zeros(PET_GRID.shape, np.uint8))
    written = write_dicom(findings, None, tmp_path / "out", EVERYTHING)
    assert set(written) == {"sr", "sc"}
    for path in written.values():
        assert results.validated(path) == []
    (totals,) = groups_of(pydicom.dcmread(written["sr"]))
    assert answer(totals) == "No"
    assert "No lesion found." in texts(totals)
    assert numbers(totals)["126032", "DCM", "255619001", "126030"] == (0.0, "ml")
    assert "Not computed: " in texts(totals)


def test_contours_refer_to_their_images_and_keep_holes(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    path = write_dicom(findings, None, tmp_path / "out", EVERYTHING)["rtstruct"]
    contours = pydicom.dcmread(path)
    assert [roi.ROIName for roi in contours.StructureSetROISequence] == ["Lesion 1", "Lesion 2"]
    by_place: dict[str, int] = {}
    for contour in contours.ROIContourSequence[0].ContourSequence:
        image = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        by_place[image] = by_place.get(image, 0) + 1
    assert sorted(by_place.values()) == [1, 1, 2]  # the middle slice has a hole
    facts = findings.case.facts.channels["suv"].slices
    assert set(by_place) == {facts[z]["SOPInstanceUID"] for z in (1, 2, 3)}
    np.testing.assert_array_equal(load_mask(path, findings.case.geometry).array, results.two_lesions())


def test_the_picture_shows_the_lesions(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    many = replace(findings.lesions, rows=findings.lesions.rows * 15)
    empty = results.findings_on(tmp_path / "scan", np.zeros(PET_GRID.shape, np.uint8))
    pictures = []
    for shown in (findings, replace(findings, lesions=many), empty):
        path = write_dicom(shown, None, tmp_path / "out", DicomSettings(kinds=("sc",)))["sc"]
        picture = pydicom.dcmread(path)
        assert picture.PhotometricInterpretation == "RGB"
        assert len(picture.SourceImageSequence) == 6
        pictures.append(picture.pixel_array)
    red = [int((p[..., 0].astype(int) - p[..., 1] > 100).sum()) for p in pictures]
    assert red[0] > 500
    assert red[2] < red[0] / 4  # the legend's line alone
    assert pictures[0].shape[1] == pictures[1].shape[1]
    assert pictures[1].shape[0] > pictures[0].shape[0]


def _ultrasound(path: Path, sop_class: str) -> Path:
    study = StudyFacts()
    header = study_header(study, "US", sop_class)
    if sop_class == UltrasoundMultiFrameImageStorage:
        header.NumberOfFrames = 1
        header.FrameTime = "40"
        header.FrameIncrementPointer = 0x00181063
    del header.FrameOfReferenceUID, header.PositionReferenceIndicator
    header.SOPInstanceUID = study.uid("us")
    header.InstanceNumber = 1
    header.ImageType = ["ORIGINAL", "PRIMARY"]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = 24, 32
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation = 7, 0
    header.PixelData = np.random.default_rng(1).integers(0, 255, (24, 32), dtype=np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    save(header, path)
    return path


@pytest.mark.parametrize("sop_class", [UltrasoundImageStorage, UltrasoundMultiFrameImageStorage])
def test_a_picture_without_position_has_a_segmentation_but_no_contours(
    tmp_path: Path, sop_class: str
) -> None:
    scan = _ultrasound(tmp_path / "scan" / "us.dcm", sop_class)
    recipe = parse_recipe(
        {"name": "us-drawn", "channels": {"us": {}}, "reference": "us", "method": "none"}, "us-drawn"
    )
    mask = np.zeros((1, 24, 32), np.uint8)
    mask[0, 5:12, 6:20] = 1
    findings = results.findings_on(scan, mask, recipe=recipe)
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("seg", "sr", "sc")))
    for path in written.values():
        assert results.validated(path) == []
    seg = pydicom.dcmread(written["seg"])
    np.testing.assert_array_equal(np.squeeze(seg.pixel_array), mask[0])
    with pytest.raises(WriteError, match="a picture without FrameOfReferenceUID"):
        write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("rtstruct",)))
    larger = replace(dicom_source(findings), geometry=Geometry((1, 24, 33), (1.0, 1.0, 1.0)))
    with pytest.raises(
        WriteError, match=r"a mask on another grid 1 x 24 x 32 .*needed the picture's own grid"
    ):
        dicom_objects(findings, larger, DicomSettings(kinds=("seg",)))


def test_frames_need_positions(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    source = dicom_source(findings)
    lost = tuple(replace(plane, frame=n, position=None) for n, plane in enumerate(source.planes, start=1))
    with pytest.raises(WriteError, match="a multi-frame source without positions"):
        dicom_objects(findings, replace(source, planes=lost), DicomSettings(kinds=("seg",)))


def test_meanings_are_short_and_plain() -> None:
    assert short("SUV − mean × 2 ≥ ø") == "SUV - mean x 2 ? ?"
    cut = short("words " * 20)
    assert 58 < len(cut) <= 64
    assert cut.endswith("words")
