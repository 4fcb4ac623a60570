"""How long studies are kept: what ended longer ago than `limits.keep_days` is deleted, with its results.

Nothing is deleted that waits, runs, or is needed by something younger: a study with a younger job, a scan
whose mask was corrected since, an examination that is compared with a later one. What was deleted can be sent
again and is examined anew. The audit log stays.
"""

from __future__ import annotations

import json
import logging
import re
import threading

from lesionlab.serve.jobs import FINISHED, Job, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Received, Store

LOOK_S = 3600.0
DAY_S = 86400.0
MOST_JOBS = 1_000_000
JOB_ID = re.compile(r"\b[0-9a-f]{32}\b")

log = logging.getLogger(__name__)


class Retention:
    """Deletes what is old, once an hour, in a thread."""

    def __init__(self, settings: ServeSettings, store: Store, queue: Queue) -> None:
        self.settings, self.store, self.queue = settings, store, queue
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        """Look in a thread until `stop`; without a limit there is nothing to do."""
        self.thread.start()

    def stop(self) -> None:
        """Stop after what is being deleted."""
        self.stopped.set()
        self.thread.join()

    def look(self) -> list[str]:
        """Delete what is old now; returns the ids of the jobs that are no more."""
        days = self.settings.limits.keep_days
        if not days:
            return []
        before = self.queue.clock() - DAY_S * days
        gone = []
        for source, jobs in by_source(old_jobs(self.queue.jobs(most=MOST_JOBS), before)).items():
            if source and not self._discard_source(source, jobs, before):
                continue
            for job in jobs:
                self.store.discard(self.store.result_folder(job.id))
                if "mask" in job.payload:
                    self._discard_upload(str(job.payload["mask"]))
            gone += self.queue.forget([job.id for job in jobs])
        return gone

    def _discard_source(self, source: str, jobs: list[Job], before: float) -> bool:
        """Delete a scan; False when it is younger than its jobs, as when something came since."""
        folder = self.store.root / source
        if folder.parent == self.store.studies:
            study = self.store.study(folder.name)
            return study is None or (_known(study, jobs, before) and self.store.discard_study(study))
        self._discard_upload(source)
        return True

    def _discard_upload(self, place: str) -> None:
        """Delete an upload: it has a folder of its own, and a job names a file or folder within."""
        within = (self.store.root / place).relative_to(self.store.uploads)
        self.store.discard(self.store.uploads / within.parts[0])

    def _run(self) -> None:
        while True:
            try:
                gone = self.look()
                if gone:
                    log.info("%d jobs deleted after %g days", len(gone), self.settings.limits.keep_days)
            except Exception:
                # the disk or the database may be away for a while
                log.exception("could not delete what is old")
            if self.stopped.wait(LOOK_S):
                return


def sweep_uploads(store: Store, queue: Queue) -> int:
    """Delete uploads that no job names, as a kill before the job was queued leaves them; returns how many.

    For a service that starts: later an upload that nothing names may be one that is just coming.
    """
    named, _ = needs(queue.jobs(most=MOST_JOBS))
    gone = [folder for folder in store.uploads.iterdir() if folder.name not in named]
    for folder in gone:
        store.discard(folder)
    return len(gone)


def old_jobs(jobs: list[Job], before: float) -> list[Job]:
    """Jobs that ended before this time and that nothing younger needs."""
    kept = [job for job in jobs if job.state not in FINISHED or job.changed >= before]
    old = {job.id: job for job in jobs if job.state in FINISHED and job.changed < before}
    while kept:
        needed, sources = needs(kept)
        kept = [job for job in old.values() if job.id in needed or sources & {_source(job)} - {""}]
        for job in kept:
            del old[job.id]
    return list(old.values())


def needs(jobs: list[Job]) -> tuple[set[str], set[str]]:
    """Ids of jobs that these jobs name, and the scans that they look at."""
    named = {found for job in jobs for found in JOB_ID.findall(json.dumps(job.payload))}
    return named, {_source(job) for job in jobs}


def by_source(jobs: list[Job]) -> dict[str, list[Job]]:
    """Jobs by the scan that they look at; under the empty name those that look at none."""
    found: dict[str, list[Job]] = {}
    for job in jobs:
        found.setdefault(_source(job), []).append(job)
    return found


def _source(job: Job) -> str:
    return str(job.payload.get("source", "")) if job.kind != "fetch" else ""


def _known(study: Received, jobs: list[Job], before: float) -> bool:
    """True when a study as it lies there was queued, and nothing of it came since."""
    return study.last < before and any(study.digest in job.key for job in jobs)
