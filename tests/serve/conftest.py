"""A small PET study, and a service's settings within a temporary folder."""

from __future__ import annotations

from pathlib import Path

import pytest

import dicom_phantoms
from lesionlab.serve.jobs import Queue
from lesionlab.serve.settings import LimitSettings, NodeSettings, ServeSettings


@pytest.fixture(scope="session")
def pet_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DICOM PET series of one patient."""
    folder = tmp_path_factory.mktemp("pet")
    dicom_phantoms.write_pet(folder)
    return folder


@pytest.fixture
def settings(tmp_path: Path) -> ServeSettings:
    """A service of one worker that listens nowhere yet."""
    return ServeSettings(
        data=tmp_path / "data",
        device="cpu",
        node=NodeSettings(enabled=False, port=0, quiet_s=0.3),
        limits=LimitSettings(free_disk_gb=0.0),
    )


@pytest.fixture
def queue(settings: ServeSettings):
    """The queue of `settings`."""
    settings.data.mkdir(parents=True, exist_ok=True)
    queue = Queue(settings.database_url)
    yield queue
    queue.close()
