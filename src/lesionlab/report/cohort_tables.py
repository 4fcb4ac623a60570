"""What is kept of each patient of a cohort, and the cohort's files for programs: CSV and JSON, no page.

An entry holds numbers and nothing of the volumes. The page is `cohort.py`'s.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lesionlab.core.files import write_json
from lesionlab.core.results import Column, Findings
from lesionlab.report import ibsi_checklist, tables
from lesionlab.report.figures import thumbnail
from lesionlab.report.folder import filled
from lesionlab.report.ibsi_checklist import Answer
from lesionlab.report.page import headline

LESIONS = Column("lesions", "1", "number of lesions found")
LONG_HEAD = ("case_id", "lesion", "name", "value", "unit", "code")


@dataclass(frozen=True)
class CohortEntry:
    """One patient of a cohort: numbers and a thumbnail, or the reason why there are none.

    `page` is the patient's report.html relative to the cohort's folder, empty when there is none. `headline`
    holds the totals shown, with their columns. Made by `cohort_entry`, or by hand for a failure:
    `CohortEntry(case_id, error="...")`.
    """

    case_id: str
    patient_id: str = ""
    page: str = ""
    error: str | None = None
    method: str = ""
    columns: tuple[Column, ...] = ()
    rows: tuple[Mapping[str, float], ...] = ()
    headline: tuple[tuple[Column, float], ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    thumbnail: bytes = b""
    checklist: tuple[Answer, ...] = ()
    """The IBSI checklist's answers, where features of that standard were computed."""


def cohort_entry(findings: Findings, page: str | Path | None) -> CohortEntry:
    """What a cohort's report keeps of one patient; the volumes can be let go afterwards.

    `page` is the path of the patient's report.html relative to the folder of the cohort's; None where the
    patient has none, and then no thumbnail is drawn either.
    """
    run = findings.provenance
    return CohortEntry(
        case_id=findings.case.id,
        patient_id=findings.case.patient_id,
        page="" if page is None else Path(page).as_posix(),
        method=f"{run.bundle}, recipe {run.recipe_name} ({run.recipe_sha256[:12]})",
        columns=findings.lesions.columns,
        rows=findings.lesions.rows,
        headline=tuple(headline(findings)),
        scores={} if findings.scores is None else dict(findings.scores.values),
        notes=tuple(tables.all_notes(findings)),
        thumbnail=b"" if page is None else thumbnail(findings),
        checklist=ibsi_checklist.checklist(findings) if ibsi_checklist.wanted(findings) else (),
    )


def write_cohort_tables(
    entries: Sequence[CohortEntry], folder: Path, title: str, summary: Mapping[str, Any] | None = None
) -> None:
    """Write lesions.csv, patients.csv, columns.csv and cohort.json into an existing folder.

    patients.csv has a row per patient, failed ones with their reason. No entry gives empty tables. Where
    features of IBSI were computed, their checklist over all patients is written too.
    """
    done = [entry for entry in entries if entry.error is None]
    lesion_columns = union(entry.columns for entry in done)
    totals = union([column for column, _ in entry.headline] for entry in done)
    metrics = list(dict.fromkeys(name for entry in done for name in entry.scores))
    rows = [row for e in done for row in tables.lesion_rows(e.case_id, lesion_columns, e.rows)]
    tables.write_csv(folder / "lesions.csv", tables.lesion_head(lesion_columns), rows)
    head = ["case_id", "patient_id", "page", "error", "lesions", *(c.name for c in totals), *metrics]
    tables.write_csv(folder / "patients.csv", head, [_row(e, totals, metrics) for e in entries])
    meanings = {
        "lesions": by_unit(entry.columns for entry in done),
        "patients": (LESIONS, *by_unit([column for column, _ in entry.headline] for entry in done)),
    }
    columns = tables.column_rows(meanings)
    tables.write_csv(folder / "columns.csv", tables.COLUMNS_HEAD, columns)
    write_json(folder / "cohort.json", _record(entries, title, summary))
    answers = ibsi_checklist.merged([entry.checklist for entry in done if entry.checklist])
    if answers:
        ibsi_checklist.write_checklist(answers, folder, title)


def write_measurements(entries: Sequence[CohortEntry], folder: Path, *, title: str, long: bool) -> Path:
    """Write a cohort's tables into a folder, without a page; returns the path of lesions.csv.

    `long` adds long.csv: a row per lesion and quantity, with its unit and code in the row. Other files in
    the folder stay. All files appear or, on WriteError, none.
    """
    with filled(folder) as inside:
        write_cohort_tables(entries, inside, title)
        if long:
            tables.write_csv(inside / "long.csv", LONG_HEAD, long_rows(entries))
    return folder / "lesions.csv"


def long_rows(entries: Iterable[CohortEntry]) -> list[list[object]]:
    """Rows of long.csv: case, lesion, quantity, value (empty where undefined), unit, code."""
    return [
        [
            entry.case_id,
            tables.lesion_number(row, position),
            c.name,
            row.get(c.name, math.nan),
            c.unit,
            c.code,
        ]
        for entry in entries
        for position, row in enumerate(entry.rows)
        for c in entry.columns
        if c.name != tables.LESION
    ]


def union(groups: Iterable[Iterable[Column]]) -> tuple[Column, ...]:
    """Every column once, by name, in order of first appearance."""
    return tuple({column.name: column for group in groups for column in group}.values())


def by_unit(groups: Iterable[Iterable[Column]]) -> tuple[Column, ...]:
    """As `union`, a name with several units once for each: images of unknown pixel size count pixels."""
    return tuple({(column.name, column.unit): column for group in groups for column in group}.values())


def _row(entry: CohortEntry, totals: Sequence[Column], metrics: Sequence[str]) -> list[object]:
    values = {column.name: value for column, value in entry.headline}
    count = len(entry.rows) if entry.error is None else math.nan
    return [
        entry.case_id,
        entry.patient_id,
        entry.page,
        entry.error or "",
        count,
        *(values.get(column.name, math.nan) for column in totals),
        *(entry.scores.get(name, math.nan) for name in metrics),
    ]


def _record(entries: Sequence[CohortEntry], title: str, summary: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "title": title,
        "patients": [
            {
                "case_id": entry.case_id,
                "patient_id": entry.patient_id,
                "page": entry.page,
                "method": entry.method,
                "lesion_count": len(entry.rows),
                "totals": {column.name: value for column, value in entry.headline},
                "units": {column.name: column.unit for column, _ in entry.headline},
                "scores": dict(entry.scores) or None,
                "notes": list(entry.notes),
            }
            for entry in entries
            if entry.error is None
        ],
        "failed": [
            {"case_id": entry.case_id, "reason": entry.error} for entry in entries if entry.error is not None
        ],
        "summary": summary,
        "purpose": "research software, not a medical device",
    }
