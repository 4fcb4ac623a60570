"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest

import networks_phantom
from lesionlab.core.recipe import Recipe
from lesionlab.predict import Bundle


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it are skipped, plainly, without it."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    return folder


@pytest.fixture(scope="session")
def tiny_recipe() -> Recipe:
    """A recipe whose network trains in seconds."""
    return networks_phantom.tiny_recipe()


@pytest.fixture(scope="session")
def tiny_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A planned workspace of six spheres in noise, three folds, with fold 0 trained."""
    return networks_phantom.train_tiny(tmp_path_factory.mktemp("tiny") / "workspace")


@pytest.fixture(scope="session")
def tiny_bundle(tiny_workspace: Path) -> Bundle:
    """The bundle of fold 0 of the tiny workspace."""
    return networks_phantom.bundle_of(tiny_workspace)
