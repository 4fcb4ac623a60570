"""The round trip with a real PACS: Orthanc forwards a study, the answer lies beside it in Orthanc."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from lesionlab.core.volume import Volume
from lesionlab.read import load_mask
from lesionlab.report import save_volume
from orthanc import Orthanc, missing, orthanc
from serve_phantoms import free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]

WAIT_S = 180.0
"""Orthanc, service and worker share this machine with whatever else runs on it."""
TOKEN = {"Authorization": "Bearer secret"}
SETTINGS = """
data = "{data}"
device = "cpu"

[node]
port = {node}
quiet_s = 1.0

[web]
port = {web}
organisation = "City Hospital"
tokens = {{ anna = "{token}" }}
people = {{ anna = "Muster^Anna" }}

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
        until(lambda: _ready(web) or process.poll() is not None, WAIT_S)
        assert process.poll() is None, "the service did not start"
        yield process
    finally:
        process.terminate()
        assert process.wait(30) == 0


def _ready(port: int) -> bool:
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/api/health", headers=TOKEN, timeout=2)
        return bool(answer.json()["ready"])
    except httpx.HTTPError:
        return False


def jobs(port: int) -> list[dict[str, object]]:
    return list(httpx.get(f"http://127.0.0.1:{port}/api/jobs", headers=TOKEN, timeout=30).json())


@pytest.mark.parametrize("destination", ["pacs", "web"])
def test_the_answer_comes_back_into_orthancs_study(tmp_path: Path, pet_study: Path, destination: str) -> None:
    node, web = free_port(), free_port()
    with orthanc(tmp_path / "orthanc", node) as pacs:
        file = tmp_path / "serve.toml"
        names = {"data": tmp_path / "data", "node": node, "web": web, "dicom": pacs.dicom_port}
        names["token"] = hashlib.sha256(b"secret").hexdigest()
        file.write_text(SETTINGS.format(**names, http=pacs.http, destination=destination))
        with serving(file, web):
            [study] = {pacs.store(image) for image in sorted(pet_study.iterdir())}
            until(lambda: {"SEG", "SR"} <= set(pacs.instances(study)), WAIT_S)
            check_answer(pacs, study)
            # Orthanc forwards the study again, answer included: that is no new work
            until(lambda: pacs.ask(f"studies/{study}")["IsStable"], WAIT_S)  # type: ignore[index]
            until(lambda: all(job["state"] == "done" for job in jobs(web)), WAIT_S)
            assert sorted(str(job["kind"]) for job in jobs(web)) == ["deliver", "examine"]
            mask = corrected_and_accepted(web, tmp_path)
            until(lambda: len(pacs.instances(study)["SR"]) == 2, WAIT_S)
            check_correction(pacs, study, mask, tmp_path)
            until(lambda: pacs.ask(f"studies/{study}")["IsStable"], WAIT_S)  # type: ignore[index]
            until(lambda: all(job["state"] == "done" for job in jobs(web)), WAIT_S)
            kinds = ["accept", "deliver", "deliver", "examine", "examine"]
            assert sorted(str(job["kind"]) for job in jobs(web)) == kinds


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


def corrected_and_accepted(port: int, folder: Path) -> Volume:
    """Take half of the voxels out of the mask of the only result, accept that, and give the mask."""
    [first] = (job for job in jobs(port) if job["kind"] == "examine")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/jobs", headers=TOKEN, timeout=30) as web:
        (folder / "mask.nii.gz").write_bytes(web.get(f"/{first['id']}/results/mask.nii.gz").content)
        before = load_mask(folder / "mask.nii.gz")
        drawn = before.array.copy()
        drawn[: drawn.shape[0] // 2] = 0
        assert 0 < drawn.sum() < before.array.sum()
        file = save_volume(before.with_array(drawn), folder / "corrected.nii.gz")
        files = {"file": ("mask.nii.gz", file.read_bytes())}
        made = web.post(f"/{first['id']}/corrections", files=files).json()["id"]
        until(lambda: web.get(f"/{made}").json()["state"] == "done", WAIT_S)
        assert web.post(f"/{made}/reviews", json={"verdict": "accepted"}).status_code == 201
    return before.with_array(drawn)


def check_correction(pacs: Orthanc, study: str, mask: Volume, folder: Path) -> None:
    """Both series are in the study; the corrected one names who answers for it and is the mask as drawn."""
    found = pacs.instances(study)
    old_report, report = sorted(found["SR"], key=lambda tags: "PredecessorDocumentsSequence" in tags)
    old, new = sorted(found["SEG"], key=lambda tags: str(tags["ContentLabel"]), reverse=True)
    assert old["SeriesInstanceUID"] != new["SeriesInstanceUID"]
    assert (new["ContentLabel"], new["ContentCreatorName"]) == ("CORRECTED", "Muster^Anna")
    assert (old_report["VerificationFlag"], report["VerificationFlag"]) == ("UNVERIFIED", "VERIFIED")
    [series] = report["PredecessorDocumentsSequence"][0]["ReferencedSeriesSequence"]  # type: ignore[index]
    referenced = series["ReferencedSOPSequence"][0]["ReferencedSOPInstanceUID"]
    assert referenced == old_report["SOPInstanceUID"]
    [item] = pacs.find("Instance", {"SOPInstanceUID": str(new["SOPInstanceUID"])})
    (folder / "back.dcm").write_bytes(pacs.file(item))
    back = load_mask(folder / "back.dcm", mask.geometry)
    assert np.array_equal(back.array > 0, mask.array > 0)
