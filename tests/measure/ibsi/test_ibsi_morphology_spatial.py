from __future__ import annotations

import numpy as np
import pytest

from lesionlab.measure.ibsi import morphology_spatial
from lesionlab.measure.ibsi.morphology_spatial import grid_sums, pair_sums, spatial_autocorrelation

SPACING = (3.0, 1.7, 1.0)


def by_definition(values, mask):
    points, inside = np.argwhere(mask) * np.asarray(SPACING), values[mask]
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    weights = np.divide(1, distance, out=np.zeros_like(distance), where=distance > 0)
    deviation = inside - inside.mean()
    n, spread = len(inside), (deviation**2).sum()
    moran = n / weights.sum() * (weights * np.outer(deviation, deviation)).sum() / spread
    differences = (inside[:, None] - inside) ** 2
    return moran, (n - 1) / (2 * weights.sum()) * (weights * differences).sum() / spread


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_of_summing_agree_with_the_definition(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(2, 12, 3)) < 0.6
    values = rng.normal(40, 5, mask.shape)
    expected = by_definition(values, mask)
    for pairs_per_cell in (0, 10**9):
        monkeypatch.setattr(morphology_spatial, "PAIRS_PER_CELL", pairs_per_cell)
        assert spatial_autocorrelation(values, mask, SPACING) == pytest.approx(expected, rel=1e-9)


def test_blocks_of_frequencies_add_up(monkeypatch):
    mask = np.random.default_rng(0).random((9, 10, 11)) < 0.5
    inside = np.random.default_rng(1).normal(size=int(mask.sum()))
    whole = grid_sums(inside, mask, SPACING)
    monkeypatch.setattr(morphology_spatial, "BLOCK_CELLS", 1)
    assert grid_sums(inside, mask, SPACING) == pytest.approx(whole)
    assert pair_sums(np.argwhere(mask) * np.asarray(SPACING), inside) == pytest.approx(whole)


def test_smooth_images_correlate_and_noise_does_not():
    mask = np.ones((12, 12, 12), bool)
    z, y, x = np.indices(mask.shape)
    smooth = spatial_autocorrelation(z + y + x + 0.0, mask, SPACING)
    noise = spatial_autocorrelation(np.random.default_rng(2).normal(size=mask.shape), mask, SPACING)
    assert smooth[0] > 0.1
    assert smooth[1] < 0.9
    assert noise == pytest.approx((-1 / 1727, 1), abs=0.02)


def test_scale_and_offset_of_intensities_do_not_matter():
    mask = np.random.default_rng(3).random((6, 7, 8)) < 0.7
    values = np.random.default_rng(4).normal(size=mask.shape)
    expected = spatial_autocorrelation(values, mask, SPACING)
    assert spatial_autocorrelation(1e4 - 3 * values, mask, SPACING) == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("voxels", [0, 1, 5])
def test_too_few_or_equal_values_are_nan(voxels):
    mask = np.zeros((2, 3, 4), bool)
    mask.ravel()[:voxels] = True
    assert np.isnan(spatial_autocorrelation(np.full(mask.shape, 0.1), mask, SPACING)).all()
