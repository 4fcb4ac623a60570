"""Faults to survive: nothing acknowledged is lost, every study ends as done or as failed with a reason."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pydicom
import pytest
from pynetdicom import AE
from pynetdicom.presentation import build_context
from sqlalchemy.exc import OperationalError

import dicom_phantoms
from lesionlab import pipeline
from lesionlab.serve.arrivals import Arrivals
from lesionlab.serve.deliver import DICOM_FOLDER
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.node import listener
from lesionlab.serve.node.listener import MOST_ASSOCIATIONS
from lesionlab.serve.node.receiver import OUT_OF_RESOURCES, Instance, Receiver
from lesionlab.serve.service import Service
from lesionlab.serve.settings import Destination, NodeSettings, Route, ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.supervisor import RECEIVER
from lesionlab.serve.web.app import WebServer
from lesionlab.serve.worker import Worker
from serve_phantoms import free_port, listening, started, store_files, submit_study, until


@pytest.fixture
def receiver(settings: ServeSettings) -> Iterator[Receiver]:
    receiver = Receiver(settings)
    yield receiver
    receiver.stop()


class Pacs(Receiver):
    """Our own node in the role of a PACS; counts what comes and calls `trouble` with every instance."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.came: list[str] = []
        self.trouble = lambda: None
        super().__init__(ServeSettings(data=folder, node=NodeSettings(ae_title="PACS", port=port)))

    def take(self, instance: Instance) -> int:
        self.trouble()
        status = super().take(instance)
        self.came.append(instance.sop_uid)
        return status

    def held(self) -> list[str]:
        """SOP instance UIDs of all that is kept."""
        return sorted(file.stem for study in self.store.all_studies() for file in study.files)


def sop_uids(files: list[Path]) -> list[str]:
    return sorted(str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID) for file in files)


def only(queue: Queue, **chosen: str) -> Job:
    [job] = queue.jobs(**chosen)  # type: ignore[arg-type]
    return job


# the library that calls a PACS leaves a socket to the collector where nobody answers
@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_receiver_killed_while_it_receives_and_a_pacs_that_is_away(
    settings: ServeSettings, pet_study: Path, tmp_path: Path
) -> None:
    """Both in one run: receivers die under the sender's hands, and the answer finds nobody at home."""
    files, port, away = sorted(pet_study.iterdir()), free_port(), free_port()
    route = Route(name="pet", bundle="pet-threshold", send_to=("pacs",))
    chosen = settings.model_copy(
        update={
            "node": NodeSettings(port=port, quiet_s=600.0, instances=len(files)),
            "destinations": {"pacs": Destination(kind="dicom", port=away, ae_title="PACS")},
            "routes": (route,),
        }
    )
    with Service(chosen) as service:
        [seat] = [seat for seat in service.supervisor.seats if seat.module == RECEIVER]
        acknowledged: list[str] = []
        for part in (files[:3], files):
            acknowledged += cut_off(port, part, seat.process.pid if part != files else None)
            assert set(acknowledged) <= {file.stem for s in service.store.all_studies() for file in s.files}
            until(lambda: listening(port))
        until(lambda: any(job.error for job in service.queue.jobs(kind="deliver")))
        pacs = Pacs(tmp_path / "pacs", away)
        pacs.start()
        until(lambda: only(service.queue, kind="deliver").state == "done")
        job = only(service.queue, kind="examine")
        assert (job.state, job.payload["instances"]) == ("done", len(files))
        sent = service.store.result_folder(job.id) / DICOM_FOLDER
        assert pacs.held() == sop_uids(sorted(sent.glob("*.dcm")))
        pacs.stop()


def cut_off(port: int, files: list[Path], pid: int | None) -> list[str]:
    """Send files; with `pid`, kill that process before the last of them. Returns what was acknowledged."""
    ae, acknowledged = AE(ae_title="SENDER"), []
    first = pydicom.dcmread(files[0], stop_before_pixels=True)
    ae.requested_contexts = [build_context(first.SOPClassUID, first.file_meta.TransferSyntaxUID)]
    ae.network_timeout = ae.dimse_timeout = 5
    association = ae.associate("127.0.0.1", port, ae_title="LESIONLAB")
    assert association.is_established
    for file in files:
        if pid is not None and file == files[-1]:
            os.kill(pid, signal.SIGKILL)
            association.join(10)
        elif association.is_established and association.send_c_store(file).get("Status") == 0:
            acknowledged += sop_uids([file])
    if association.is_established:
        association.release()
    return acknowledged


@pytest.mark.slow
def test_a_service_killed_while_it_sends_back(settings: ServeSettings, tmp_path: Path) -> None:
    pacs = Pacs(tmp_path / "pacs")
    file = tmp_path / "serve.toml"
    file.write_text(
        f'data = "{settings.data}"\nnode = {{ enabled = false }}\nweb = {{ enabled = false }}\n'
        f'[destinations.pacs]\nkind = "dicom"\nae_title = "PACS"\nport = {pacs.start()}\n'
    )
    folder = Store(settings.data).result_folder("job1") / DICOM_FOLDER
    folder.mkdir(parents=True)
    files = dicom_phantoms.write_pet(folder)
    queue = Queue(settings.database_url)
    job = queue.submit(Order("deliver", "d", {"examined": "job1", "destination": "pacs"}))
    process = started(file)
    chance, kills = random.Random(5), []

    def kill() -> None:
        if len(pacs.came) >= chance.randint(1, len(files) - 2) and not kills:
            kills.append(process.pid)
            os.killpg(process.pid, signal.SIGKILL)

    pacs.trouble = kill
    until(lambda: process.poll() is not None)
    assert 0 < len(pacs.came) < len(files)
    assert queue.job(job.id).state == "running", "the kill came before its end was noted"
    again = started(file)
    until(lambda: queue.job(job.id).state == "done")
    again.terminate()
    assert again.wait(30) == 0
    assert pacs.held() == sop_uids(files), "all are there, each once"
    queue.close()
    pacs.stop()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a disk that is really full needs the right to mount one")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_while_results_are_written(
    settings: ServeSettings, small_disk: Path, pet_study: Path, tmp_path: Path
) -> None:
    """The database lies elsewhere; where it does not, the next test looks."""
    chosen = settings.model_copy(
        update={"data": small_disk / "data", "database": f"sqlite:///{tmp_path / 'queue.sqlite'}"}
    )
    queue, store = Queue(chosen.database_url), Store(chosen.data)
    job = submit_study(chosen, queue, pet_study)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(850_000))
    assert Worker(chosen, "w").run_one()
    failed = queue.job(job.id)
    assert failed.state == "failed"
    assert "No space left on device" in failed.error
    assert list(store.results.iterdir()) == [], "half of the results"
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    queue.retry(job.id)
    assert Worker(chosen, "w").run_one()
    assert queue.job(job.id).state == "done"
    queue.close()


def test_a_disk_that_fills_under_results_and_database(
    settings: ServeSettings, small_disk: Path, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker may not even be able to note that it failed: the job is found again, with or without it."""
    chosen = settings.model_copy(update={"data": small_disk / "data"})
    store, queue = Store(chosen.data), Queue(chosen.database_url)
    job = submit_study(chosen, queue, pet_study)
    real, filler = pipeline.examine, small_disk / "filler"

    def filling(*given: object, **named: object) -> object:
        fill(filler)
        return real(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(pipeline, "examine", filling)
    with suppress(OperationalError):
        Worker(chosen, "w").run_one()
    monkeypatch.setattr(pipeline, "examine", real)
    assert list(store.results.iterdir()) == []
    found = queue.job(job.id)
    assert found.state == "running" or (found.state == "failed" and "No space left" in found.error)
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    queue.release(3, everyone=True)
    if queue.job(job.id).state == "failed":
        queue.retry(job.id)
    assert Worker(chosen, "w").run_one()
    assert queue.job(job.id).state == "done"
    queue.close()


def fill(filler: Path) -> None:
    """Write until the disk takes no more."""
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))


def test_a_receiver_on_a_full_disk(settings: ServeSettings, small_disk: Path, pet_study: Path) -> None:
    receiver = Receiver(
        settings.model_copy(
            update={"data": small_disk, "database": f"sqlite:///{settings.data.parent}/q.sqlite"}
        )
    )
    port, files = receiver.start(), sorted(pet_study.iterdir())
    assert store_files(port, files[:2]) == [0, 0]
    filler = small_disk / "filler"
    fill(filler)
    assert store_files(port, files[2:4]) == [OUT_OF_RESOURCES] * 2
    filler.unlink()
    assert store_files(port, files[2:4]) == [0, 0]
    [study] = receiver.store.all_studies()
    assert [file.stem for file in study.files] == sop_uids(files[:4])
    assert all(pydicom.dcmread(file).pixel_array.any() for file in study.files)
    receiver.stop()


def test_half_a_study_then_the_whole_then_the_same_again(
    receiver: Receiver, settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    files, port = sorted(pet_study.iterdir()), receiver.start()
    arrivals = Arrivals(settings, receiver.store, queue, clock=lambda: 1e12)
    worker = Worker(settings, "w")
    assert set(store_files(port, files[: len(files) // 2])) == {0}
    arrivals.look()
    assert worker.run_one()
    half = only(queue)
    assert half.state == "done" or (half.state == "failed" and half.error)
    for _ in range(2):
        assert set(store_files(port, files)) == {0}
        arrivals.look()
        worker.run_one()
    assert not worker.run_one()
    assert [job.payload["instances"] for job in queue.jobs()] == [len(files), len(files) // 2]
    assert queue.jobs()[0].state == "done"


def test_truncated_pixels_fail_the_study_and_name_the_instance(
    receiver: Receiver, settings: ServeSettings, queue: Queue, pet_study: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "study"
    shutil.copytree(pet_study, copy)
    files = sorted(copy.iterdir())
    dicom_phantoms.edit(files[2], lambda dataset: setattr(dataset, "PixelData", dataset.PixelData[:-60]))
    [damaged] = sop_uids(files[2:3])
    assert set(store_files(receiver.start(), files)) == {0}, "kept as it came: the sender cannot mend it"
    Arrivals(settings, receiver.store, queue, clock=lambda: 1e12).look()
    assert Worker(settings, "w").run_one()
    job = only(queue)
    assert job.state == "failed"
    assert f"{damaged}.dcm: found pixels that cannot be decoded" in job.error


def test_a_thousand_junk_uploads(settings: ServeSettings, queue: Queue, pet_study: Path) -> None:
    store, chance = Store(settings.data), random.Random(3)
    names = ("a.zip", "a.dcm", "a.nii.gz", "a.png", "a", "../../a.mha", "a.exe")
    good = b"".join(file.read_bytes() for file in sorted(pet_study.iterdir())[:1])
    web = settings.web.model_copy(update={"port": 0})
    with WebServer(settings.model_copy(update={"web": web}), store, queue) as server:
        where, refused, answered = f"http://127.0.0.1:{server.port}/api", [], []

        def upload(part: random.Random) -> None:
            with httpx.Client(timeout=60) as client:
                for number in range(250):
                    content = b"PK\x03\x04" * (number % 2) + part.randbytes(part.randrange(1, 3000))
                    content = zipped(content) if number % 5 == 0 else content
                    answer = client.post(f"{where}/jobs", files={"file": (part.choice(names), content)})
                    refused.append(answer.status_code)

        threads = [threading.Thread(target=upload, args=(random.Random(chance.random()),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            answered.append(httpx.get(f"{where}/health", timeout=10).json()["ready"])
        assert (len(refused), set(refused)) == (1000, {422})
        assert answered
        assert all(answered)
        assert httpx.post(f"{where}/jobs", files={"file": ("a.dcm", good)}).status_code == 202
    assert [item.name for item in store.uploads.iterdir()] == [Path(only(queue).payload["source"]).parts[1]]
    assert list(store.trash.iterdir()) == []


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.dcm", content)
    return out.getvalue()


# nonsense ends the library's own thread for that caller
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_clients_that_stop_in_the_middle(
    receiver: Receiver, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some stop within the request, some within a data set, some say nonsense: the node serves the next."""
    monkeypatch.setattr(listener, "REQUEST_S", 1.0)
    monkeypatch.setattr(listener, "IDLE_S", 1.0)
    port, files = receiver.start(), sorted(pet_study.iterdir())
    wires = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_ASSOCIATIONS)]
    for number, wire in enumerate(wires):
        if number % 4 == 0:
            wire.sendall(request()[:40])
        elif number % 4 == 1:
            wire.sendall(request())
            assert wire.recv(1) == b"\x02"
            wire.sendall(struct.pack(">BxI", 4, 60_000) + bytes(500))
        elif number % 4 == 2:
            wire.sendall(request() + struct.pack(">BxIIBB", 4, 20, 4000, 1, 3) + bytes(14))
    until(lambda: not receiver.server.active_associations, 20)
    assert set(store_files(port, files)) == {0}
    for nonsense in (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">BxI", 4, 1 << 31), request()[:6] + bytes(200)):
        with socket.create_connection(("127.0.0.1", port)) as wire:
            wire.sendall(nonsense)
            wire.settimeout(5)
            while wire.recv(4096):
                pass
    for wire in wires:
        wire.close()
    [study] = receiver.store.all_studies()
    assert [file.stem for file in study.files] == sop_uids(files)
    assert not list(receiver.store.studies.glob("*/.*.part"))


def request() -> bytes:
    """An association request for PET images, from the standard (PS3.8 section 9.3.2)."""

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BxH", kind, len(value)) + value

    context = bytes((1, 0, 0, 0)) + item(0x30, b"1.2.840.10008.5.1.4.1.1.128")
    body = struct.pack(">HH16s16s32x", 1, 0, b"LESIONLAB".ljust(16), b"RAW".ljust(16))
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, context + item(0x40, b"1.2.840.10008.1.2.1"))
    body += item(0x50, item(0x51, struct.pack(">I", 16384)))
    return struct.pack(">BxI", 1, len(body)) + body
