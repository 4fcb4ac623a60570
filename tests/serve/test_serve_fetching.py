"""Fetching by accession number: from a real PACS both ways, and every refusal with its reason."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import httpx
import pydicom
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import dicom_phantoms
from lesionlab.core.errors import ServeError
from lesionlab.serve import dicomweb
from lesionlab.serve.dicomweb import fetch_dicomweb, multipart
from lesionlab.serve.fetching import Fetcher, fetch, fetch_order
from lesionlab.serve.jobs import Order, Queue
from lesionlab.serve.node.fetch import fetch_dicom
from lesionlab.serve.node.receiver import Receiver
from lesionlab.serve.settings import NodeSettings, ServeSettings, Source
from lesionlab.serve.store import Store
from lesionlab.serve.web.app import make_app
from orthanc import missing, orthanc

LOCAL = "http://127.0.0.1"

ACCESSION = "ACC-2024/17"


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A study with an accession number."""
    files = dicom_phantoms.write_pet(tmp_path_factory.mktemp("numbered"))
    dicom_phantoms.edit_all(files, AccessionNumber=ACCESSION)
    return files


@pytest.fixture
def sourced(settings: ServeSettings) -> ServeSettings:
    """A service with a source that nobody is behind."""
    source = Source(kind="dicomweb", url="http://127.0.0.1:9/dicom-web")
    return settings.model_copy(update={"sources": {"pacs": source}})


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_real_pacs_gives_its_study_both_ways(
    settings: ServeSettings, numbered: list[Path], queue: Queue, tmp_path: Path
) -> None:
    node = NodeSettings(port=0)
    receiver = Receiver(settings.model_copy(update={"node": node}))
    with orthanc(tmp_path / "orthanc", receiver.start(), forward=False) as pacs:
        for file in numbered:
            pacs.store(file)
        dicom = Source(kind="dicom", port=pacs.dicom_port, ae_title="ORTHANC")
        web = Source(kind="dicomweb", url=f"{pacs.http}/dicom-web")
        other = Store(tmp_path / "other")
        chosen = settings.model_copy(update={"node": node, "sources": {"pacs": dicom, "web": web}})
        for name, store in (("pacs", receiver.store), ("web", other)):
            job = queue.submit(fetch_order(name, ACCESSION, chosen))
            assert Fetcher(chosen, store, queue).fetch_one()
            done = queue.job(job.id)
            assert done is not None
            assert (done.state, done.message) == ("done", "1 studies fetched"), done.error
            [study] = store.all_studies()
            expected = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file) for file in numbered}
            assert {file.stem for file in study.files} == set(expected)
            assert all(pydicom.dcmread(file) == expected[file.stem] for file in study.files)
            with pytest.raises(ServeError, match="no study of this accession number"):
                fetch("ACC 0", chosen.sources[name], chosen, store)
        unknown = node.model_copy(update={"ae_title": "STRANGER"})
        with pytest.raises(ServeError, match=r"status .*H of a|rejected|association that ended"):
            fetch_dicom(ACCESSION, dicom, unknown)
    receiver.stop()


@pytest.mark.filterwarnings("ignore:.*socket:pytest.PytestUnraisableExceptionWarning")
def test_what_cannot_be_fetched_keeps_its_reason(sourced: ServeSettings, queue: Queue) -> None:
    fetcher = Fetcher(sourced, Store(sourced.data), queue)
    assert not fetcher.fetch_one()
    silent = queue.submit(fetch_order("pacs", "1", sourced))
    gone = queue.submit(Order("fetch", "f", {"source": "old", "accession": "1"}))
    broken = queue.submit(fetch_order("pacs", "1", sourced))
    assert fetcher.fetch_one()
    assert fetcher.fetch_one()
    fetcher.way = lambda *_: {}["missing"]
    assert fetcher.fetch_one()
    errors = [queue.job(job.id).error for job in (silent, gone, broken)]
    assert "needed an answer" in errors[0]
    assert errors[1] == "old: found no such source any more; needed it in the settings"
    assert errors[2] == "KeyError: 'missing'"
    nobody = Source(kind="dicom", port=9)
    with pytest.raises(ServeError, match="found no answer"):
        fetch_dicom("1", nobody, NodeSettings())


def test_requests_over_rest(sourced: ServeSettings, queue: Queue) -> None:
    by_dicom = {**sourced.sources, "dicom": Source(kind="dicom")}
    chosen = sourced.model_copy(update={"sources": by_dicom})
    with TestClient(make_app(chosen, Store(chosen.data), queue), base_url=LOCAL) as client:
        answer = client.post("/api/fetch", json={"source": "pacs", "accession": ACCESSION})
        assert (answer.status_code, answer.json()["kind"], answer.json()["state"]) == (
            202,
            "fetch",
            "waiting",
        )
        assert queue.job(answer.json()["id"]).payload["accession"] == ACCESSION
        for source, accession, words in (
            ("other", "1", "one of the settings' sources: pacs, dicom"),
            ("dicom", "1", "our DICOM node switched off"),
            ("pacs", "*", "should match pattern"),
            ("pacs", "", "should match pattern"),
            ("pacs", "  ", "should match pattern"),
        ):
            answer = client.post("/api/fetch", json={"source": source, "accession": accession})
            assert (answer.status_code, words in answer.text) == (422, True), answer.text
        full = chosen.limits.model_copy(update={"free_disk_gb": 1e9})
    with TestClient(
        make_app(chosen.model_copy(update={"limits": full}), Store(chosen.data), queue), base_url=LOCAL
    ) as client:
        answer = client.post("/api/fetch", json={"source": "pacs", "accession": "1"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


MESSAGE = b"--b\r\nContent-Type: x\r\n\r\none\r\n\r\n--a\r\n--b\r\n\r\ntwo\r\n--b--\r\n"


@hypothesis_settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, len(MESSAGE) - 1), max_size=8))
def test_parts_are_found_however_a_message_is_cut(cuts: list[int]) -> None:
    edges = sorted({0, *cuts, len(MESSAGE)})
    chunks = [MESSAGE[a:b] for a, b in pairwise(edges)]
    assert list(multipart(chunks, b"b", 1000)) == [b"one\r\n\r\n--a", b"two"]


def test_messages_that_are_cut_or_too_long_are_refused() -> None:
    with pytest.raises(ServeError, match="ends within a part"):
        list(multipart([MESSAGE[:-9]], b"b", 1000))
    with pytest.raises(ServeError, match="more than 10 bytes"):
        list(multipart([b"--b\r\n\r\n" + bytes(50)], b"b", 10))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, httpx.Response]]:
    """A DICOMweb server that answers by path."""
    answers: dict[str, httpx.Response] = {}
    transport = httpx.MockTransport(lambda request: answers[request.url.path])
    real = httpx.Client
    monkeypatch.setattr(dicomweb.httpx, "Client", lambda **named: real(transport=transport, **named))
    return answers


@pytest.mark.parametrize(
    ("studies", "instances", "words"),
    [
        (httpx.Response(500), None, "HTTP status 500 of a query"),
        (httpx.Response(204), None, "no study of this accession number"),
        (httpx.Response(200, text="no JSON"), None, "an answer that cannot be read"),
        (httpx.Response(200, json=[{"0020000D": {"Value": ["../x"]}}]), None, "studies without UIDs"),
        ("1.2", httpx.Response(404), "HTTP status 404"),
        ("1.2", b"--b--", "found no instances"),
        ("1.2", b"--b\r\n\r\njunk\r\n--b--", "a part that is no instance"),
    ],
)
def test_servers_that_do_not_keep_to_the_standard(
    server: dict[str, httpx.Response], tmp_path: Path, studies: object, instances: object, words: str
) -> None:
    if isinstance(studies, str):
        studies = httpx.Response(200, json=[{"0020000D": {"Value": [studies]}}])
    if isinstance(instances, bytes):
        kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        instances = httpx.Response(200, content=instances, headers=kind)
    server.update({"/studies": studies, "/studies/1.2": instances})
    with pytest.raises(ServeError, match=words):
        fetch_dicomweb("1", Source(kind="dicomweb", url="http://pacs"), Store(tmp_path), 1000)
