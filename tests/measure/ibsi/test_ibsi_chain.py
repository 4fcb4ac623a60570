from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import HOUNSFIELD
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.ibsi.chain import PEAK_RADIUS_MM, axes_of, prepare
from phantoms import ball_mask

AS_IS = RadiomicsSettings()


def volume(array, spacing=(2.0, 1.0, 1.0)):
    return Volume(np.asarray(array, dtype=np.float32), Geometry(array.shape, spacing), HOUNSFIELD)


def random_case(seed=0, shape=(14, 18, 22), spacing=(3.0, 1.3, 0.9)):
    rng = np.random.default_rng(seed)
    image = volume(rng.normal(100, 30, shape).round(), spacing)
    mask = np.zeros(shape, bool)
    mask[4:9, 5:12, 6:15] = rng.random((5, 7, 9)) < 0.8
    return image, mask


def coordinates(axis):
    """Where the new voxels lie among the old ones: both grids share their centre."""
    return (np.arange(axis.count) - (axis.count - 1) / 2) * axis.step + (axis.old - 1) / 2


def test_without_interpolation_a_region_is_a_cut():
    image, mask = random_case()
    region = prepare(image, mask, AS_IS)
    assert region.spacing == image.geometry.spacing
    assert np.array_equal(region.morphological, region.intensity)
    np.testing.assert_array_equal(region.inside, image.array[mask])
    # a margin of 6.2 mm on each side, as far as the image reaches: 2 of 3 mm, 4 of 1.3 mm, 6 of 0.9 mm
    assert region.values.shape == (9, 15, 21)
    np.testing.assert_array_equal(region.values, image.array[2:11, 1:16, 0:21])


def test_the_new_grid_covers_the_old_one_and_shares_its_centre():
    axes = axes_of((60, 201, 204), (3.0, 0.977, 0.977), (2.0, 2.0, 0.0))
    assert [(a.count, a.spacing) for a in axes] == [(90, 2.0), (99, 2.0), (204, 0.977)]
    for axis in axes:
        where = coordinates(axis)
        assert where.mean() == pytest.approx((axis.old - 1) / 2)
        assert np.allclose(np.diff(where), axis.step)
    # single precision in a header must not add a slice: 60 x 3.0000002 / 2 = 90.000006
    assert axes_of((60, 9, 9), (float(np.float32(3.0000002)), 1, 1), (2.0, 0, 0))[0].count == 90


@pytest.mark.parametrize(("method", "order"), [("nearest", 0), ("linear", 1), ("cubic", 3)])
def test_interpolation_agrees_with_scipy_on_the_whole_image(method, order):
    image, mask = random_case()
    chosen = RadiomicsSettings(spacing_mm=(2.1, 1.7, 1.1), interpolation=method)
    region = prepare(image, mask, chosen)
    axes = axes_of(image.geometry.shape, image.geometry.spacing, chosen.spacing_mm)
    where = np.meshgrid(*[np.clip(coordinates(a), 0, a.old - 1) for a in axes], indexing="ij")
    whole = ndimage.map_coordinates(image.array.astype(np.float64), where, order=order, mode="mirror")
    share = ndimage.map_coordinates(mask.astype(np.float64), where, order=1, mode="nearest")
    expected = share >= 0.5 - 1e-6
    assert expected.sum() == region.morphological.sum() > 100
    np.testing.assert_allclose(region.inside, whole[expected], atol=1e-6)


def test_a_cubic_spline_looks_far_enough_beyond_the_cut():
    """The region of a long image equals that of the whole of it, although only its surroundings are read."""
    rng = np.random.default_rng(3)
    image = volume(rng.normal(0, 300, (4, 5, 160)))
    mask = np.zeros(image.array.shape, bool)
    mask[1:3, 1:4, 70:90] = True
    chosen = RadiomicsSettings(spacing_mm=(2.0, 1.0, 0.7), interpolation="cubic")
    part = prepare(image, mask, chosen)
    axes = axes_of(image.geometry.shape, image.geometry.spacing, chosen.spacing_mm)
    where = np.meshgrid(*[np.clip(coordinates(a), 0, a.old - 1) for a in axes], indexing="ij")
    whole = ndimage.map_coordinates(image.array.astype(np.float64), where, order=3, mode="mirror")
    share = ndimage.map_coordinates(mask.astype(np.float64), where, order=1, mode="nearest")
    np.testing.assert_allclose(part.inside, whole[share >= 0.5 - 1e-6], atol=1e-7)


def test_the_box_of_a_lesion_gives_the_region_of_the_whole_mask():
    image, mask = random_case()
    box = (slice(3, 10), slice(4, 13), slice(6, 16))
    for chosen in (AS_IS, RadiomicsSettings(spacing_mm=(2.0, 2.0, 2.0), interpolation="cubic")):
        whole, part = prepare(image, mask, chosen), prepare(image, mask[box], chosen, box)
        np.testing.assert_array_equal(whole.values, part.values)
        np.testing.assert_array_equal(whole.morphological, part.morphological)


def test_interpolation_keeps_the_volume_of_a_ball():
    geometry = Geometry((30, 60, 60), (3.0, 1.0, 1.0))
    ball = ball_mask(geometry, (29.5, 29.5, 43.5), 20.0)
    region = prepare(
        Volume(ball.astype(np.float32), geometry, "1"), ball, RadiomicsSettings(spacing_mm=(2.3, 1.7, 1.7))
    )
    voxel = 2.3 * 1.7 * 1.7
    assert region.morphological.sum() * voxel == pytest.approx(4 / 3 * math.pi * 20**3, rel=0.01)
    assert region.spacing == (2.3, 1.7, 1.7)


def test_rounding_follows_interpolation():
    image, mask = random_case()
    smooth = prepare(image, mask, RadiomicsSettings(spacing_mm=(2, 2, 2)))
    rounded = prepare(image, mask, RadiomicsSettings(spacing_mm=(2, 2, 2), round_to=5.0))
    assert np.abs(smooth.inside - np.rint(smooth.inside)).max() > 0.1
    np.testing.assert_array_equal(rounded.inside % 5.0, 0.0)
    assert np.abs(rounded.values - smooth.values).max() <= 2.5 + 1e-6


def test_halves_are_rounded_to_even_whatever_the_rounding_error():
    image = volume(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).reshape(1, 1, 6) / 2)
    region = prepare(image, np.ones((1, 1, 6), bool), RadiomicsSettings(round_to=1.0))
    np.testing.assert_array_equal(region.inside, [0, 0, 1, 2, 2, 2])


def test_resegmentation_by_range_then_by_outliers():
    values = np.concatenate([np.tile([0.0, 10.0], 50), [30.0, 1000.0, -1000.0]])
    image = volume(values.reshape(1, 1, -1))
    mask = np.ones(image.array.shape, bool)
    ranged = prepare(image, mask, RadiomicsSettings(keep_range=(-1000, 30)))
    assert ranged.morphological.sum() == 103
    assert sorted(set(ranged.inside)) == [-1000, 0, 10, 30]
    # after the range the mean is 5.2 and the deviation 5.6, so 30 is 4.4 deviations away
    both = prepare(image, mask, RadiomicsSettings(keep_range=(0, 30), outlier_sigma=3))
    assert sorted(set(both.inside)) == [0, 10]
    # without it, two extreme values hide the third
    outliers = prepare(image, mask, RadiomicsSettings(outlier_sigma=3))
    assert sorted(set(outliers.inside)) == [0, 10, 30]
    open_end = prepare(image, mask, RadiomicsSettings(keep_range=(5, math.inf)))
    assert sorted(set(open_end.inside)) == [10, 30, 1000]


def test_constant_intensity_has_no_outlier():
    image = volume(np.full((3, 4, 5), 0.1))
    mask = np.ones((3, 4, 5), bool)
    assert prepare(image, mask, RadiomicsSettings(outlier_sigma=1)).intensity.all()


def test_empty_and_vanishing_lesions_give_empty_masks():
    image, mask = random_case()
    for chosen in (AS_IS, RadiomicsSettings(spacing_mm=(2, 2, 2))):
        assert not prepare(image, np.zeros_like(mask), chosen).morphological.any()
    one = np.zeros_like(mask)
    one[5, 6, 7] = True
    region = prepare(image, one, RadiomicsSettings(spacing_mm=(15, 15, 15)))
    assert not region.morphological.any()
    assert not region.intensity.any()


def test_voxels_that_are_not_finite_stay_local():
    image, mask = random_case()
    array = image.array.copy()
    array[6, 8, 10] = np.nan
    array[12, 16, 20] = np.inf
    broken = image.with_array(array)
    for method in ("linear", "cubic"):
        chosen = RadiomicsSettings(spacing_mm=(2, 2, 2), interpolation=method)
        region = prepare(broken, mask, chosen)
        assert 0 < np.isnan(region.inside).sum() < 20
        assert not np.isinf(region.values).any()
    assert np.isnan(prepare(broken, mask, AS_IS).inside).sum() == int(mask[6, 8, 10])


def test_a_lesion_at_the_border_of_the_image_is_kept():
    image, _ = random_case()
    mask = np.ones(image.array.shape, bool)
    assert prepare(image, mask, AS_IS).values.shape == image.array.shape
    region = prepare(image, mask, RadiomicsSettings(spacing_mm=(2, 2, 2), interpolation="cubic"))
    assert region.morphological.all()
    assert region.values.shape == (21, 12, 10)


def test_the_margin_holds_the_sphere_of_the_peaks():
    image = volume(np.zeros((41, 41, 41)), (1.0, 2.0, 0.5))
    mask = np.zeros((41, 41, 41), bool)
    mask[20, 20, 20] = True
    assert prepare(image, mask, AS_IS).values.shape == (13, 7, 25)
    assert round(PEAK_RADIUS_MM, 2) == 6.2


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    axis=st.sampled_from([0, 1, 2]),
    method=st.sampled_from(["linear", "cubic"]),
    spacing=st.sampled_from([None, (2.0, 2.0, 2.0), (0.0, 1.0, 1.5)]),
)
def test_flips_of_the_image_flip_the_region(seed, axis, method, spacing):
    image, mask = random_case(seed)
    chosen = RadiomicsSettings(spacing_mm=spacing, interpolation=method, round_to=1.0, keep_range=(50, 150))
    here = prepare(image, mask, chosen)
    there = prepare(image.with_array(np.flip(image.array, axis)), np.flip(mask, axis), chosen)
    np.testing.assert_array_equal(here.values, np.flip(there.values, axis))
    np.testing.assert_array_equal(here.morphological, np.flip(there.morphological, axis))
    np.testing.assert_array_equal(here.intensity, np.flip(there.intensity, axis))


@pytest.mark.parametrize("size", [7.0, 13.0, 50.0])
@pytest.mark.parametrize("start", [0, 3, 8])
def test_a_lesion_at_the_border_on_a_grid_of_coarse_voxels(size, start):
    """The part of it that no new voxel looks at is left out, as where the whole mask is interpolated."""
    mask = np.zeros((12, 12, 12), bool)
    mask[start : start + 4, 2:11, start:] = True
    image = Volume(
        np.arange(mask.size, dtype=np.float32).reshape(mask.shape), Geometry(mask.shape, (1, 1, 1)), "1"
    )
    wanted = (size, size, size)
    region = prepare(image, mask, RadiomicsSettings(spacing_mm=wanted))
    places = [axis.positions(slice(0, axis.count)) for axis in axes_of(mask.shape, (1, 1, 1), wanted)]
    grid = np.stack(np.meshgrid(*places, indexing="ij"))
    share = ndimage.map_coordinates(mask.astype(float), grid, order=1, mode="nearest")
    values = ndimage.map_coordinates(image.array.astype(float), grid, order=1, mode="nearest")
    assert np.allclose(region.inside, values[share >= 0.5 - 1e-6])
