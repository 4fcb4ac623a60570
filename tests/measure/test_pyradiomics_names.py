"""PyRadiomics' names: every one of them accounted for, and the closed forms between the definitions."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.ibsi import histogram, morphology, statistics, texture
from lesionlab.measure.ibsi.table import lesion_features
from lesionlab.measure.pyradiomics_names import (
    APPROXIMATE,
    CONVERTED,
    DIRECTIONAL,
    FIRST_ORDER_AND_SHAPE,
    MISSING,
    UNDIRECTED,
    bins_like_pyradiomics,
    rename_for_pyradiomics,
)

RECORDED = Path(__file__).parents[1] / "reference" / "radiomics_peers.json"
TABLES = (FIRST_ORDER_AND_SHAPE, DIRECTIONAL, UNDIRECTED, APPROXIMATE, CONVERTED, MISSING)


def test_every_name_that_pyradiomics_gives_stands_in_one_table():
    given = next(iter(json.loads(RECORDED.read_text())["peers"]["pyradiomics"]["values"].values()))
    named = [f"original_{name}" for table in TABLES for name in table]
    assert sorted(named) == sorted(given)


def test_every_tag_is_one_of_the_catalogue_and_used_once():
    known = {feature.name for module in (statistics, histogram, morphology) for feature in module.FEATURES}
    plain = {feature.name for features in texture.FEATURES.values() for feature in features}
    assert set(FIRST_ORDER_AND_SHAPE.values()) | set(APPROXIMATE.values()) <= known
    assert set(DIRECTIONAL.values()) | set(UNDIRECTED.values()) <= plain
    assert {tag for tag, _ in CONVERTED.values()} <= known | plain
    tags = [tag for table in TABLES[:4] for tag in table.values()]
    assert len(set(tags)) == len(tags)


def test_closed_forms():
    values = {
        "stat_var": 2.0,
        "stat_kurt": -0.5,
        "stat_energy": 10.0,
        "morph_vol_approx": 5 * 1.5,
        "morph_pca_maj_axis": math.sqrt(5.0),
        "ih_range": 3.0,
        "cm_corr_3D_avg": 0.25,
        "cm_corr_2_5D_avg": 0.75,
        "cm_corr_3D_comb": 0.5,
    }
    assert rename_for_pyradiomics(values, 1.5) == {
        "original_firstorder_Energy": 10.0,
        "original_firstorder_Kurtosis": 2.5,
        "original_firstorder_TotalEnergy": 15.0,
        "original_firstorder_Variance": 2.0,
        "original_glcm_Correlation": 0.25,
        "original_shape_MajorAxisLength": pytest.approx(2.0, rel=1e-15),
        "original_shape_VoxelVolume": 7.5,
    }
    assert rename_for_pyradiomics(values, 1.5, dimension="2_5D")["original_glcm_Correlation"] == 0.75


def test_one_grey_level_gives_what_pyradiomics_puts_for_nothing_over_nothing():
    values = {
        "stat_var": 0.0,
        "stat_kurt": 0.0,
        "ih_range": 0.0,
        "cm_corr_3D_avg": math.nan,
        "cm_info_corr1_3D_avg": math.nan,
    }
    found = rename_for_pyradiomics(values, 1.0)
    assert found["original_firstorder_Kurtosis"] == 0.0
    assert found["original_glcm_Correlation"] == 1.0
    assert found["original_glcm_Imc1"] == 0.0


def test_surface_features_are_left_out_where_equal_ones_are_asked_for():
    values = {"morph_volume": 8.0, "morph_diam": 2.0}
    assert rename_for_pyradiomics(values, 1.0, image_type="wavelet-LLH") == {
        "wavelet-LLH_shape_Maximum3DDiameter": 2.0,
        "wavelet-LLH_shape_MeshVolume": 8.0,
    }
    assert rename_for_pyradiomics(values, 1.0, approximate=False) == {"original_shape_Maximum3DDiameter": 2.0}


def test_nothing_measured_gives_nothing_and_nan_stays():
    assert rename_for_pyradiomics({}, 1.0) == {}
    assert math.isnan(rename_for_pyradiomics({"stat_mean": math.nan}, 1.0)["original_firstorder_Mean"])


@pytest.mark.parametrize(
    ("lowest", "origin"), [(54.0, 50.0), (50.0, 50.0), (-101.0, -125.0), (-0.5, -25.0), (3.0, 0.0)]
)
def test_bins_begin_at_the_multiple_of_their_size_below_the_lowest_intensity(lowest, origin):
    settings = RadiomicsSettings(families=("glcm",), bin_size=25.0, bin_origin=7.0)
    assert bins_like_pyradiomics(settings, lowest).bin_origin == origin


def test_a_fixed_number_of_bins_and_a_lesion_without_intensities_change_nothing():
    numbered = RadiomicsSettings(families=("glcm",), bin_number=32)
    assert bins_like_pyradiomics(numbered, 54.0) == numbered
    sized = RadiomicsSettings(families=("glcm",), bin_size=25.0)
    assert bins_like_pyradiomics(sized, math.nan) == sized


def measured(image, **settings):
    """The PyRadiomics features of a box of 6 x 8 x 8 voxels of 1 mm in an image (12, 16, 16)."""
    numbers = np.zeros(image.shape, np.int32)
    box = (slice(3, 9), slice(4, 12), slice(4, 12))
    numbers[box] = 1
    volume = Volume(image, Geometry(image.shape, (1.0, 1.0, 1.0)), ONE)
    chosen = RadiomicsSettings(names="pyradiomics", aggregations=("3D_avg",), bin_size=5.0, **settings)
    return lesion_features(volume, numbers, [box], chosen).rows[0]


@pytest.mark.parametrize("chain", [{"outlier_sigma": 3.0}, {"spacing_mm": (2.0, 2.0, 2.0)}])
def test_bins_begin_below_the_lowest_intensity_that_preparing_leaves(chain):
    """A dark voxel at 10 that is an outlier, or between the new voxels, has no part in the grey levels."""
    image = np.random.default_rng(0).normal(100, 3, (12, 16, 16)).astype(np.float32)
    image[6, 8, 8] = 10.0
    found = measured(image, families=("statistics", "glcm"), **chain)
    lowest, highest = found["original_firstorder_Minimum"], found["original_firstorder_Maximum"]
    assert lowest > 85
    assert 1 <= found["original_glcm_JointAverage"] <= (highest - lowest) / 5 + 2


def test_a_lesion_too_small_for_the_grid_is_nan_and_no_crash():
    image = np.ones((12, 16, 16), np.float32)
    found = measured(image, families=("morphology",), spacing_mm=(10.0, 10.0, 10.0))
    assert found
    assert all(math.isnan(value) for value in found.values())
