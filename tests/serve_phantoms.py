"""Studies for the service's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings


def submit_study(settings: ServeSettings, queue: Queue, study: Path, key: str = "study") -> Job:
    """Put a study where uploads lie and queue it."""
    target = settings.data / "uploads" / key
    shutil.copytree(study, target)
    payload = {"source": f"uploads/{key}", "bundle": "pet-threshold", "send_to": ["pacs"]}
    return queue.submit(Order("examine", key, payload))
