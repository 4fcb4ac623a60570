"""Masks of very many lesions: the largest have segments and groups of their own, and no voxel is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

import dicom_results as results
from dicom_phantoms import PET_GRID
from lesionlab.core.results import Findings
from lesionlab.pipeline import write_dicom
from lesionlab.read import load_mask
from lesionlab.report import dicom_correction, dicom_source, dicom_sr
from lesionlab.report.dicom_correction import correction_of
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_source import merged

KINDS = ("seg", "labelmap", "sr", "rtstruct")


@pytest.fixture
def most(monkeypatch: pytest.MonkeyPatch) -> int:
    """A limit of four instead of hundreds."""
    for module in (dicom_source, dicom_sr, dicom_correction):
        monkeypatch.setattr(module, "MOST_SEPARATE", 4)
    return 4


def fragments(folder: Path, count: int) -> Findings:
    """That many lesions of falling size, apart from one another."""
    mask = np.zeros(PET_GRID.shape, np.uint8)
    places = [(z, y, x) for z in (0, 3) for y in (0, 4) for x in (0, 4, 8)][:count]
    for number, (z, y, x) in enumerate(places):
        mask[z : z + 2, y : y + 3, x : x + 2] = 1
        mask[z, y, x] = number % 2
    return results.pet_findings(folder / "scan", mask)


def test_the_smallest_share_a_segment_and_are_told_of(tmp_path: Path, most: int) -> None:
    findings = fragments(tmp_path, 9)
    numbers = findings.lesions.labels.array
    assert numbers.max() == 9
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=KINDS))
    for kind, path in written.items():
        assert kind == "labelmap" or results.validated(path) == []
    seg, report = pydicom.dcmread(written["seg"]), pydicom.dcmread(written["sr"])
    labels = [item.SegmentLabel for item in seg.SegmentSequence]
    assert labels == [*(f"Lesion {n}" for n in range(1, 5)), "5 smaller lesions"]
    assert len({item.TrackingUID for item in seg.SegmentSequence}) == most + 1
    for kind in ("seg", "labelmap", "rtstruct"):
        back = load_mask(written[kind], findings.case.geometry).array
        np.testing.assert_array_equal(back > 0, numbers > 0)
    contours = pydicom.dcmread(written["rtstruct"])
    assert [roi.ROIName for roi in contours.StructureSetROISequence] == labels
    [measured] = (
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    totals, *groups = measured.ContentSequence
    assert len(groups) == most
    said = " ".join(item.TextValue for item in totals.ContentSequence if item.ValueType == "TEXT")
    assert "9 lesions found. The 4 largest have a group each; 5 smaller ones share a segment." in said
    counted = [
        float(item.MeasuredValueSequence[0].NumericValue)
        for item in totals.ContentSequence
        if item.ValueType == "NUM" and item.ConceptNameCodeSequence[0].CodeValue == "lesions"
    ]
    assert counted == [9.0]
    read = results.measurements_by_dcmqi(written["sr"], tmp_path)
    assert [group["TrackingIdentifier"] for group in read] == ["Patient totals", *labels[:-1]]


def test_one_more_than_the_limit_has_nothing_to_share_with(tmp_path: Path, most: int) -> None:
    names, labels = merged(fragments(tmp_path, most + 1))
    assert list(names.values()) == [f"Lesion {n}" for n in range(1, most + 2)]
    assert labels.max() == most + 1


def test_a_shared_segment_gives_no_lesion_its_identity(tmp_path: Path, most: int) -> None:
    findings = fragments(tmp_path, 7)
    path = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("seg",)))["seg"]
    numbers = findings.lesions.labels.array
    kept = correction_of(numbers, numbers, pydicom.dcmread(path), "")
    assert sorted(kept.tracking) == [1, 2, 3, 4]
