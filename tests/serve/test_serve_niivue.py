"""The script that fetches the viewer: nothing but the very tarball it knows is unpacked."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_niivue.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_niivue", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TARGET", tmp_path / "vendor")
    return module


def tarball(folder: Path, version: str, names: tuple[str, ...]) -> Path:
    file = folder / "niivue.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for name in names:
            content = f'{{"version": "{version}"}}'.encode()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file


def trusted(script: ModuleType, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = base64.b64encode(hashlib.sha512(file.read_bytes()).digest()).decode()
    monkeypatch.setattr(script, "INTEGRITY", f"sha512-{digest}")


def test_the_known_tarball_is_unpacked_once(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tarball(tmp_path, script.VERSION, (*script.WANTED, "package/other.js"))
    trusted(script, file, monkeypatch)
    assert script.main([str(file)]) == 0
    assert sorted(f.name for f in script.TARGET.iterdir()) == ["niivue.js", "package.json"]
    file.unlink()
    assert script.main([str(file)]) == 0


def test_another_tarball_is_refused(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tarball(tmp_path, script.VERSION, tuple(script.WANTED))
    assert script.main([str(file)]) == 1
    assert "its integrity is sha512-" in capsys.readouterr().err
    assert not script.TARGET.exists()


def test_without_npm_and_registry_it_says_what_is_needed(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(script.shutil, "which", lambda _: None)
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    assert script.main([]) == 1
    assert "needed npm, or NPM_CONFIG_REGISTRY" in capsys.readouterr().err


def test_a_tarball_without_the_viewer_is_refused(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tarball(tmp_path, script.VERSION, ("package/package.json",))
    trusted(script, file, monkeypatch)
    assert script.main([str(file)]) == 1
    assert "index.js" in capsys.readouterr().err
    assert not script.is_there()
