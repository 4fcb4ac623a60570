from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.ibsi.chain import PEAK_RADIUS_MM, prepare
from lesionlab.measure.ibsi.local import local_peaks
from lesionlab.measure.ibsi.region import Region


def by_definition(image, mask):
    """Both peaks by looking at every pair of voxels."""
    index = np.argwhere(np.isfinite(image.array))
    at = index * np.asarray(image.geometry.spacing)
    values = image.array[tuple(index.T)].astype(np.float64)
    centres = np.argwhere(mask) * np.asarray(image.geometry.spacing)
    near = np.linalg.norm(centres[:, None] - at[None], axis=2) <= PEAK_RADIUS_MM
    means = np.array([values[row].mean() for row in near])
    inside = image.array[mask]
    return {"loc_peak_loc": means[inside == inside.max()].max(), "loc_peak_glob": means.max()}


def case(seed, spacing, shape=(9, 11, 14)):
    rng = np.random.default_rng(seed)
    image = Volume(rng.integers(0, 20, shape).astype(np.float32), Geometry(shape, spacing), SUVBW)
    mask = np.zeros(shape, bool)
    mask[2:7, 3:9, 2:11] = rng.random((5, 6, 9)) < 0.7
    return image, mask


@pytest.mark.parametrize("spacing", [(3.0, 2.0, 2.0), (2.0, 2.0, 2.0), (1.7, 2.9, 4.4), (7.0, 6.3, 9.0)])
def test_against_the_definition(spacing):
    for seed in range(3):
        image, mask = case(seed, spacing)
        found = local_peaks(prepare(image, mask, RadiomicsSettings()))
        assert found == pytest.approx(by_definition(image, mask))


def test_spheres_at_the_border_count_what_is_there():
    image, _ = case(5, (2.0, 2.0, 2.0))
    mask = np.ones(image.array.shape, bool)
    found = local_peaks(prepare(image, mask, RadiomicsSettings()))
    assert found == pytest.approx(by_definition(image, mask))


def test_voxels_that_are_not_finite_are_left_out():
    image, mask = case(6, (2.0, 2.0, 2.0))
    array = image.array.copy()
    array[np.logical_and(~mask, np.random.default_rng(0).random(mask.shape) < 0.2)] = np.nan
    image = image.with_array(array)
    found = local_peaks(prepare(image, mask, RadiomicsSettings()))
    assert found == pytest.approx(by_definition(image, mask))


def test_the_brightest_of_several_maxima_counts():
    array = np.zeros((1, 1, 60), np.float32)
    array[0, 0, [10, 40]] = 9.0
    array[0, 0, 41:45] = 8.0
    image = Volume(array, Geometry(array.shape, (20.0, 20.0, 2.0)), SUVBW)
    mask = np.zeros(array.shape, bool)
    mask[0, 0, [10, 40]] = True
    found = local_peaks(prepare(image, mask, RadiomicsSettings()))
    assert found["loc_peak_loc"] == found["loc_peak_glob"] == pytest.approx((9 + 3 * 8) / 7)


def test_only_voxels_of_the_intensity_mask_are_centres():
    image, mask = case(7, (2.0, 2.0, 2.0))
    kept = mask & (image.array <= 12)
    found = local_peaks(prepare(image, mask, RadiomicsSettings(keep_range=(0, 12))))
    assert found == pytest.approx(by_definition(image, kept))
    assert found["loc_peak_loc"] <= found["loc_peak_glob"]


def test_no_voxel():
    empty = np.zeros((3, 3, 3), bool)
    found = local_peaks(Region(np.zeros((3, 3, 3)), ~empty, empty, (1.0, 1.0, 1.0)))
    assert math.isnan(found["loc_peak_loc"])
    assert math.isnan(found["loc_peak_glob"])
