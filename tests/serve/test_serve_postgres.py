"""The whole service on PostgreSQL: a study in by DICOM, a kill while it is examined, results out by REST."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import load_settings
from lesionlab.serve.store import Store
from postgres import missing, postgres
from serve_phantoms import free_port, listening, started, store_files, until

SETTINGS = """
data = "{data}"
database = "{url}"
device = "cpu"
node = {{ port = {node}, quiet_s = 600.0, instances = {instances} }}
web = {{ port = {web} }}
limits = {{ free_disk_gb = 0.0 }}
"""


@pytest.fixture
def url() -> Iterator[str]:
    """A database of a server of its own."""
    with postgres() as url:
        yield url


@pytest.mark.slow
@pytest.mark.skipif(bool(missing()), reason=missing())
def test_a_service_on_postgresql_survives_a_kill(tmp_path: Path, pet_study: Path, url: str) -> None:
    files, node, web = sorted(pet_study.iterdir()), free_port(), f"http://127.0.0.1:{free_port()}"
    names = {"data": tmp_path / "data", "url": url, "node": node, "web": web.rpartition(":")[2]}
    file = tmp_path / "serve.toml"
    file.write_text(SETTINGS.format(**names, instances=len(files)))
    first = started(file)
    until(lambda: ready(web, first))
    assert set(store_files(node, files)) == {0}
    until(lambda: [job["state"] for job in asked(web, "jobs")] == ["running"])
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    until(lambda: not listening(node))
    second = started(file)
    until(lambda: ready(web, second))
    assert set(store_files(node, files)) == {0}, "what is there already is acknowledged again"
    until(lambda: [job for job in asked(web, "jobs") if job["state"] in ("done", "failed")] != [], 90)
    [job] = asked(web, "jobs")
    assert job["state"] == "done", job["error"]
    results = {item["name"] for item in asked(web, f"jobs/{job['id']}/results")}
    assert {"lesions.csv", "report.html", "mask.nii.gz"} <= results
    answer = httpx.get(f"{web}/api/jobs/{job['id']}/results/report.html", timeout=30)
    assert answer.status_code == 200
    assert "<html" in answer.text
    second.terminate()
    assert second.wait(30) == 0
    settings = load_settings(file)
    [study] = Store(settings.data).all_studies()
    assert len(study.files) == len(files)
    assert not (settings.data / "service.sqlite").exists()
    queue = Queue(settings.database_url)
    ends = [entry.what for entry in queue.audit() if entry.subject == job["id"]]
    assert ends.count("examine done") == 1
    queue.close()


def ready(web: str, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the service ended"
    try:
        return bool(httpx.get(f"{web}/api/health", timeout=2).json()["ready"])
    except httpx.HTTPError:
        return False


def asked(web: str, path: str) -> list[dict[str, str]]:
    answer = httpx.get(f"{web}/api/{path}", timeout=30)
    answer.raise_for_status()
    found: list[dict[str, str]] = answer.json()
    return found
