"""The round trip with a real PACS: Orthanc forwards a study, the answer lies beside it in Orthanc."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from orthanc import Orthanc, missing, orthanc
from serve_phantoms import free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

SETTINGS = """
data = "{data}"
device = "cpu"

[node]
port = {node}
quiet_s = 1.0

[web]
port = {web}

[limits]
free_disk_gb = 0.0

[destinations.pacs]
kind = "dicom"
port = {dicom}
ae_title = "ORTHANC"

[destinations.web]
kind = "dicomweb"
url = "{http}/dicom-web"

[[routes]]
name = "pet"
bundle = "pet-threshold"
modalities = ["PT"]
send_to = ["{destination}"]
"""


@contextmanager
def serving(file: Path, web: int) -> Iterator[subprocess.Popen[bytes]]:
    """`lesionlab serve` in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "lesionlab", "serve", str(file)])
    try:
        until(lambda: _ready(web) or process.poll() is not None)
        assert process.poll() is None, "the service did not start"
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _ready(port: int) -> bool:
    try:
        return bool(httpx.get(f"http://127.0.0.1:{port}/api/health", timeout=2).json()["ready"])
    except httpx.HTTPError:
        return False


def jobs(port: int) -> list[dict[str, object]]:
    return list(httpx.get(f"http://127.0.0.1:{port}/api/jobs", timeout=30).json())


@pytest.mark.parametrize("destination", ["pacs", "web"])
def test_the_answer_comes_back_into_orthancs_study(tmp_path: Path, pet_study: Path, destination: str) -> None:
    node, web = free_port(), free_port()
    with orthanc(tmp_path / "orthanc", node) as pacs:
        file = tmp_path / "serve.toml"
        names = {"data": tmp_path / "data", "node": node, "web": web, "dicom": pacs.dicom_port}
        file.write_text(SETTINGS.format(**names, http=pacs.http, destination=destination))
        with serving(file, web):
            [study] = {pacs.store(image) for image in sorted(pet_study.iterdir())}
            until(lambda: {"SEG", "SR"} <= set(pacs.instances(study)), 30)
            check_answer(pacs, study)
            # Orthanc forwards the study again, answer included: that is no new work
            until(lambda: pacs.ask(f"studies/{study}")["IsStable"], 30)  # type: ignore[index]
            until(lambda: all(job["state"] == "done" for job in jobs(web)), 60)
            assert sorted(str(job["kind"]) for job in jobs(web)) == ["deliver", "examine"]


def check_answer(pacs: Orthanc, study: str) -> None:
    """Orthanc reads segmentation and report, and both refer to the study's images."""
    found = pacs.instances(study)
    images = {str(tags["SeriesInstanceUID"]) for tags in found["PT"]}
    [segmentation], [report] = found["SEG"], found["SR"]
    referenced = segmentation["ReferencedSeriesSequence"][0]  # type: ignore[index]
    assert referenced["SeriesInstanceUID"] in images
    assert int(str(segmentation["NumberOfFrames"])) >= 1
    assert segmentation["SegmentSequence"]
    assert report["CompletionFlag"] == "COMPLETE"
    assert (
        report["StudyInstanceUID"] == segmentation["StudyInstanceUID"] == found["PT"][0]["StudyInstanceUID"]
    )
