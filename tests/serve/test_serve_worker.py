"""Workers: a study is examined once, whatever is killed; failures keep their reason."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from lesionlab.serve import worker as worker_module
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.supervisor import RECEIVER, WORKER, Supervisor, resident_gb
from lesionlab.serve.worker import JobLost, Worker, _Lease
from serve_phantoms import free_port, listening, submit_study, until


def state(queue: Queue, job: Job) -> str:
    found = queue.job(job.id)
    assert found is not None
    return found.state


def test_a_study_is_examined_and_its_delivery_queued(
    settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    job = submit_study(settings, queue, pet_study)
    worker = Worker(settings, "w")
    assert worker.run_one()
    assert state(queue, job) == "done"
    folder = worker.store.result_folder(job.id)
    assert json.loads((folder / "run.json").read_text())["bundle"] == "pet-threshold"
    assert (folder / "report.html").is_file()
    [delivery] = queue.jobs(kind="deliver")
    assert delivery.payload == {"examined": job.id, "destination": "pacs"}
    assert not worker.run_one()


def test_results_that_are_complete_are_not_made_again(
    settings: ServeSettings, queue: Queue, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit_study(settings, queue, pet_study)
    worker = Worker(settings, "w")
    worker.store.result_folder(job.id).mkdir()
    monkeypatch.setattr("lesionlab.pipeline.examine", lambda *_, **__: pytest.fail("examined twice"))
    assert worker.run_one()
    assert state(queue, job) == "done"


def test_a_study_that_cannot_be_read_fails_with_its_reason(settings: ServeSettings, queue: Queue) -> None:
    (settings.data / "uploads" / "empty").mkdir(parents=True)
    job = queue.submit(Order("examine", "empty", {"source": "uploads/empty", "bundle": "pet-threshold"}))
    assert Worker(settings, "w").run_one()
    failed = queue.job(job.id)
    assert failed is not None
    assert failed.state == "failed"
    assert "needed" in failed.error


def test_an_error_of_our_own_fails_the_job_only(
    settings: ServeSettings, queue: Queue, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit_study(settings, queue, pet_study)
    monkeypatch.setattr("lesionlab.pipeline.examine", lambda *_, **__: {}["missing"])
    assert Worker(settings, "w").run_one()
    failed = queue.job(job.id)
    assert failed is not None
    assert (failed.state, failed.error) == ("failed", "KeyError: 'missing'")


def test_a_cancelled_job_stops_and_leaves_nothing(
    settings: ServeSettings, queue: Queue, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RENEWAL_S", 0.02)
    job = submit_study(settings, queue, pet_study)

    def slow(*_: object, progress: Callable[[str, float], None], **__: object) -> None:
        queue.cancel(job.id)
        for _step in range(500):
            time.sleep(0.02)
            progress("slowly", 0.1)
        pytest.fail("never noticed")

    monkeypatch.setattr("lesionlab.pipeline.examine", slow)
    worker = Worker(settings, "w")
    assert worker.run_one()
    assert state(queue, job) == "cancelled"
    assert not worker.store.result_folder(job.id).exists()


def test_a_job_that_takes_too_long_loses_its_lease(
    settings: ServeSettings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "RENEWAL_S", 0.02)
    queue.submit(Order("examine", "a"))
    job = queue.claim("w", ("examine",), 60)
    assert job is not None
    with _Lease(queue, job, 0.0, os.getppid()) as lease:
        assert lease.lost.wait(5)
        with pytest.raises(JobLost):
            lease.progress("still", 0.5)


@pytest.mark.slow
def test_workers_that_are_killed_are_replaced_and_every_study_is_done_once(
    settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    jobs = [submit_study(settings, queue, pet_study, f"s{number}") for number in range(3)]
    supervisor = Supervisor(settings, queue)
    supervisor.start()
    try:
        until(lambda: any(j.state == "running" for j in queue.jobs()))
        seat = supervisor.seats[0]
        assert seat.process is not None
        first = seat.process.pid
        os.kill(first, signal.SIGKILL)
        until(lambda: queue.counts().get("done", 0) == len(jobs))
        assert seat.process is not None
        assert seat.process.pid != first
        assert resident_gb(seat.process.pid) > 0.01
    finally:
        supervisor.stop()
    assert {state(queue, job) for job in jobs} == {"done"}
    assert len(queue.jobs(kind="deliver")) == len(jobs)
    assert max(job.attempts for job in queue.jobs(kind="examine")) == 2


@pytest.mark.slow
def test_a_worker_that_holds_too_much_memory_is_stopped_and_its_job_fails(
    settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    limits = settings.limits.model_copy(update={"worker_gb": 0.15, "attempts": 1})
    job = submit_study(settings, queue, pet_study)
    supervisor = Supervisor(settings.model_copy(update={"limits": limits}), queue)
    supervisor.start()
    try:
        until(lambda: state(queue, job) == "failed")
    finally:
        supervisor.stop()
    failed = queue.job(job.id)
    assert failed is not None
    assert "GB of memory, more than worker_gb (attempt 1 of 1)" in failed.error


@pytest.mark.slow
def test_a_stopped_worker_puts_its_job_back(settings: ServeSettings, queue: Queue, pet_study: Path) -> None:
    job = submit_study(settings, queue, pet_study)
    file = settings.data / "settings.json"
    file.write_text(settings.model_dump_json())
    command = [sys.executable, "-m", WORKER, str(file), "w", str(os.getpid())]
    process = subprocess.Popen(command)
    until(lambda: state(queue, job) == "running")
    process.terminate()
    assert process.wait(30) == 0
    assert state(queue, job) in ("waiting", "done")


@pytest.mark.parametrize("module", [WORKER, RECEIVER])
def test_a_process_whose_service_was_killed_while_it_started_ends(
    settings: ServeSettings, queue: Queue, module: str
) -> None:
    file = settings.data / "settings.json"
    node = settings.node.model_copy(update={"port": free_port()})
    file.write_text(settings.model_copy(update={"node": node}).model_dump_json())
    job = queue.submit(Order("examine", "a", {"source": "none", "bundle": "none"}))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    # the system has given it another parent by the time it could ask
    process = subprocess.Popen([sys.executable, "-m", module, str(file), "w", str(gone.pid)])
    assert process.wait(60) == 0
    assert not listening(node.port)
    assert state(queue, job) == "waiting"


def test_a_worker_that_hangs_after_it_lost_its_job_is_ended(
    settings: ServeSettings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(worker_module, "RENEWAL_S", 0.02)
    monkeypatch.setattr(worker_module, "GRACE_S", 0.1)
    monkeypatch.setattr(worker_module.os, "_exit", lambda code: ended.set())
    queue.submit(Order("examine", "a"))
    job = queue.claim("w", ("examine",), 60)
    assert job is not None
    with _Lease(queue, job, 0.0, os.getppid()):
        assert ended.wait(5)


def test_a_database_that_is_away_for_a_while_costs_no_lease(
    settings: ServeSettings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[float] = []
    renew = queue.renew

    def away_at_first(*given: Any) -> bool:
        tries.append(0.0)
        if len(tries) < 3:
            raise OperationalError("renew", {}, Exception("database is locked"))
        return renew(*given)

    monkeypatch.setattr(worker_module, "RENEWAL_S", 0.02)
    monkeypatch.setattr(queue, "renew", away_at_first)
    queue.submit(Order("examine", "a"))
    job = queue.claim("w", ("examine",), 60)
    assert job is not None
    with _Lease(queue, job, 1.0, os.getppid()) as lease:
        until(lambda: len(tries) > 3, 5)
        assert not lease.lost.is_set()
