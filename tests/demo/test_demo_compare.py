"""Found against known, on an example small enough to work out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import GeometryError
from lesionlab.core.recipe import BiomarkerSettings
from lesionlab.core.results import LesionTable
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.cohort import Answer
from lesionlab.demo.compare import compare_patient, summarise_method
from lesionlab.measure import measure

GRID = Geometry((1, 8, 12), (10.0, 10.0, 10.0))  # voxels of 1 ml


def answer(number: int, suv: float, volume_ml: float) -> Answer:
    return Answer(number, "lung", suv, volume_ml, (0.0, 0.0, 0.0), 5.0)


def flat(box: tuple[slice, slice], value: float = 1) -> np.ndarray:
    array = np.zeros(GRID.shape)
    array[0][box] = value
    return array


LABELS = (
    flat((slice(0, 2), slice(0, 2)))
    + 2 * flat((slice(0, 2), slice(5, 8)))
    + 3 * flat((slice(5, 6), slice(0, 2)))
)
KNOWN = (answer(1, 10.0, 4.0), answer(2, 8.0, 6.0), answer(3, 5.0, 2.0))


KNOWN_LABELS = Volume(LABELS.astype(np.uint8), GRID, ONE)
NO_LABELS = Volume(np.zeros(GRID.shape, np.uint8), GRID, ONE)


def measured(mask: np.ndarray, suv: np.ndarray | None = None, grid: Geometry = GRID) -> LesionTable:
    image = np.ones(grid.shape) if suv is None else suv
    case = Case("P01", "P01", {"suv": Volume(image.astype(np.float32), grid, SUVBW)}, "suv")
    return measure(case, Volume(mask.astype(np.uint8), grid, ONE), BiomarkerSettings())


def test_hand_worked_patient() -> None:
    # lesion 1 found two voxels too large, lesion 2 half found, lesion 3 missed; 3 voxels elsewhere are false
    mask = (
        flat((slice(0, 2), slice(0, 3)))
        + flat((slice(0, 1), slice(5, 8)))
        + flat((slice(7, 8), slice(8, 11)))
    )
    suv = np.full(GRID.shape, 1.0)
    suv[0, 0, 0], suv[0, 0, 6], suv[0, 1, 6], suv[0, 7, 9] = 9.0, 7.0, 8.5, 30.0
    result = compare_patient("P01", measured(mask, suv), KNOWN_LABELS, KNOWN)
    first, second, third = result.lesions
    assert (first.found, second.found, third.found) == (True, True, False)
    assert first.found_ml == pytest.approx(6.0) and first.mtv_error_percent == pytest.approx(50.0)
    assert first.suvmax_error_percent == pytest.approx(-10.0)
    assert second.found_ml == pytest.approx(3.0) and second.mtv_error_percent == pytest.approx(-50.0)
    assert second.found_suvmax == pytest.approx(7.0)  # 8.5 lies in the half that was not found
    assert math.isnan(third.found_ml) and math.isnan(third.suvmax_error_percent)
    assert result.false_positives == 1 and result.false_ml == pytest.approx(3.0)
    assert result.dice == pytest.approx(2 * (4 + 3) / (12 + 12))
    assert (result.known_ml, result.found_ml) == (pytest.approx(12.0), pytest.approx(12.0))


def test_one_component_over_two_lesions_is_measured_against_the_one_it_covers_most() -> None:
    table = measured(flat((slice(0, 2), slice(1, 8))))
    first, second, _ = compare_patient("P01", table, KNOWN_LABELS, KNOWN).lesions
    assert first.found and math.isnan(first.found_ml)
    assert second.found and second.found_ml == pytest.approx(14.0)


def test_components_of_one_lesion_are_measured_together() -> None:
    mask = flat((slice(0, 1), slice(5, 6))) + flat((slice(0, 1), slice(7, 8)))
    result = compare_patient("P01", measured(mask), KNOWN_LABELS, KNOWN)
    assert result.lesions[1].found_ml == pytest.approx(2.0)
    assert result.false_positives == 0


def test_empty_mask_and_healthy_patient() -> None:
    nothing = compare_patient("P01", measured(np.zeros(GRID.shape)), KNOWN_LABELS, KNOWN)
    assert nothing.dice == 0.0 and nothing.false_positives == 0
    assert not any(lesion.found for lesion in nothing.lesions)
    healthy = compare_patient("P03", measured(np.ones(GRID.shape)), NO_LABELS, ())
    assert math.isnan(healthy.dice) and healthy.false_positives == 1
    assert healthy.false_ml == pytest.approx(96.0)
    both = compare_patient("P03", measured(np.zeros(GRID.shape)), NO_LABELS, ())
    assert math.isnan(both.dice) and (both.false_positives, both.found_ml) == (0, 0.0)


def test_summary_over_patients() -> None:
    mask = flat((slice(0, 2), slice(0, 3))) + flat((slice(7, 8), slice(8, 11)))
    table = measured(mask, np.full(GRID.shape, 8.0))
    ill = compare_patient("P01", table, KNOWN_LABELS, KNOWN)
    healthy = compare_patient("P03", table, NO_LABELS, ())
    summary = summarise_method("test", [ill, healthy])
    assert (summary.known, summary.found, summary.false_positives) == (3, 1, 3)
    assert summary.sensitivity == pytest.approx(1 / 3)
    assert summary.false_positives_per_patient == pytest.approx(1.5)
    assert summary.dice == pytest.approx(2 * 4 / (9 + 12))  # the healthy patient has no Dice
    assert summary.mtv_error_percent == pytest.approx(50.0)
    assert summary.suvmax_error_percent == pytest.approx(20.0)
    assert summary.tmtv_error_ml == pytest.approx((3.0 + 9.0) / 2)


def test_summary_of_nothing_is_undefined() -> None:
    summary = summarise_method("test", [])
    assert math.isnan(summary.sensitivity) and math.isnan(summary.dice)
    assert math.isnan(summary.false_positives_per_patient) and math.isnan(summary.tmtv_error_ml)


def test_other_grid_is_refused() -> None:
    moved = measured(np.zeros(GRID.shape), grid=Geometry(GRID.shape, GRID.spacing, (5.0, 0.0, 0.0)))
    with pytest.raises(GeometryError, match="P01"):
        compare_patient("P01", moved, KNOWN_LABELS, KNOWN)
