"""What people decide about a finished examination: accept or reject it, correct its mask, compare it.

Part of the REST interface. A review is written beside the results and into the audit log; a corrected mask
and a comparison become jobs of their own, and what they came from stays as it was.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import SimpleITK as sitk
from fastapi import APIRouter, File, Form, HTTPException, UploadFile
from pydantic import BaseModel, ConfigDict, Field

from lesionlab.core.errors import LesionLabError, ServeError, WriteError
from lesionlab.core.grid import require_same_grid
from lesionlab.read import load_mask
from lesionlab.report.corrected import MASK
from lesionlab.serve.accepting import (
    WHEN_ACCEPTED,
    follow,
    keep_reviews,
    person_of,
    reviews_in,
    writing_reviews,
)
from lesionlab.serve.jobs import Job, Order
from lesionlab.serve.room import no_room
from lesionlab.serve.uploads import keep_upload
from lesionlab.serve.web.api import (
    CONFLICT,
    REFUSED,
    Here,
    JobId,
    JobView,
    Parts,
    Problem,
    Who,
    chunks_of,
    done,
    view,
)

LONGEST_NOTE = 2000
CARRIED = ("source", "route", "bundle", "objects", "send_to")
"""What a correction takes over from the job that it corrects."""
CORRECTED = ", corrected"
Note = Annotated[str, Field(max_length=LONGEST_NOTE)]
Verdict = Literal["accepted", "rejected"]
decisions = APIRouter(prefix="/api", responses=REFUSED)
UNUSABLE: dict[int | str, dict[str, Any]] = {**CONFLICT, 413: {"model": Problem}, 422: {"model": Problem}}


class Review(BaseModel):
    """What somebody says of a result."""

    model_config = ConfigDict(extra="forbid")
    verdict: Verdict
    note: Note = ""


class ReviewView(Review):
    """A review as it was recorded; time is seconds since 1970."""

    who: str
    time: float


class Comparison(BaseModel):
    """Two finished examinations of one patient, the earlier one first."""

    model_config = ConfigDict(extra="forbid")
    baseline: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
    followup: Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


@decisions.get("/jobs/{job_id}/reviews", responses=CONFLICT)
def reviews(_: Who, here: Here, job_id: JobId) -> list[ReviewView]:
    """Who accepted or rejected a result, the oldest first."""
    return recorded(here, examined(here, job_id))


@decisions.post("/jobs/{job_id}/reviews", status_code=201, responses=CONFLICT)
def review(who: Who, here: Here, job_id: JobId, said: Review) -> list[ReviewView]:
    """Accept or reject a result, with a note; earlier reviews stay.

    Accepting sends what waits for it to the destinations of its route, once; rejecting stops what is not
    sent yet.
    """
    job = examined(here, job_id)
    new = ReviewView(verdict=said.verdict, note=said.note.strip(), who=who, time=time.time())
    with writing_reviews:
        known = [*recorded(here, job), new]
        told = [item.model_dump() for item in known]
        keep_reviews(here.store.result_folder(job.id), told)
        here.queue.note(who, said.verdict, job.id)
        # after the review is on disk: a service that is killed in between makes up for it when it starts
        follow(here.settings, here.store, here.queue, job, told, who)
    return known


@decisions.post("/jobs/{job_id}/corrections", status_code=202, responses=UNUSABLE)
def correct(
    who: Who,
    here: Here,
    job_id: JobId,
    file: Annotated[UploadFile, File(description="the corrected mask as NIfTI, on the grid of mask.nii.gz")],
    note: Annotated[str, Form(max_length=LONGEST_NOTE)] = "",
) -> JobView:
    """Keep a corrected mask and measure it in a new job; the examination that it corrects stays."""
    job = examined(here, job_id)
    _room(here)
    name, folder = here.store.new_upload()
    try:
        mask = keep_upload(MASK, chunks_of(file), folder, here.settings.limits)
        check_mask(mask, here.store.result_folder(job.id) / MASK)
        here.store.settle(folder)
        kept: dict[str, Any] = {key: value for key, value in job.payload.items() if key in CARRIED}
        payload: dict[str, Any] = {
            **kept,
            "title": title_of(job).removesuffix(CORRECTED) + CORRECTED,
            "mask": str(mask.relative_to(here.store.root)),
            "correction": {
                "corrects": job.id,
                "who": who,
                "person": person_of(who, here.settings),
                "time": time.time(),
                "note": note.strip(),
            },
            "send": WHEN_ACCEPTED,
        }
        made = here.queue.submit(Order("examine", f"correction:{name}", payload), who=who)
    except WriteError:
        here.store.discard(folder)
        raise
    except LesionLabError as error:
        here.store.discard(folder)
        # the subject is a path of ours, which is nobody's business
        raise HTTPException(422, f"{MASK}: found {error.found}; needed {error.needed}") from None
    except BaseException:
        here.store.discard(folder)
        raise
    here.queue.note(who, "corrected", job.id)
    return view(made, here.store)


@decisions.post("/comparisons", status_code=202, responses=CONFLICT)
def compare(who: Who, here: Here, two: Comparison) -> JobView:
    """Compare two timepoints in a new job; asked for again, the same job is told."""
    earlier, later = examined(here, two.baseline), examined(here, two.followup)
    if earlier.id == later.id:
        raise HTTPException(409, "found one examination twice; needed two")
    _room(here)
    payload = {
        "title": f"{title_of(earlier)} → {title_of(later)}",
        "route": earlier.payload.get("route", ""),
        "bundle": earlier.payload["bundle"],
        "baseline": earlier.id,
        "followup": later.id,
        "send_to": [],
    }
    order = Order("compare", f"compare:{earlier.id}:{later.id}", payload)
    return view(here.queue.submit(order, who=who), here.store)


def examined(here: Parts, job_id: str) -> Job:
    """A finished examination; HTTPException 404 or 409 for anything else, a comparison included."""
    job = done(here.queue, job_id)
    if job.kind != "examine":
        raise HTTPException(409, f"found a job of kind {job.kind}; needed an examination")
    return job


def title_of(job: Job) -> str:
    """What people know a job by: the name of what was uploaded, or that it was received."""
    return str(job.payload.get("title") or "received study")


def recorded(here: Parts, job: Job) -> list[ReviewView]:
    """The reviews beside a job's results; none where nobody said anything."""
    return [ReviewView.model_validate(item) for item in reviews_in(here.store.result_folder(job.id))]


def check_mask(mask: Path, like: Path) -> None:
    """Raise LesionLabError unless `mask` holds labels on the very grid of the mask `like`.

    The size is compared before a voxel is unpacked: a small file can claim to be a huge image.
    """
    if not mask.is_file() or _size(mask) != _size(like):
        raise ServeError(MASK, "a file of another size", f"a NIfTI mask of {_size(like)} voxels (x, y, z)")
    require_same_grid(MASK, load_mask(like), load_mask(mask))


def _size(file: Path) -> tuple[int, ...]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return ()
    return tuple(reader.GetSize())


def _room(here: Parts) -> None:
    reason = no_room(here.settings, here.store, here.queue)
    if reason:
        raise HTTPException(503, reason, headers={"Retry-After": "60"})
