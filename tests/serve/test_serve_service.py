"""The whole service: it starts as a whole or says why not, and a kill loses nothing."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from lesionlab.core.errors import ServeError
from lesionlab.serve import service as service_module
from lesionlab.serve import supervisor as supervisor_module
from lesionlab.serve.jobs import Order, Queue
from lesionlab.serve.node import port as port_module
from lesionlab.serve.node.port import require_port
from lesionlab.serve.service import Service, lock_folder
from lesionlab.serve.settings import NodeSettings, Route, ServeSettings, load_settings
from lesionlab.serve.store import Store
from serve_phantoms import free_port, listening, store_files, until

SETTINGS = """
data = "{data}"
device = "cpu"
node = {{ port = {port}, quiet_s = 1.0 }}
web = {{ enabled = false }}
limits = {{ free_disk_gb = 0.0, attempts = 20 }}
"""


def test_a_second_service_on_the_same_folder_is_refused(settings: ServeSettings) -> None:
    settings.data.mkdir(parents=True)
    with lock_folder(settings.data), pytest.raises(ServeError, match="another service running on it"):
        Service(settings)


def test_a_database_serves_one_data_folder(settings: ServeSettings, tmp_path: Path) -> None:
    shared = settings.model_copy(update={"database": f"sqlite:///{tmp_path / 'jobs.sqlite'}"})
    with Service(shared) as service:
        job = service.queue.submit(Order("fetch", "f", {"source": "gone"}))
        other = shared.model_copy(update={"data": tmp_path / "other"})
        with pytest.raises(ServeError, match=r"jobs\.sqlite: found the database of another data folder"):
            Service(other)
        assert service.queue.job(job.id) is not None
    with Service(shared):
        pass


def test_uploads_that_a_kill_left_without_a_job_are_swept(settings: ServeSettings) -> None:
    store, queue = Store(settings.data), Queue(settings.database_url)
    kept, mask, left = (store.new_upload() for _ in range(3))
    payload = {"source": f"uploads/{kept[0]}/files", "mask": f"uploads/{mask[0]}/mask.nii.gz"}
    job = queue.submit(Order("examine", "u", payload))
    queue.cancel(job.id)
    with Service(settings):
        assert {folder.name for folder in store.uploads.iterdir()} == {kept[0], mask[0]}
    assert not left[1].exists()


def test_a_route_to_a_bundle_that_is_not_there_is_refused_at_the_start(settings: ServeSettings) -> None:
    routes = (*settings.routes, Route(name="breast", bundle="/srv/models/none"))
    with pytest.raises(ServeError, match="route 'breast': /srv/models/none: found no such folder"):
        Service(settings.model_copy(update={"routes": routes}))
    assert not settings.data.exists()


def test_a_service_starts_sweeps_and_stops(settings: ServeSettings) -> None:
    store = Store(settings.data)
    (store.results / ".half.part").mkdir()
    with Service(settings) as service:
        assert list(store.results.iterdir()) == []
        assert service.queue.audit(1)[0].what == "started"
    lock_folder(settings.data).close()


@pytest.mark.parametrize("sharing", [False, True])
def test_a_port_that_somebody_listens_on_stops_the_start(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch, sharing: bool
) -> None:
    monkeypatch.setattr(port_module, "PATIENCE_S", 0.3)
    with socket.socket() as taken:
        # another program, or the receiver of a service on another folder, which would share its callers
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(sharing))
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = NodeSettings(port=taken.getsockname()[1])
        with pytest.raises(ServeError, match=rf":{node.port}: found Address already in use"):
            Service(settings.model_copy(update={"node": node}))
    lock_folder(settings.data).close()


def test_a_port_of_a_service_that_was_just_killed_is_waited_for(settings: ServeSettings) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    node = NodeSettings(port=taken.getsockname()[1])
    timer = threading.Timer(0.5, taken.close)
    timer.start()
    require_port(node)
    timer.join()


def test_an_address_of_another_machine_is_refused_at_once() -> None:
    with pytest.raises(ServeError, match=r"192\.0\.2\.1:11112: found Cannot assign requested address"):
        require_port(NodeSettings(host="192.0.2.1", ae_titles=("PACS",)))


def test_files_that_are_no_certificates_stop_the_start(settings: ServeSettings, tmp_path: Path) -> None:
    node = NodeSettings(port=free_port(), tls_certificate=tmp_path / "none.pem")
    with pytest.raises(ServeError, match=r"none\.pem: found .*; needed PEM files"):
        Service(settings.model_copy(update={"node": node}))


def test_a_node_that_does_not_come_up_stops_the_start(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "NODE_STARTS_S", 0.5)
    monkeypatch.setattr(supervisor_module, "RECEIVER", "lesionlab.serve.node.gone")
    node = NodeSettings(port=free_port())
    with (
        pytest.raises(ServeError, match="no DICOM node starting"),
        Service(settings.model_copy(update={"node": node})),
    ):
        pytest.fail("started")
    lock_folder(settings.data).close()


@pytest.mark.slow
def test_killed_at_random_nothing_acknowledged_is_lost_and_nothing_done_twice(
    tmp_path: Path, pet_study: Path
) -> None:
    port, file = free_port(), tmp_path / "serve.toml"
    file.write_text(SETTINGS.format(data=tmp_path / "data", port=port))
    files, chance = sorted(pet_study.iterdir()), random.Random(7)
    acknowledged = 0
    for _ in range(3):
        process = started(file, port)
        if acknowledged < len(files):
            # half of the study at a time, so that a kill finds it incomplete
            part = files[acknowledged : acknowledged + len(files) // 2]
            assert set(store_files(port, part)) == {0}
            acknowledged += len(part)
        time.sleep(chance.uniform(0.0, 3.0))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        # its receiver may live a moment longer and would be taken for the next one's
        until(lambda: not listening(port))
    process = started(file, port)
    settings = load_settings(file)
    queue, store = Queue(settings.database_url), Store(settings.data)
    [study] = store.all_studies()
    assert len(study.files) == acknowledged
    key = f"{study.study_uid}:{study.digest}:pet"
    until(lambda: (job := queue.by_key(key)) is not None and job.state == "done", 90)
    process.terminate()
    assert process.wait(30) == 0
    done = queue.jobs(state="done", kind="examine")
    ends = [entry.subject for entry in queue.audit() if entry.what == "examine done"]
    assert sorted(ends) == sorted(job.id for job in done), "each job ended once"
    assert all((store.result_folder(job.id) / "report.html").is_file() for job in done)
    assert {folder.name for folder in store.results.iterdir()} == {job.id for job in done}
    queue.close()


def started(file: Path, port: int) -> subprocess.Popen[bytes]:
    """The service in a process group of its own, listening."""
    command = [sys.executable, "-m", "lesionlab", "serve", str(file)]
    process = subprocess.Popen(command, start_new_session=True)
    until(lambda: listening(port) or process.poll() is not None)
    assert process.poll() is None
    return process


def test_a_database_that_is_away_does_not_keep_a_service_from_stopping(
    settings: ServeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise OperationalError("note", {}, Exception("disk full"))

    service = Service(settings)
    with pytest.raises(OperationalError), service:
        monkeypatch.setattr(service.queue, "note", away)
    assert not service.arrivals.thread.is_alive()
    lock_folder(settings.data).close()
