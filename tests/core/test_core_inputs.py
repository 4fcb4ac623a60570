"""A channel on its fixed scale, as the network sees it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import network_input, network_place
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


def test_resized_slices_keep_their_extent_in_the_patient() -> None:
    turned = (0.0, 0.6, 0.8, 0.0, -0.8, 0.6, 1.0, 0.0, 0.0)
    given = Geometry((3, 40, 50), (5.0, 0.5, 0.4), (10.0, -20.0, 30.0), turned)
    case = Case("c", "c", {"suv": Volume(np.zeros(given.shape), given, SUVBW)}, "suv")
    assert network_place(case, recipe()) is None
    found = network_place(case, recipe().changed(standardise={"size": [16, 100]}))
    assert found is not None and found.shape == (3, 16, 100) and found.direction == turned
    for corner in ((-0.5, -0.5, -0.5), (2.5, 39.5, 49.5), (-0.5, 39.5, -0.5)):
        share = (np.array(corner) + 0.5) / given.shape
        there = found.to_world(share * np.array(found.shape) - 0.5)
        np.testing.assert_allclose(there, given.to_world(corner), atol=1e-9)
