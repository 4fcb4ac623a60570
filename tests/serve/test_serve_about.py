"""Whose scan a job is about: told in lists, and a patient is compared with nobody else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.serve.about import About, about, subject_of, write_about
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.web.app import make_app
from lesionlab.serve.worker import deliveries

LOCAL = "http://127.0.0.1"


def case_of(patient: str, **header: str) -> Case:
    shape = (2, 3, 4)
    volume = Volume(np.zeros(shape), Geometry(shape, (1.0, 1.0, 1.0)), SUVBW)
    facts = AcquisitionFacts({"suv": ChannelFacts("PT", header=header)})
    return Case("c", patient, {"suv": volume}, "suv", facts=facts)


def done(settings: ServeSettings, queue: Queue, key: str, case: Case | None = None) -> Job:
    """A finished examination, of a patient where a case is given."""
    queue.submit(Order("examine", key, {"title": key}))
    job = queue.claim("w", ("examine",), 60)
    assert job is not None
    folder = Store(settings.data).result_folder(job.id)
    folder.mkdir()
    if case is not None:
        write_about(case, folder)
    queue.finish(job)
    return job


@pytest.mark.parametrize(
    ("header", "day"),
    [
        ({"StudyDate": "20260301", "SeriesDate": "20260302"}, "2026-03-01"),
        ({"SeriesDate": "20260302"}, "2026-03-02"),
        ({"StudyDate": "2026"}, ""),
        ({}, ""),
    ],
)
def test_the_day_of_the_scan_is_the_headers(
    settings: ServeSettings, queue: Queue, header: dict[str, str], day: str
) -> None:
    job = done(settings, queue, "a", case_of("P1", **header))
    assert about(Store(settings.data), job) == About("P1", day)


def test_of_an_unfinished_or_broken_one_nothing_is_known(settings: ServeSettings, queue: Queue) -> None:
    store, bare = Store(settings.data), done(settings, queue, "bare")
    assert about(store, bare) == About()
    (store.result_folder(bare.id) / "about.json").write_text('{"patient": "P1", "more": 1}')
    assert about(store, bare) == About()
    outside = queue.submit(Order("deliver", "d", {"examined": "../../etc"}))
    assert about(store, outside) == About()


def test_what_is_sent_or_accepted_is_about_its_examination(settings: ServeSettings, queue: Queue) -> None:
    job = done(settings, queue, "a", case_of("P1"))
    for kind, key in (("deliver", "examined"), ("accept", "accepted")):
        made = queue.submit(Order(kind, kind, {key: job.id}))  # type: ignore[arg-type]
        assert subject_of(made) == job.id
        assert about(Store(settings.data), made).patient == "P1"
        with TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL) as client:
            assert f'href="/jobs/{job.id}"' in client.get(f"/jobs/{made.id}").text


def test_a_delivery_of_what_was_accepted_is_about_the_examination(
    settings: ServeSettings, queue: Queue
) -> None:
    job = done(settings, queue, "a", case_of("P1"))
    acceptance = queue.submit(Order("accept", "b", {"accepted": job.id, "send_to": ["pacs"]}))
    [order] = deliveries(acceptance)
    delivery = queue.submit(order)
    assert delivery.payload["examined"] == acceptance.id, "whose objects are sent"
    assert subject_of(delivery) == job.id
    assert about(Store(settings.data), delivery).patient == "P1"


def test_lists_tell_whose_scan_and_offer_the_same_patient_alone(
    settings: ServeSettings, queue: Queue, tmp_path: Path
) -> None:
    first = done(settings, queue, "first", case_of("P1", StudyDate="20260301"))
    second = done(settings, queue, "second", case_of("P1", StudyDate="20260401"))
    other = done(settings, queue, "other", case_of("P2"))
    with TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL) as client:
        told = {item["id"]: (item["patient"], item["scanned"]) for item in client.get("/api/jobs").json()}
        assert told == {
            first.id: ("P1", "2026-03-01"),
            second.id: ("P1", "2026-04-01"),
            other.id: ("P2", ""),
        }
        page = client.get(f"/jobs/{second.id}").text
        assert f'<option value="{first.id}">first, 2026-03-01' in page
        assert other.id not in page
        assert "Patient P1" in page


def test_scans_that_name_nobody_are_not_those_of_one_patient(settings: ServeSettings, queue: Queue) -> None:
    unnamed = [done(settings, queue, key, case_of("c", SeriesInstanceUID="1.2")) for key in ("a", "b")]
    older = [done(settings, queue, key) for key in ("c", "d")]
    with TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL) as client:
        assert {item["patient"] for item in client.get("/api/jobs").json()} == {""}
        for job in (*unnamed, *older):
            assert 'id="compare"' not in client.get(f"/jobs/{job.id}").text


def test_a_comparison_is_headed_by_whom_it_compares(settings: ServeSettings, queue: Queue) -> None:
    first = done(settings, queue, "first", case_of("P1", StudyDate="20260301"))
    second = done(settings, queue, "second", case_of("P1", StudyDate="20260401"))
    other = done(settings, queue, "other", case_of("P2"))
    with TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL) as client:
        pages = []
        for later in (second.id, other.id, "0" * 32):
            key = f"compare:{later}"
            queue.submit(Order("compare", key, {"baseline": first.id, "followup": later, "title": "two"}))
            job = queue.claim("w", ("compare",), 60)
            assert job is not None
            queue.finish(job)
            pages.append(client.get(f"/jobs/{job.id}").text)
    assert "<h1>Patient P1</h1>" in pages[0]
    assert "Baseline, 2026-03-01" in pages[0] and "Follow-up, 2026-04-01" in pages[0]
    assert "<h1>Patient P1 → patient P2</h1>" in pages[1]
    assert "<h1>Patient P1</h1>" in pages[2] and "Baseline, 2026-03-01" in pages[2]
