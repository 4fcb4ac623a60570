"""Two receiving processes on one port: nothing lost or doubled, one killed is replaced, both end in order."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from lesionlab.serve.service import Service
from lesionlab.serve.settings import NodeSettings, ServeSettings
from lesionlab.serve.supervisor import RECEIVER, Seat
from serve_phantoms import free_port, store_files, until


def listeners(port: int) -> int:
    """How many sockets listen on this port of 127.0.0.1."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1] == f"0100007F:{port:04X}" and line[3] == "0A" for line in lines)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="counts listening sockets in /proc")
def test_two_receiving_processes(settings: ServeSettings, pet_study: Path) -> None:
    files, port = sorted(pet_study.iterdir()), free_port()
    half = len(files) // 2
    node = NodeSettings(port=port, quiet_s=600.0, instances=len(files), processes=2)
    with Service(settings.model_copy(update={"node": node})) as service:
        seats: list[Seat] = [seat for seat in service.supervisor.seats if seat.module == RECEIVER]
        until(lambda: listeners(port) == 2)
        # what both send is kept once
        assert sent_at_once(port, [files[:half], files[half // 2 :]]) == {0}
        [study] = service.store.all_studies()
        assert len(study.files) == len(files)
        assert until_jobs(service) == [len(files)]
        killed = seats[0].process
        assert killed is not None
        os.kill(killed.pid, signal.SIGKILL)
        until(lambda: listeners(port) == 1)
        assert sent_at_once(port, [files, files]) == {0}, "the other one serves on"
        until(lambda: listeners(port) == 2)
        assert seats[0].process is not killed
        assert sent_at_once(port, [files, files]) == {0}
        [study] = service.store.all_studies()
        assert len(study.files) == len(files)
        assert until_jobs(service) == [len(files)], "the same instances are no new work"
    assert [seat.process.returncode for seat in seats if seat.process is not None] == [0, 0]
    assert listeners(port) == 0


def sent_at_once(port: int, parts: list[list[Path]]) -> set[int]:
    """Send every part by a sender of its own, all at once; all statuses."""
    statuses: list[int] = []
    threads = [
        threading.Thread(target=lambda p=part: statuses.extend(store_files(port, p))) for part in parts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(statuses) == sum(len(part) for part in parts)
    return set(statuses)


def until_jobs(service: Service) -> list[int]:
    """How many instances each queued study has, as soon as one is queued."""
    until(lambda: bool(service.queue.jobs(kind="examine")))
    return [job.payload["instances"] for job in service.queue.jobs(kind="examine")]
