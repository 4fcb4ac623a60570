from __future__ import annotations

import numpy as np
import pytest

import phantoms
from lesionlab.core.settings import KineticsSettings
from lesionlab.measure.enhancement import (
    auc_of,
    background_limit,
    curve_class,
    enhancement,
    percent_enhancement,
    signal_change,
    signal_enhancement_ratio,
    upslope_of,
    with_neighbours,
)

SETTINGS = KineticsSettings()
TIMES = (-30.0, 60.0, 180.0, 300.0)


def voxel(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.full((1, 1, 1), v) for v in values)


def test_percentages_and_ratios_of_one_voxel() -> None:
    before, early, late = voxel(50.0, 100.0, 75.0)
    assert percent_enhancement(before, early).item() == 100.0
    assert signal_enhancement_ratio(before, early, late).item() == 2.0
    assert signal_change(early, late).item() == -25.0


def test_zero_denominators_are_undefined_without_a_warning() -> None:
    zero, some = voxel(0.0, 10.0)
    assert np.isnan(percent_enhancement(zero, some)).all()
    assert np.isnan(signal_enhancement_ratio(some, 2 * some, some)).all()
    assert np.isnan(signal_change(zero, some)).all()


def test_the_borders_of_the_curve_types() -> None:
    change = np.array([-10.01, -10.0, 0.0, 10.0, 10.01, np.nan])
    assert curve_class(change, 10.0).tolist() == [3, 2, 2, 2, 1, 0]


@pytest.mark.parametrize("kind", ["persistent", "plateau", "washout"])
def test_slope_and_area_of_a_curve(kind: str) -> None:
    after = TIMES[1:]
    percent = voxel(*(phantoms.wash_in(kind, t) for t in after))
    assert upslope_of(percent, after).item() == pytest.approx(phantoms.wash_in(kind, 1.0))
    seconds = np.linspace(0.0, 250.0, 100_001)
    curve = np.interp(seconds, (0.0, *after), (0.0, *(p.item() for p in percent)))
    area = ((curve[1:] + curve[:-1]) / 2 * np.diff(seconds)).sum()
    assert auc_of(percent, after, 250.0).item() == pytest.approx(area, rel=1e-6)
    assert auc_of(percent, after, 40.0).item() == pytest.approx(phantoms.wash_in(kind, 40.0) * 20.0)
    assert auc_of(percent, after, 300.0) is not None
    assert auc_of(percent, after, 301.0) is None


def test_the_background_limit() -> None:
    before = np.arange(101.0)
    assert background_limit(before, SETTINGS) == pytest.approx(0.6 * 95.0)
    assert background_limit(before, KineticsSettings(background=7.0)) == 7.0
    assert background_limit(np.array([]), SETTINGS) == 0.0
    assert background_limit(np.array([np.nan, 10.0]), SETTINGS) == pytest.approx(6.0)


def test_neighbours_include_diagonal_ones() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    assert with_neighbours(mask, 0) is mask
    assert with_neighbours(mask, 1).sum() == 3
    assert with_neighbours(mask, 2).sum() == 1
    assert with_neighbours(mask, 3).sum() == 0


def test_what_counts_as_enhancing() -> None:
    """PE, background, late signal above that before contrast, and finite in every phase."""
    before = np.array([[[100.0, 100.0, 100.0, 10.0, 100.0, 0.0]]])
    early = np.array([[[170.0, 169.9, 200.0, 90.0, 200.0, 50.0]]])
    late = np.array([[[150.0, 300.0, 100.0, 90.0, np.nan, 50.0]]])
    maps = enhancement((before, early, late), None, SETTINGS, 40.0)
    assert maps.enhancing.ravel().tolist() == [True, False, False, False, False, False]
    assert maps.analysed.ravel().tolist() == [True, True, True, False, False, False]
    assert np.isnan(maps.ratio.ravel()).tolist() == [False, False, True, True, True, True]
    assert maps.time_to_peak is None and maps.upslope is None and maps.auc is None
    alone = enhancement((before, early), None, SETTINGS, 40.0)
    assert alone.enhancing.ravel().tolist() == [True, False, True, False, True, False]
    assert np.isnan(alone.ratio).all() and not alone.curve.any()


def test_the_first_of_equal_peaks_is_the_time_to_peak() -> None:
    maps = enhancement(voxel(100.0, 220.0, 220.0, 200.0), TIMES, SETTINGS, 0.0)
    assert maps.time_to_peak is not None
    assert maps.time_to_peak.item() == 60.0
    assert maps.peak.item() == 120.0
