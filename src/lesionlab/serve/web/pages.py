"""The pages that people see: start, log-in, a job. Templates and scripts lie beside, nothing is built.

Pages hold no results: their scripts ask the REST interface for them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.templating import Jinja2Templates

from lesionlab.serve.about import About, about, subject_of
from lesionlab.serve.accepting import WHEN_ACCEPTED, key_of
from lesionlab.serve.jobs import Job
from lesionlab.serve.web.access import COOKIE, named, same_origin, user_of
from lesionlab.serve.web.api import Parts, parts_of
from lesionlab.serve.web.decisions import recorded, title_of

HERE = Path(__file__).parent
STATIC = HERE / "static"
NIIVUE = STATIC / "vendor" / "niivue" / "niivue.js"
LOGGED_IN_S = 12 * 3600
SHOWN_JOBS = 50
MOST_OTHERS = 1000
"""So many of the newest examinations are looked through for others of the same patient."""
KIND_WORDS = {
    "examine": "examination",
    "compare": "comparison",
    "accept": "acceptance",
    "deliver": "delivery",
    "fetch": "fetch",
}
WITH_RESULTS = ("examine", "compare")

templates = Jinja2Templates(HERE / "templates")
pages = APIRouter(include_in_schema=False)


@pages.get("/", response_class=HTMLResponse)
def start(request: Request) -> Response:
    """Drop files, see how jobs stand."""
    here, who = parts_of(request), visitor(request)
    if who is None:
        return _to_login(request)
    routes = [route.name for route in here.settings.routes]
    return _page(request, "start.html", who, routes=routes, most=SHOWN_JOBS)


@pages.get("/login", response_class=HTMLResponse)
def login(request: Request, wrong: str = "") -> Response:
    """Ask for a token; who needs none, or has one, is sent on."""
    if visitor(request) is not None:
        return RedirectResponse("/", 303)
    return _page(request, "login.html", None, wrong=bool(wrong))


@pages.post("/login")
def enter(request: Request, token: Annotated[str, Form(max_length=500)] = "") -> Response:
    """Keep a good token in a cookie that no script can read and no other site can use."""
    here = parts_of(request)
    same_origin(request)
    who = named(token.strip(), here.settings.web.tokens)
    if who is None:
        return RedirectResponse("/login?wrong=1", 303)
    here.queue.note(who, "logged in", "")
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, token.strip(), max_age=LOGGED_IN_S, httponly=True, samesite="strict", secure=secure
    )
    return answer


@pages.post("/logout")
def leave(request: Request) -> Response:
    """Forget the token."""
    same_origin(request)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@pages.get("/jobs/{job_id}", response_class=HTMLResponse)
def job_page(request: Request, job_id: str) -> Response:
    """One job: how it stands, and when it is done its results."""
    here, who = parts_of(request), visitor(request)
    if who is None:
        return _to_login(request)
    job = here.queue.job(job_id)
    if job is None:
        return _page(request, "missing.html", who, status=404)
    told: dict[str, Any] = {
        "job": job,
        "title": title_of(job),
        "kind": KIND_WORDS[job.kind],
        "when": _when(job.created),
        "correction": job.payload.get("correction"),
        "has_viewer": NIIVUE.is_file(),
        "whose": about(here.store, job),
        "subject": subject_of(job) if subject_of(job) != job.id else "",
    }
    if job.state != "done" or job.kind not in WITH_RESULTS:
        return _page(request, "waiting.html", who, **told)
    if job.kind == "compare":
        return _page(request, "compare.html", who, **told, sides=_sides(here, job))
    return _page(request, "job.html", who, **told, **_of_examination(here, job))


def visitor(request: Request) -> str | None:
    """Who looks at the page; None for those who must log in first."""
    try:
        return user_of(request, parts_of(request).settings.web.tokens)
    except HTTPException as error:
        if error.status_code != 401:
            raise
        return None


def _of_examination(here: Parts, job: Job) -> dict[str, Any]:
    """What the page of a finished examination tells beside its viewer."""
    folder = here.store.result_folder(job.id)
    known = here.queue.jobs(state="done", kind="examine", most=MOST_OTHERS)
    others = [other for other in known if other.id != job.id]
    corrections = [o for o in others if (o.payload.get("correction") or {}).get("corrects") == job.id]
    mine = about(here.store, job)
    choices = [
        {"id": other.id, "title": title_of(other), "when": whose.scanned or _when(other.created)}
        for other in others
        if mine.patient and (whose := about(here.store, other)).patient == mine.patient
    ]
    files = {
        "report": "report.html",
        "segmentation": "dicom/seg.dcm",
        "measurements": "dicom/sr.dcm",
        "contours": "dicom/rtstruct.dcm",
        "mask": "mask.nii.gz",
        "table": "lesions.csv",
    }
    reviews = [{**item.model_dump(), "when": _when(item.time)} for item in recorded(here, job)]
    return {
        "files": {key: name for key, name in files.items() if (folder / name).is_file()},
        "reviews": reviews,
        "others": choices,
        "corrections": [{"id": o.id, "when": _when(o.created)} for o in corrections],
        "sending": _sending(here, job),
        "shown": (folder / "viewer" / "lesions.json").is_file(),
    }


def _sides(here: Parts, job: Job) -> dict[str, About]:
    """Whose scans a comparison compares; nothing known of an examination that is gone."""
    jobs = {side: here.queue.job(str(job.payload[side])) for side in ("baseline", "followup")}
    return {side: About() if found is None else about(here.store, found) for side, found in jobs.items()}


def _sending(here: Parts, job: Job) -> dict[str, Any]:
    """Where a result goes, whether it waits until somebody accepts it, and how far each delivery is."""
    places = [str(name) for name in job.payload.get("send_to", [])]
    waits = job.payload.get("send") == WHEN_ACCEPTED
    sender = here.queue.by_key(key_of(job.id)) if waits else job
    sent = {}
    for name in places:
        delivery = None if sender is None else here.queue.by_key(f"{sender.key}>{name}")
        sent[name] = delivery or (sender if waits else None)
    known = {name: item for name, item in sent.items() if item is not None}
    return {"waits": waits and bool(places) and not known, "places": ", ".join(places), "sent": known}


def _page(request: Request, name: str, who: str | None, *, status: int = 200, **told: Any) -> Response:
    guarded = bool(parts_of(request).settings.web.tokens)
    context = {**told, "who": who, "guarded": guarded}
    return templates.TemplateResponse(request, name, context, status_code=status)


def _to_login(request: Request) -> Response:
    return RedirectResponse(f"/login?from={quote(request.url.path)}", 303)


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
