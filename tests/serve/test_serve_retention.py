"""Retention: what is old and not needed is deleted, whatever waits, runs or came since is not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.jobs import Job, Kind, Order, Queue
from lesionlab.serve.retention import DAY_S, Retention
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store

DAYS = 10.0


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now

    def pass_days(self, days: float) -> None:
        self.now += DAY_S * days


@pytest.fixture
def clock(queue: Queue) -> Clock:
    queue.clock = Clock()
    return queue.clock


@pytest.fixture
def retention(settings: ServeSettings, queue: Queue, clock: Clock) -> Retention:
    limits = settings.limits.model_copy(update={"keep_days": DAYS})
    return Retention(settings.model_copy(update={"limits": limits}), Store(settings.data), queue)


def ended(retention: Retention, key: str, kind: Kind = "examine", **payload: object) -> Job:
    """A job that is done, with results."""
    job = retention.queue.submit(Order(kind, key, dict(payload)))
    claimed = retention.queue.claim("w", (kind,), 60)
    assert claimed is not None
    retention.queue.finish(claimed)
    folder = retention.store.result_folder(job.id)
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    return job


def received(retention: Retention, uid: str, *numbers: int) -> str:
    """Put instances of a study in now; returns the key of its job."""
    for number in numbers:
        retention.store.put_instance(uid, f"{uid}.{number}", b"x")
    os.utime(retention.store.study_folder(uid), (retention.queue.clock(),) * 2)
    study = retention.store.study(uid)
    assert study is not None
    return f"{uid}:{study.digest}:pet"


def uploaded(retention: Retention, name: str) -> str:
    folder = retention.store.uploads / name / "files"
    folder.mkdir(parents=True)
    (folder / "000000.dcm").write_bytes(b"x")
    return f"uploads/{name}/files"


def test_old_studies_go_with_their_results_and_deliveries(retention: Retention, clock: Clock) -> None:
    study = ended(retention, received(retention, "1.2", 1), source="studies/1.2")
    sent = ended(retention, "d", "deliver", examined=study.id, destination="pacs")
    upload = ended(retention, "u", source=uploaded(retention, "u"))
    clock.pass_days(DAYS - 0.1)
    young = ended(retention, received(retention, "1.3", 1), source="studies/1.3")
    assert retention.look() == []
    clock.pass_days(0.2)
    assert set(retention.look()) == {study.id, sent.id, upload.id}
    store = retention.store
    assert [item.name for item in store.studies.iterdir()] == ["1.3"]
    assert [item.name for item in store.results.iterdir()] == [young.id]
    assert list(store.uploads.iterdir()) == list(store.trash.iterdir()) == []
    assert [job.id for job in retention.queue.jobs()] == [young.id]
    assert {entry.subject for entry in retention.queue.audit() if entry.what == "deleted"} >= {study.id}
    assert retention.look() == []


def test_zero_days_keep_for_ever(settings: ServeSettings, queue: Queue, clock: Clock) -> None:
    keeper = Retention(settings, Store(settings.data), queue)
    ended(keeper, "u", source=uploaded(keeper, "u"))
    clock.pass_days(1e5)
    assert keeper.look() == []
    assert len(queue.jobs()) == 1


def test_nothing_goes_that_waits_runs_or_is_needed_by_something_younger(
    retention: Retention, clock: Clock
) -> None:
    queue = retention.queue
    first = ended(retention, "first", source=uploaded(retention, "first"))
    corrected = ended(retention, "corrected", source=uploaded(retention, "corrected"))
    baseline, root = ended(retention, "baseline"), ended(retention, "root")
    chained = ended(retention, "chain", correction={"corrects": root.id})
    failed = queue.submit(Order("examine", "failed"))
    queue.fail(queue.claim("w", ("examine",), 60), "broken")
    queue.submit(Order("examine", "again", {"source": first.payload["source"]}))
    queue.submit(Order("deliver", "deliver", {"examined": chained.id}))
    clock.pass_days(2 * DAYS)
    queue.submit(Order("examine", "correction", {"correction": {"corrects": corrected.id}}))
    queue.submit(Order("compare", "compare", {"baseline": baseline.id, "followup": "other"}))
    assert retention.look() == [failed.id], "what failed ends too"
    kept = {first.id, corrected.id, baseline.id, root.id, chained.id}
    assert {job.id for job in queue.jobs()} >= kept
    assert {folder.name for folder in retention.store.results.iterdir()} == kept
    assert len(list(retention.store.uploads.iterdir())) == 2


def test_a_study_that_grew_since_is_kept(
    retention: Retention, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ended(retention, received(retention, "1.2", 1), source="studies/1.2")
    clock.pass_days(2 * DAYS)
    received(retention, "1.2", 2)
    assert retention.look() == []
    clock.pass_days(2 * DAYS)
    assert retention.look() == [], "its second instance was never queued"
    ended(retention, received(retention, "1.2"), source="studies/1.2")
    clock.pass_days(2 * DAYS)
    store, real = retention.store, Path.replace

    def just_now(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", real)
        store.put_instance("1.2", "1.2.3", b"late")
        return real(path, target)

    monkeypatch.setattr(Path, "replace", just_now)
    assert retention.look() == []
    study = store.study("1.2")
    assert study is not None
    assert [file.name for file in study.files] == ["1.2.1.dcm", "1.2.2.dcm", "1.2.3.dcm"]
    assert store.result_folder(job.id).is_dir()
    assert list(store.trash.iterdir()) == []


def test_what_was_deleted_can_be_sent_again(retention: Retention, clock: Clock) -> None:
    old = ended(retention, received(retention, "1.2", 1), source="studies/1.2")
    clock.pass_days(2 * DAYS)
    assert retention.look() == [old.id]
    key = received(retention, "1.2", 1)
    [job] = Arrivals(retention.settings, retention.store, retention.queue, clock=lambda: 1e12).look()
    assert job.id != old.id
    assert job.key.rpartition(":")[0] == key.rpartition(":")[0]


def test_the_service_looks_by_itself(retention: Retention, clock: Clock) -> None:
    ended(retention, "u", source=uploaded(retention, "u"))
    clock.pass_days(2 * DAYS)
    retention.start()
    retention.stop()
    assert retention.queue.jobs() == []


def test_a_corrected_mask_goes_with_the_scan(retention: Retention, clock: Clock) -> None:
    key, folder = received(retention, "1.2", 1), retention.store.uploads / "mask1"
    folder.mkdir()
    (folder / "mask.nii.gz").write_bytes(b"x")
    first = ended(retention, key, source="studies/1.2")
    second = ended(
        retention,
        "correction:mask1",
        source="studies/1.2",
        mask="uploads/mask1/mask.nii.gz",
        correction={"corrects": first.id},
    )
    clock.pass_days(DAYS + 1)
    assert set(retention.look()) == {first.id, second.id}
    assert not folder.exists()
