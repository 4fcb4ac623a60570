"""The demo's result in words: plain text tables for a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionlab.demo.compare import LesionMatch, MethodSummary, PatientMatch


def result_text(
    summaries: Sequence[MethodSummary],
    patients: Sequence[PatientMatch],
    seconds: Mapping[str, float],
    report: Path,
) -> str:
    """Each lesion as the first method found it, the methods side by side, times, the report's path."""
    first = f"Every lesion of {len(patients)} patients not seen in training, by {summaries[0].method}"
    blocks = [
        first,
        lesion_table(patients),
        "Found against known, the same patients",
        method_table(summaries),
        "Errors are medians of absolute values. SUVmax is compared with the uptake before blur and noise.",
        "Time: " + ", ".join(f"{step} {_number(taken, 0)} s" for step, taken in seconds.items()),
        f"Report: {report}",
    ]
    return "\n\n".join(blocks)


def lesion_table(patients: Sequence[PatientMatch]) -> str:
    """One row per known lesion, one for the false positives of a patient, one for a healthy patient."""
    rows: list[tuple[str, ...]] = [("patient", "place", "SUVbw", "found", "error", "ml", "found", "error")]
    for patient in patients:
        rows += [_lesion_row(lesion) for lesion in patient.lesions]
        if not patient.lesions:
            rows.append((patient.patient, "no lesion", "", "", "", "", "", ""))
        if patient.false_positives:
            what = f"{patient.false_positives} false"
            rows.append((patient.patient, what, "", "", "", "", _number(patient.false_ml, 1), ""))
    return _aligned(rows, left=2)


def method_table(summaries: Sequence[MethodSummary]) -> str:
    """One row per quantity, one column per method."""
    rows = [
        ("", *(s.method for s in summaries)),
        (
            "lesions found",
            *(f"{s.found} of {s.known} ({_unit(100 * s.sensitivity, 0, '%')})" for s in summaries),
        ),
        ("false positives per patient", *(_number(s.false_positives_per_patient, 2) for s in summaries)),
        ("Dice, mean over patients with lesions", *(_number(s.dice, 2) for s in summaries)),
        ("MTV error of a found lesion", *(_unit(s.mtv_error_percent, 0, "%") for s in summaries)),
        ("SUVmax error of a found lesion", *(_unit(s.suvmax_error_percent, 0, "%") for s in summaries)),
        ("total MTV error of a patient", *(_unit(s.tmtv_error_ml, 1, "ml") for s in summaries)),
    ]
    return _aligned(rows, left=1)


def _lesion_row(lesion: LesionMatch) -> tuple[str, ...]:
    known = lesion.known
    if not lesion.found:
        measured = ("missed", "", "", "")
    else:
        measured = (
            _number(lesion.found_suvmax, 1),
            _percent(lesion.suvmax_error_percent),
            _number(lesion.found_ml, 1),
            _percent(lesion.mtv_error_percent),
        )
    suv, suv_error, volume, volume_error = measured
    known_suv, known_ml = _number(known.suv, 1), _number(known.volume_ml, 1)
    return (lesion.patient, known.site, known_suv, suv, suv_error, known_ml, volume, volume_error)


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _unit(value: float, digits: int, unit: str) -> str:
    return f"{value:.{digits}f} {unit}" if math.isfinite(value) else "-"


def _percent(value: float) -> str:
    return f"{value:+.0f} %" if math.isfinite(value) else "-"


def _aligned(rows: Sequence[Sequence[str]], left: int) -> str:
    """Columns of equal width, the first `left` of them to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
    return "\n".join(f"  {line}" for line in lines)
