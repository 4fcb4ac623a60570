"""Whether a service can take more work: free disk and the length of the queue."""

from __future__ import annotations

from lesionlab.serve.jobs import WORKERS_KINDS, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store


def no_room(settings: ServeSettings, store: Store, queue: Queue) -> str:
    """Why a service cannot take more work now; empty when it can."""
    limits = settings.limits
    free = store.free_gb()
    if free < limits.free_disk_gb:
        return f"{free:.1f} GB of disk free; needed {limits.free_disk_gb:g}"
    # deliveries that wait for a destination that is away are no work to be done
    waiting = queue.counts((*WORKERS_KINDS, "fetch")).get("waiting", 0)
    if waiting >= limits.waiting_jobs:
        return f"{waiting} jobs waiting; needed fewer than {limits.waiting_jobs}"
    return ""
