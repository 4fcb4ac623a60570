"""The whole service: receivers, arrivals, workers, deliveries and the page, started and stopped together.

One service owns its data folder; a second one on the same folder is refused.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from lesionlab.core.errors import LesionLabError, ServeError
from lesionlab.serve.accepting import make_up
from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.deliver import Deliverer
from lesionlab.serve.fetching import Fetcher
from lesionlab.serve.jobs import Queue
from lesionlab.serve.node.port import require_port
from lesionlab.serve.node.tls import require_certificates
from lesionlab.serve.retention import Retention, sweep_uploads
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.supervisor import Supervisor
from lesionlab.serve.tables import require_owner

NODE_STARTS_S = 60.0

log = logging.getLogger(__name__)


class Service:
    """Everything but the page, as a context: running inside it, stopped on leaving it."""

    def __init__(self, settings: ServeSettings) -> None:
        require_bundles(settings)
        if settings.node.enabled:
            require_certificates(settings.node)
        self.settings = settings
        self.store = Store(settings.data)
        self.lock = lock_folder(settings.data)
        with ExitStack() as opened:
            opened.callback(self.lock.close)
            if settings.node.enabled:
                require_port(settings.node)
            self.queue = Queue(settings.database_url)
            opened.callback(self.queue.close)
            require_owner(self.queue.engine, self.store.identity)
            self.stack = opened.pop_all()
        self.supervisor = Supervisor(settings, self.queue)
        self.arrivals = Arrivals(settings, self.store, self.queue)
        self.deliverer = Deliverer(settings, self.store, self.queue)
        self.fetcher = Fetcher(settings, self.store, self.queue)
        self.retention = Retention(settings, self.store, self.queue)

    def __enter__(self) -> Service:
        self.store.sweep()
        sweep_uploads(self.store, self.queue)
        make_up(self.settings, self.store, self.queue)
        for part in (self.supervisor, self.arrivals, self.deliverer, self.fetcher, self.retention):
            part.start()
            self.stack.callback(part.stop)
        try:
            self._await_node()
        except ServeError:
            self.stack.close()
            raise
        self.queue.note("service", "started", "")
        return self

    def _await_node(self) -> None:
        """Return when the DICOM port answers; ServeError when it does not within its time."""
        node = self.settings.node
        end = time.monotonic() + NODE_STARTS_S
        while node.enabled:
            try:
                socket.create_connection((node.host, node.port), timeout=1.0).close()
                return
            except OSError as error:
                dying = any(seat.deaths > 1 for seat in self.supervisor.seats)
                if dying or time.monotonic() > end:
                    where, found = f"{node.host}:{node.port}", f"no DICOM node starting ({error})"
                    raise ServeError(where, found, "a port that is free, and PEM files") from None
                time.sleep(0.1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.queue.note("service", "stopped", "")
        finally:
            # whatever the database says, everything is stopped
            self.stack.close()


def require_bundles(settings: ServeSettings) -> None:
    """ServeError when a route's bundle cannot be opened: known now, not at the first study."""
    from lesionlab.predict import load_bundle

    for route in settings.routes:
        try:
            load_bundle(route.bundle)
        except LesionLabError as error:
            subject = f"route {route.name!r}: {error.subject}"
            raise ServeError(subject, error.found, error.needed) from None


def lock_folder(folder: Path) -> IO[str]:
    """Take a data folder for this process; ServeError when another service has it."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ServeError(folder, "another service running on it", "a data folder of its own") from None
    return file
