"""Accepted results: sent once, with who accepted them, whatever is killed in between."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient

import dicom_phantoms
from lesionlab.core.files import write_json
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.read import load_mask
from lesionlab.report import save_volume
from lesionlab.serve.accepting import (
    REVIEWS,
    WHEN_ACCEPTED,
    institution_of,
    key_of,
    make_up,
    order_of,
    superseded,
)
from lesionlab.serve.deliver import Deliverer
from lesionlab.serve.jobs import Job, Order, Queue
from lesionlab.serve.node.receiver import Instance, Receiver
from lesionlab.serve.settings import Destination, NodeSettings, ServeSettings, WebSettings
from lesionlab.serve.store import Store
from lesionlab.serve.web.app import make_app
from lesionlab.serve.worker import Worker
from serve_phantoms import started, submit_study, until

LOCAL = "http://127.0.0.1"

TOKEN = {"Authorization": "Bearer secret"}


class Pacs:
    """A destination that keeps what it is given."""

    def __init__(self) -> None:
        self.came: list[pydicom.Dataset] = []

    def __call__(self, files: Sequence[Path], destination: Destination, settings: ServeSettings) -> None:
        self.came += [pydicom.dcmread(file) for file in files]

    def last(self, modality: str) -> pydicom.Dataset:
        return [item for item in self.came if item.Modality == modality][-1]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PET with two hot blocks."""
    folder = tmp_path_factory.mktemp("two")
    hot = np.ones(dicom_phantoms.PET_GRID.shape)
    hot[1:4, 1:4, 1:5] = 9.0
    hot[2:6, 5:8, 6:10] = 8.0
    dicom_phantoms.write_pet(folder, Volume(hot, dicom_phantoms.PET_GRID, SUVBW))
    return folder


@pytest.fixture
def setting(settings: ServeSettings) -> ServeSettings:
    tokens = {"anna": hashlib.sha256(b"secret").hexdigest()}
    web = WebSettings(tokens=tokens, people={"anna": "Muster^Anna"}, organisation="City Hospital")
    pacs = {"pacs": Destination(kind="dicom", retry_minutes=10)}
    return settings.model_copy(update={"destinations": pacs, "web": web})


@pytest.fixture
def client(setting: ServeSettings, queue: Queue) -> Iterator[TestClient]:
    with TestClient(make_app(setting, Store(setting.data), queue), base_url=LOCAL, headers=TOKEN) as client:
        yield client


def examined(setting: ServeSettings, queue: Queue, study: Path, **payload: Any) -> Job:
    """A finished examination whose results go to `pacs`."""
    waiting = submit_study(setting, queue, study)
    queue.cancel(waiting.id)
    made = queue.submit(
        Order("examine", "wanted", {**waiting.payload, "objects": ["seg", "sr"], "route": "pet", **payload})
    )
    assert Worker(setting, "w").run_one()
    return now(queue, made)


def now(queue: Queue, job: Job) -> Job:
    found = queue.job(job.id)
    assert found is not None
    return found


def run_all(setting: ServeSettings, queue: Queue, pacs: Pacs) -> None:
    """Work until nothing waits."""
    worker = Worker(setting, "w")
    while worker.run_one():
        pass
    deliverer = Deliverer(setting, Store(setting.data), queue, way=pacs)
    while deliverer.deliver_one():
        pass
    assert {job.state for job in queue.jobs()} <= {"done", "cancelled"}


def corrected(client: TestClient, setting: ServeSettings, queue: Queue, job: Job) -> tuple[Job, Volume]:
    """The job of a correction that takes two voxels of lesion 1 away, and the mask as corrected."""
    before = load_mask(Store(setting.data).result_file(job.id, "mask.nii.gz"))
    numbers = load_mask(Store(setting.data).result_file(job.id, "lesions.nii.gz")).array
    drawn = before.array.copy()
    drawn[tuple(np.argwhere(numbers == 1)[:2].T)] = 0
    mask = before.with_array(drawn)
    file = save_volume(mask, setting.data / "corrected.nii.gz")
    answer = client.post(f"/api/jobs/{job.id}/corrections", files={"file": ("m.nii.gz", file.read_bytes())})
    assert answer.status_code == 202, answer.text
    made = queue.job(answer.json()["id"])
    assert made is not None
    return made, mask


def accept(client: TestClient, job: Job, verdict: str = "accepted") -> None:
    answer = client.post(f"/api/jobs/{job.id}/reviews", json={"verdict": verdict})
    assert answer.status_code == 201, answer.text


def test_a_correction_reaches_the_pacs_when_it_is_accepted_and_not_before(
    client: TestClient, setting: ServeSettings, queue: Queue, study: Path
) -> None:
    pacs, first = Pacs(), examined(setting, queue, study)
    run_all(setting, queue, pacs)
    assert [item.Modality for item in pacs.came] == ["SEG", "SR"]
    accept(client, first)  # sent at once: there is nothing left to send
    fixed, mask = corrected(client, setting, queue, first)
    run_all(setting, queue, pacs)
    accept(client, fixed, "rejected")
    run_all(setting, queue, pacs)
    assert len(pacs.came) == 2
    for _ in range(2):
        accept(client, fixed)
        run_all(setting, queue, pacs)
    assert [item.Modality for item in pacs.came] == ["SEG", "SR"] * 2
    old_seg, old_report, seg, report = pacs.came
    assert len({item.SOPInstanceUID for item in pacs.came}) == 4
    assert len({item.SeriesInstanceUID for item in pacs.came}) == 4
    assert len({item.StudyInstanceUID for item in pacs.came}) == 1
    kinds = [item.SegmentAlgorithmType for item in seg.SegmentSequence]
    assert kinds == ["SEMIAUTOMATIC", "AUTOMATIC"]
    tracked = [[item.TrackingUID for item in one.SegmentSequence] for one in (old_seg, seg)]
    assert tracked[0] == tracked[1]
    assert str(seg.ContentCreatorName) == "Muster^Anna"
    assert (old_report.VerificationFlag, report.VerificationFlag) == ("UNVERIFIED", "VERIFIED")
    place = report.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert place.ReferencedSOPInstanceUID == old_report.SOPInstanceUID
    file = setting.data / "sent.dcm"
    seg.save_as(file)
    np.testing.assert_array_equal(load_mask(file, mask.geometry).array > 0, mask.array > 0)
    own = {item.name for item in Store(setting.data).own.iterdir()}
    assert {item.SOPInstanceUID for item in pacs.came} <= own
    assert {"queued accept", "accept done"} <= {entry.what for entry in queue.audit()}


def test_what_waits_for_acceptance_is_sent_with_the_reviewers_name(
    client: TestClient, setting: ServeSettings, queue: Queue, study: Path
) -> None:
    pacs, first = Pacs(), examined(setting, queue, study, send=WHEN_ACCEPTED)
    run_all(setting, queue, pacs)
    fixed, _ = corrected(client, setting, queue, first)
    run_all(setting, queue, pacs)
    assert pacs.came == []
    accept(client, fixed)
    run_all(setting, queue, pacs)
    assert "PredecessorDocumentsSequence" not in pacs.last("SR")  # nothing was sent before
    again, _ = corrected(client, setting, queue, now(queue, fixed))
    run_all(setting, queue, pacs)
    accept(client, again)
    run_all(setting, queue, pacs)
    before, after = (item for item in pacs.came if item.Modality == "SR")
    [study_item] = after.PredecessorDocumentsSequence
    sent_before = study_item.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert sent_before.ReferencedSOPInstanceUID == before.SOPInstanceUID
    accept(client, first)  # the one that was corrected, for whatever reason
    run_all(setting, queue, pacs)
    last = pacs.last("SR")
    assert last.VerificationFlag == "VERIFIED"
    assert [item.SegmentAlgorithmType for item in pacs.last("SEG").SegmentSequence] == ["AUTOMATIC"] * 2


def test_uploads_and_rejections_send_nothing(setting: ServeSettings, queue: Queue) -> None:
    accepted = [{"verdict": "accepted", "who": "anna", "time": 1.0}]
    payload = {"source": "uploads/a", "send": WHEN_ACCEPTED}
    upload = queue.submit(Order("examine", "upload", {**payload, "send_to": []}))
    waits = queue.submit(Order("examine", "waits", {**payload, "send_to": ["pacs"]}))
    assert order_of(upload, accepted, setting) is None
    assert order_of(waits, [], setting) is None
    assert order_of(waits, [*accepted, {**accepted[0], "verdict": "rejected"}], setting) is None
    order = order_of(waits, accepted, setting)
    assert order is not None
    assert (order.key, order.payload["person"]) == (key_of(waits.id), "Muster^Anna")
    unnamed = setting.model_copy(update={"web": WebSettings()})
    order = order_of(waits, accepted, unnamed)
    assert order is not None
    assert order.payload["person"] == ""


def test_an_acceptance_that_a_kill_left_unqueued_is_made_up_for_once(
    client: TestClient, setting: ServeSettings, queue: Queue, study: Path
) -> None:
    pacs, first = Pacs(), examined(setting, queue, study, send=WHEN_ACCEPTED)
    store = Store(setting.data)
    said = [{"verdict": "accepted", "note": "", "who": "anna", "time": 1.0}]
    write_json(store.result_folder(first.id) / REVIEWS, said)
    for _ in range(2):
        assert make_up(setting, store, queue) == 1
        run_all(setting, queue, pacs)
    assert [item.Modality for item in pacs.came] == ["SEG", "SR"]
    # results that stand there complete are not made again: their worker was killed before it could say so
    made = queue.by_key(key_of(first.id))
    assert made is not None
    files = sorted((store.result_folder(made.id) / "dicom").iterdir())
    stamps = [file.stat().st_mtime_ns for file in files]
    again = queue.submit(Order("accept", "again", {**made.payload}))
    store.result_folder(made.id).rename(store.result_folder(again.id))
    run_all(setting, queue, pacs)
    files = sorted((store.result_folder(again.id) / "dicom").iterdir())
    assert [file.stat().st_mtime_ns for file in files] == stamps


@pytest.mark.slow
def test_a_service_killed_while_an_accepted_result_is_sent(
    setting: ServeSettings, queue: Queue, study: Path, tmp_path: Path
) -> None:
    first, pacs = examined(setting, queue, study, send=WHEN_ACCEPTED), Node(tmp_path / "pacs")
    store = Store(setting.data)
    file = tmp_path / "serve.toml"
    file.write_text(
        f'data = "{setting.data}"\nnode = {{ enabled = false }}\nweb = {{ port = 0 }}\n'
        f'[destinations.pacs]\nkind = "dicom"\nae_title = "PACS"\nport = {pacs.start()}\n'
    )
    # accepted, and the service gone before it could queue what follows
    said = [{"verdict": "accepted", "note": "", "who": "anna", "time": 1.0}]
    write_json(store.result_folder(first.id) / REVIEWS, said)
    process = started(file)
    pacs.trouble = lambda: os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    until(lambda: process.poll() is not None)
    pacs.trouble = lambda: None
    again = started(file)
    until(lambda: [job.state for job in queue.jobs(kind="deliver")] == ["done"])
    again.terminate()
    assert again.wait(30) == 0
    [accepted] = queue.jobs(kind="accept")
    files = sorted((store.result_folder(accepted.id) / "dicom").iterdir())
    wanted = sorted(str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in files)
    assert sorted(path.stem for kept in pacs.store.all_studies() for path in kept.files) == wanted
    assert len(wanted) == 2
    pacs.stop()


class Node(Receiver):
    """Our own node in the role of a PACS, which calls `trouble` with every instance."""

    def __init__(self, folder: Path) -> None:
        self.trouble: Callable[[], None] = lambda: None
        super().__init__(ServeSettings(data=folder, node=NodeSettings(ae_title="PACS", port=0)))

    def take(self, instance: Instance) -> int:
        self.trouble()
        return super().take(instance)


def test_results_that_are_gone_are_named_and_a_lost_chain_has_no_predecessor(
    setting: ServeSettings, queue: Queue
) -> None:
    payload = {"source": "uploads/a", "accepted": "0" * 32, "person": "", "organisation": "", "time": 1.0}
    made = queue.submit(Order("accept", "a", payload))
    assert Worker(setting, "w").run_one()
    assert "no results any more" in now(queue, made).error
    lost = queue.submit(Order("examine", "b", {"correction": {"corrects": "1" * 32}}))
    assert superseded(Store(setting.data), queue, lost.id) is None


def test_the_institution_is_the_scans_own(tmp_path: Path, study: Path) -> None:
    assert institution_of(tmp_path) == ""
    first = pydicom.dcmread(min(study.rglob("*.dcm")))
    first.InstitutionName = "City Hospital"
    first.save_as(tmp_path / "a.dcm")
    assert institution_of(tmp_path) == "City Hospital"
    (tmp_path / "a.dcm").write_bytes(b"no DICOM")
    assert institution_of(tmp_path) == ""


def test_reviews_that_cannot_be_read_do_not_keep_a_service_from_starting(
    client: TestClient, setting: ServeSettings, queue: Queue, study: Path
) -> None:
    store = Store(setting.data)
    second = examined(setting, queue, study, send=WHEN_ACCEPTED)
    first = queue.submit(Order("examine", "broken"))
    store.result_folder(first.id).mkdir()
    (store.result_folder(first.id) / REVIEWS).write_text("")
    said = [{"verdict": "accepted", "note": "", "who": "anna", "time": 1.0}]
    write_json(store.result_folder(second.id) / REVIEWS, said)
    make_up(setting, store, queue)
    assert queue.by_key(key_of(first.id)) is None
    assert queue.by_key(key_of(second.id)) is not None


def test_a_rejection_stops_what_is_not_sent_yet(
    client: TestClient, setting: ServeSettings, queue: Queue, study: Path
) -> None:
    pacs, job = Pacs(), examined(setting, queue, study, send=WHEN_ACCEPTED)
    accept(client, job)
    accept(client, job, "rejected")
    assert queue.by_key(key_of(job.id)) is None
    accept(client, job)
    # made ready to send, and the PACS is away
    assert Worker(setting, "w").run_one()
    made = queue.by_key(key_of(job.id))
    assert made is not None
    assert queue.by_key(f"{made.key}>pacs") is not None
    accept(client, job, "rejected")
    run_all(setting, queue, pacs)
    assert pacs.came == []
    assert not Store(setting.data).result_folder(made.id).exists()
    accept(client, job)
    run_all(setting, queue, pacs)
    assert [item.Modality for item in pacs.came] == ["SEG", "SR"]
    # what was sent is not called back, and not sent twice
    accept(client, job, "rejected")
    accept(client, job)
    run_all(setting, queue, pacs)
    assert len(pacs.came) == 2
