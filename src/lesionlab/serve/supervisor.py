"""Watches over the service's processes, workers and receivers: starts them, replaces the dead.

A worker that holds too much memory is stopped. The job of a worker that died goes back to the queue, until
its attempts are used up.
"""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.files import writing
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import ServeSettings

WORKER, RECEIVER = "lesionlab.serve.worker", "lesionlab.serve.node.receiver"
LOOK_S = 0.5
SETTINGS_FILE = "service.json"
LONGEST_PAUSE_S = 30.0

log = logging.getLogger(__name__)


@dataclass
class Seat:
    """The place of one process: what runs there, its process now, and how often it died in a row."""

    module: str
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    deaths: int = 0
    not_before: float = 0.0


class Supervisor:
    """Keeps `limits.workers` workers and, where the node is enabled, its receivers running until stopped."""

    def __init__(self, settings: ServeSettings, queue: Queue) -> None:
        self.settings, self.queue = settings, queue
        receivers = settings.node.processes if settings.node.enabled else 0
        self.seats = [Seat(WORKER) for _ in range(settings.limits.workers)]
        self.seats += [Seat(RECEIVER) for _ in range(receivers)]
        self.numbers = itertools.count(1)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Take back what an earlier service left running, write the workers' settings, start them."""
        self.queue.release(self.settings.limits.attempts, everyone=True, reason="the service was killed")
        write_private(self.settings.data / SETTINGS_FILE, self.settings.model_dump_json())
        self.thread.start()

    def stop(self, patience_s: float = 10.0) -> None:
        """Ask every worker to put its job back and end; kill those that do not."""
        self.stopped.set()
        self.thread.join()
        for seat in self.seats:
            if seat.process is not None:
                seat.process.terminate()
        for seat in self.seats:
            if seat.process is not None:
                try:
                    seat.process.wait(patience_s)
                except subprocess.TimeoutExpired:
                    seat.process.kill()
                    seat.process.wait()
                self.queue.release(self.settings.limits.attempts, worker=seat.name, reason="stopped")

    def _watch(self) -> None:
        while not self.stopped.wait(LOOK_S):
            try:
                for seat in self.seats:
                    self._look(seat)
                self.queue.release(self.settings.limits.attempts)
            except Exception:
                # a database that does not answer for a while must not end the watch
                log.exception("the supervisor could not look after the processes")

    def _look(self, seat: Seat) -> None:
        if seat.process is None:
            if time.monotonic() >= seat.not_before:
                self._seat(seat)
            return
        status = seat.process.poll()
        reason = f"its process ended with {_words(status)}" if status is not None else self._too_much(seat)
        if not reason:
            return
        if status is None:
            seat.process.kill()
            seat.process.wait()
        log.warning("%s: %s", seat.name, reason)
        taken = self.queue.release(self.settings.limits.attempts, worker=seat.name, reason=reason)
        # a worker that dies without a job cannot start at all: wait longer each time
        seat.deaths = 0 if taken else seat.deaths + 1
        pause = min(LONGEST_PAUSE_S, 2.0**seat.deaths - 1.0)
        seat.process, seat.not_before = None, time.monotonic() + pause

    def _seat(self, seat: Seat) -> None:
        seat.name = f"{seat.module.rpartition('.')[2]}-{os.getpid()}-{next(self.numbers)}"
        file = self.settings.data / SETTINGS_FILE
        seat.process = subprocess.Popen(
            [sys.executable, "-m", seat.module, str(file), seat.name, str(os.getpid())],
            stdin=subprocess.DEVNULL,
        )

    def _too_much(self, seat: Seat) -> str:
        """Why a running worker must be stopped; empty when it may go on."""
        if seat.process is None or seat.module != WORKER:
            return ""
        held = resident_gb(seat.process.pid)
        if held > self.settings.limits.worker_gb:
            return f"its worker held {held:.1f} GB of memory, more than worker_gb"
        return ""


def resident_gb(pid: int) -> float:
    """Memory that a process holds, in 10^9 bytes; 0 where that cannot be told (no /proc, process gone)."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e9


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user may read: it may hold addresses and tokens."""
    with writing(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(text, encoding="utf-8")


def _words(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"
