"""Findings as CSV and JSON: full precision, units in a table of their own, NaN as an empty field or null.

Nothing is computed or rounded here. Pages belong to `page.py` and `cohort.py`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, SupportsFloat

from lesionlab.core.files import sha256_of, write_json
from lesionlab.core.results import Column, Findings, LesionTable
from lesionlab.report.corrected import MASK, MASK_WRITTEN

LABEL_LETTERS = 40
"""So much of a label's name is shown: DICOM's names have 64 letters."""
LESION = "lesion"
"""Name of the column that numbers a case's lesions from 1, as in lesions.nii.gz."""

COLUMNS_HEAD = ("table", "name", "unit", "meaning", "code")

RADIOMICS_TAGS = (
    *("morph_", "loc_", "stat_", "ih_", "ivh_"),
    "original_",  # under the names of PyRadiomics
    *("cm_", "rlm_", "szm_", "dzm_", "ngt_", "ngl_"),
)
"""How the names of the image biomarker standard's features begin."""


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV (UTF-8, comma, one header line); floats keep every digit, NaN is empty."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([plain(value) for value in row] for row in rows)


def plain(value: object) -> str:
    """A value as CSV text that reads back to the same number; counts without a decimal point."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return str(value)
    as_float = float(value)
    if math.isnan(as_float):
        return ""
    if as_float.is_integer() and abs(as_float) < 2**53:
        return str(int(as_float))
    return repr(as_float)


def lesion_number(row: Mapping[str, float], position: int) -> int:
    """The number of the lesion in that row (position counts from 0)."""
    return int(row.get(LESION, position + 1))


def lesion_names(table: LesionTable) -> dict[int, str]:
    """What each lesion is called, by its number: `Lesion 2`, with its label where there are several."""
    named = {}
    for position, row in enumerate(table.rows):
        number, label = lesion_number(row, position), table.label_names.get(int(row.get("label", 0)))
        named[number] = f"Lesion {number}" + (f" ({label[:LABEL_LETTERS]})" if label else "")
    return named


def is_radiomics(column: Column) -> bool:
    """True for a feature of the image biomarker standard: in files, hundreds at once, not on pages."""
    return column.name.startswith(RADIOMICS_TAGS)


def lesion_head(columns: Iterable[Column]) -> list[str]:
    """Header of lesions.csv."""
    return ["case_id", LESION, *(column.name for column in columns if column.name != LESION)]


def lesion_rows(
    case_id: str, columns: Sequence[Column], rows: Sequence[Mapping[str, float]]
) -> list[list[object]]:
    """Rows of lesions.csv for one case; no lesion gives none."""
    names = [column.name for column in columns if column.name != LESION]
    return [
        [case_id, lesion_number(row, position), *(row.get(name, math.nan) for name in names)]
        for position, row in enumerate(rows)
    ]


def column_rows(tables: Mapping[str, Iterable[Column]]) -> list[list[object]]:
    """Rows of columns.csv: which table a column stands in, its name, UCUM unit, meaning and code."""
    fixed: list[list[object]] = [
        [name, "case_id", "", "the case, as named by its folder or files", ""] for name in tables
    ]
    number: list[list[object]] = [["lesions", LESION, "1", "number of the lesion, as in lesions.nii.gz", ""]]
    measured: list[list[object]] = [
        [table, column.name, column.unit, column.meaning, column.code]
        for table, columns in tables.items()
        for column in columns
        if column.name != LESION
    ]
    return [*fixed, *(number if "lesions" in tables else []), *measured]


def write_tables(findings: Findings, folder: Path) -> None:
    """Write lesions.csv, columns.csv and patient.json into an existing folder."""
    table = findings.lesions
    write_csv(
        folder / "lesions.csv",
        lesion_head(table.columns),
        lesion_rows(findings.case.id, table.columns, table.rows),
    )
    columns = {"lesions": table.columns, "patient": table.total_columns}
    write_csv(folder / "columns.csv", COLUMNS_HEAD, column_rows(columns))
    write_json(folder / "patient.json", patient_record(findings))


def write_run(findings: Findings, folder: Path) -> None:
    """Write run.json into the folder that holds mask.nii.gz already, with that file's hash."""
    record = run_record(findings)
    write_json(folder / "run.json", {**record, MASK_WRITTEN: sha256_of([folder / MASK])})


def patient_record(findings: Findings) -> dict[str, Any]:
    """What patient.json holds: the answer in numbers, with units beside them."""
    case, table, scores = findings.case, findings.lesions, findings.scores
    return {
        "case_id": case.id,
        "patient_id": case.patient_id,
        "lesion_count": len(table.rows),
        "totals": dict(table.totals),
        "lesions": [{LESION: lesion_number(row, position), **row} for position, row in enumerate(table.rows)],
        "units": {column.name: column.unit for column in (*table.columns, *table.total_columns)},
        "scores": None if scores is None else dict(scores.values),
        "notes": all_notes(findings),
    }


def run_record(findings: Findings) -> dict[str, Any]:
    """What run.json holds: provenance, the files read, the grid, and every note in order."""
    case = findings.case
    grid = case.geometry
    return {
        **asdict(findings.provenance),
        "case_id": case.id,
        "channels": {
            name: {
                "unit": volume.unit,
                "modality": facts.modality if facts else "",
                "files": len(facts.files) if facts else 0,
                "sha256": facts.sha256 if facts else "",
            }
            for name, volume in case.channels.items()
            for facts in (case.facts.channels.get(name),)
        },
        "reference": case.reference,
        "grid": {
            "axes": "z, y, x",
            "shape": grid.shape,
            "spacing_mm": grid.spacing,
            "origin_lps_mm": grid.origin,
            "direction": grid.direction,
        },
        "notes": {
            "reading": list(case.notes),
            "prediction": list(findings.prediction.notes),
            "measuring": list(findings.lesions.notes),
            "scoring": [] if findings.scores is None else list(findings.scores.notes),
        },
        "columns": [
            asdict(column) for column in (*findings.lesions.columns, *findings.lesions.total_columns)
        ],
        "purpose": "research software, not a medical device",
    }


def all_notes(findings: Findings) -> list[str]:
    """Every note of the run once, in order: reading, prediction, measuring, scoring."""
    scored = () if findings.scores is None else findings.scores.notes
    return list(
        dict.fromkeys((*findings.case.notes, *findings.prediction.notes, *findings.lesions.notes, *scored))
    )
