from __future__ import annotations

import cc3d
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.units import ACTIVITY, HOUNSFIELD
from lesionlab.core.volume import Geometry, Volume
from lesionlab.predict.threshold import body_mask, relative_mask, threshold_mask
from phantoms import OBLIQUE, ball_mask, pet_case

GRID = Geometry((30, 40, 40), (3.0, 2.0, 2.0), (-40.0, -40.0, -45.0))
LEVELS = np.array([[[1.0, 4.0, 3.999, 10.0, 4.1, 4.09]]], np.float32)


def recipe(**threshold):
    return parse_recipe(
        {
            "name": "t",
            "channels": {"suv": {"normalisation": "none"}},
            "reference": "suv",
            "optional_channels": ["ct"],
            "method": "threshold",
            "threshold": threshold,
        },
        "test",
    )


def flat_case(values):
    return pet_case(values, Geometry(values.shape, (2.0, 2.0, 2.0)))


def test_fixed_takes_voxels_at_or_above_the_value():
    prediction = threshold_mask(flat_case(LEVELS), recipe(rule="fixed", suv=4.0))
    assert prediction.mask.array.tolist() == [[[0, 1, 0, 1, 1, 1]]]
    assert prediction.mask.array.dtype == np.uint8
    assert prediction.probability is None
    assert prediction.raw_mask is None
    assert prediction.notes == ()


def test_the_shipped_recipes_work():
    case = pet_case(np.where(ball_mask(GRID, (0, 0, 0), 12.0), 9.0, 1.0), GRID)
    for name in ("pet-threshold", "pet-threshold-41"):
        mask = threshold_mask(case, find_recipe(name)).mask
        assert np.array_equal(mask.array > 0, ball_mask(GRID, (0, 0, 0), 12.0))
        assert mask.geometry == GRID


def test_nothing_high_enough_is_an_empty_mask():
    for rule in ("fixed", "relative"):
        assert not threshold_mask(flat_case(LEVELS), recipe(rule=rule, suv=20.0)).mask.array.any()


def test_nan_is_never_lesion():
    values = np.array([[[np.nan, 5.0, np.nan, 2.0, 9.0]]], np.float32)
    for rule in ("fixed", "relative"):
        assert threshold_mask(flat_case(values), recipe(rule=rule, suv=4.0)).mask.array.tolist() == [
            [[0, 1, 0, 0, 1]]
        ]


def test_relative_draws_each_lesion_at_its_own_level():
    """A hot and a faint ball, each with a rim at 50 and 30 % of its own uptake."""
    suv = np.full(GRID.shape, 0.5)
    for centre, uptake in (((-15.0, 0.0, 0.0), 20.0), ((20.0, 0.0, 0.0), 6.0)):
        for radius, share in ((14.0, 0.3), (10.0, 0.5), (6.0, 1.0)):
            suv[ball_mask(GRID, centre, radius)] = share * uptake
    mask = threshold_mask(pet_case(suv, GRID), recipe(rule="relative", suv=2.5)).mask.array > 0
    expected = ball_mask(GRID, (-15.0, 0.0, 0.0), 10.0) | ball_mask(GRID, (20.0, 0.0, 0.0), 10.0)
    assert np.array_equal(mask, expected)


def test_relative_takes_the_level_itself():
    values = np.array([[[0.0, 4.1, 10.0, 4.09, 0.0]]], np.float32)
    mask, _ = relative_mask(values, 4.0, 0.41)
    assert mask.tolist() == [[[False, True, True, False, False]]]


def test_relative_reaches_below_the_floor():
    values = np.array([[[0.5, 2.0, 2.2, 5.0, 2.1, 1.9, 2.3]]], np.float32)
    mask, kept_back = relative_mask(values, 4.0, 0.41)
    assert mask.tolist() == [[[False, False, True, True, True, False, False]]]  # 2.05 and connected
    assert kept_back == 0


def test_relative_leaves_what_is_not_connected_to_the_maximum():
    values = np.array([[[9.0, 5.0, 3.0, 5.0, 20.0]]], np.float32)
    mask, _ = relative_mask(values, 2.5, 0.41)
    assert mask.tolist() == [[[False, False, False, False, True]]]


def test_relative_keeps_every_part_with_the_maximum():
    values = np.array([[[20.0, 3.0, 20.0, 3.0, 12.0]]], np.float32)
    mask, _ = relative_mask(values, 2.5, 0.41)
    assert mask.tolist() == [[[True, False, True, False, False]]]


def test_a_contour_that_runs_into_hotter_tissue_keeps_to_the_floor():
    """The faint one's contour (41 % of 3.0) would flow through the warm bridge into the hot one."""
    values = np.array([[[0.5, 2.7, 3.0, 1.5, 1.5, 8.0, 0.5]]], np.float32)
    prediction = threshold_mask(flat_case(values), recipe(rule="relative", suv=2.5))
    assert prediction.mask.array.tolist() == [[[0, 1, 1, 0, 0, 1, 0]]]
    assert prediction.notes == (
        "threshold: 1 regions would have grown into a hotter one and keep to SUVbw >= 2.5",
    )


def test_a_wide_contour_is_found_whole_far_beyond_the_candidate():
    suv = np.full(GRID.shape, 0.1)
    suv[2:28, 3:37, 1:39] = 2.0
    suv[15, 20, 20] = 4.5
    mask, kept_back = relative_mask(suv, 4.0, 0.41)
    assert np.array_equal(mask, suv > 1)
    assert kept_back == 0
    everywhere, _ = relative_mask(np.maximum(suv, 2.0), 4.0, 0.41)
    assert everywhere.all()


def test_relative_agrees_with_the_plain_definition():
    """The growing boxes against labelling the whole image for every candidate."""

    rng = np.random.default_rng(5)

    for _ in range(5):
        suv = gaussian_filter(rng.random((20, 24, 28)), 1.5).astype(np.float32)
        suv = 12 * (suv - suv.min()) / np.ptp(suv)
        floor = float(np.quantile(suv, 0.93))
        expected = np.zeros(suv.shape, bool)
        candidates = cc3d.connected_components(suv >= floor, connectivity=26)
        expected_back = 0
        for number in range(1, candidates.max() + 1):
            own = candidates == number
            level = cc3d.connected_components(suv >= 0.6 * suv[own].max(), connectivity=26)
            region = level == level[own & (suv == suv[own].max())][0]
            hotter = suv[region].max() > suv[own].max()
            expected |= own if hotter else region
            expected_back += hotter
        mask, kept_back = relative_mask(suv, floor, 0.6)
        assert np.array_equal(mask, expected)
        assert kept_back == expected_back


def test_the_recipes_connectivity_separates_candidates():
    values = np.zeros((1, 4, 4), np.float32)
    values[0, 1, 1], values[0, 2, 2] = 20.0, 5.0  # neighbours by an edge
    base = recipe(rule="relative", suv=2.5)
    assert threshold_mask(flat_case(values), base).mask.array.sum() == 1
    apart = base.changed(refine={"connectivity": 6})
    assert threshold_mask(flat_case(values), apart).mask.array.sum() == 2


def torso():
    """CT of a torso with lungs and two arms on a table, and the body that should be found."""
    geometry = Geometry((6, 90, 120), (4.0, 4.0, 4.0))
    ct = np.full(geometry.shape, -1000.0, np.float32)
    _, y, x = np.mgrid[0:6, 0:90, 0:120]
    body = ((y - 40) / 25.0) ** 2 + ((x - 60) / 35.0) ** 2 <= 1
    body |= ((y - 45) ** 2 + (x - 12) ** 2 <= 64) | ((y - 45) ** 2 + (x - 108) ** 2 <= 64)
    ct[body] = 40.0
    ct[((y - 38) ** 2 + (x - 50) ** 2 <= 60) | ((y - 38) ** 2 + (x - 72) ** 2 <= 60)] = -850.0
    ct[:, 72:74, 10:110] = 100.0  # table, 8 mm
    ct[:, 5:6, 5:6] = 200.0  # a wire
    return Volume(ct, geometry, HOUNSFIELD), body


def test_the_body_keeps_arms_and_lungs_and_loses_the_table():
    ct, body = torso()
    found = body_mask(ct)
    assert (found & body).sum() >= 0.999 * body.sum()
    assert (found & ~body).sum() <= 0.001 * body.sum()


def test_a_slice_that_is_all_body_stays_whole():
    geometry = Geometry((3, 20, 20), (3.0, 2.0, 2.0))
    assert body_mask(Volume(np.full(geometry.shape, 20, np.int16), geometry, HOUNSFIELD)).all()


def test_air_alone_is_no_body():
    geometry = Geometry((3, 20, 20), (3.0, 2.0, 2.0))
    assert not body_mask(Volume(np.full(geometry.shape, -1000, np.int16), geometry, HOUNSFIELD)).any()
    speck = np.full(geometry.shape, -1000, np.int16)
    speck[1, 4, 4] = 100
    assert not body_mask(Volume(speck, geometry, HOUNSFIELD)).any()


def test_the_body_mask_restricts_the_prediction_and_is_noted():
    ct, body = torso()
    suv = np.ones(body.shape)
    suv[:, 40, 60] = 10.0
    suv[:, 73, 60] = 10.0  # contamination on the table
    case = pet_case(suv, ct.geometry, ct=ct)
    for rule in ("fixed", "relative"):
        prediction = threshold_mask(case, recipe(rule=rule, suv=4.0, body_mask=True))
        assert prediction.mask.array[:, 40, 60].all()
        assert prediction.mask.array.sum() == 6
        assert prediction.notes[0] == f"threshold: body on CT {body_mask(ct).sum() * 0.064 / 1000:.1f} litres"
        assert threshold_mask(case, recipe(rule=rule, suv=4.0)).mask.array.sum() == 12


def test_an_oblique_grid_changes_nothing():
    oblique = Geometry(GRID.shape, GRID.spacing, (0.0, 0.0, 0.0), OBLIQUE)
    suv = np.random.default_rng(1).gamma(2.0, 1.0, GRID.shape)
    here = threshold_mask(pet_case(suv, GRID), recipe(rule="relative", suv=4.0)).mask.array
    there = threshold_mask(pet_case(suv, oblique), recipe(rule="relative", suv=4.0)).mask
    assert np.array_equal(here, there.array)
    assert there.geometry == oblique


def test_errors_name_the_case():
    case = flat_case(LEVELS)
    with pytest.raises(BundleError, match="P1: found channels suv; needed the channel 'ct' for"):
        threshold_mask(case, recipe(body_mask=True))
    volume = case.channels["suv"]
    other = Case("P2", "P2", {"ct": volume}, "ct")
    with pytest.raises(BundleError, match="P2: found channels ct; needed the channel 'suv'"):
        threshold_mask(other, recipe())
    raw = Case("P3", "P3", {"suv": volume.with_array(volume.array, ACTIVITY)}, "suv")
    with pytest.raises(BundleError, match="P3: found channel 'suv' in Bq/ml; needed SUVbw"):
        threshold_mask(raw, recipe())
