"""The reporting checklists of an evaluation: what the examined cases' run.json say, brought together.

What is filled in, and how, is decided in `report/checklists.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lesionlab.report.checklists import Study, write_checklists

RUN_FILE = "run.json"


def study_of(
    folders: Iterable[Path],
    summary: Mapping[str, Any],
    patients: Mapping[str, str] | None = None,
    official: tuple[str, int] | None = None,
) -> Study:
    """The study whose cases `examine` wrote into these folders; a folder without a readable run.json is none.

    `patients` and `official` as in `Study`: given where every case was examined by the fold that had not seen
    its patient.
    """
    found = (_run(folder / RUN_FILE) for folder in folders)
    return Study([run for run in found if run is not None], summary, patients, official)


def checklists_of(
    folders: Iterable[Path],
    out: str | Path,
    summary: Mapping[str, Any],
    patients: Mapping[str, str] | None = None,
    official: tuple[str, int] | None = None,
) -> list[Path]:
    """Write CLAIM's checklist and, after radiomics, CLEAR's into `out`; returns their paths."""
    return write_checklists(study_of(folders, summary, patients, official), Path(out))


def _run(file: Path) -> Mapping[str, Any] | None:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None
