"""Deliveries: tried until taken, given up with a reason, never lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pydicom
import pytest

from lesionlab.core.errors import ServeError
from lesionlab.serve.deliver import DICOM_FOLDER, Deliverer
from lesionlab.serve.dicomweb import fetch_dicomweb, stow
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.settings import Destination, ServeSettings, Source
from lesionlab.serve.store import Store
from lesionlab.serve.worker import deliveries


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pacs:
    """A destination that takes files, or does not."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.away: Exception | None = None

    def __call__(self, files: Sequence[Path], destination: Destination, settings: ServeSettings) -> None:
        if self.away is not None:
            raise self.away
        self.taken += [file.name for file in files]


@pytest.fixture
def clock(queue: Queue) -> Clock:
    queue.clock = Clock()
    return queue.clock


@pytest.fixture
def setting(settings: ServeSettings) -> ServeSettings:
    pacs = Destination(kind="dicom", retry_minutes=10)
    return settings.model_copy(update={"destinations": {"pacs": pacs}})


def ordered(setting: ServeSettings, queue: Queue, destination: str = "pacs") -> Job:
    folder = Store(setting.data).result_folder("job1") / DICOM_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("seg.dcm", "sr.dcm"):
        (folder / name).write_bytes(b"x")
    return queue.submit(Order("deliver", "d", {"examined": "job1", "destination": destination}))


def now(queue: Queue, job: Job) -> Job:
    found = queue.job(job.id)
    assert found is not None
    return found


def test_all_objects_are_sent_once(setting: ServeSettings, queue: Queue) -> None:
    pacs = Pacs()
    deliverer = Deliverer(setting, Store(setting.data), queue, way=pacs)
    job = ordered(setting, queue)
    assert deliverer.deliver_one()
    assert not deliverer.deliver_one()
    assert pacs.taken == ["seg.dcm", "sr.dcm"]
    assert (now(queue, job).state, now(queue, job).message) == ("done", "2 objects sent to pacs")


@pytest.mark.parametrize("patient", ["P1", "P2"])
def test_a_scan_that_came_again_as_another_patients_sends_nothing_of_before(
    setting: ServeSettings, queue: Queue, pet_study: Path, patient: str
) -> None:
    pacs, store = Pacs(), Store(setting.data)

    def file_of(whose: str) -> bytes:
        dataset, out = pydicom.dcmread(min(pet_study.iterdir())), BytesIO()
        dataset.PatientID = whose
        dataset.save_as(out)
        return out.getvalue()

    store.put_instance("1.2", "1.2.1", file_of("P1"))
    queue.submit(Order("examine", "1.2:digest:pet", {"source": "studies/1.2", "send_to": ["pacs"]}))
    job = queue.claim("w", ("examine",), 60)
    assert job is not None
    folder = store.result_folder(job.id) / DICOM_FOLDER
    folder.mkdir(parents=True)
    (folder / "seg.dcm").write_bytes(file_of("P1"))
    assert queue.finish(job, deliveries(job))
    store.put_instance("1.2", "1.2.1", file_of(patient))
    assert Deliverer(setting, store, queue, way=pacs).deliver_one()
    delivery = queue.by_key(f"{job.key}>pacs")
    assert delivery is not None
    if patient == "P1":
        assert (delivery.state, pacs.taken) == ("done", ["seg.dcm"])
    else:
        assert (delivery.state, pacs.taken) == ("failed", [])
        assert "come again as another patient's" in delivery.error


def test_a_destination_that_is_away_is_tried_again_ever_more_rarely(
    setting: ServeSettings, queue: Queue, clock: Clock
) -> None:
    pacs = Pacs()
    deliverer = Deliverer(setting, Store(setting.data), queue, way=pacs)
    job = ordered(setting, queue)
    pacs.away = ServeError("pacs", "no answer", "an answer")
    assert deliverer.deliver_one()
    waits = []
    for _ in range(4):
        began = clock.now
        while not deliverer.deliver_one():
            clock.now += 1
        waits.append(clock.now - began)
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]
    pacs.away = None
    clock.now += 300
    assert deliverer.deliver_one()
    assert now(queue, job).state == "done"


def put_off(setting: ServeSettings, queue: Queue) -> tuple[Pacs, Deliverer, Job]:
    """A delivery that was tried once, to a destination that is away."""
    pacs = Pacs()
    pacs.away = OSError("cable cut")
    deliverer = Deliverer(setting, Store(setting.data), queue, way=pacs)
    job = ordered(setting, queue)
    assert deliverer.deliver_one()
    return pacs, deliverer, job


def test_after_its_time_a_delivery_is_kept_as_failed_and_can_be_retried(
    setting: ServeSettings, queue: Queue, clock: Clock
) -> None:
    pacs, deliverer, job = put_off(setting, queue)
    clock.now += 601
    assert deliverer.deliver_one()
    failed = now(queue, job)
    assert failed.state == "failed"
    assert "cable cut (tried for 10 minutes)" in failed.error
    pacs.away = None
    queue.retry(job.id)
    assert deliverer.deliver_one()
    assert now(queue, job).state == "done"


def test_a_destination_that_is_no_longer_set_fails(setting: ServeSettings, queue: Queue) -> None:
    job = ordered(setting, queue, "gone")
    assert Deliverer(setting, Store(setting.data), queue, way=Pacs()).deliver_one()
    assert now(queue, job).error.startswith("gone: found no such destination")


def test_results_that_are_gone_are_named(setting: ServeSettings, queue: Queue, clock: Clock) -> None:
    job = queue.submit(Order("deliver", "d", {"examined": "other", "destination": "pacs"}))
    clock.now += 601
    assert Deliverer(setting, Store(setting.data), queue, way=Pacs()).deliver_one()
    assert "no results any more" in now(queue, job).error


@pytest.fixture
def web() -> Iterator[tuple[str, list[tuple[str, bytes]], dict[str, object]]]:
    """A DICOMweb server of one answer: its address, what came, and what it answers."""
    came: list[tuple[str, bytes]] = []
    answer: dict[str, object] = {"status": 200, "body": {}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            came.append((f"{self.path} {self.headers['Content-Type']}", content))
            body = json.dumps(answer["body"]).encode()
            self.send_response(int(str(answer["status"])))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/dicom-web", came, answer
    server.shutdown()
    server.server_close()
    thread.join()


def test_stow_sends_all_files_in_one_message(
    web: tuple[str, list[tuple[str, bytes]], dict[str, object]], tmp_path: Path
) -> None:
    url, came, _ = web
    (tmp_path / "a.dcm").write_bytes(b"first")
    (tmp_path / "b.dcm").write_bytes(b"second")
    stow(sorted(tmp_path.iterdir()), Destination(kind="dicomweb", url=url))
    [(head, content)] = came
    assert head.startswith('/dicom-web/studies multipart/related; type="application/dicom"; boundary=')
    boundary = head.rpartition("=")[2].encode()
    parts = content.split(b"--" + boundary)
    assert [part.rpartition(b"\r\n\r\n")[2].strip() for part in parts[1:3]] == [b"first", b"second"]
    assert parts[3] == b"--\r\n"


def test_stow_refuses_to_be_content_with_half(
    web: tuple[str, list[tuple[str, bytes]], dict[str, object]], tmp_path: Path
) -> None:
    url, _, answer = web
    (tmp_path / "a.dcm").write_bytes(b"first")
    files, there = [tmp_path / "a.dcm"], Destination(kind="dicomweb", url=url)
    answer.update(status=202, body={"00081198": {"vr": "SQ", "Value": [{}]}})
    with pytest.raises(ServeError, match="HTTP status 202, 1 instances refused; needed all instances"):
        stow(files, there)
    answer.update(status=409, body=[])
    with pytest.raises(ServeError, match="HTTP status 409"):
        stow(files, there)
    with pytest.raises(ServeError, match="needed an answer"):
        stow(files, Destination(kind="dicomweb", url="http://127.0.0.1:9/dicom-web"))


def test_a_service_that_was_off_has_not_tried(setting: ServeSettings, queue: Queue, clock: Clock) -> None:
    pacs = Pacs()
    pacs.away = OSError("still booting")
    deliverer = Deliverer(setting, Store(setting.data), queue, way=pacs)
    job = ordered(setting, queue)
    clock.now += 100_000
    assert deliverer.deliver_one()
    assert now(queue, job).state == "waiting"
    pacs.away = None
    clock.now += 10
    assert deliverer.deliver_one()
    assert now(queue, job).state == "done"


def test_passwords_within_an_address_are_not_told(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x")
    nobody = "http://anna:secret@127.0.0.1:9/dicom-web"
    with pytest.raises(ServeError, match=r"^http://127\.0\.0\.1:9/dicom-web: ") as stored:
        stow([tmp_path / "a.dcm"], Destination(kind="dicomweb", url=nobody))
    with pytest.raises(ServeError, match=r"^http://127\.0\.0\.1:9/dicom-web: ") as fetched:
        fetch_dicomweb("1", Source(kind="dicomweb", url=nobody), Store(tmp_path / "data"), 100)
    assert "secret" not in f"{stored.value}{fetched.value}"


def test_a_delivery_that_is_tried_again_on_request_has_its_whole_time(
    setting: ServeSettings, queue: Queue, clock: Clock
) -> None:
    _, deliverer, job = put_off(setting, queue)
    queue.cancel(job.id)
    clock.now += 100_000
    queue.retry(job.id)
    assert deliverer.deliver_one()
    assert now(queue, job).state == "waiting"
