"""The DICOM node: what is acknowledged is on disk, the rest is refused, a study becomes one job."""

from __future__ import annotations

import gc
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from pynetdicom import AE

from lesionlab.core.errors import ServeError
from lesionlab.serve.arrivals import Arrivals, facts_of, fits
from lesionlab.serve.jobs import Order, Queue
from lesionlab.serve.node.receiver import VERIFICATION, Instance, Receiver, study_of
from lesionlab.serve.node.sender import send_dicom
from lesionlab.serve.settings import Destination, LimitSettings, NodeSettings, Route, ServeSettings
from lesionlab.serve.store import Store
from lesionlab.serve.worker import Worker
from serve_phantoms import store_files


@pytest.fixture
def receiver(settings: ServeSettings) -> Iterator[Receiver]:
    receiver = Receiver(settings)
    yield receiver
    receiver.stop()


def study_uid(folder: Path) -> str:
    return str(pydicom.dcmread(next(folder.iterdir()), stop_before_pixels=True).StudyInstanceUID)


def send_in_vain(words: str, files: list[Path], there: Destination, node: NodeSettings) -> None:
    """Sending fails with these words. The library leaves a socket behind where nobody answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(ServeError, match=words):
            send_dicom(files, there, node)
        gc.collect()


def echo(port: int, called: str = "LESIONLAB", calling: str = "SENDER") -> bool:
    ae = AE(ae_title=calling)
    ae.add_requested_context(VERIFICATION)
    association = ae.associate("127.0.0.1", port, ae_title=called)
    if not association.is_established:
        return False
    answered = association.send_c_echo().Status == 0
    association.release()
    return bool(answered)


def test_a_study_is_received_byte_for_byte(
    receiver: Receiver, pet_study: Path, settings: ServeSettings
) -> None:
    files = sorted(pet_study.iterdir())
    assert set(store_files(receiver.start(), files)) == {0}
    study = receiver.store.study(study_uid(pet_study))
    assert study is not None
    assert len(study.files) == len(files)
    assert study.sender == "SENDER"
    sent = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file) for file in files}
    for file in study.files:
        kept = pydicom.dcmread(file)
        assert kept == sent[kept.SOPInstanceUID]


def test_a_study_that_is_complete_is_queued_once(
    receiver: Receiver, pet_study: Path, settings: ServeSettings, queue: Queue
) -> None:
    files, port = sorted(pet_study.iterdir()), receiver.start()
    now = [0.0]
    arrivals = Arrivals(settings, receiver.store, queue, clock=lambda: now[0])
    store_files(port, files[:-1])
    assert arrivals.look() == [], "the sender may not be done"
    now[0] = 1e12
    [job] = arrivals.look()
    assert (job.payload["route"], job.payload["bundle"]) == ("pet", "pet-threshold")
    assert arrivals.look() == []
    store_files(port, files[:-1])
    assert Arrivals(settings, receiver.store, queue, clock=lambda: 1e12).look() == [job], "a restart"
    store_files(port, files[-1:])
    [more] = arrivals.look()
    assert more.id != job.id
    assert more.payload["instances"] == len(files)
    assert len(queue.jobs()) == 2


def test_a_study_is_complete_at_its_number_of_instances(
    receiver: Receiver, pet_study: Path, settings: ServeSettings, queue: Queue
) -> None:
    files = sorted(pet_study.iterdir())
    node = settings.node.model_copy(update={"instances": len(files), "quiet_s": 1e9})
    arrivals = Arrivals(settings.model_copy(update={"node": node}), receiver.store, queue)
    port = receiver.start()
    store_files(port, files[1:])
    assert arrivals.look() == []
    store_files(port, files[:1])
    assert len(arrivals.look()) == 1


def test_only_who_is_known_is_let_in(settings: ServeSettings, pet_study: Path) -> None:
    node = settings.node.model_copy(update={"ae_titles": ("ORTHANC",)})
    receiver = Receiver(settings.model_copy(update={"node": node}))
    port = receiver.start()
    try:
        assert echo(port, calling="ORTHANC")
        assert not echo(port, calling="STRANGER")
        assert not echo(port, called="OTHER", calling="ORTHANC")
        assert store_files(port, sorted(pet_study.iterdir()), calling="STRANGER") == []
    finally:
        receiver.stop()
    assert list(receiver.store.all_studies()) == []


def test_without_room_nothing_is_acknowledged(settings: ServeSettings, queue: Queue, pet_study: Path) -> None:
    file = sorted(pet_study.iterdir())[:1]
    full = settings.model_copy(update={"limits": LimitSettings(free_disk_gb=1e9)})
    receiver = Receiver(full)
    assert store_files(receiver.start(), file) == [0xA700]
    receiver.stop()
    queue.submit(Order("examine", "a"))
    busy = settings.model_copy(update={"limits": LimitSettings(free_disk_gb=0.0, waiting_jobs=1)})
    receiver = Receiver(busy)
    assert store_files(receiver.start(), file) == [0xA700]
    receiver.stop()
    assert list(receiver.store.all_studies()) == []


def test_results_that_wait_for_a_pacs_that_is_away_keep_nothing_from_being_received(
    settings: ServeSettings, queue: Queue, pet_study: Path
) -> None:
    for number in range(3):
        queue.submit(Order("deliver", f"d{number}"))
    busy = settings.model_copy(update={"limits": LimitSettings(free_disk_gb=0.0, waiting_jobs=1)})
    receiver = Receiver(busy)
    assert store_files(receiver.start(), sorted(pet_study.iterdir())[:1]) == [0]
    receiver.stop()


def test_a_disk_that_refuses_is_told_to_the_sender(
    receiver: Receiver, pet_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert store_files(receiver.start(), sorted(pet_study.iterdir())[:1]) == [0xA700]


def test_what_names_no_study_is_not_understood(receiver: Receiver, pet_study: Path, tmp_path: Path) -> None:
    source = pydicom.dcmread(sorted(pet_study.iterdir())[0])
    del source.StudyInstanceUID
    source.save_as(tmp_path / "no_study.dcm")
    assert store_files(receiver.start(), [tmp_path / "no_study.dcm"]) == [0xC000]
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"):
        junk = Instance("1.2.3", syntax, "SENDER", b"junk" * 100, 0)
        with pytest.raises(ServeError, match=r"instance 1.2.3: .* needed a data set with StudyInstanceUID"):
            study_of(junk)


def test_a_port_that_is_taken_is_named(settings: ServeSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        node = settings.node.model_copy(update={"port": taken.getsockname()[1]})
        receiver = Receiver(settings.model_copy(update={"node": node}))
        with pytest.raises(ServeError, match="needed a port that is free"):
            receiver.start()
        receiver.stop()


def test_routes_choose_by_what_the_study_is(settings: ServeSettings, pet_study: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    uid = study_uid(pet_study)
    for file in pet_study.iterdir():
        store.put_instance(
            uid,
            file.stem if file.stem[0].isdigit() else f"1.{file.stat().st_ino}",
            file.read_bytes(),
            sender="CT1",
        )
    study = store.study(uid)
    assert study is not None
    facts = facts_of(study)
    assert facts.modalities == {"PT"}
    assert facts.sender == "CT1"
    text = facts.descriptions[0]
    assert fits(Route(name="r", bundle="b", modalities=("PT",)), facts)
    assert not fits(Route(name="r", bundle="b", modalities=("PT", "CT")), facts)
    assert fits(Route(name="r", bundle="b", calling_ae="CT1"), facts)
    assert not fits(Route(name="r", bundle="b", calling_ae="CT2"), facts)
    assert fits(Route(name="r", bundle="b", description=text.lower()[:3] or "^$"), facts)
    assert not fits(Route(name="r", bundle="b", description="no such words"), facts)


def test_a_study_without_a_route_fails_with_the_reason(
    receiver: Receiver, pet_study: Path, settings: ServeSettings, queue: Queue
) -> None:
    store_files(receiver.start(), sorted(pet_study.iterdir()))
    none = settings.model_copy(update={"routes": (Route(name="mr", bundle="b", modalities=("MR",)),)})
    [job] = Arrivals(none, receiver.store, queue, clock=lambda: 1e12).look()
    assert Worker(settings, "w").run_one()
    failed = queue.job(job.id)
    assert failed is not None
    assert failed.state == "failed"
    assert "found PT from SENDER; needed a route that takes it (routes: mr)" in failed.error


def test_files_are_sent_to_another_node(settings: ServeSettings, pet_study: Path, tmp_path: Path) -> None:
    pacs = ServeSettings(data=tmp_path / "pacs", node=NodeSettings(ae_title="PACS", port=0))
    receiver = Receiver(pacs)
    there = Destination(kind="dicom", port=receiver.start(), ae_title="PACS")
    files = sorted(pet_study.iterdir())
    send_dicom(files, there, settings.node)
    send_dicom(files, there, settings.node)
    study = receiver.store.study(study_uid(pet_study))
    assert study is not None
    assert len(study.files) == len(files)
    refusing = there.model_copy(update={"ae_title": "OTHER"})
    send_in_vain("found the association rejected", files, refusing, settings.node)
    receiver.stop()
    send_in_vain("found no answer", files, there, settings.node)


def test_a_refused_file_is_named(settings: ServeSettings, pet_study: Path, tmp_path: Path) -> None:
    full = ServeSettings(
        data=tmp_path / "pacs",
        node=NodeSettings(ae_title="PACS", port=0),
        limits=LimitSettings(free_disk_gb=1e9),
    )
    receiver = Receiver(full)
    there = Destination(kind="dicom", port=receiver.start(), ae_title="PACS")
    with pytest.raises(ServeError, match=r"status A700H for .*dcm; needed every file accepted"):
        send_dicom(sorted(pet_study.iterdir())[:1], there, settings.node)
    receiver.stop()


def test_a_refused_file_keeps_none_of_the_others_from_being_stored(
    settings: ServeSettings, pet_study: Path, tmp_path: Path
) -> None:
    class Picky(Receiver):
        def take(self, instance: Instance) -> int:
            return 0xA900 if instance.sop_uid == unwanted else super().take(instance)

    files = sorted(pet_study.iterdir())[:3]
    unwanted = str(pydicom.dcmread(files[0], stop_before_pixels=True).SOPInstanceUID)
    receiver = Picky(ServeSettings(data=tmp_path / "pacs", node=NodeSettings(ae_title="PACS", port=0)))
    there = Destination(kind="dicom", port=receiver.start(), ae_title="PACS")
    with pytest.raises(ServeError, match=rf"found status A900H for {files[0].name}; needed every file"):
        send_dicom(files, there, settings.node)
    study = receiver.store.study(study_uid(pet_study))
    assert study is not None
    assert len(study.files) == 2
    receiver.stop()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate; it is missing")
def test_tls_lets_in_only_whom_the_authority_signed(
    settings: ServeSettings, pet_study: Path, tmp_path: Path
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate, *names], check=True, capture_output=True)
    own = {"tls_certificate": certificate, "tls_key": key, "tls_authority": certificate}
    node = settings.node.model_copy(update=own)
    receiver = Receiver(settings.model_copy(update={"node": node}))
    there = Destination(kind="dicom", port=receiver.start(), ae_title="LESIONLAB", tls=True)
    files = sorted(pet_study.iterdir())[:2]
    send_dicom(files, there, node)
    assert receiver.store.study(study_uid(pet_study)) is not None
    with socket.create_connection(("127.0.0.1", there.port), timeout=20) as plain:
        plain.sendall(bytes([1, 0, 0, 0, 0, 68]) + bytes(68))
        with suppress(ConnectionResetError):
            assert plain.recv(1) in (b"", bytes([0x15])), "an association in the clear; needed a TLS alert"
    receiver.stop()
    (tmp_path / "bad.pem").write_text("no certificate")
    bad = node.model_copy(update={"tls_certificate": tmp_path / "bad.pem", "port": 0})
    refused = Receiver(settings.model_copy(update={"node": bad}))
    with pytest.raises(ServeError, match="needed PEM files"):
        refused.start()
    refused.stop()
