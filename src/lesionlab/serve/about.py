"""Whose scan a job is about: patient id and day of the scan, in a small file beside its results.

For lists and choices on the page. Never written to a log.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.errors import ServeError
from lesionlab.core.files import write_json
from lesionlab.serve.jobs import Job
from lesionlab.serve.store import Store

ABOUT = "about.json"
DATES = ("StudyDate", "SeriesDate", "AcquisitionDate")
NAMED = ("accepted", "examined")
"""Keys of a payload under which a job names the examination that it is about. A delivery of what was accepted
has both: whose objects it sends, the acceptance's, is no examination.
"""


@dataclass(frozen=True)
class About:
    """Patient id and day of the scan (as 2026-03-01); "" where they are not known."""

    patient: str = ""
    scanned: str = ""


def write_about(case: Case, folder: Path) -> None:
    """Write about.json into a folder of results.

    A DICOM scan without PatientID goes by the name of its folder, which says nothing about whose it is.
    """
    facts = case.facts.channels.get(case.reference)
    header = {} if facts is None else facts.header
    nameless = bool(header.get("SeriesInstanceUID")) and case.patient_id == case.id
    stated = next((str(header[key]) for key in DATES if header.get(key)), "")
    day = f"{stated[:4]}-{stated[4:6]}-{stated[6:8]}" if len(stated) == 8 and stated.isdigit() else ""
    write_json(folder / ABOUT, asdict(About("" if nameless else case.patient_id, day)))


def subject_of(job: Job) -> str:
    """The id of the examination that a job is about: its own, or that which it sends or accepts."""
    return next((str(job.payload[key]) for key in NAMED if key in job.payload), job.id)


def about(store: Store, job: Job) -> About:
    """Whose scan a job is about; nothing known before it is done, and of comparisons."""
    try:
        file = store.result_folder(subject_of(job)) / ABOUT
        return About(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, ServeError):
        return About()
