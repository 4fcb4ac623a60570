"""Studies for the service's tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
from pynetdicom import AE
from pynetdicom.presentation import build_context

from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings


def submit_study(settings: ServeSettings, queue: Queue, study: Path, key: str = "study") -> Job:
    """Put a study where uploads lie and queue it."""
    target = settings.data / "uploads" / key
    shutil.copytree(study, target)
    payload = {"source": f"uploads/{key}", "bundle": "pet-threshold", "send_to": ["pacs"]}
    return queue.submit(Order("examine", key, payload))


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition; fail loudly when it never comes."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def started(file: Path) -> subprocess.Popen[bytes]:
    """`lesionlab serve` with these settings, in a process group of its own."""
    return subprocess.Popen([sys.executable, "-m", "lesionlab", "serve", str(file)], start_new_session=True)


def listening(port: int) -> bool:
    """True when somebody answers on this port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def store_files(
    port: int, files: Sequence[Path], *, called: str = "LESIONLAB", calling: str = "SENDER"
) -> list[int]:
    """Send files by C-STORE and return each one's status; empty when the association is refused."""
    ae = AE(ae_title=calling)
    for uid, syntax in sorted({_kind(file) for file in files}):
        ae.requested_contexts = [*ae.requested_contexts, build_context(uid, syntax)]
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return []
    statuses = [int(association.send_c_store(file).Status) for file in files]
    association.release()
    return statuses


def _kind(file: Path) -> tuple[str, str]:
    meta = pydicom.dcmread(file, stop_before_pixels=True).file_meta
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
