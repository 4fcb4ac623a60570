"""Reviews, corrections and comparisons through the REST interface; pages without a browser."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lesionlab.core.errors import WriteError
from lesionlab.read import load_mask
from lesionlab.report import save_volume
from lesionlab.serve import accepting
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import LimitSettings, ServeSettings, WebSettings
from lesionlab.serve.store import Store, sync
from lesionlab.serve.web import pages
from lesionlab.serve.web.access import COOKIE
from lesionlab.serve.web.app import make_app
from lesionlab.serve.worker import Worker
from page_phantoms import write_petct
from serve_phantoms import submit_study

LOCAL = "http://127.0.0.1"


@pytest.fixture
def client(settings: ServeSettings, queue: Queue) -> Iterator[TestClient]:
    with TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL) as client:
        yield client


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_petct(tmp_path_factory.mktemp("petct") / "study")


@pytest.fixture
def job(settings: ServeSettings, queue: Queue, study: Path) -> Job:
    """A finished examination with two lesions."""
    made = submit_study(settings, queue, study)
    assert Worker(settings, "w").run_one()
    return made


def mask_file(settings: ServeSettings, job: Job) -> Path:
    return Store(settings.data).result_file(job.id, "mask.nii.gz")


def test_reviews_stay_beside_the_result_and_in_the_audit_log(
    client: TestClient, settings: ServeSettings, queue: Queue
) -> None:
    done = queue.submit(Order("examine", "a"))
    place = f"/api/jobs/{done.id}/reviews"
    assert client.get(place).status_code == 409
    claimed = queue.claim("w", ("examine",), 60)
    assert claimed is not None
    folder = Store(settings.data).result_folder(done.id)
    folder.mkdir()
    queue.finish(claimed)
    assert client.get(place).json() == []
    assert client.post(place, json={"verdict": "rejected", "note": " a bladder "}).status_code == 201
    known = client.post(place, json={"verdict": "accepted"}).json()
    assert [(r["verdict"], r["note"], r["who"]) for r in known] == [
        ("rejected", "a bladder", "local"),
        ("accepted", "", "local"),
    ]
    assert client.get(place).json() == known == json.loads((folder / "reviews.json").read_text())
    assert [entry.what for entry in queue.audit(2)] == ["accepted", "rejected"]
    assert all(entry.subject == done.id for entry in queue.audit(2))
    for wrong in ({"verdict": "perhaps"}, {"verdict": "accepted", "by": "me"}, {"note": "x" * 2001}):
        assert client.post(place, json=wrong).status_code == 422


def test_a_correction_becomes_a_job_of_its_own(
    client: TestClient, settings: ServeSettings, queue: Queue, job: Job
) -> None:
    store, place = Store(settings.data), f"/api/jobs/{job.id}/corrections"
    before = load_mask(mask_file(settings, job))
    numbers = load_mask(store.result_file(job.id, "lesions.nii.gz"))
    wanted = before.with_array(np.where(numbers.array == 1, 0, before.array))
    file = save_volume(wanted, settings.data / "corrected.nii.gz")
    answer = client.post(place, files={"file": ("m.nii.gz", file.read_bytes())}, data={"note": "bladder"})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["title"], made["state"]) == ("received study, corrected", "waiting")
    assert Worker(settings, "w").run_one()
    assert client.get(f"/api/jobs/{made['id']}").json()["state"] == "done"
    assert np.array_equal(load_mask(store.result_file(made["id"], "mask.nii.gz")).array, wanted.array)
    said = json.loads(store.result_file(made["id"], "correction.json").read_text())
    assert (said["corrects"], said["who"], said["note"]) == (job.id, "local", "bladder")
    assert len(json.loads(store.result_file(made["id"], "viewer/lesions.json").read_text())["lesions"]) == 1
    assert np.array_equal(load_mask(mask_file(settings, job)).array, before.array)
    assert "corrected" in [entry.what for entry in queue.audit(10)]


def test_a_mask_that_does_not_fit_is_refused_and_leaves_nothing(
    client: TestClient, settings: ServeSettings, queue: Queue, job: Job
) -> None:
    place, good = f"/api/jobs/{job.id}/corrections", load_mask(mask_file(settings, job))
    smaller = good.with_array(good.array)
    other = type(good)(
        good.array[1:], type(good.geometry)(good.array[1:].shape, good.geometry.spacing), good.unit
    )
    moved = type(good)(good.array, type(good.geometry)(good.array.shape, good.geometry.spacing), good.unit)
    fractions = smaller.with_array(good.array * 0.5)
    uploads = sorted((settings.data / "uploads").iterdir())
    files = {
        "another size": save_volume(other, settings.data / "other.nii.gz").read_bytes(),
        "grid ": save_volume(moved, settings.data / "moved.nii.gz").read_bytes(),
        "found label 0.5": save_volume(fractions, settings.data / "fractions.nii.gz").read_bytes(),
        "another": gzip.compress(b"\x5c\x01\0\0 no header"),
        "found": b"PK\x03\x04 no zip",
    }
    for words, content in files.items():
        answer = client.post(place, files={"file": ("m.nii.gz", content)})
        assert (answer.status_code, words in answer.json()["detail"]) == (422, True), answer.text
        assert str(settings.data) not in answer.text
    assert sorted((settings.data / "uploads").iterdir()) == uploads
    assert {item.id for item in queue.jobs() if item.kind == "examine"} == {job.id}


def test_two_timepoints_are_compared_once(
    client: TestClient, settings: ServeSettings, queue: Queue, study: Path, job: Job
) -> None:
    later = submit_study(settings, queue, study, "later")
    waiting = client.post("/api/comparisons", json={"baseline": job.id, "followup": later.id})
    assert waiting.status_code == 409
    assert Worker(settings, "w").run_one()
    two = {"baseline": job.id, "followup": later.id}
    made = client.post("/api/comparisons", json=two).json()
    assert client.post("/api/comparisons", json=two).json()["id"] == made["id"]
    assert client.post("/api/comparisons", json={**two, "followup": job.id}).status_code == 409
    assert client.post("/api/comparisons", json={**two, "followup": "0" * 32}).status_code == 404
    assert Worker(settings, "w").run_one()
    place = f"/api/jobs/{made['id']}"
    assert client.get(place).json()["state"] == "done", client.get(place).json()
    changes = client.get(f"{place}/results/response.json").json()["changes"]
    assert [(c["baseline_lesions"], c["followup_lesions"], c["kind"]) for c in changes] == [
        ("1", "1", "matched"),
        ("2", "2", "matched"),
    ]
    assert client.get(f"{place}/reviews").status_code == 409
    assert "What changed" in client.get(f"/jobs/{made['id']}").text


def test_a_comparison_whose_results_are_gone_fails_with_the_reason(
    settings: ServeSettings, queue: Queue
) -> None:
    payload = {"baseline": "0" * 32, "followup": "1" * 32, "bundle": "pet-threshold"}
    made = queue.submit(Order("compare", "a", payload))
    assert Worker(settings, "w").run_one()
    failed = queue.job(made.id)
    assert failed is not None
    assert (failed.state, "no results any more" in failed.error) == ("failed", True)


def test_a_full_service_takes_no_corrections(settings: ServeSettings, queue: Queue, job: Job) -> None:
    limits = LimitSettings(free_disk_gb=0.0, waiting_jobs=1)
    queue.submit(Order("examine", "other"))
    full = settings.model_copy(update={"limits": limits})
    with TestClient(make_app(full, Store(settings.data), queue), base_url=LOCAL) as client:
        content = mask_file(settings, job).read_bytes()
        answer = client.post(f"/api/jobs/{job.id}/corrections", files={"file": ("m.nii.gz", content)})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_without_the_viewer_the_page_says_how_to_get_it(
    client: TestClient, job: Job, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "NIIVUE", tmp_path / "missing.js")
    text = client.get(f"/jobs/{job.id}").text
    assert "make niivue" in text
    assert 'id="slices"' not in text
    assert f"/api/jobs/{job.id}/results/lesions.csv" in text


def test_pages_need_a_token_and_titles_are_text(settings: ServeSettings, queue: Queue) -> None:
    tokens = {"anna": hashlib.sha256(b"secret").hexdigest()}
    guarded = settings.model_copy(update={"web": WebSettings(tokens=tokens)})
    made = queue.submit(Order("examine", "a", {"title": "<b>bold</b>"}))
    with TestClient(
        make_app(guarded, Store(settings.data), queue), base_url=LOCAL, follow_redirects=False
    ) as client:
        for path in ("/", f"/jobs/{made.id}"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"].startswith("/login")) == (303, True)
        assert client.post("/login", data={"token": "wrong"}).headers["location"] == "/login?wrong=1"
        foreign = {"Origin": "http://evil.example"}
        assert client.post("/login", data={"token": "secret"}, headers=foreign).status_code == 403
        answer = client.post("/login", data={"token": "secret"})
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"{COOKIE}=secret;")
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        text = client.get(f"/jobs/{made.id}").text
        assert "&lt;b&gt;bold&lt;/b&gt;" in text and "<b>bold" not in text
        assert client.get("/login").headers["location"] == "/"
        assert client.get("/jobs/nothing").status_code == 404


def test_code_is_kept_by_browsers_and_patients_are_not(client: TestClient) -> None:
    assert client.get("/static/page.css").headers["cache-control"] == "no-cache"
    answer = client.get("/")
    assert answer.headers["cache-control"] == "no-store"
    assert "unsafe-inline" not in answer.headers["content-security-policy"].split("style-src")[0]
    for path in ("/static/../pages.py", "/static/%2e%2e/pages.py"):
        assert client.get(path).status_code == 404


def test_what_somebody_decided_is_on_disk_before_it_counts(
    client: TestClient, settings: ServeSettings, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    settle = Store.settle

    def seen(path: Path) -> None:
        synced.append(path.name.rpartition(".part")[2] or path.name)
        sync(path)

    def settled(store: Store, folder: Path) -> None:
        synced.extend(path.name for path in folder.iterdir())
        settle(store, folder)

    monkeypatch.setattr(accepting, "sync", seen)
    monkeypatch.setattr(Store, "settle", settled)
    client.post(f"/api/jobs/{job.id}/reviews", json={"verdict": "accepted"})
    assert synced == [".json", job.id]
    content = mask_file(settings, job).read_bytes()
    client.post(f"/api/jobs/{job.id}/corrections", files={"file": ("m.nii.gz", content)})
    assert synced[2:] == ["mask.nii.gz"]


def test_a_full_disk_is_not_the_masks_fault(
    client: TestClient, settings: ServeSettings, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise WriteError("disk", "No space left on device", "a disk with enough space")

    content = mask_file(settings, job).read_bytes()
    monkeypatch.setattr(Store, "settle", full)
    answer = client.post(f"/api/jobs/{job.id}/corrections", files={"file": ("m.nii.gz", content)})
    assert (answer.status_code, "No space left" in answer.text) == (503, True)
