"""Bringing results back: each delivery is a job of its own, tried until its destination has taken it.

What is sent are the DICOM objects among a job's results; how, is `node/sender.py`'s and `dicomweb.py`'s
business. A destination that is away for a while costs nothing but time.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from lesionlab.core.errors import LesionLabError, ServeError
from lesionlab.serve.accepting import call_off
from lesionlab.serve.dicomweb import stow
from lesionlab.serve.headers import head_values
from lesionlab.serve.jobs import Job, Queue
from lesionlab.serve.settings import Destination, ServeSettings
from lesionlab.serve.store import Store

LEASE_S = 86400.0
"""A day: the work is the service's own thread's, and a service that starts takes everything back."""
POLL_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 300.0
DICOM_FOLDER = "dicom"
"""Where among a job's results its DICOM objects lie."""
PATIENT_ID = 0x00100020

Send = Callable[[Sequence[Path], Destination, ServeSettings], None]

log = logging.getLogger(__name__)


def send(files: Sequence[Path], destination: Destination, settings: ServeSettings) -> None:
    """Send files the way the destination wants them; ServeError when it does not take them all."""
    if destination.kind == "dicomweb":
        stow(files, destination)
        return
    # only those who send by DICOM need the library
    from lesionlab.serve.node.sender import send_dicom

    send_dicom(files, destination, settings.node)


def patients_of(files: Sequence[Path]) -> set[str]:
    """Patient ids of DICOM files; those that cannot be read are passed over."""
    found = set()
    for file in files:
        with suppress(OSError, ValueError), file.open("rb") as content:
            found.add(head_values(content, (PATIENT_ID,)).get(PATIENT_ID, ""))
    return found


class Deliverer:
    """Sends the results of finished jobs, one after another, in a thread."""

    def __init__(self, settings: ServeSettings, store: Store, queue: Queue, *, way: Send = send) -> None:
        self.settings, self.store, self.queue, self.way = settings, store, queue, way
        self.pauses: dict[str, float] = {}
        self.failing: dict[str, float] = {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="deliverer", daemon=True)

    def start(self) -> None:
        """Deliver in a thread until `stop`."""
        self.thread.start()

    def stop(self) -> None:
        """Stop after the delivery under way."""
        self.stopped.set()
        self.thread.join()

    def deliver_one(self) -> bool:
        """Try one waiting delivery; False when there is none that may be tried now."""
        job = self.queue.claim("deliverer", ("deliver",), LEASE_S)
        if job is None:
            return False
        if not job.error:
            # new, or somebody wants it tried again: what was before does not count
            self._forget(job)
        name = str(job.payload["destination"])
        destination = self.settings.destinations.get(name)
        if destination is None:
            self.queue.fail(job, f"{name}: found no such destination any more; needed it in the settings")
            return True
        try:
            if call_off(self.store, self.queue, job):
                self._forget(job)
                return True
            files = self._files(job)
            others = self._another_patients(job, files)
            if others:
                self._forget(job)
                self.queue.fail(job, others)
                return True
            if files:
                self.way(files, destination, self.settings)
        except LesionLabError as error:
            self._again(job, destination, str(error))
        except Exception as error:
            log.exception("delivery %s failed", job.id)
            self._again(job, destination, f"{name}: {type(error).__name__}: {error}"[:500])
        else:
            self._forget(job)
            self.queue.finish(job, message=f"{len(files)} objects sent to {name}")
        return True

    def _files(self, job: Job) -> list[Path]:
        folder = self.store.result_folder(str(job.payload["examined"]))
        if not folder.is_dir():
            raise ServeError(job.id, "no results any more", "the results of the job that it delivers")
        return sorted((folder / DICOM_FOLDER).glob("*.dcm"))

    def _another_patients(self, job: Job, files: Sequence[Path]) -> str:
        """Why results must not be sent any more: their scan came again as another patient's; else empty.

        What was examined since has results of its own. Scans that are gone say nothing.
        """
        examined = self.queue.job(str(job.payload["examined"]))
        scan = None if examined is None else self.store.root / str(examined.payload.get("source", ""))
        if scan is None or scan.parent != self.store.studies or not files:
            return ""
        study = self.store.study(scan.name)
        if study is None or patients_of(files) <= patients_of(study.files):
            return ""
        return "found a scan that has come again as another patient's; needed results of that, examined since"

    def _again(self, job: Job, destination: Destination, reason: str) -> None:
        """Put a delivery back, each time for longer; give up when it has been tried for too long.

        What counts is the time since the first try that failed: a service that was off has not tried.
        """
        now = self.queue.clock()
        if now - self.failing.setdefault(job.id, now) > 60 * destination.retry_minutes:
            self._forget(job)
            self.queue.fail(job, f"{reason} (tried for {destination.retry_minutes:g} minutes)")
            return
        pause = self.pauses.get(job.id, FIRST_PAUSE_S)
        self.pauses[job.id] = min(2 * pause, LONGEST_PAUSE_S)
        log.warning("delivery %s put back for %.0f s: %s", job.id, pause, reason)
        self.queue.postpone(job, reason, pause)

    def _forget(self, job: Job) -> None:
        self.pauses.pop(job.id, None)
        self.failing.pop(job.id, None)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                busy = self.deliver_one()
            except Exception:
                log.exception("could not look for deliveries")
                busy = False
            if not busy:
                self.stopped.wait(POLL_S)
