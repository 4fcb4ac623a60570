"""The queue: each job once, whatever dies; what follows is queued with what is done."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lesionlab.core.errors import ServeError
from lesionlab.serve.jobs import Job, Kind, Order, Queue, short_key
from lesionlab.serve.tables import METADATA, open_database
from postgres import missing, postgres


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(
    params=["sqlite", pytest.param("postgresql", marks=pytest.mark.skipif(bool(missing()), reason=missing()))]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of each kind that a service may have."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'q.sqlite'}"
    found = str(request.getfixturevalue("server"))
    engine = open_database(found)
    METADATA.drop_all(engine)
    engine.dispose()
    return found


@pytest.fixture
def queue(url: str, clock: Clock) -> Iterator[Queue]:
    queue = Queue(url, clock=clock)
    yield queue
    queue.close()


def claimed(queue: Queue, worker: str = "w1", lease: float = 60.0) -> Job:
    job = queue.claim(worker, ("examine", "deliver"), lease)
    assert job is not None
    return job


def test_a_job_is_claimed_once_and_done_once(queue: Queue) -> None:
    first = queue.submit(Order("examine", "study-a", {"study": "1.2"}))
    assert first.state == "waiting"
    job = claimed(queue)
    assert (job.id, job.payload, job.attempts, job.state) == (first.id, {"study": "1.2"}, 1, "running")
    assert queue.claim("w2", ("examine",), 60) is None
    assert queue.finish(job)
    assert not queue.finish(job), "a job that is done cannot be done again"
    assert queue.counts() == {"done": 1}


def test_the_same_key_is_queued_once_even_after_it_is_done(queue: Queue) -> None:
    first = queue.submit(Order("examine", "a"))
    queue.finish(claimed(queue))
    again = queue.submit(Order("examine", "a"))
    assert (again.id, again.state) == (first.id, "done")
    assert queue.claim("w", ("examine",), 1) is None


def test_deliveries_are_queued_with_the_job_that_is_done(queue: Queue) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue)
    assert queue.finish(job, [Order("deliver", "a:pacs"), Order("deliver", "a:viewer")])
    assert {j.key for j in queue.jobs(kind="deliver", state="waiting")} == {"a:pacs", "a:viewer"}


def test_a_worker_that_lost_its_job_can_neither_finish_nor_queue_what_follows(
    queue: Queue, clock: Clock
) -> None:
    queue.submit(Order("examine", "a"))
    slow = claimed(queue, "w1", lease=10)
    clock.now += 11
    assert queue.release(3) == 1
    second = claimed(queue, "w2")
    assert second.attempts == 2
    assert not queue.finish(slow, [Order("deliver", "wrong")])
    assert not queue.renew(slow, 60)
    assert not queue.fail(slow, "no")
    assert not queue.postpone(slow, "no", 1)
    assert queue.by_key("wrong") is None
    assert queue.finish(second)


def test_a_clock_that_is_set_back_makes_no_job_wait(queue: Queue, clock: Clock) -> None:
    for key in ("killed", "put back"):
        queue.submit(Order("examine", key))
        claimed(queue)
    clock.now += 7200
    [killed, other] = queue.jobs(state="running")
    queue.release(3, everyone=True)
    clock.now -= 7200
    assert {claimed(queue, "w2").id, claimed(queue, "w2").id} == {killed.id, other.id}
    clock.now += 7200
    job = queue.jobs(state="running")[0]
    assert queue.postpone(job, "away", 300)
    assert queue.claim("w3", ("examine",), 60) is None
    clock.now -= 7200
    assert claimed(queue, "w3").id == job.id


def test_a_renewed_lease_is_kept(queue: Queue, clock: Clock) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue, lease=10)
    clock.now += 8
    assert queue.renew(job, 10, 0.5, "half way")
    clock.now += 8
    assert queue.release(3) == 0
    kept = queue.job(job.id)
    assert kept is not None
    assert (kept.progress, kept.message, kept.state) == (0.5, "half way", "running")


def test_a_poisoned_job_fails_after_its_attempts_and_blocks_nobody(queue: Queue) -> None:
    queue.submit(Order("examine", "poison"))
    queue.submit(Order("examine", "good"))
    for number in range(3):
        job = claimed(queue, f"w{number}")
        while job.key != "poison":
            queue.finish(job)
            job = claimed(queue, f"w{number}")
        assert queue.release(3, worker=f"w{number}", reason="killed for memory") == 1
    poison, good = queue.by_key("poison"), queue.by_key("good")
    assert poison is not None
    assert good is not None
    assert (poison.state, poison.attempts) == ("failed", 3)
    assert "killed for memory (attempt 3 of 3)" in poison.error
    assert good.state == "done" or claimed(queue).key == "good"


def test_a_failed_job_keeps_its_reason_and_can_be_retried(queue: Queue) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue)
    queue.fail(job, "1.2: found no dose; needed RadionuclideTotalDose")
    kept = queue.job(job.id)
    assert kept is not None
    assert (kept.state, kept.error) == ("failed", "1.2: found no dose; needed RadionuclideTotalDose")
    again = queue.retry(job.id, "anna")
    assert (again.state, again.error, again.attempts) == ("waiting", "", 0)
    assert [(e.who, e.what) for e in queue.audit(1)] == [("anna", "retried")]


def test_a_reason_may_quote_any_header(queue: Queue) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue)
    assert queue.renew(job, 60.0, 0.5, "reading BQ\0ML")
    assert queue.fail(job, "found units BQ\0ML\udcff; needed BQML")
    kept = queue.job(job.id)
    assert kept is not None and kept.message == "reading BQML"
    assert kept.error == "found units BQML?; needed BQML"
    queue.note("anna\udc80", "looked", "M\0LLER^\udcfc")
    assert [(e.who, e.subject) for e in queue.audit(1)] == [("anna?", "MLLER^?")]


def test_a_postponed_delivery_waits_and_does_not_use_up_attempts(queue: Queue, clock: Clock) -> None:
    queue.submit(Order("deliver", "d"))
    for _ in range(5):
        job = claimed(queue)
        assert job.attempts == 1
        assert queue.postpone(job, "connection refused", 30)
        assert queue.claim("w", ("deliver",), 1) is None
        clock.now += 31


@pytest.mark.parametrize("kind", ["deliver", "fetch"])
def test_however_often_the_service_is_killed_what_its_own_threads_do_is_tried_again(
    queue: Queue, kind: Kind
) -> None:
    queue.submit(Order(kind, "d"))
    for _ in range(5):
        assert queue.claim("deliverer", (kind,), 1e9) is not None
        assert queue.release(3, everyone=True, reason="the service was killed") == 1
    assert queue.jobs()[0].state == "waiting"


def test_a_cancelled_job_is_taken_from_its_worker(queue: Queue) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue)
    assert queue.cancel(job.id).state == "cancelled"
    assert not queue.renew(job, 60)
    assert not queue.finish(job)


def test_what_cannot_be_turned_is_refused(queue: Queue) -> None:
    queue.submit(Order("examine", "a"))
    job = claimed(queue)
    with pytest.raises(ServeError, match="a job that is running; needed one that is failed or cancelled"):
        queue.retry(job.id)
    queue.finish(job)
    with pytest.raises(ServeError, match="a job that is done"):
        queue.cancel(job.id)
    with pytest.raises(ServeError, match="no such job"):
        queue.retry("nothing")


def test_a_full_queue_refuses_new_work_but_knows_the_old(queue: Queue) -> None:
    queue.submit(Order("examine", "a"), most_waiting=1)
    with pytest.raises(ServeError, match="1 jobs waiting; needed fewer than 1"):
        queue.submit(Order("examine", "b"), most_waiting=1)
    assert queue.submit(Order("examine", "a"), most_waiting=1).key == "a"


def test_many_workers_share_the_jobs_without_loss_or_doubling(url: str) -> None:
    submitting = Queue(url)
    for number in range(24):
        submitting.submit(Order("examine", f"job-{number}"))
    start = threading.Barrier(4)

    def work(name: str) -> list[str]:
        queue, done = Queue(url), []
        start.wait()
        while (job := queue.claim(name, ("examine",), 60)) is not None:
            if queue.finish(job, [Order("deliver", job.key + ":d")]):
                done.append(job.key)
        queue.close()
        return done

    with ThreadPoolExecutor(4) as pool:
        done = [key for keys in pool.map(work, "abcd") for key in keys]
    assert sorted(done) == sorted(f"job-{number}" for number in range(24))
    assert submitting.counts() == {"done": 24, "waiting": 24}
    submitting.close()


def test_a_job_that_is_done_while_its_lease_runs_out_stays_done(url: str, clock: Clock) -> None:
    queue = Queue(url, clock=clock)
    start = threading.Barrier(2)

    def release() -> None:
        other = Queue(url, clock=clock)
        start.wait()
        for _ in range(10):
            other.release(99)
        other.close()

    for number in range(5):
        queue.submit(Order("examine", f"job-{number}"))
        job = claimed(queue, lease=-1.0)
        thread = threading.Thread(target=release)
        thread.start()
        start.wait()
        finished = queue.finish(job)
        thread.join()
        found = queue.job(job.id)
        assert found is not None
        assert found.state == ("done" if finished else "waiting")
        queue.cancel(job.id) if not finished else None
    queue.close()


def test_a_database_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="needed a database that can be opened"):
        open_database(f"sqlite:///{tmp_path / 'no' / 'folder' / 'q.sqlite'}")
    with pytest.raises(ServeError, match="needed a database that can be opened"):
        open_database("no url")


def test_passwords_of_a_database_are_not_told() -> None:
    with pytest.raises(ServeError) as raised:
        open_database("nothing://user:secret@host/db")
    assert "secret" not in str(raised.value)


def test_keys_fit_the_column_and_stay_the_only_one(queue: Queue) -> None:
    study = f"{'1' * 64}:{'a' * 32}"
    long, other = (
        f"{study}:a-route-of-a-long-name-for-whole-bodies",
        f"{study}:a-route-of-a-long-name-for-heads",
    )
    job = queue.submit(Order("examine", long))
    assert (len(job.key), job.key.startswith(study)) == (128, True)
    assert queue.submit(Order("examine", long)).id == job.id
    assert queue.submit(Order("examine", other)).id != job.id
    claimed = queue.claim("w", ("examine",), 60)
    assert claimed is not None
    assert queue.finish(claimed, [Order("deliver", f"{claimed.key}>pacs")])
    sent = queue.by_key(f"{claimed.key}>pacs")
    assert sent is not None
    assert len(sent.key) == 128
    assert short_key("short") == "short"
