from __future__ import annotations

import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path

import pytest

from lesionlab.core.lazy import imports_from, on_first_use

SLOW = {
    "torch",
    "nnunetv2",
    "matplotlib",
    "numba",
    "pandas",
    "scipy.optimize",
    "scipy.stats",
    "scipy.spatial",
}


@pytest.mark.parametrize("package", ["lesionlab.pipeline", "lesionlab.report"])
def test_every_public_name_of_a_lazy_package_has_a_home(package: str) -> None:
    module = import_module(package)
    assert sorted(module._HOMES) == sorted(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__name__ == name or not callable(getattr(module, name))


def test_a_name_is_fetched_once_and_an_unknown_one_is_an_attribute_error() -> None:
    load = on_first_use("lesionlab.report", {"save_volume": "lesionlab.report.volumes"})
    module = import_module("lesionlab.report")
    vars(module).pop("save_volume", None)
    assert load("save_volume") is import_module("lesionlab.report.volumes").save_volume
    assert vars(module)["save_volume"] is load("save_volume")
    with pytest.raises(AttributeError, match="has no attribute 'save_volum'"):
        load("save_volum")


@pytest.mark.parametrize("name", ["predict_cohort", "examine_cohort", "examine", "convert_cohort"])
def test_commands_start_without_the_slow_libraries(name: str) -> None:
    code = f"import sys; from lesionlab.pipeline import {name}; print({SLOW!r} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_modules_are_imported_in_a_thread_once_so_much_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("1 / 0")
    (tmp_path / "late_module.py").write_text("import threading; where = threading.current_thread().name")
    monkeypatch.syspath_prepend(str(tmp_path))
    told: list[tuple[str, float]] = []
    progress = imports_from(lambda m, s: told.append((m, s)), 0.2, ["broken_module", "late_module"])
    progress("before", 0.19)
    assert "late_module" not in sys.modules
    for share in (0.2, 0.5):
        progress("after", share)
    for thread in threading.enumerate():
        if thread.name == "imports":
            thread.join(10)
    assert sys.modules.pop("late_module").where == "imports"
    assert told == [("before", 0.19), ("after", 0.2), ("after", 0.5)]
