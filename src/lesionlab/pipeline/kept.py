"""Examining one patient of many into a folder, and keeping what is finished, so that a run can go on.

What is kept of a patient is what the cohort's report needs. It counts only for the same scan, method and
program, and only while the patient's report is still there.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from lesionlab.core.files import sha256_of, write_json
from lesionlab.core.results import Column, Findings, Scores
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.pipeline.exports import Exports, require_exportable, write_exports
from lesionlab.pipeline.files import require_apart, stamp
from lesionlab.pipeline.patient import Opened, examine, open_ahead
from lesionlab.predict import Bundle
from lesionlab.report import CohortEntry, cohort_entry, write_findings
from lesionlab.report.ibsi_checklist import Answer

NOTHING_MORE = Exports()
KEPT = ".finished"
"""Folder of what is kept, in the folder of the results."""
DAMAGED = ""
"""No case's id: of files that a power cut or a full disk left empty or cut off."""


@dataclass(frozen=True)
class Examined:
    """A patient whose results are written: the entry for the cohort's page, and scores given a truth."""

    entry: CohortEntry
    scores: Scores | None


def examined_task(
    scan: Path,
    bundle: Bundle,
    out: Path,
    *,
    name: str,
    device: str = "auto",
    exports: Exports = NOTHING_MORE,
    progress: Progress = silent,
) -> Task[dict[str, Any]]:
    """The task of examining one scan into `out/name/`; its value is `to_json` of an `Examined`.

    `exports` are written beside the report.
    """

    def run(opened: Opened | None) -> dict[str, Any]:
        require_apart(out / name, scan)
        findings = examine(opened or scan, bundle, device=device, case_id=name, progress=progress)
        require_exportable(findings, exports)
        page = write_findings(findings, out / name)
        if exports.wanted:
            write_exports(findings, out / name, exports)
        return to_json(Examined(cohort_entry(findings, page.relative_to(out)), findings.scores))

    inputs = {
        "scan": stamp(scan),
        "bundle": bundle.sha256,
        "recipe": bundle.recipe.sha256,
        "program": program_sha256(),
    }
    if exports.wanted:
        inputs["exports"] = repr(exports)
    return Task(name, run, inputs, lambda: open_ahead(scan, bundle.recipe, case_id=name))


def run_examined(
    tasks: Sequence[Task[dict[str, Any]]], out: Path, *, again: bool = False, progress: Progress = silent
) -> list[Outcome[Examined]]:
    """Run examining tasks, but those that an earlier run finished, unless `again`.

    Of a patient only the last run is kept, as only its results stand in the patient's folder. What is kept
    and damaged is made anew.
    """
    store = out / KEPT
    earlier = _kept_by_case(store)
    for file in earlier.get(DAMAGED, []):
        file.unlink(missing_ok=True)
    for task in tasks:
        kept = earlier.get(task.name, [])
        whole = (out / task.name / "report.html").is_file()
        if again or not whole or [file.stem for file in kept] != [task.key]:
            for file in kept:
                file.unlink(missing_ok=True)
    outcomes = run_tasks(tasks, store=store, progress=progress)
    return [
        Outcome(o.name, None if o.value is None else from_json(o.value), o.error, o.seconds, o.reused)
        for o in outcomes
    ]


def take_up(findings: Findings, folder: Path) -> Path | None:
    """Keep a patient's results as they were made anew in `folder`, where `examine` wrote them as one of many.

    Returns the page over all patients, which still has the results before; None where the patient is not one
    of many.
    """
    folder = folder.resolve()
    kept = _kept_by_case(folder.parent / KEPT).get(folder.name, [])
    if findings.case.id != folder.name or not kept:
        return None
    entry = cohort_entry(findings, f"{folder.name}/report.html")
    for file in kept:
        write_json(file, to_json(Examined(entry, findings.scores)))
    return folder.parent / "report.html"


def _kept_by_case(store: Path) -> dict[str, list[Path]]:
    """The files of what is kept by case id; damaged ones, of no case any more, under `DAMAGED`."""
    found: dict[str, list[Path]] = {}
    for file in sorted(store.glob("*.json")):
        try:
            case = str(json.loads(file.read_text(encoding="utf-8"))["entry"]["case_id"])
        except (OSError, ValueError, KeyError, TypeError):
            case = DAMAGED
        found.setdefault(case, []).append(file)
    return found


def to_json(examined: Examined) -> dict[str, Any]:
    """What is kept of a patient, as JSON values (NaN becomes null when written)."""
    entry = examined.entry
    plain = replace(
        entry, rows=tuple(dict(row) for row in entry.rows), scores=dict(entry.scores), thumbnail=b""
    )
    scores = examined.scores
    return {
        "entry": {**asdict(plain), "thumbnail": base64.b64encode(entry.thumbnail).decode()},
        "scores": None if scores is None else {"values": dict(scores.values), "notes": list(scores.notes)},
    }


def from_json(value: Mapping[str, Any]) -> Examined:
    """The `Examined` that `to_json` made, also after a way through a file."""
    kept = dict(value["entry"])
    entry = CohortEntry(
        **{
            **kept,
            "columns": tuple(Column(**column) for column in kept["columns"]),
            "rows": tuple(_numbers(row) for row in kept["rows"]),
            "headline": tuple((Column(**column), _number(total)) for column, total in kept["headline"]),
            "scores": _numbers(kept["scores"]),
            "notes": tuple(kept["notes"]),
            "thumbnail": base64.b64decode(kept["thumbnail"]),
            "checklist": tuple(Answer(**answer) for answer in kept["checklist"]),
        }
    )
    scores = value["scores"]
    if scores is None:
        return Examined(entry, None)
    return Examined(entry, Scores(entry.case_id, _numbers(scores["values"]), tuple(scores["notes"])))


@lru_cache(maxsize=1)
def program_sha256() -> str:
    """Hash of this package's source: another version of the program may give other results."""
    return sha256_of(sorted(Path(__file__).resolve().parents[1].rglob("*.py")))


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}
