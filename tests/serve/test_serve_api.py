"""The REST interface: submit, ask, fetch, cancel; bounded, guarded, and as its OpenAPI document says."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import socket
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

import phantoms
from lesionlab.core.errors import ServeError
from lesionlab.serve.jobs import Order, Queue
from lesionlab.serve.settings import LimitSettings, ServeSettings, WebSettings
from lesionlab.serve.store import Store
from lesionlab.serve.web import app as app_module
from lesionlab.serve.web.app import WebServer, make_app
from lesionlab.serve.worker import Worker

LOCAL = "http://127.0.0.1"


def client_of(settings: ServeSettings, queue: Queue) -> TestClient:
    return TestClient(make_app(settings, Store(settings.data), queue), base_url=LOCAL)


@pytest.fixture
def client(settings: ServeSettings, queue: Queue) -> Iterator[TestClient]:
    with client_of(settings, queue) as client:
        yield client


def zipped(study: Path, prefix: str = "study/") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as out:
        for file in study.iterdir():
            out.write(file, prefix + file.name)
    return content.getvalue()


def submitted(client: TestClient, name: str, content: bytes, route: str = "") -> dict[str, object]:
    answer = client.post("/api/jobs", files={"file": (name, content)}, data={"route": route})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def test_a_zip_of_dicom_goes_all_the_way(
    client: TestClient, settings: ServeSettings, pet_study: Path
) -> None:
    job = submitted(client, "study.zip", zipped(pet_study))
    assert (job["state"], job["route"]) == ("waiting", "pet")
    place = f"/api/jobs/{job['id']}"
    assert client.get(f"{place}/results").status_code == 409
    assert Worker(settings, "w").run_one()
    assert client.get(place).json()["state"] == "done", client.get(place).json()
    names = {item["name"] for item in client.get(f"{place}/results").json()}
    assert {"report.html", "run.json", "dicom/sr.dcm", "dicom/seg.dcm", "lesions.seg.nrrd"} <= names
    assert client.get(f"{place}/results/run.json").json()["bundle"] == "pet-threshold"
    with zipfile.ZipFile(io.BytesIO(client.get(f"{place}/archive").content)) as archive:
        assert set(archive.namelist()) == names
    for outside in ("%2e%2e/%2e%2e/service.sqlite", "..%2f..%2fservice.sqlite", "/etc/passwd", "missing"):
        assert client.get(f"{place}/results/{outside}").status_code == 404


def test_a_nifti_is_examined_without_dicom_results(
    client: TestClient, settings: ServeSettings, tmp_path: Path
) -> None:
    phantoms.write_pet_patient(tmp_path, [((40.0, 60.0, 60.0), 12.0, 8.0)], truth=False)
    job = submitted(client, "suv.nii.gz", (tmp_path / "suv.nii.gz").read_bytes())
    assert Worker(settings, "w").run_one()
    place = f"/api/jobs/{job['id']}"
    state = client.get(place).json()
    assert state["state"] == "done", state
    names = {item["name"] for item in client.get(f"{place}/results").json()}
    assert "report.html" in names
    assert not [name for name in names if name.startswith("dicom/")]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"hello", "neither an image nor a ZIP"),
        ("a.zip", b"PK\x03\x04 broken", "a ZIP that cannot be read"),
        ("a.zip", b"PK\x05\x06" + bytes(18), "neither an image nor a ZIP"),
        ("a.nii.gz", b"", "an empty file"),
        ("a.png", b"\xff\xd8\xff and so on", "another content than its name says"),
    ],
)
def test_what_is_no_scan_is_refused_and_leaves_nothing(
    client: TestClient, settings: ServeSettings, name: str, content: bytes, words: str
) -> None:
    answer = client.post("/api/jobs", files={"file": (name, content)})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert list((settings.data / "uploads").iterdir()) == []
    assert client.get("/api/jobs").json() == []


def test_bounds_of_size_number_and_unpacked_size(
    settings: ServeSettings, queue: Queue, tmp_path: Path
) -> None:
    limits = LimitSettings(free_disk_gb=0.0, upload_mb=0.2, unpacked_mb=0.3, unpacked_files=3)
    with client_of(settings.model_copy(update={"limits": limits}), queue) as client:
        large = client.post("/api/jobs", files={"file": ("a.nii", b"x" * 300_000)})
        assert (large.status_code, "at most 0.2 MB" in large.text) == (422, True)
        assert client.post("/api/jobs", files={"file": ("a.nii", b"x" * 1_500_000)}).status_code == 413
        bomb, many = io.BytesIO(), io.BytesIO()
        with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("zeros.dcm", bytes(10_000_000))
        with zipfile.ZipFile(many, "w") as out:
            for number in range(4):
                out.writestr(f"../../{number}.dcm", b"x")
        for content, words in ((bomb, "unpacked_mb"), (many, "found 4 files; needed at most 3")):
            answer = client.post("/api/jobs", files={"file": ("a.zip", content.getvalue())})
            assert (answer.status_code, words in answer.text) == (422, True), answer.text
    assert list((settings.data / "uploads").iterdir()) == []


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_the_senders_fault_however_it_is_packed(client: TestClient, method: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as out:
        out.writestr("\u00e9.dcm", bytes(128) + b"DICM" + b"hello" * 100)
    whole = content.getvalue()
    name = whole.index("\u00e9".encode())
    data = name + len("\u00e9.dcm".encode())
    damages = [whole[:name] + b"\xff" + whole[name + 1 :], whole[:data] + b"\xaa" * 40 + whole[data + 40 :]]
    for damaged in damages:
        answer = client.post("/api/jobs", files={"file": ("a.zip", damaged)})
        assert answer.status_code == 422, answer.text
        assert "a ZIP that cannot be read" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b'{"verdict": "\\ud800"}', b'{"verdict": NaN}', b'{"\\ud800": 1}'])
def test_what_no_answer_could_repeat_is_refused_like_anything_else(client: TestClient, body: bytes) -> None:
    head = {"Content-Type": "application/json"}
    answer = client.post(f"/api/jobs/{'0' * 32}/reviews", content=body, headers=head)
    assert answer.status_code == 422
    assert all({"type", "loc", "msg"} == set(item) for item in answer.json()["detail"])


def test_a_fetch_has_no_results_of_its_own(client: TestClient, queue: Queue) -> None:
    job = queue.submit(Order("fetch", "f"))
    claimed = queue.claim("fetcher", ("fetch",), 60)
    assert claimed is not None and queue.finish(claimed)
    for what in ("results", "archive"):
        assert client.get(f"/api/jobs/{job.id}/{what}").status_code == 409


def test_names_within_a_zip_lead_nowhere_else(client: TestClient, settings: ServeSettings) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as out:
        out.writestr("../../../escaped.dcm", bytes(128) + b"DICM")
        out.writestr("/absolute.dcm", b"x")
    submitted(client, "../../name.zip", content.getvalue())
    assert not list(settings.data.parent.rglob("*escaped*"))
    assert sorted(f.name for f in (settings.data / "uploads").rglob("*.dcm")) == ["000000.dcm", "000001.dcm"]


def test_a_full_service_says_so(settings: ServeSettings, queue: Queue) -> None:
    limits = LimitSettings(free_disk_gb=0.0, waiting_jobs=1)
    queue.submit(Order("examine", "other"))
    with client_of(settings.model_copy(update={"limits": limits}), queue) as client:
        answer = client.post("/api/jobs", files={"file": ("a.nii", b"x")})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "60"
        assert "needed fewer than 1" in answer.json()["detail"]
        assert not client.get("/api/health").json()["ready"]


def test_an_unknown_route_is_refused_with_the_known_ones(client: TestClient) -> None:
    answer = client.post("/api/jobs", files={"file": ("a.nii", b"x")}, data={"route": "mri"})
    assert (answer.status_code, answer.json()["detail"]) == (422, "found route 'mri'; needed one of pet")


def test_jobs_are_cancelled_and_retried(client: TestClient, queue: Queue) -> None:
    job = queue.submit(Order("examine", "a"))
    place = f"/api/jobs/{job.id}"
    assert client.post(f"{place}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{place}/cancel").status_code == 409
    assert client.post(f"{place}/retry").json()["state"] == "waiting"
    assert [item["id"] for item in client.get("/api/jobs?state=waiting").json()] == [job.id]
    assert client.get(f"/api/jobs/{'0' * 32}").status_code == 404
    assert [entry.what for entry in queue.audit(2)] == ["retried", "cancelled"]


def test_tokens_are_asked_for_and_users_are_noted(settings: ServeSettings, queue: Queue) -> None:
    tokens = {"anna": hashlib.sha256(b"secret").hexdigest()}
    guarded = settings.model_copy(update={"web": WebSettings(tokens=tokens)})
    job = queue.submit(Order("examine", "a"))
    with client_of(guarded, queue) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic secret"}):
            answer = client.get("/api/jobs", headers=headers)
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        own = {"Authorization": "Bearer secret"}
        assert client.get("/api/jobs", headers=own).status_code == 200
        assert client.post(f"/api/jobs/{job.id}/cancel", headers=own).status_code == 200
    assert queue.audit(1)[0].who == "anna"


def test_other_sites_cannot_act_for_a_user(client: TestClient, queue: Queue) -> None:
    job = queue.submit(Order("examine", "a"))
    foreign = {"Origin": "http://evil.example"}
    assert client.post(f"/api/jobs/{job.id}/cancel", headers=foreign).status_code == 403
    own = {"Origin": LOCAL}
    assert client.post(f"/api/jobs/{job.id}/cancel", headers=own).status_code == 200


def test_browsers_are_told_to_be_careful(client: TestClient) -> None:
    headers = client.get("/api/health").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'self'" in headers["content-security-policy"]


def test_the_server_starts_and_stops(settings: ServeSettings, queue: Queue) -> None:
    import httpx

    web = settings.model_copy(update={"web": WebSettings(port=0)})
    with WebServer(web, Store(settings.data), queue) as server:
        answer = httpx.get(f"http://127.0.0.1:{server.port}/api/health")
        assert answer.json()["ready"]


def test_whatever_comes_the_answer_is_as_documented(client: TestClient) -> None:
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", client.app)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == 14
    for operation in operations:

        @hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def holds(case: schemathesis.Case) -> None:
            # no schema can say which bytes are a scan, or which random ids exist
            case.call_and_validate(excluded_checks=[positive_data_acceptance])

        holds()


def test_a_name_from_elsewhere_that_means_this_machine_is_refused(client: TestClient, queue: Queue) -> None:
    job = queue.submit(Order("examine", "a"))
    rebound = {"Host": "evil.example:8042", "Origin": "http://evil.example:8042"}
    assert client.get("/api/jobs", headers=rebound).status_code == 403
    assert client.get(f"/jobs/{job.id}", headers=rebound).status_code == 403
    assert client.post(f"/api/jobs/{job.id}/cancel", headers=rebound).status_code == 403
    for host in ("localhost:8042", "[::1]:8042", "127.0.0.1"):
        assert client.get("/api/jobs", headers={"Host": host}).status_code == 200
    assert client.get("/api/jobs", headers={"Host": "[evil"}).status_code == 403


async def _answer_of(app: Any, path: str, kind: str) -> tuple[int, int]:
    """Status of the answer to a POST of 5 MB without a token, and how many pieces of it were read."""
    came: list[dict[str, Any]] = []
    read = 0

    async def receive() -> dict[str, Any]:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": b"x" * 50_000, "more_body": read < 100}

    async def send(message: dict[str, Any]) -> None:
        came.append(message)

    headers = [(b"host", b"pacs.example"), (b"content-type", kind.encode()), (b"content-length", b"5000000")]
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": path, "query_string": b""}
    await app({**scope, "headers": headers, "scheme": "http", "root_path": ""}, receive, send)
    return int(came[0]["status"]), read


@pytest.mark.parametrize("path", ["/api/jobs", "/login"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"])
def test_nothing_long_is_read_of_a_caller_without_a_token(
    settings: ServeSettings, queue: Queue, path: str, kind: str
) -> None:
    guarded = settings.model_copy(update={"web": WebSettings(tokens={"anna": "0" * 64})})
    app = make_app(guarded, Store(settings.data), queue)
    assert asyncio.run(_answer_of(app, path, kind)) == (401, 0)


def test_an_archive_comes_in_one_piece(client: TestClient, settings: ServeSettings, queue: Queue) -> None:
    job = queue.submit(Order("examine", "a"))
    claimed = queue.claim("w", ("examine",), 60)
    assert claimed is not None
    queue.finish(claimed)
    folder = Store(settings.data).result_folder(job.id)
    folder.mkdir()
    (folder / "lines.bin").write_bytes(os.urandom(200_000))
    answer = client.get(f"/api/jobs/{job.id}/archive")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as content:
        assert content.namelist() == ["lines.bin"]


def test_a_caller_that_never_ends_does_not_keep_the_server_from_stopping(
    settings: ServeSettings, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "ENDING_S", 1)
    web = settings.model_copy(update={"web": WebSettings(port=0)})
    with socket.socket() as caller:
        with WebServer(web, Store(settings.data), queue) as server:
            caller.connect(("127.0.0.1", server.port))
            head = "POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n"
            caller.sendall(f"{head}Content-Type: multipart/form-data; boundary=b\r\n\r\n--b".encode())
            time.sleep(0.3)
            began = time.monotonic()
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("name", ["files", "s" * 300 + ".zip", "..", ".files"])
def test_an_upload_may_have_any_name(client: TestClient, pet_study: Path, name: str) -> None:
    answer = client.post("/api/jobs", files={"file": (name, zipped(pet_study))})
    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_certificate_that_cannot_be_read_is_named(
    settings: ServeSettings, queue: Queue, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "web.pem"
    if content is not None:
        file.write_text(content)
    web = WebSettings(port=0, tls_certificate=file)
    secure = settings.model_copy(update={"web": web})
    with (
        pytest.raises(ServeError, match="needed PEM files of a certificate and its key"),
        WebServer(secure, Store(settings.data), queue),
    ):
        pass
