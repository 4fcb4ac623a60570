"""Perturbations do what they say; the ICC is that of the book."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.perturb import STANDARD, Perturbation, noise_level, perturbed
from lesionlab.measure.robustness import (
    cropped,
    intraclass_correlation,
    robustness,
    variation,
    variations,
)
from phantoms import ball_mask

GRID = Geometry((40, 40, 40), (3.0, 2.0, 2.0), (-40.0, -40.0, -60.0))
BALL = ball_mask(GRID, (0.0, 0.0, 0.0), 14.0)
RANDOM = np.random.default_rng(0)
IMAGE = Volume((np.where(BALL, 6.0, 1.0) + RANDOM.normal(0, 0.3, GRID.shape)).astype(np.float32), GRID, SUVBW)


def changed(kind, amount, seed=1, mask=BALL, image=IMAGE):
    return perturbed(image, mask, Perturbation(kind, amount), np.random.default_rng(seed))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_eroding_and_dilating_change_the_volume_by_that_share(share):
    image, less = changed("erode", share)
    _, more = changed("dilate", share)
    assert image is IMAGE
    assert less.sum() == BALL.sum() - round(share * BALL.sum())
    assert more.sum() == BALL.sum() + round(share * BALL.sum())
    assert (less <= BALL).all()
    assert (more >= BALL).all()
    # layers go from the boundary inwards: what is farthest inside stays
    assert less[20, 20, 20]
    depth = ndimage.distance_transform_edt(BALL, sampling=GRID.spacing)
    assert depth[BALL & ~less].max() <= depth[less].min() + 1e-6


def test_a_lesion_never_disappears():
    one = np.zeros(GRID.shape, bool)
    one[5, 5, 5] = True
    for change in STANDARD:
        _, mask = perturbed(IMAGE, one, change, np.random.default_rng(3))
        assert mask.any() or change.kind == "rotate"
    empty = np.zeros(GRID.shape, bool)
    assert not any(changed(c.kind, c.amount, mask=empty)[1].any() for c in STANDARD)


def test_a_ball_turned_is_the_same_ball():
    image, mask = changed("rotate", 12.0)
    assert mask.sum() == pytest.approx(BALL.sum(), rel=0.03)
    assert (mask & BALL).sum() > 0.93 * BALL.sum()
    assert image.array[mask].mean() == pytest.approx(IMAGE.array[BALL].mean(), rel=0.08)  # edges mix


def test_a_quarter_turn_about_a_fixed_point_is_exact():
    flat = Geometry((1, 31, 31), (1.0, 1.0, 1.0))
    mask = np.zeros(flat.shape, bool)
    mask[0, 10:21, 14:17] = True
    image = Volume(mask.astype(np.float32) * 5, flat, "1")
    _, turned = changed("rotate", 90.0, mask=mask, image=image)
    assert np.array_equal(turned, mask.transpose(0, 2, 1))


def test_noise_has_the_level_of_the_image():
    assert noise_level(IMAGE.array) == pytest.approx(0.3, rel=0.03)
    assert noise_level(np.ones((1, 1, 1))) == 0.0
    image, mask = changed("noise", 2.0)
    assert mask is BALL
    assert (image.array - IMAGE.array).std() == pytest.approx(0.6, rel=0.05)


def test_a_wobbling_contour_keeps_its_size_on_average_and_stays_near():
    masks = [changed("contour", 0.5, seed)[1] for seed in range(12)]
    assert np.mean([mask.sum() for mask in masks]) == pytest.approx(BALL.sum(), rel=0.03)
    reach = ndimage.distance_transform_edt(~BALL, sampling=GRID.spacing)
    for mask in masks:
        assert not np.array_equal(mask, BALL)
        assert reach[mask].max() <= 4 * 2.3  # a few voxels
    assert not np.array_equal(masks[0], masks[1])


def test_the_icc_is_that_of_shrout_and_fleiss():
    """Their table 2: six targets, four judges; ICC(1,1) = 0.17, F(5, 18) = 1.79."""
    table = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
    )
    icc, low, high = intraclass_correlation(table)
    assert icc == pytest.approx(0.1657, abs=5e-5)
    assert (low, high) == pytest.approx((-0.1329, 0.7226), abs=5e-4)


def test_the_icc_at_its_ends():
    same = np.repeat(np.arange(5.0)[:, None], 4, axis=1)
    assert intraclass_correlation(same) == (1.0, 1.0, 1.0)
    assert all(math.isnan(v) for v in intraclass_correlation(np.full((5, 4), 0.1 + 0.2)))
    assert all(math.isnan(v) for v in intraclass_correlation(np.ones((1, 4))))
    noise = np.random.default_rng(1).normal(size=(200, 10))
    icc, low, high = intraclass_correlation(noise)
    assert low < 0 < high
    assert abs(icc) < 0.03
    random = np.random.default_rng(2)
    table = random.normal(0, 3, (400, 1)) + random.normal(0, 1, (400, 8))
    icc, low, high = intraclass_correlation(table)
    assert icc == pytest.approx(0.9, abs=0.02)
    assert low < icc < high


def features(image, mask):
    values = image.array[mask]
    return {"volume": float(mask.sum()), "mean": float(values.mean()), "constant": 3.0}


def ball_variations(radius, key="", seed=0):
    mask = ball_mask(GRID, (0.0, 0.0, 0.0), radius)
    image = Volume(np.where(mask, radius, 1.0).astype(np.float32), GRID, SUVBW)
    return variations(image, mask, features, key=key, seed=seed)


def test_features_of_a_lesion_and_its_changes():
    values = ball_variations(12.0)
    assert set(values) == {"volume", "mean", "constant"}
    assert all(v.shape == (len(STANDARD) + 1,) for v in values.values())
    whole = values["volume"][0]
    assert values["volume"][1:5] == pytest.approx([0.9 * whole, 0.8 * whole, 1.1 * whole, 1.2 * whole], abs=1)
    assert values["mean"][0] == values["mean"][1] == 12.0
    assert values["mean"][4] < 12.0
    assert variations(IMAGE, np.zeros(GRID.shape, bool), features) == {}


def test_seed_and_name_decide_and_nothing_else():
    one, two = ball_variations(9.0, "a/1", 5), ball_variations(9.0, "a/1", 5)
    assert np.array_equal(one["volume"], two["volume"])
    assert not np.array_equal(one["volume"], ball_variations(9.0, "a/2", 5)["volume"])
    assert not np.array_equal(one["volume"], ball_variations(9.0, "a/1", 6)["volume"])


def test_the_robustness_of_a_cohort():
    lesions = [ball_variations(radius, str(radius)) for radius in (6.0, 8.0, 10.0, 12.0, 14.0)]
    lesions.append({**ball_variations(9.0), "mean": np.full(len(STANDARD) + 1, np.nan)})
    found = {r.feature: r for r in robustness(lesions)}
    assert found["volume"].icc > 0.9
    assert found["volume"].lesions == 6
    assert (found["mean"].lesions, found["mean"].lesions_left_out) == (5, 1)
    assert found["constant"].cv == 0.0
    assert found["constant"].verdict == "unknown"
    assert found["volume"].verdict in ("good", "excellent")
    assert found["volume"].cv == pytest.approx(np.median([variation(x["volume"]) for x in lesions]))
    assert math.isnan(robustness(lesions[:1])[0].icc)
    assert robustness([]) == ()


def test_variation():
    assert variation(np.array([1.0, 3.0])) == pytest.approx(math.sqrt(2) / 2)
    assert math.isnan(variation(np.array([-1.0, 1.0])))
    assert math.isnan(variation(np.array([1.0])))


def test_a_lesion_is_cut_out_with_its_place():
    image, mask = cropped(IMAGE, BALL)
    assert mask.sum() == BALL.sum()
    inner = np.argwhere(mask)[0]
    assert np.allclose(image.geometry.to_world(inner), GRID.to_world(np.argwhere(BALL)[0]))
    assert image.array[tuple(inner)] == IMAGE.array[tuple(np.argwhere(BALL)[0])]
    empty = np.zeros(GRID.shape, bool)
    assert cropped(IMAGE, empty)[0] is IMAGE


def disc(spacing, slices=1, around=0):
    """A disc of 15 pixels' radius through `slices`, with empty slices around, and an image of it."""
    grid = Geometry((slices + 2 * around, 60, 60), spacing)
    y, x = np.mgrid[:60, :60] - 30
    mask = np.zeros(grid.shape, bool)
    mask[around : around + slices] = y**2 + x**2 <= 15**2
    return Volume(np.where(mask, 5.0, 1.0).astype(np.float32), grid, "1"), mask


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 0.08, 0.08), (0.1, 1.0, 1.0)])
def test_a_lesion_of_one_slice_changes_at_its_edge_and_nowhere_else(spacing):
    image, mask = disc(spacing)
    depth = ndimage.distance_transform_edt(mask[0])
    for kind, amount in (("erode", 0.2), ("dilate", 0.2), ("contour", 0.5)):
        _, after = changed(kind, amount, mask=mask, image=image)
        assert ndimage.label(after)[1] == ndimage.label(~after)[1] == 1, kind  # no holes, no crumbs
        assert depth[mask[0] & ~after[0]].max(initial=0) <= 3, kind


@pytest.mark.parametrize("spacing", [(8.0, 0.4, 0.4), (5.0, 0.5, 0.5), (1.0, 1.0, 12.0)])
def test_a_contour_that_does_not_wobble_is_the_lesion(spacing):
    image, mask = disc(spacing, slices=6, around=3)
    assert np.array_equal(changed("contour", 0.0, mask=mask, image=image)[1], mask)


def test_an_image_of_one_voxel_keeps_it():
    one = Geometry((1, 1, 1), (1.0, 1.0, 1.0))
    mask, image = np.ones(one.shape, bool), Volume(np.ones(one.shape, np.float32), one, "1")
    for kind in ("erode", "dilate", "contour"):
        assert changed(kind, 0.2, mask=mask, image=image)[1].all()
