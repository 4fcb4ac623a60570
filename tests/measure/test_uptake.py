from __future__ import annotations

import numpy as np
import pytest

from lesionlab.measure.catalogue import peak_radius_mm
from lesionlab.measure.uptake import peak, sphere_weights

SPACINGS = [(2.0, 2.0, 2.0), (5.0, 1.2, 1.7), (3.27, 4.6875, 4.6875), (0.9, 6.0, 2.0), (4.0, 4.0, 0.5)]


def test_the_radius_of_one_ml_is_6_2_mm():
    assert peak_radius_mm(1.0) == pytest.approx(6.2035, abs=1e-4)
    assert peak_radius_mm(8.0) == pytest.approx(2 * peak_radius_mm(1.0))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("peak_ml", [0.3, 1.0])
def test_weights_add_up_to_the_sphere_and_are_symmetric(spacing, peak_ml):
    weights = sphere_weights(spacing, peak_ml)
    assert weights.sum() == pytest.approx(peak_ml, rel=5e-4)
    assert all(n % 2 == 1 for n in weights.shape)
    assert np.allclose(weights, weights[::-1, ::-1, ::-1], atol=1e-15)
    assert weights.max() == pytest.approx(min(np.prod(spacing) / 1000, weights.max()))
    assert weights.min() >= 0


def test_weights_are_the_shares_that_fine_sampling_finds():
    spacing = (3.0, 2.0, 2.6)
    weights = sphere_weights(spacing, 1.0)
    half = np.array(weights.shape) // 2
    line = np.linspace(-6.3, 6.3, 127)[:-1] + 0.05
    points = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    inside = points[(points**2).sum(axis=1) <= peak_radius_mm(1.0) ** 2]
    voxel = np.floor(inside / spacing + 0.5).astype(int) + half
    counted = np.zeros(weights.shape)
    np.add.at(counted, tuple(voxel.T), 1.0 / len(inside))
    assert np.abs(counted - weights).max() < 1e-4


def test_weights_do_not_depend_on_the_order_of_the_axes():
    there = sphere_weights((3.0, 2.0, 4.5), 1.0)
    back = sphere_weights((4.5, 2.0, 3.0), 1.0)
    assert np.allclose(there, back.transpose(2, 1, 0), atol=1e-12)


def test_a_sphere_inside_one_voxel_weighs_that_voxel_alone():
    weights = sphere_weights((20.0, 20.0, 20.0), 1.0)
    assert weights.shape == (1, 1, 1)
    assert weights.item() == pytest.approx(1.0, rel=1e-3)


def one_voxel(shape, index):
    box = tuple(slice(i, i + 1) for i in index)
    return np.ones((1, 1, 1), bool), box


def test_a_point_source_is_diluted_into_the_sphere():
    array = np.zeros((15, 15, 15), np.float32)
    array[7, 7, 7] = 50.0
    lesion, box = one_voxel(array.shape, (7, 7, 7))
    value, cut = peak(array, lesion, box, sphere_weights((2.0, 2.0, 2.0), 1.0))
    assert value == pytest.approx(50.0 * 0.008, rel=5e-4)  # one voxel of 0.008 ml in 1 ml
    assert not cut


def test_the_highest_of_all_centres_counts_not_the_hottest_voxel():
    array = np.zeros((9, 9, 40), np.float32)
    array[4, 4, 8] = 10.0  # the maximum, alone
    array[1:8, 1:8, 25:32] = 9.0
    lesion = array > 0
    box = (slice(0, 9), slice(0, 9), slice(0, 40))
    value, _ = peak(array, lesion, box, sphere_weights((2.0, 2.0, 2.0), 1.0))
    assert value == pytest.approx(9.0, rel=1e-9)


def test_at_the_border_the_rest_of_the_sphere_counts():
    array = np.full((6, 6, 6), 3.0, np.float32)
    lesion, box = one_voxel(array.shape, (0, 0, 5))
    value, cut = peak(array, lesion, box, sphere_weights((2.0, 2.0, 2.0), 1.0))
    assert value == pytest.approx(3.0, rel=1e-12)
    assert cut


def test_voxels_that_are_not_finite_do_not_count():
    array = np.full((15, 15, 15), 3.0, np.float32)
    array[7, 7, 8] = np.nan
    array[7, 8, 7] = np.inf
    lesion, box = one_voxel(array.shape, (7, 7, 7))
    value, cut = peak(array, lesion, box, sphere_weights((2.0, 2.0, 2.0), 1.0))
    assert value == pytest.approx(3.0, rel=1e-12)
    assert cut


def test_integer_images_are_averaged_without_overflow():
    array = np.full((9, 9, 9), 30_000, np.int16)
    lesion, box = one_voxel(array.shape, (4, 4, 4))
    value, _ = peak(array, lesion, box, sphere_weights((3.0, 3.0, 3.0), 1.0))
    assert value == pytest.approx(30_000, rel=1e-9)
