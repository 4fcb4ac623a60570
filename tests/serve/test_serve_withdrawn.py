"""Rejections while results are on their way: nothing rejected is sent, nothing accepted is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lesionlab.core.errors import ServeError
from lesionlab.serve.accepting import REJECTED, WHEN_ACCEPTED, follow, keep_reviews, key_of, make_up
from lesionlab.serve.deliver import DICOM_FOLDER, Deliverer
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import Destination, ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.worker import Worker, deliveries


class Scene:
    """A finished examination for two destinations, and a deliverer that finds nobody at home at first."""

    def __init__(self, setting: ServeSettings, queue: Queue, send: str = WHEN_ACCEPTED) -> None:
        self.setting, self.queue, self.store = setting, queue, Store(setting.data)
        self.said: list[dict[str, Any]] = []
        self.sent: list[str] = []
        self.away: Callable[[], object] | None = None
        payload = {"source": "uploads/a", "send": send, "send_to": ["one", "two"]}
        queue.submit(Order("examine", "e", payload))
        self.job = self._finished("examine")
        self.deliverer = Deliverer(setting, self.store, queue, way=self._way)

    def _finished(self, kind: Any) -> Job:
        job = self.queue.claim("w", (kind,), 60)
        assert job is not None
        folder = self.store.result_folder(job.id) / DICOM_FOLDER
        folder.mkdir(parents=True)
        (folder / "seg.dcm").write_bytes(b"x")
        assert self.queue.finish(job, deliveries(job))
        return job

    def _way(self, files: Sequence[Path], destination: Destination, settings: ServeSettings) -> None:
        if self.away is not None and destination.ae_title == "ONE":
            self.away()
            raise ServeError("one", "no answer", "an answer")
        self.sent.append(destination.ae_title)

    def say(self, verdict: str) -> None:
        self.said.append({"verdict": verdict, "note": "", "who": "anna", "time": 1.0})
        keep_reviews(self.store.result_folder(self.job.id), self.said)
        follow(self.setting, self.store, self.queue, self.job, self.said, "anna")

    def accept(self) -> None:
        self.say("accepted")
        self._finished("accept")

    def deliver(self) -> None:
        """Try what waits, once each."""
        tries = len(self.queue.jobs(state="waiting", kind="deliver"))
        for _ in range(tries):
            assert self.deliverer.deliver_one()

    def states(self) -> list[tuple[str, str, str]]:
        sends = self.queue.jobs(kind="deliver")
        return sorted((job.key.rpartition(">")[2], job.state, job.error) for job in sends)


@pytest.fixture
def setting(settings: ServeSettings) -> ServeSettings:
    places = {name: Destination(kind="dicom", ae_title=name.upper()) for name in ("one", "two")}
    return settings.model_copy(update={"destinations": places})


@pytest.fixture
def soon(queue: Queue) -> Queue:
    """A queue whose every look comes an hour after the last one: no pause keeps a job from being claimed."""
    times = iter(range(10**9, 10**10, 3600))
    queue.clock = lambda: float(next(times))
    return queue


@pytest.mark.parametrize("send", [WHEN_ACCEPTED, "at once"])
def test_what_is_rejected_while_it_is_tried_is_not_tried_again(
    setting: ServeSettings, soon: Queue, send: str
) -> None:
    scene = Scene(setting, soon, send)
    if send == WHEN_ACCEPTED:
        scene.accept()
    scene.away = lambda: scene.say("rejected")
    scene.deliver()
    scene.away = None
    scene.deliver()
    scene.deliver()
    assert scene.sent in ([], ["TWO"])
    waiting = soon.jobs(state="waiting")
    assert waiting == []
    assert ("one", "waiting", "") not in scene.states()


def test_an_acceptance_after_a_rejection_reaches_who_had_not_got_it(
    setting: ServeSettings, soon: Queue
) -> None:
    scene = Scene(setting, soon)
    scene.accept()
    scene.away = lambda: None
    scene.deliver()
    assert scene.sent == ["TWO"]
    scene.say("rejected")
    assert scene.states() == [("one", "cancelled", REJECTED), ("two", "done", "")]
    scene.away = None
    make_up(setting, scene.store, soon)
    scene.say("accepted")
    make_up(setting, scene.store, soon)
    scene.deliver()
    assert scene.sent == ["TWO", "ONE"]


def test_a_delivery_that_somebody_cancelled_stays_so(setting: ServeSettings, soon: Queue) -> None:
    scene = Scene(setting, soon)
    scene.accept()
    [one, _] = sorted(soon.jobs(kind="deliver"), key=lambda job: job.key)
    soon.cancel(one.id)
    make_up(setting, scene.store, soon)
    scene.deliver()
    assert scene.sent == ["TWO"]


def test_an_acceptance_taken_back_while_it_is_made_ready_leaves_nothing(
    setting: ServeSettings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(setting, queue)
    scene.say("accepted")
    made = queue.by_key(key_of(scene.job.id))
    assert made is not None

    def work(worker: Worker, job: Job, progress: object) -> None:
        scene.say("rejected")
        worker.store.result_folder(job.id).mkdir()

    monkeypatch.setattr(Worker, "_examine", work)
    assert Worker(setting, "w").run_one()
    assert queue.job(made.id) is None
    assert not scene.store.result_folder(made.id).exists()
