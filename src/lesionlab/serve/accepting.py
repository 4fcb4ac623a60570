"""From a recorded acceptance to what is sent: the objects of an accepted result, with who answers for them.

An acceptance is a job of its own under a key made of the result it accepts, so that accepting twice sends
once. Recording what people say is `web/decisions.py`'s business, sending `deliver.py`'s.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlab.core.errors import ServeError, WriteError
from lesionlab.core.files import write_json, writing
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store, sync

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

REVIEWS = "reviews.json"
"""Beside the results of an examination: who accepted or rejected it, the oldest first."""
WHEN_ACCEPTED = "when accepted"
DICOM_FOLDER = "dicom"
REPORT = "sr.dcm"
REJECTED = "its result was rejected"
"""Why a delivery was cancelled that goes on where the result is accepted again."""
writing_reviews = threading.Lock()
"""Held by whoever writes reviews or does what they ask for."""

log = logging.getLogger(__name__)


def key_of(job_id: str) -> str:
    """The key of the job that sends an accepted result."""
    return f"accepted:{job_id}"


def reviews_in(folder: Path) -> list[dict[str, Any]]:
    """The reviews beside a job's results; none where nobody said anything."""
    file = folder / REVIEWS
    if not file.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return found


def keep_reviews(folder: Path, reviews: Sequence[dict[str, Any]]) -> None:
    """Write the reviews beside a job's results; they are on disk when this returns. Raises WriteError."""
    file = folder / REVIEWS
    with writing(file) as temporary:
        write_json(temporary, reviews)
        sync(temporary)
    try:
        sync(folder)
    except OSError as error:
        raise WriteError(file, error.strerror or str(error), "a disk that keeps it") from error


def order_of(job: Job, reviews: Sequence[dict[str, Any]], settings: ServeSettings) -> Order | None:
    """The job that sends a result which was accepted last; None where nothing is to be sent.

    Nothing is to be sent where the last review is no acceptance, where the result went out at once, and
    where its scan came from no PACS (`send_to` empty).
    """
    waits = job.payload.get("send") == WHEN_ACCEPTED and bool(job.payload.get("send_to"))
    if not waits or not reviews or reviews[-1]["verdict"] != "accepted":
        return None
    said = reviews[-1]
    payload = {
        "title": str(job.payload.get("title") or "received study"),
        "route": job.payload.get("route", ""),
        "source": job.payload["source"],
        "accepted": job.id,
        "who": said["who"],
        "person": person_of(str(said["who"]), settings),
        "organisation": settings.web.organisation,
        "time": said["time"],
        "send_to": job.payload["send_to"],
    }
    return Order("accept", key_of(job.id), payload)


def person_of(who: str, settings: ServeSettings) -> str:
    """A user's name as DICOM writes it; "" where the service knows nobody by name (no tokens are set)."""
    from lesionlab.report.dicom_correction import person_name

    return person_name(settings.web.people.get(who, who)) if settings.web.tokens else ""


def follow(
    settings: ServeSettings,
    store: Store,
    queue: Queue,
    job: Job,
    reviews: Sequence[dict[str, Any]],
    who: str = "service",
) -> None:
    """Do what the last review of a result asks for: queue what is to be sent, or take it back in time.

    What a rejection stopped on its way goes on when the result is accepted again.
    """
    if not reviews:
        return
    if reviews[-1]["verdict"] != "accepted":
        withdraw(store, queue, job, who)
        return
    order = order_of(job, reviews, settings)
    made = job if order is None else queue.submit(order, who=who)
    for send in _sends(queue, made):
        if send.state == "cancelled" and send.error == REJECTED:
            with suppress(ServeError):
                queue.retry(send.id, who)


def withdraw(store: Store, queue: Queue, job: Job, who: str) -> None:
    """Stop what still waits to be sent of a result; what was sent stays sent, what is just sent goes on.

    Where nothing was sent its acceptance is forgotten: the next one is a new job with its own reviewer.
    """
    made = queue.by_key(key_of(job.id))
    if made is not None:
        # what was done in between cannot be cancelled any more, and need not be
        with suppress(ServeError):
            queue.cancel(made.id, who)
    for send in _sends(queue, made or job):
        if send.state == "waiting":
            with suppress(ServeError):
                queue.cancel(send.id, who, reason=REJECTED, running=False)
    if made is None:
        return
    sends = _sends(queue, made)
    if all(send.state == "cancelled" for send in sends):
        queue.forget([made.id, *(send.id for send in sends)])
        store.discard(store.result_folder(made.id))


def call_off(store: Store, queue: Queue, delivery: Job) -> bool:
    """Put a running delivery back and withdraw it where its result was rejected meanwhile; True then.

    A rejection leaves a delivery alone that is under way; one that did not succeed is not tried again.
    """
    with writing_reviews:
        made = queue.job(str(delivery.payload["examined"]))
        result = None if made is None else queue.job(str(made.payload.get("accepted", made.id)))
        reviews = [] if result is None else reviews_in(store.result_folder(result.id))
        if result is None or not reviews or reviews[-1]["verdict"] == "accepted":
            return False
        queue.postpone(delivery, REJECTED, 0.0)
        withdraw(store, queue, result, "service")
        return True


def _sends(queue: Queue, made: Job) -> list[Job]:
    """The deliveries of a job's results that are queued."""
    found = [queue.by_key(f"{made.key}>{name}") for name in made.payload.get("send_to", [])]
    return [send for send in found if send is not None]


def make_up(settings: ServeSettings, store: Store, queue: Queue) -> int:
    """Follow reviews that a kill left recorded and no more; returns how many results were looked at.

    Reviews that cannot be read are told in the log: they must not keep the service from starting.
    """
    folders = [file.parent for file in store.results.glob(f"*/{REVIEWS}")]
    for folder in folders:
        job = queue.job(folder.name)
        try:
            if job is not None:
                follow(settings, store, queue, job, reviews_in(folder))
        except (OSError, ValueError, LookupError, TypeError) as error:
            log.error("%s cannot be read: %s", folder / REVIEWS, error)
    return len(folders)


def accept_job(store: Store, queue: Queue, job: Job) -> None:
    """Make the objects that go out for an accepted result, into the results of the job that accepts it."""
    import pydicom

    from lesionlab.report.dicom_correction import Attestation, attested
    from lesionlab.report.dicom_files import write_objects

    accepted = str(job.payload["accepted"])
    folder = store.result_folder(accepted)
    if not folder.is_dir():
        raise ServeError(job.id, "no results any more", "the results that it accepts")
    objects = {file.stem: pydicom.dcmread(file) for file in sorted((folder / DICOM_FOLDER).glob("*.dcm"))}
    by = Attestation(
        str(job.payload["person"]),
        str(job.payload["organisation"]) or institution_of(store.root / str(job.payload["source"])),
        datetime.fromtimestamp(float(job.payload["time"]), UTC),
    )
    made = attested(objects, by, superseded(store, queue, accepted))
    with writing(store.result_folder(job.id)) as temporary:
        temporary.mkdir(parents=True)
        write_objects(made, temporary / DICOM_FOLDER)
        for dataset in made.values():
            store.mark_own(str(dataset.SOPInstanceUID))
        store.settle(temporary)


def superseded(store: Store, queue: Queue, job_id: str) -> Dataset | None:
    """The header of the report that was sent before a corrected result; None where none was sent.

    The result that was corrected is asked first, then the one that it corrects in turn: of each, what was
    sent when it was accepted, or what it sent at once.
    """
    import pydicom

    seen = {job_id}
    job = queue.job(job_id)
    while job is not None:
        before = str((job.payload.get("correction") or {}).get("corrects", ""))
        if not before or before in seen:
            return None
        seen.add(before)
        job = queue.job(before)
        sent = queue.by_key(key_of(before))
        if sent is None and job is not None and job.payload.get("send") != WHEN_ACCEPTED:
            sent = job if job.payload.get("send_to") else None
        file = None if sent is None else store.result_folder(sent.id) / DICOM_FOLDER / REPORT
        if file is not None and file.is_file():
            return pydicom.dcmread(file, stop_before_pixels=True)
    return None


def institution_of(source: Path) -> str:
    """InstitutionName of a scan, as its first file states it; empty where it does not."""
    import pydicom
    from pydicom.errors import InvalidDicomError

    for file in sorted(source.rglob("*.dcm"))[:1]:
        try:
            found = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=["InstitutionName"])
        except (OSError, InvalidDicomError):
            continue
        return str(found.get("InstitutionName") or "")
    return ""
