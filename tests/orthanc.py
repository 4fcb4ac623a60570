"""A real PACS for the tests: Orthanc with its DICOMweb plugin, on loopback, in a temporary folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from serve_phantoms import free_port, until

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
FORWARD = """
function OnStableStudy(study, tags, metadata)
   RestApiPost('/modalities/lesionlab/store', study)
end
"""


def missing() -> str:
    """What is not installed; empty when Orthanc can be started."""
    if shutil.which("Orthanc") is None:
        return "Orthanc is missing (Debian's package orthanc)"
    return (
        "" if PLUGIN.exists() else "Orthanc's DICOMweb plugin is missing (Debian's package orthanc-dicomweb)"
    )


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc."""

    http: str
    dicom_port: int

    def store(self, file: Path) -> str:
        """Put an instance in; returns Orthanc's id of its study."""
        answer = httpx.post(f"{self.http}/instances", content=file.read_bytes(), timeout=30)
        answer.raise_for_status()
        return str(answer.json()["ParentStudy"])

    def ask(self, path: str) -> object:
        """What Orthanc's own interface answers."""
        answer = httpx.get(f"{self.http}/{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    def find(self, level: str, query: dict[str, str]) -> list[str]:
        """Orthanc's ids of what matches a query."""
        asked = {"Level": level, "Query": query}
        answer = httpx.post(f"{self.http}/tools/find", json=asked, timeout=30)
        answer.raise_for_status()
        return list(answer.json())

    def file(self, instance: str) -> bytes:
        """An instance as it is stored."""
        answer = httpx.get(f"{self.http}/instances/{instance}/file", timeout=30)
        answer.raise_for_status()
        return answer.content

    def instances(self, study: str) -> dict[str, list[dict[str, object]]]:
        """The tags of every instance of a study, by modality."""
        found: dict[str, list[dict[str, object]]] = {}
        for item in self.ask(f"studies/{study}/instances"):  # type: ignore[attr-defined]
            tags = self.ask(f"instances/{item['ID']}/simplified-tags")
            found.setdefault(str(tags["Modality"]), []).append(tags)  # type: ignore[index]
        return found


@contextmanager
def orthanc(folder: Path, lesionlab_port: int, *, forward: bool = True) -> Iterator[Orthanc]:
    """Run Orthanc until the end; with `forward` it sends every stable study to LesionLab."""
    folder.mkdir(parents=True)
    http, dicom = free_port(), free_port()
    (folder / "forward.lua").write_text(FORWARD)
    settings = {
        "Name": "ORTHANC",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": http,
        "DicomPort": dicom,
        "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "StableAge": 1,
        "DicomModalities": {"lesionlab": ["LESIONLAB", "127.0.0.1", lesionlab_port]},
        "LuaScripts": [str(folder / "forward.lua")] if forward else [],
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
        running = Orthanc(f"http://127.0.0.1:{http}", dicom)
        try:
            until(lambda: _answers(running.http) or process.poll() is not None, 60)
            assert process.poll() is None, (folder / "orthanc.log").read_text()[-2000:]
            yield running
        finally:
            process.terminate()
            process.wait(20)


def _answers(http: str) -> bool:
    try:
        return httpx.get(f"{http}/system", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
