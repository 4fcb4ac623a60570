"""A worker: claims jobs, examines studies, leaves complete results. One process, its last model kept loaded.

Whatever the moment at which a worker is killed, the job is found again: results appear by one rename, and a
job whose results are there is only marked done. Watching over workers is `supervisor.py`'s business.

    python -m lesionlab.serve.worker SETTINGS.json NAME SERVICE

SERVICE is the number of the service's process: a process that asks for its parent too late is told of
whoever took in the orphan.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from lesionlab.core.errors import LesionLabError
from lesionlab.core.tasks import Progress
from lesionlab.serve.accepting import WHEN_ACCEPTED
from lesionlab.serve.jobs import WORKERS_KINDS, Job, Order, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store, sync

LEASE_S = 60.0
"""How long a job stays a silent worker's."""
RENEWAL_S = 10.0
GRACE_S = 60.0
"""How long a worker may still run that lost its job; one that hangs is ended, and another takes its place."""
TELL_S = 1.0
"""Progress is told to the database no more often than this."""
POLL_S = 0.5
DONE_WORDS = {"examine": "examined", "compare": "compared", "accept": "made ready to send"}
YIELDING = 10
"""By so much a worker is nicer (as the system counts it) than receivers and page."""

log = logging.getLogger(__name__)


class JobLost(BaseException):
    """The job was cancelled, or another worker has it: stop at once, write nothing."""


class Stopping(BaseException):
    """The service is being stopped. Like a keyboard interrupt, no `except Exception` may swallow it."""


class Worker:
    """Runs the examinations of one service until told to stop."""

    def __init__(self, settings: ServeSettings, name: str) -> None:
        self.settings, self.name = settings, name
        self.queue, self.store = Queue(settings.database_url), Store(settings.data)
        self.stopped, self.parent = threading.Event(), os.getppid()

    def run(self) -> None:
        """Claim and run jobs until `stopped` is set."""
        while not self.stopped.is_set() and os.getppid() == self.parent:
            if not self.run_one():
                self.stopped.wait(POLL_S)

    def run_one(self) -> bool:
        """Claim one job and run it; False when none is waiting. A failing job is kept with its reason."""
        job = self.queue.claim(self.name, WORKERS_KINDS, LEASE_S)
        if job is None:
            return False
        began = time.monotonic()
        try:
            with _Lease(self.queue, job, self.settings.limits.job_minutes, self.parent) as lease:
                self._examine(job, lease.progress)
            # a loss of power must not take away results of a job that counts as done
            sync(self.store.results)
        except JobLost:
            log.info("job %s is no longer ours", job.id)
        except Stopping:
            self.queue.postpone(job, "the service was stopped", 0.0)
        except LesionLabError as error:
            self.queue.fail(job, str(error))
        except Exception as error:
            # one broken study must not stop the others; the traceback is for us to mend
            log.exception("job %s failed", job.id)
            self.queue.fail(job, f"{type(error).__name__}: {error}"[:500])
        else:
            told = f"{DONE_WORDS[job.kind]} in {time.monotonic() - began:.1f} s"
            if not self.queue.finish(job, deliveries(job), told) and self.queue.job(job.id) is None:
                # an acceptance that was taken back: no job names its results, so nothing would delete them
                self.store.discard(self.store.result_folder(job.id))
        return True

    def _examine(self, job: Job, progress: Progress) -> None:
        folder = self.store.result_folder(job.id)
        if folder.is_dir():
            # a worker was killed after its results were complete and before it could say so
            return
        # loaded with the first job: a worker that waits needs little memory
        from lesionlab.serve.accepting import accept_job
        from lesionlab.serve.examining import compare_job, examine_job

        if job.kind == "accept":
            accept_job(self.store, self.queue, job)
        elif job.kind == "compare":
            compare_job(self.store, job, progress)
        else:
            examine_job(self.store, job, self.settings.device, progress)


class _Lease:
    """Renews a job's lease while it runs; `progress` notes how far it is and raises when the job is lost."""

    def __init__(self, queue: Queue, job: Job, minutes: float, parent: int) -> None:
        self.queue, self.job = queue, job
        self.until = time.monotonic() + 60 * minutes
        self.message, self.share = "", 0.0
        self.parent = parent
        self.lost, self.over = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._renew, daemon=True)

    def __enter__(self) -> _Lease:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _renew(self) -> None:
        told, last = ("", 0.0), time.monotonic()
        while not self.over.wait(min(RENEWAL_S, TELL_S)):
            if os.getppid() != self.parent:
                # the service was killed; another one will give this job to another worker
                os._exit(1)
            news = (self.message, self.share)
            if news == told and time.monotonic() - last < RENEWAL_S:
                continue
            told, last = news, time.monotonic()
            # a job that hangs without a word of progress is let go when its time is up
            if time.monotonic() > self.until or not self._renewed():
                self.lost.set()
                if not self.over.wait(GRACE_S):
                    log.error("job %s does not stop", self.job.id)
                    os._exit(1)
                return

    def _renewed(self) -> bool:
        """False when the job is no longer ours; a database that does not answer has not said so."""
        try:
            return self.queue.renew(self.job, LEASE_S, self.share, self.message)
        except SQLAlchemyError as error:
            log.warning("job %s: no renewal of its lease (%s)", self.job.id, type(error).__name__)
            return True

    def progress(self, message: str, share: float) -> None:
        """Progress callback of the pipeline."""
        self.message, self.share = message, share
        if self.lost.is_set():
            raise JobLost(self.job.id)


def deliveries(job: Job) -> list[Order]:
    """What is to be sent once a job is done: one order for each destination of its route.

    None for what waits until somebody accepts it; the acceptance is a job of its own and sends.
    """
    if job.payload.get("send") == WHEN_ACCEPTED:
        return []
    whose = {"accepted": job.payload["accepted"]} if job.kind == "accept" else {}
    return [
        Order("deliver", f"{job.key}>{name}", {"examined": job.id, "destination": name, **whose})
        for name in job.payload.get("send_to", [])
    ]


def main(arguments: list[str]) -> int:
    """Run a worker for the settings in a JSON file until SIGTERM, or until the service is gone."""
    file, name, parent = arguments
    settings = ServeSettings.model_validate_json(Path(file).read_text(encoding="utf-8"))
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {name} %(message)s")
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    # whoever sends or looks is served first; an examination takes what is left
    os.nice(YIELDING)
    worker = Worker(settings, name)
    worker.parent = int(parent)

    def stop(_: int, frame: FrameType | None) -> Any:
        worker.stopped.set()
        raise Stopping

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        worker.run()
    except Stopping:
        log.info("stopped")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
