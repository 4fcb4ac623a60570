"""The whole service: receivers, arrivals, workers, deliveries and the page, started and stopped together.

One service owns its data folder; a second one on the same folder is refused.
"""

from __future__ import annotations

import fcntl
import logging
import threading
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from lesionlab.core.errors import ServeError
from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.deliver import Deliverer
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.supervisor import Supervisor

log = logging.getLogger(__name__)


class Service:
    """Everything but the page, as a context: running inside it, stopped on leaving it."""

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.store = Store(settings.data)
        self.lock = lock_folder(settings.data)
        self.queue = Queue(settings.database_url)
        self.supervisor = Supervisor(settings, self.queue)
        self.arrivals = Arrivals(settings, self.store, self.queue)
        self.deliverer = Deliverer(settings, self.store, self.queue)
        self.stack = ExitStack()

    def __enter__(self) -> Service:
        self.store.sweep()
        self.stack.callback(self.lock.close)
        self.stack.callback(self.queue.close)
        for part in (self.supervisor, self.arrivals, self.deliverer):
            part.start()
            self.stack.callback(part.stop)
        self.queue.note("service", "started", str(threading.get_native_id()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.queue.note("service", "stopped", "")
        self.stack.close()


def lock_folder(folder: Path) -> IO[str]:
    """Take a data folder for this process; ServeError when another service has it."""
    file = (folder / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ServeError(folder, "another service running on it", "a data folder of its own") from None
    return file
