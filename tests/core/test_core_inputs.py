"""A channel on its fixed scale, as the network sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import network_input
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume

GRID = Geometry((1, 1, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))
CASE = Case("c", "c", {"suv": Volume(np.array([[[-1.0, 0.0, 3.0, 80.0]]]), GRID, SUVBW)}, "suv")


def recipe(**settings: Any) -> Recipe:
    return parse_recipe({"name": "r", "reference": "suv", "channels": {"suv": settings}}, "r")


def test_fixed_clips_then_divides() -> None:
    (volume,) = network_input(CASE, recipe(normalisation="fixed", clip=[0, 50], divide_by=5.0))
    np.testing.assert_allclose(volume.array.ravel(), [0.0, 0.0, 0.6, 10.0], rtol=1e-6)
    assert volume.unit == ONE and volume.array.dtype == np.float32


def test_the_log_curve_follows_the_quotient() -> None:
    (volume,) = network_input(CASE, recipe(normalisation="fixed", clip=[0, 50], divide_by=2.0, curve="log"))
    np.testing.assert_allclose(volume.array.ravel(), np.log([1.0, 1.0, 2.5, 26.0]), rtol=1e-6)


def test_other_schemes_keep_the_values_for_the_plan() -> None:
    (volume,) = network_input(CASE, recipe(normalisation="zscore"))
    np.testing.assert_array_equal(volume.array, CASE.channels["suv"].array)
    assert volume.unit == SUVBW


def test_a_missing_channel_is_named() -> None:
    wanted = parse_recipe({"name": "r", "reference": "ct", "channels": {"ct": {}}}, "r")
    with pytest.raises(BundleError, match="c: found channels suv; needed channel 'ct'"):
        network_input(CASE, wanted)
