"""Fetching studies by accession number: each request is a job, tried once and again after a kill.

What is fetched goes where everything that comes goes, into the store, and is queued by `arrivals.py`; how it
is asked for is `node/fetch.py`'s and `dicomweb.py`'s business.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable

from lesionlab.core.errors import LesionLabError, ServeError
from lesionlab.serve.dicomweb import fetch_dicomweb
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings, Source
from lesionlab.serve.store import Store

LEASE_S = 86400.0
"""A day: the work is the service's own thread's, and a service that starts takes everything back."""
POLL_S = 0.5

Fetch = Callable[[str, Source, ServeSettings, Store], list[str]]

log = logging.getLogger(__name__)


def fetch(accession: str, source: Source, settings: ServeSettings, store: Store) -> list[str]:
    """Fetch the studies of an accession number the way the source wants it; returns their UIDs."""
    if source.kind == "dicomweb":
        return fetch_dicomweb(accession, source, store, int(settings.limits.upload_mb * 1e6))
    # only those who ask by DICOM need the library
    from lesionlab.serve.node.fetch import fetch_dicom

    return fetch_dicom(accession, source, settings.node)


def fetch_order(source: str, accession: str, settings: ServeSettings) -> Order:
    """The job for one request. Raises ServeError for an unknown source, or one that nobody could send to."""
    chosen = settings.sources.get(source)
    if chosen is None:
        names = ", ".join(settings.sources) or "none"
        raise ServeError("request", f"source {source!r}", f"one of the settings' sources: {names}")
    if chosen.kind == "dicom" and not settings.node.enabled:
        raise ServeError(source, "our DICOM node switched off", "node.enabled, for the studies to be sent to")
    payload = {"source": source, "accession": accession, "title": f"from {source}"}
    return Order("fetch", f"fetch:{uuid.uuid4().hex}", payload)


class Fetcher:
    """Runs the requests one after another, in a thread."""

    def __init__(self, settings: ServeSettings, store: Store, queue: Queue, *, way: Fetch = fetch) -> None:
        self.settings, self.store, self.queue, self.way = settings, store, queue, way
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def start(self) -> None:
        """Fetch in a thread until `stop`."""
        self.thread.start()

    def stop(self) -> None:
        """Stop after the request under way."""
        self.stopped.set()
        self.thread.join()

    def fetch_one(self) -> bool:
        """Run one waiting request; False when there is none. One that fails is kept with its reason."""
        job = self.queue.claim("fetcher", ("fetch",), LEASE_S)
        if job is None:
            return False
        try:
            studies = self._fetch(job)
        except LesionLabError as error:
            self.queue.fail(job, str(error))
        except Exception as error:
            log.exception("request %s failed", job.id)
            self.queue.fail(job, f"{type(error).__name__}: {error}"[:500])
        else:
            self.queue.finish(job, message=f"{len(studies)} studies fetched")
        return True

    def _fetch(self, job: Job) -> list[str]:
        name = str(job.payload["source"])
        source = self.settings.sources.get(name)
        if source is None:
            raise ServeError(name, "no such source any more", "it in the settings")
        return self.way(str(job.payload["accession"]), source, self.settings, self.store)

    def _run(self) -> None:
        while not self.stopped.is_set():
            try:
                busy = self.fetch_one()
            except Exception:
                log.exception("could not look for requests")
                busy = False
            if not busy:
                self.stopped.wait(POLL_S)
