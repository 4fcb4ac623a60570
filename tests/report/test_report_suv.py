"""The report's section on SUV: everything of the audit is on the page, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from lesionlab.core.case import AcquisitionFacts, ChannelFacts
from lesionlab.core.results import Findings
from lesionlab.core.suv import Candidate, SuvAudit
from lesionlab.report.page import patient_page
from lesionlab.report.suv import suv_section

AUDIT = SuvAudit(
    "Units BQML, DecayCorrection START",
    ("PatientWeight", "SeriesTime"),
    (0.0004, 0.0005),
    (
        Candidate("SeriesTime", datetime(2024, 3, 1, 10, 40), 0.0004),
        Candidate("AcquisitionTime", datetime(2024, 3, 1, 10, 50), 0.00043),
    ),
    ("PatientWeight 80000 taken as g & more",),
    {"SUVbw": 1.0, "SUVlbm-morgan": 0.75},
    ("PatientSex O: the mean of both sexes' formulas",),
)


def with_audit(findings: Findings, audit: SuvAudit | None) -> Findings:
    facts = AcquisitionFacts({"suv": ChannelFacts("PT", suv=audit)})
    return replace(findings, case=replace(findings.case, facts=facts))


def test_the_page_tells_how_suv_was_computed(make_findings: Callable[..., Findings]) -> None:
    page = patient_page(with_audit(make_findings(), AUDIT), {})
    for words in (
        "How SUV was computed",
        "Units BQML, DecayCorrection START",
        "PatientWeight, SeriesTime",
        "0.0004 to 0.0005 (2 slices)",
        "SUVlbm-morgan = 0.750 x SUVbw",
        "PatientSex O",
        "2024-03-01 10:50:00",
        "not taken, +7.50 % in SUVbw",
        "taken as g &amp; more",
    ):
        assert words in page


def test_a_scan_that_held_suv_has_no_such_section(make_findings: Callable[..., Findings]) -> None:
    assert "How SUV was computed" not in patient_page(with_audit(make_findings(), None), {})


def test_without_references_and_warnings_the_table_is_all(make_findings: Callable[..., Findings]) -> None:
    findings = with_audit(make_findings(), SuvAudit("Units GML", ("Units",), (1.0,)))
    section = suv_section(findings.case)
    assert section.count("<table") == 1
    assert "Warnings" not in section
    assert "1 (1 slices)" in section
