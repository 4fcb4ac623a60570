from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from lesionlab.measure.ibsi import spatial as module
from lesionlab.measure.ibsi.region import Region
from lesionlab.measure.ibsi.spatial import FEATURES, grid_sums, pair_sums, spatial

SPACING = (3.0, 1.7, 1.0)


def measured(values, mask, spacing=SPACING, intensity=None):
    """Moran's I and Geary's C of a mask."""
    values = np.asarray(values, dtype=np.float64)
    found = spatial(Region(values, mask, mask if intensity is None else intensity, spacing))
    assert list(found) == [feature.name for feature in FEATURES]
    return found["morph_moran_i"], found["morph_geary_c"]


def by_definition(values, mask):
    points, inside = np.argwhere(mask) * np.asarray(SPACING), values[mask]
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    weights = np.divide(1, distance, out=np.zeros_like(distance), where=distance > 0)
    deviation = inside - inside.mean()
    n, spread = len(inside), (deviation**2).sum()
    moran = n / weights.sum() * (weights * np.outer(deviation, deviation)).sum() / spread
    differences = (inside[:, None] - inside) ** 2
    return moran, (n - 1) / (2 * weights.sum()) * (weights * differences).sum() / spread


def ways(monkeypatch):
    """Pair by pair, then over frequencies."""
    for pair in (0, 10**12):
        monkeypatch.setattr(module, "PAIR", pair)
        yield


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_of_summing_agree_with_the_definition(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(2, 12, 3)) < 0.6
    values = rng.normal(40, 5, mask.shape)
    expected = by_definition(values, mask)
    for _ in ways(monkeypatch):
        assert measured(values, mask) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shape", [(1, 8, 9), (1, 1, 12), (7, 1, 1), (2, 2, 2), (30, 2, 3), (3, 25, 4)])
def test_flat_thin_and_long_boxes_agree_with_the_definition(shape, monkeypatch):
    mask = np.ones(shape, bool)
    values = np.random.default_rng(5).normal(size=shape)
    for _ in ways(monkeypatch):
        assert measured(values, mask) == pytest.approx(by_definition(values, mask), rel=1e-9)


def test_flips_and_axis_order_change_nothing(monkeypatch):
    rng = np.random.default_rng(6)
    mask, values = rng.random((4, 7, 9)) < 0.7, rng.normal(size=(4, 7, 9))
    expected = by_definition(values, mask)
    monkeypatch.setattr(module, "PAIR", 10**12)
    for order, flip in zip(permutations(range(3)), product((1, -1), repeat=3), strict=False):
        turned = tuple(slice(None, None, step) for step in flip)
        spacing = tuple(SPACING[axis] for axis in order)
        found = measured(values.transpose(order)[turned], mask.transpose(order)[turned], spacing)
        assert found == pytest.approx(expected, rel=1e-9)


def test_blocks_of_frequencies_add_up(monkeypatch):
    mask = np.random.default_rng(0).random((9, 10, 11)) < 0.5
    inside = np.random.default_rng(1).normal(size=int(mask.sum()))
    whole = grid_sums(inside, mask, SPACING)
    monkeypatch.setattr(module, "BLOCK_NUMBERS", 1)
    monkeypatch.setattr(module, "BLOCK_WIDTH", 3)
    assert grid_sums(inside, mask, SPACING) == pytest.approx(whole)
    assert pair_sums(np.argwhere(mask) * np.asarray(SPACING), inside) == pytest.approx(whole)


def test_intensities_are_those_of_the_intensity_mask():
    rng = np.random.default_rng(7)
    mask, values = np.ones((5, 6, 7), bool), rng.normal(size=(5, 6, 7))
    kept = mask & (values > -0.5)
    assert measured(values, mask, intensity=kept) == pytest.approx(by_definition(values, kept), rel=1e-9)


def test_smooth_images_correlate_and_noise_does_not():
    mask = np.ones((12, 12, 12), bool)
    z, y, x = np.indices(mask.shape)
    smooth = measured(z + y + x, mask)
    noise = measured(np.random.default_rng(2).normal(size=mask.shape), mask)
    assert smooth[0] > 0.1
    assert smooth[1] < 0.9
    assert noise == pytest.approx((-1 / 1727, 1), abs=0.02)


def test_scale_and_offset_of_intensities_do_not_matter():
    mask = np.random.default_rng(3).random((6, 7, 8)) < 0.7
    values = np.random.default_rng(4).normal(size=mask.shape)
    assert measured(1e4 - 3 * values, mask) == pytest.approx(measured(values, mask), rel=1e-7)


@pytest.mark.parametrize("voxels", [0, 1, 5])
def test_too_few_or_equal_values_are_nan(voxels):
    mask = np.zeros((2, 3, 4), bool)
    mask.ravel()[:voxels] = True
    assert np.isnan(measured(np.full(mask.shape, 0.1), mask)).all()
