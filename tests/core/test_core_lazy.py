from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from lesionlab.core.lazy import on_first_use

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
