from __future__ import annotations

import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.measure.ibsi.morphology import FEATURES, morphology
from lesionlab.measure.ibsi.region import Region

NAMES = [feature.name for feature in FEATURES]
NO_CONSENSUS_SEARCH = {"morph_vol_dens_ombb", "morph_area_dens_ombb"}
"""Found by a descent, which may end elsewhere when the image is turned; their own test is looser."""


def region(mask, values=None, spacing=(1.0, 1.0, 1.0), intensity=None):
    mask = np.asarray(mask, dtype=bool)
    values = np.random.default_rng(7).normal(5, 1, mask.shape) if values is None else values
    return Region(
        np.asarray(values, dtype=np.float64), mask, mask if intensity is None else intensity, spacing
    )


def ellipsoid(semi_axes, spacing=(1.0, 1.0, 1.0)):
    half = [int(a / s) + 2 for a, s in zip(semi_axes, spacing, strict=True)]
    axes = [np.arange(-n, n + 1) * s / a for n, s, a in zip(half, spacing, semi_axes, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    return z * z + y * y + x * x < 1


def test_catalogue_has_27_features_with_their_codes():
    assert len(FEATURES) == 27 == len(set(NAMES)) == len({feature.code for feature in FEATURES})
    assert all(len(feature.code) == 4 and feature.formula and feature.unit for feature in FEATURES)


def test_ball_has_the_values_of_a_ball():
    radius = 20.0
    found = morphology(region(ellipsoid((radius,) * 3)))
    assert found["morph_volume"] == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)
    assert found["morph_vol_approx"] == pytest.approx(found["morph_volume"], rel=0.01)
    # the steps of a mask make its surface a tenth larger, however fine the grid
    assert found["morph_area_mesh"] == pytest.approx(1.09 * 4 * np.pi * radius**2, rel=0.03)
    assert found["morph_diam"] == pytest.approx(2 * radius, abs=1)
    axes = [found[f"morph_pca_{name}_axis"] for name in ("maj", "min", "least")]
    assert axes == pytest.approx([4 * radius / math.sqrt(5)] * 3, rel=0.01)
    for name in ("morph_pca_elongation", "morph_pca_flatness"):
        assert found[name] == pytest.approx(1, abs=1e-9)
    assert found["morph_vol_dens_conv_hull"] == pytest.approx(1, abs=0.03)
    assert 0.85 < found["morph_vol_dens_mvee"] < 1
    # 39 voxels across
    assert found["morph_vol_dens_aabb"] == pytest.approx(np.pi / 6 * (40 / 39) ** 3, rel=0.01)
    assert found["morph_vol_dens_ombb"] == pytest.approx(found["morph_vol_dens_aabb"], rel=0.02)
    assert found["morph_sphericity"] == pytest.approx(1 / 1.09, rel=0.03)


def test_ellipsoid_on_an_anisotropic_grid():
    semi_axes, spacing = (12.0, 18.0, 27.0), (1.5, 1.0, 0.8)
    found = morphology(region(ellipsoid(semi_axes, spacing), spacing=spacing))
    assert found["morph_volume"] == pytest.approx(4 / 3 * np.pi * np.prod(semi_axes), rel=0.01)
    assert found["morph_pca_maj_axis"] == pytest.approx(4 * 27 / math.sqrt(5), rel=0.01)
    assert found["morph_pca_elongation"] == pytest.approx(18 / 27, rel=0.01)
    assert found["morph_pca_flatness"] == pytest.approx(12 / 27, rel=0.02)
    assert found["morph_diam"] == pytest.approx(54, abs=1.5)
    assert 0.85 < found["morph_vol_dens_mvee"] < 1


def test_box_follows_from_its_sides():
    sides, spacing = (6, 9, 14), (2.0, 1.0, 0.5)
    found = morphology(region(np.ones(sides, bool), spacing=spacing))
    a, b, c = (n * s for n, s in zip(sides, spacing, strict=True))
    assert found["morph_vol_approx"] == pytest.approx(a * b * c)
    # the mesh bevels the box's edges and corners within its outermost voxels
    for body in ("aabb", "ombb"):
        assert 0.9 < found[f"morph_vol_dens_{body}"] < 1
    assert found["morph_vol_dens_aabb"] == pytest.approx(found["morph_volume"] / (a * b * c))
    assert found["morph_area_dens_aabb"] == pytest.approx(
        found["morph_area_mesh"] / (2 * (a * b + b * c + c * a))
    )
    assert found["morph_vol_dens_conv_hull"] == pytest.approx(1, abs=1e-12)
    assert found["morph_area_dens_conv_hull"] == pytest.approx(1, abs=1e-12)


def test_formulas_of_roundness_agree_with_each_other():
    found = morphology(region(ellipsoid((4.0, 6.0, 9.0))))
    area, volume = found["morph_area_mesh"], found["morph_volume"]
    assert found["morph_av"] == pytest.approx(area / volume)
    assert found["morph_sph_dispr"] == pytest.approx(1 / found["morph_sphericity"])
    assert found["morph_asphericity"] == pytest.approx(found["morph_sph_dispr"] - 1)
    assert found["morph_comp_2"] == pytest.approx(36 * np.pi * volume**2 / area**3)
    assert found["morph_comp_2"] == pytest.approx(found["morph_sphericity"] ** 3)
    assert found["morph_comp_1"] == pytest.approx(math.sqrt(found["morph_comp_2"]) / (6 * np.pi))


def test_centre_shift_and_integrated_intensity():
    mask = np.zeros((3, 4, 9), bool)
    mask[1, 2, 1:8] = True
    values = np.zeros(mask.shape)
    values[1, 2, 1:8] = (1, 1, 1, 1, 1, 1, 8)
    found = morphology(region(mask, values, (1.0, 1.0, 2.0)))
    assert found["morph_com"] == pytest.approx(2 * ((21 - 6 + 48) / 14 - 3))
    assert found["morph_integ_int"] == pytest.approx(found["morph_volume"] * 2)


def test_intensities_are_those_of_the_intensity_mask():
    mask = ellipsoid((4.0, 5.0, 6.0))
    values = np.random.default_rng(1).random(mask.shape)
    kept = mask & (values > 0.3)
    found = morphology(region(mask, values, intensity=kept))
    assert found["morph_vol_approx"] == mask.sum()
    assert found["morph_integ_int"] == pytest.approx(found["morph_volume"] * values[kept].mean())
    weighted = (np.argwhere(kept) * values[kept][:, None]).sum(axis=0) / values[kept].sum()
    assert found["morph_com"] == pytest.approx(np.linalg.norm(weighted - np.argwhere(mask).mean(axis=0)))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_flips_and_axis_order_change_nothing(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 7)) < 0.5
    values, spacing = rng.random(mask.shape), (3.0, 1.7, 1.0)
    expected = morphology(region(mask, values, spacing))
    order = list(permutations(range(3)))[seed % 6]
    flip = list(product((1, -1), repeat=3))[seed % 8]
    turned = tuple(slice(None, None, step) for step in flip)
    found = morphology(
        region(
            mask.transpose(order)[turned], values.transpose(order)[turned], tuple(spacing[a] for a in order)
        )
    )
    for name in NAMES:
        tolerance = 0.02 if name in NO_CONSENSUS_SEARCH else 1e-5 if "mvee" in name else 1e-9
        assert found[name] == pytest.approx(expected[name], rel=tolerance), name


def test_place_in_the_image_changes_nothing():
    mask = ellipsoid((3.0, 5.0, 4.0))
    values = np.random.default_rng(3).random(mask.shape)
    wide = ((4, 1), (0, 7), (2, 3))
    here = morphology(region(mask, values))
    there = morphology(region(np.pad(mask, wide), np.pad(values, wide, constant_values=9)))
    assert there == pytest.approx(here)


def test_two_lesions_apart_add_up():
    one, two = ellipsoid((3.0, 4.0, 5.0)), np.ones((4, 3, 6), bool)
    both = np.zeros((20, 20, 40), bool)
    both[1 : 1 + one.shape[0], 1 : 1 + one.shape[1], 1 : 1 + one.shape[2]] = one
    both[10:14, 10:13, 30:36] = True
    parts = [morphology(region(part)) for part in (one, two)]
    found = morphology(region(both))
    for name in ("morph_volume", "morph_vol_approx", "morph_area_mesh"):
        assert found[name] == pytest.approx(sum(part[name] for part in parts))


def test_doubling_all_lengths_scales_by_unit():
    mask = ellipsoid((3.0, 5.0, 4.0))
    small, large = (morphology(region(mask, spacing=(s, s, s))) for s in (1.0, 2.0))
    power = {"mm": 2, "mm2": 4, "mm3": 8, "/mm": 0.5, "1": 1, "[intensity].mm3": 8}
    for feature in FEATURES:
        expected = small[feature.name] * power[feature.unit]
        assert large[feature.name] == pytest.approx(expected, rel=1e-6), feature.name


def test_empty_lesion_is_all_nan():
    found = morphology(region(np.zeros((3, 3, 3))))
    assert list(found) == NAMES
    assert all(math.isnan(value) for value in found.values())


def test_one_voxel_is_an_octahedron_without_axes():
    found = morphology(region(np.pad(np.ones((1, 1, 1)), 1), np.full((3, 3, 3), 5.0)))
    assert found["morph_volume"] == pytest.approx(1 / 6)
    assert found["morph_area_mesh"] == pytest.approx(math.sqrt(3))
    assert found["morph_diam"] == pytest.approx(1)
    assert found["morph_integ_int"] == pytest.approx(5 / 6)
    assert found["morph_com"] == 0
    assert found["morph_pca_maj_axis"] == 0
    # the smallest ellipsoid around an octahedron is the ball through its corners
    assert found["morph_vol_dens_mvee"] == pytest.approx(1 / np.pi, rel=1e-5)
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {
        *("morph_pca_elongation", "morph_pca_flatness", "morph_vol_dens_aee", "morph_area_dens_aee"),
    }


@pytest.mark.parametrize("shape", [(1, 6, 9), (1, 1, 9), (5, 1, 1), (1, 1, 2)])
def test_flat_lesions_have_all_but_the_flat_ellipsoid(shape):
    found = morphology(region(np.ones(shape, bool), spacing=(5.0, 1.0, 1.0)))
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"morph_vol_dens_aee", "morph_area_dens_aee"}
    assert found["morph_pca_flatness"] == 0


def test_slanted_flat_lesion_is_exactly_flat():
    mask = np.eye(40, dtype=bool)[:, :, None]
    found = morphology(region(mask, spacing=(0.7, 1.3, 1.0)))
    assert found["morph_pca_least_axis"] == 0
    assert found["morph_pca_min_axis"] == 0
    assert math.isnan(found["morph_vol_dens_aee"])


def test_no_intensities_left_leaves_the_shape():
    mask = ellipsoid((3.0, 4.0, 5.0))
    found = morphology(region(mask, intensity=np.zeros_like(mask)))
    undefined = {name for name, value in found.items() if math.isnan(value)}
    assert undefined == {"morph_com", "morph_integ_int"}


def test_constant_intensity_leaves_the_centre_where_it_is():
    mask = ellipsoid((3.0, 4.0, 5.0))
    found = morphology(region(mask, np.full(mask.shape, 2.5)))
    assert found["morph_com"] == pytest.approx(0, abs=1e-12)
