"""What is queued of a study that grows, and of one whose route has changed since."""

from __future__ import annotations

import os
import time

import pytest

from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import Route, ServeSettings
from lesionlab.serve.store import Store

UID = "1.2." + "3" * 60


@pytest.fixture
def store(settings: ServeSettings) -> Store:
    return Store(settings.data)


def looking(settings: ServeSettings, store: Store, queue: Queue, *names: str) -> Arrivals:
    """A service's watch that has just started, with routes of these names; studies are complete at once."""
    routes = tuple(Route(name=name, bundle="pet-threshold", modalities=()) for name in names)
    return Arrivals(settings.model_copy(update={"routes": routes}), store, queue, clock=lambda: 1e12)


@pytest.mark.parametrize("uid", ["1.2", UID])
def test_a_route_of_another_name_takes_nothing_twice(
    settings: ServeSettings, store: Store, queue: Queue, uid: str
) -> None:
    store.put_instance(uid, "1.2.1", b"x")
    [job] = looking(settings, store, queue, "pet-" + "long" * 10, "ct").look()
    assert looking(settings, store, queue, "renamed").look() == [job]
    assert queue.cancel(job.id).state == "cancelled"
    assert [same.id for same in looking(settings, store, queue, "ct", "pet").look()] == [job.id]
    store.put_instance(uid, "1.2.2", b"x")
    [grown] = looking(settings, store, queue, "renamed").look()
    assert grown.payload["route"] == "renamed"
    assert len(queue.jobs()) == 2


def test_a_study_that_no_route_took_is_taken_by_one_that_was_added(
    settings: ServeSettings, store: Store, queue: Queue
) -> None:
    store.put_instance("1.2", "1.2.1", b"x")
    [refused] = looking(settings, store, queue).look()
    assert "refused" in refused.payload
    [taken] = looking(settings, store, queue, "pet").look()
    assert (taken.id != refused.id, taken.payload["route"]) == (True, "pet")
    assert queue.job(refused.id).state == "cancelled"


def test_what_still_waits_when_more_comes_is_examined_once(
    settings: ServeSettings, store: Store, queue: Queue
) -> None:
    arrivals = looking(settings, store, queue, "pet")
    for uid in ("1.2", "1.20"):
        store.put_instance(uid, "1.2.1", b"x")
    jobs = {job.payload["source"]: job for job in arrivals.look()}
    store.put_instance("1.2", "1.2.2", b"x")
    [grown] = arrivals.look()
    first = queue.job(jobs["studies/1.2"].id)
    assert (first.state, first.error) == ("cancelled", "a newer job examines this study")
    assert queue.job(jobs["studies/1.20"].id).state == queue.job(grown.id).state == "waiting"
    assert next(entry.what for entry in queue.audit() if entry.subject == first.id) == "superseded"


def test_what_runs_when_more_comes_is_let_be(settings: ServeSettings, store: Store, queue: Queue) -> None:
    arrivals = looking(settings, store, queue, "pet")
    store.put_instance("1.2", "1.2.1", b"x")
    [job] = arrivals.look()
    claimed = queue.claim("w", ("examine",), 60)
    store.put_instance("1.2", "1.2.2", b"x")
    assert len(arrivals.look()) == 1
    assert claimed is not None and queue.finish(claimed)
    assert queue.job(job.id).state == "done"


def test_a_clock_that_was_set_back_keeps_no_study_waiting(
    settings: ServeSettings, store: Store, queue: Queue
) -> None:
    steady, uid = [100.0], "1.2"
    arrivals = Arrivals(settings, store, queue, steady=lambda: steady[0])
    store.put_instance(uid, "1.2.1", b"x")
    hour = time.time() + 3600
    os.utime(store.study_folder(uid), (hour, hour))
    assert arrivals.look() == []
    steady[0] += settings.node.quiet_s / 2
    store.put_instance(uid, "1.2.2", b"x")
    os.utime(store.study_folder(uid), (hour + 1, hour + 1))
    assert arrivals.look() == []
    steady[0] += settings.node.quiet_s - 0.01
    assert arrivals.look() == [], "what came last counts"
    steady[0] += 0.02
    assert len(arrivals.look()) == 1
