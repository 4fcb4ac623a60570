"""TorchIO's acquisition faults as the benchmark wraps them: rising with strength, and repeatable."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import phantoms
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.faults import Fault

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "acquisition_faults.py"
NAMES = ("motion", "ghosting", "bias field", "spikes")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what TorchIO's own imports warn of
        pytest.importorskip("torchio")
        spec = importlib.util.spec_from_file_location("acquisition_faults", SCRIPT)
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def faults(script: ModuleType) -> dict[str, Fault]:
    return {fault.name: fault for fault in script.torchio_faults()}


def hot_ball() -> Volume:
    geometry = Geometry((24, 30, 27), (4.0, 3.0, 3.5))
    centre = tuple(geometry.to_world((11.5, 14.5, 13.0)))
    array = 1.0 + 7.0 * phantoms.ball_mask(geometry, centre, 16.0)
    return Volume(array.astype(np.float32), geometry, SUVBW)


@pytest.mark.parametrize("name", NAMES)
def test_faults_rise_with_strength_and_repeat(faults: dict[str, Fault], name: str) -> None:
    fault, volume = faults[name], hot_ball()
    changes = []
    for strength in (0.0, *fault.strengths):
        found = fault.apply(volume, strength, 5)
        assert np.array_equal(found.array, fault.apply(volume, strength, 5).array)
        assert found.geometry == volume.geometry
        assert found.array.min() >= 0.0
        changes.append(float(np.abs(found.array - volume.array).mean()))
    assert changes == sorted(changes)
    assert changes[0] < 1e-4 < 0.01 < changes[-1]
    assert hot_ball().array.max() == volume.array.max()


def test_limits_hold_for_both_directions_and_both_measures(script: ModuleType) -> None:
    fault = Fault("scale", "%", (-20.0, -10.0, 10.0, 20.0), lambda volume, strength, seed: volume)
    dice = {-20.0: 0.6, -10.0: 0.79, 0.0: 0.8, 10.0: 0.78, 20.0: 0.77}
    error = {-20.0: 5.0, -10.0: -8.0, 0.0: 5.0, 10.0: -30.0, 20.0: 0.0}
    rows = [("scale", strength, "a", dice[strength], error[strength]) for strength in dice]
    assert script.limits(rows, fault, script.DICE) == {"down": -10.0, "up": 20.0}
    assert script.limits(rows, fault, script.TMTV) == {"down": -20.0, "up": 0.0}
    words = script.limit_words(script.limits(rows, fault, script.TMTV), fault)
    assert words == "-20 (all tried) and not even 10"
