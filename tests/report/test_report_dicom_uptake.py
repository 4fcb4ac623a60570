"""What SUV was computed from, coded in the report: the scan's own numbers, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset

import dicom_results as results
from dicom_phantoms import edit_all
from lesionlab.core.results import Findings
from lesionlab.core.suv import SuvAudit
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.pipeline import write_dicom
from lesionlab.pipeline.dicom_sources import dicom_source
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_uptake import image_library

STUDY = StudyFacts()


def group_of(report: Dataset) -> list[Dataset]:
    """The items of the image library's only group; none where there is no library."""
    found = [i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "111028"]
    return list(found[0].ContentSequence[0].ContentSequence) if found else []


def told(items: list[Dataset]) -> dict[tuple[str, str], object]:
    """Value (and unit) of each acquisition item by concept and scheme."""
    values: dict[tuple[str, str], object] = {}
    for item in items:
        if item.RelationshipType != "HAS ACQ CONTEXT":
            continue
        name = item.ConceptNameCodeSequence[0]
        key = (str(name.CodeValue), str(name.CodingSchemeDesignator))
        if item.ValueType == "NUM":
            measured = item.MeasuredValueSequence[0]
            values[key] = (
                float(measured.FloatingPointValue),
                str(measured.MeasurementUnitsCodeSequence[0].CodeValue),
            )
        elif item.ValueType == "CODE":
            values[key] = str(item.ConceptCodeSequence[0].CodeValue)
        else:
            values[key] = str(item.DateTime)
    return values


def written(findings: Findings, folder: Path, settings: DicomSettings | None = None) -> Path:
    return write_dicom(findings, None, folder / "out", settings)["sr"]


def test_the_quantities_behind_suv_are_coded(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    path = written(findings, tmp_path)
    assert results.validated(path) == []
    items = group_of(pydicom.dcmread(path))
    assert told(items) == {
        ("121139", "DCM"): "PT",
        ("89457008", "SCT"): "C-111A1",
        ("113507", "DCM"): (pytest.approx(STUDY.dose_bq / 1e6), "MBq"),
        ("304283002", "SCT"): (pytest.approx(STUDY.half_life_s), "s"),
        ("126203", "DCM"): (pytest.approx(STUDY.uptake_s), "s"),
        ("patient-weight", "99LESIONLAB"): (pytest.approx(STUDY.weight_kg), "kg"),
        ("123003", "DCM"): STUDY.injected.strftime("%Y%m%d%H%M%S"),
    }
    named = [i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for i in items if i.ValueType == "IMAGE"]
    assert named == [facts["SOPInstanceUID"] for facts in findings.case.facts.channels["suv"].slices]
    groups = results.measurements_by_dcmqi(path, tmp_path)
    assert len(groups) == len(findings.lesions.rows) + 1


def test_what_was_repaired_is_told_as_it_was_used(tmp_path: Path) -> None:
    results.pet_findings(tmp_path / "scan")
    edit_all(sorted((tmp_path / "scan").iterdir()), PatientWeight="70000", DecayCorrection="ADMIN")
    findings = results.findings_on(tmp_path / "scan", results.two_lesions())
    values = told(group_of(pydicom.dcmread(written(findings, tmp_path))))
    assert values["patient-weight", "99LESIONLAB"] == (70.0, "kg")
    # a scan that is corrected to the administration needs no half-life and no moments
    assert not {("304283002", "SCT"), ("126203", "DCM"), ("123003", "DCM")} & set(values)


def test_a_scan_that_held_suv_already_has_no_library(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    facts = findings.case.facts
    suv = replace(facts.channels["suv"], suv=SuvAudit("Units GML", ("Units",), (1.0,)))
    case = replace(findings.case, facts=replace(facts, channels={**facts.channels, "suv": suv}))
    assert image_library(case, dicom_source(findings)) is None
    none = replace(facts.channels["suv"], suv=None)
    case = replace(findings.case, facts=replace(facts, channels={**facts.channels, "suv": none}))
    assert image_library(case, dicom_source(findings)) is None


def test_a_pseudonym_takes_weight_and_moment_away(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    path = written(findings, tmp_path, DicomSettings(pseudonym="Case1"))
    assert results.validated(path) == []
    values = told(group_of(pydicom.dcmread(path)))
    assert set(values) == {("121139", "DCM"), ("89457008", "SCT"), ("113507", "DCM")} | {
        ("304283002", "SCT"),
        ("126203", "DCM"),
    }


def test_an_audit_comes_back_from_its_record(tmp_path: Path) -> None:
    audit = results.pet_findings(tmp_path / "scan").case.facts.channels["suv"].suv
    assert audit is not None
    assert set(audit.quantities) == {"weight_kg", "activity_bq", "half_life_s", "uptake_s"}
    record = json.loads(json.dumps(audit.record()))
    again = SuvAudit.from_record(record)
    assert (again.quantities, again.administered) == (audit.quantities, audit.administered)
    del record["quantities"], record["administered"]  # as written by earlier versions
    old = SuvAudit.from_record(record)
    assert (dict(old.quantities), old.administered) == ({}, None)
