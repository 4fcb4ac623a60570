"""The REST interface: submit a scan, ask how it stands, get the results, cancel, try again.

Described by the OpenAPI document at /api/openapi.json. Errors are JSON: {"detail": "found ...; needed ..."}.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, HTTPException, Path, Query, Request, UploadFile
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict

from lesionlab.core.errors import ServeError
from lesionlab.serve.about import about
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.room import no_room
from lesionlab.serve.settings import Route, ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.uploads import CHUNK, keep_upload
from lesionlab.serve.web.access import user_of

JobState = Literal["waiting", "running", "done", "failed", "cancelled"]
JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="the job's id")]
Name = Annotated[str, Path(max_length=300, description="a file of the job's results")]


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str


class JobView(BaseModel):
    """A job as the REST interface tells it; times are seconds since 1970.

    `patient` is the patient's id and `scanned` the day of the scan, once they are known.
    """

    model_config = ConfigDict(from_attributes=True)
    id: str
    kind: Literal["examine", "compare", "accept", "deliver", "fetch"]
    state: JobState
    title: str
    patient: str
    scanned: str
    route: str
    created: float
    changed: float
    progress: float
    message: str
    error: str
    attempts: int


class Health(BaseModel):
    """Whether the service takes work, and how much of it is queued."""

    ready: bool
    reason: str
    jobs: dict[str, int]
    version: str


class ResultFile(BaseModel):
    """One file of the results, by its path."""

    name: str
    bytes: int


def view(job: Job, store: Store) -> JobView:
    """What the interface tells of a job."""
    whose = about(store, job)
    return JobView(
        patient=whose.patient,
        scanned=whose.scanned,
        id=job.id,
        kind=job.kind,
        state=job.state,
        title=str(job.payload.get("title", "")),
        route=str(job.payload.get("route", "")),
        created=job.created,
        changed=job.changed,
        progress=job.progress,
        message=job.message,
        error=job.error,
        attempts=job.attempts,
    )


@dataclass(frozen=True)
class Parts:
    """What the interface works on; the application carries it as `state.parts`."""

    settings: ServeSettings
    store: Store
    queue: Queue


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    parts: Parts = request.app.state.parts
    return parts


def who_asks(request: Request) -> str:
    """The user's name; HTTPException 401 or 403 for those who may not."""
    return user_of(request, parts_of(request).settings.web.tokens)


Here = Annotated[Parts, Depends(parts_of)]
Who = Annotated[str, Depends(who_asks)]
REFUSED: dict[int | str, dict[str, Any]] = {code: {"model": Problem} for code in (401, 403, 404, 503)}
CONFLICT: dict[int | str, dict[str, Any]] = {409: {"model": Problem}}
api = APIRouter(prefix="/api", responses=REFUSED)


@api.get("/health")
def health(_: Who, here: Here) -> Health:
    """Whether the service takes work now."""
    from lesionlab import __version__

    reason = no_room(here.settings, here.store, here.queue)
    return Health(ready=not reason, reason=reason, jobs=here.queue.counts(), version=__version__)


@api.post("/jobs", status_code=202, responses={413: {"model": Problem}, 422: {"model": Problem}})
def submit(
    who: Who,
    here: Here,
    file: Annotated[UploadFile, File(description="a ZIP of DICOM files, or one image file")],
    route: Annotated[str, Form(max_length=100)] = "",
) -> JobView:
    """Submit a scan; `route` names one of the service's, the first one when empty."""
    chosen = _route(here.settings.routes, route)
    reason = no_room(here.settings, here.store, here.queue)
    if reason:
        raise HTTPException(503, reason, headers={"Retry-After": "60"})
    name, folder = here.store.new_upload()
    try:
        source = keep_upload(file.filename or "upload", chunks_of(file), folder, here.settings.limits)
        here.store.settle(folder)
        payload = {
            "source": str(source.relative_to(here.store.root)),
            "title": PurePath(file.filename or "upload").name[:100],
            "route": chosen.name,
            "bundle": chosen.bundle,
            "objects": list(chosen.objects),
            "send_to": [],
        }
        return view(here.queue.submit(Order("examine", f"upload:{name}", payload), who=who), here.store)
    except ServeError as error:
        here.store.discard(folder)
        raise HTTPException(422, str(error)) from None
    except BaseException:
        here.store.discard(folder)
        raise


@api.get("/jobs")
def jobs(
    _: Who,
    here: Here,
    state: Annotated[JobState | None, Query(description="only jobs in this state")] = None,
    most: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[JobView]:
    """The newest jobs first."""
    return [view(job, here.store) for job in here.queue.jobs(state=state, most=most)]


@api.get("/jobs/{job_id}")
def job(_: Who, here: Here, job_id: JobId) -> JobView:
    """How a job stands."""
    return view(known(here.queue, job_id), here.store)


@api.post("/jobs/{job_id}/cancel", responses=CONFLICT)
def cancel(who: Who, here: Here, job_id: JobId) -> JobView:
    """Cancel a job that waits or runs."""
    known(here.queue, job_id)
    return _turned(lambda: here.queue.cancel(job_id, who), here.store)


@api.post("/jobs/{job_id}/retry", responses=CONFLICT)
def retry(who: Who, here: Here, job_id: JobId) -> JobView:
    """Queue a failed or cancelled job again."""
    known(here.queue, job_id)
    return _turned(lambda: here.queue.retry(job_id, who), here.store)


@api.get("/jobs/{job_id}/results", responses=CONFLICT)
def results(_: Who, here: Here, job_id: JobId) -> list[ResultFile]:
    """The files that a finished job left."""
    folder = here.store.result_folder(done(here.queue, job_id).id)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [ResultFile(name=str(f.relative_to(folder)), bytes=f.stat().st_size) for f in files]


@api.get("/jobs/{job_id}/results/{name:path}", responses=CONFLICT, response_class=FileResponse)
def result(who: Who, here: Here, job_id: JobId, name: Name) -> FileResponse:
    """One file of a finished job."""
    done(here.queue, job_id)
    try:
        file = here.store.result_file(job_id, name)
    except (ServeError, ValueError, OSError):
        raise HTTPException(404, "no such result") from None
    here.queue.note(who, "read result", f"{job_id}/{name}")
    return FileResponse(file)


@api.get("/jobs/{job_id}/archive", responses=CONFLICT, response_class=Response)
def archive(who: Who, here: Here, job_id: JobId) -> Response:
    """All files of a finished job as a ZIP."""
    folder = here.store.result_folder(done(here.queue, job_id).id)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as out:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(folder))
    here.queue.note(who, "read archive", job_id)
    headers = {"Content-Disposition": f'attachment; filename="{job_id}.zip"'}
    return Response(content.getvalue(), media_type="application/zip", headers=headers)


def known(queue: Queue, job_id: str) -> Job:
    """A job by its id; HTTPException 404 when there is none."""
    found = queue.job(job_id)
    if found is None:
        raise HTTPException(404, "no such job")
    return found


def done(queue: Queue, job_id: str) -> Job:
    """A finished job with results of its own; HTTPException 404 or 409 for anything else."""
    job = known(queue, job_id)
    if job.state != "done" or job.kind in ("deliver", "fetch"):
        raise HTTPException(409, f"the job is {job.state}; results come with a finished examination")
    return job


def _turned(turn: Callable[[], Job], store: Store) -> JobView:
    try:
        return view(turn(), store)
    except ServeError as error:
        raise HTTPException(409, str(error)) from None


def _route(routes: tuple[Route, ...], name: str) -> Route:
    for route in routes:
        if name in ("", route.name):
            return route
    names = ", ".join(route.name for route in routes) or "none"
    raise HTTPException(422, f"found route {name!r}; needed one of {names}")


def chunks_of(file: UploadFile) -> Iterator[bytes]:
    """An uploaded file piece by piece."""
    while chunk := file.file.read(CHUNK):
        yield chunk
