from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.errors import DatasetError, GeometryError, RecipeError
from lesionlab.core.recipe import BiomarkerSettings
from lesionlab.core.units import HOUNSFIELD
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from phantoms import OBLIQUE, ball_mask, ball_ml, pet_case

DEFAULT = BiomarkerSettings()
GRIDS = {
    "even": Geometry((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0)),
    "thick slices": Geometry((24, 48, 56), (4.0, 1.7, 1.5), (-40.0, -40.0, -46.0)),
    "oblique": Geometry((40, 44, 40), (2.0, 1.8, 2.0), (0.0, 0.0, 0.0), OBLIQUE),
}


def middle(geometry):
    return geometry.to_world((np.asarray(geometry.shape) - 1) / 2 + 0.21)


@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_measures_what_it_is(name):
    geometry = GRIDS[name]
    centre, radius = middle(geometry), 14.0
    ball = ball_mask(geometry, centre, radius)
    table = measure(pet_case(np.where(ball, 7.0, 1.0), geometry), Volume(ball, geometry, "1"), DEFAULT)
    (row,) = table.rows
    assert row["SUVmax"] == row["SUVmean"] == 7.0
    assert row["SUVpeak"] == pytest.approx(7.0, rel=1e-12)
    assert row["voxels"] == ball.sum()
    assert row["MTV"] == pytest.approx(ball.sum() * geometry.voxel_ml, rel=1e-12)
    assert row["MTV"] == pytest.approx(ball_ml(radius), rel=0.02)
    assert row["TLG"] == pytest.approx(7.0 * row["MTV"], rel=1e-12)
    assert (row["x"], row["y"], row["z"]) == pytest.approx(tuple(centre), abs=0.15)
    assert 26.5 <= row["diameter_3d"] <= 28.0
    assert 24.0 <= row["width_in_slice"] <= row["diameter_in_slice"] <= 28.0
    assert row["touches_border"] == 0.0
    assert set(row) == {column.name for column in table.columns}
    assert set(table.totals) == {column.name for column in table.total_columns}
    assert table.totals["TMTV"] == row["MTV"]
    assert table.totals["SUVmax"] == 7.0
    assert math.isnan(table.totals["Dmax"])
    assert table.notes == ("Dmax and Dmax_edge need two lesions; found 1",)


def test_lesions_are_numbered_by_volume_and_totals_add_up():
    geometry = GRIDS["even"]
    places = [
        ((-20.0, -18.0, -20.0), 6.0, 3.0),
        ((16.0, 14.0, 18.0), 12.0, 5.0),
        ((18.0, -20.0, 0.0), 8.0, 9.0),
    ]
    suv, mask = np.ones(geometry.shape), np.zeros(geometry.shape, np.uint8)
    for centre, radius, value in places:
        ball = ball_mask(geometry, centre, radius)
        suv[ball] = value
        mask[ball] = 1
    table = measure(pet_case(suv, geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert [row["SUVmax"] for row in table.rows] == [5.0, 9.0, 3.0]
    assert [row["lesion"] for row in table.rows] == [1.0, 2.0, 3.0]
    for row, (centre, _, _) in zip(table.rows, [places[1], places[2], places[0]], strict=True):
        assert (row["x"], row["y"], row["z"]) == pytest.approx(centre, abs=1e-9)
        assert (table.labels.array == row["lesion"]).sum() == row["voxels"]
    assert table.labels.array.dtype == np.int32
    assert table.totals["lesions"] == 3.0
    assert table.totals["TMTV"] == pytest.approx(mask.sum() * 0.008)
    assert table.totals["TLG"] == pytest.approx(suv[mask > 0].sum() * 0.008)
    assert table.totals["SUVmax"] == 9.0
    assert table.totals["Dmax"] == pytest.approx(math.dist(places[0][0], places[1][0]))
    assert table.notes == ()


def test_no_lesion_is_a_result():
    geometry = GRIDS["even"]
    table = measure(
        pet_case(np.ones(geometry.shape), geometry),
        Volume(np.zeros(geometry.shape, bool), geometry, "1"),
        DEFAULT,
    )
    assert table.rows == ()
    assert table.totals["lesions"] == table.totals["TMTV"] == table.totals["TLG"] == 0.0
    assert math.isnan(table.totals["SUVmax"])
    assert math.isnan(table.totals["Dmax"])
    assert not table.labels.array.any()
    assert table.notes == ("no lesion: SUVmax, Dmax and Dmax_edge of the patient are undefined",)


def test_one_voxel_is_a_lesion():
    geometry = GRIDS["thick slices"]
    suv = np.ones(geometry.shape)
    suv[10, 20, 30] = 6.0
    mask = (suv > 2).astype(np.int16)
    (row,) = measure(pet_case(suv, geometry), Volume(mask, geometry, "1"), DEFAULT).rows
    assert (row["voxels"], row["SUVmax"], row["SUVmean"]) == (1.0, 6.0, 6.0)
    assert row["SUVpeak"] == pytest.approx(1.0 + 5.0 * geometry.voxel_ml, rel=5e-4)
    assert row["diameter_3d"] == row["diameter_in_slice"] == row["width_in_slice"] == 0.0
    assert (row["x"], row["y"], row["z"]) == pytest.approx(tuple(geometry.to_world((10, 20, 30))))


def test_touching_labels_are_two_lesions():
    geometry = GRIDS["even"]
    mask = np.zeros(geometry.shape, np.uint8)
    mask[5:9, 5:9, 5:9] = 2
    mask[5:9, 5:9, 9:11] = 1
    table = measure(pet_case(np.ones(geometry.shape), geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert [(row["label"], row["voxels"]) for row in table.rows] == [(2.0, 64.0), (1.0, 32.0)]


def test_corner_neighbours_are_one_lesion():
    geometry = GRIDS["even"]
    mask = np.zeros(geometry.shape, np.uint8)
    mask[5, 5, 5] = mask[6, 6, 6] = 1
    table = measure(pet_case(np.ones(geometry.shape), geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert table.totals["lesions"] == 1.0


def test_a_lesion_at_the_border_says_so():
    geometry = GRIDS["even"]
    mask = np.zeros(geometry.shape, np.uint8)
    mask[0:5, 10:15, 10:15] = 1
    table = measure(pet_case(np.full(geometry.shape, 2.0), geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert table.rows[0]["touches_border"] == 1.0
    assert table.rows[0]["SUVpeak"] == pytest.approx(2.0)


def test_a_cut_sphere_has_a_note():
    geometry = GRIDS["even"]
    mask = np.zeros(geometry.shape, np.uint8)
    mask[0, 10, 10] = 1
    table = measure(pet_case(np.full(geometry.shape, 2.0), geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert table.notes[0] == (
        "lesion 1: the sphere of SUVpeak is cut by the border of the image; the rest of it counts"
    )


def test_a_2d_image_touches_its_border_only_in_the_plane():
    geometry = Geometry((1, 30, 30), (1.0, 0.5, 0.5))
    image = Volume(np.full(geometry.shape, 80, np.uint8), geometry, "{stored}")
    case = pet_case(np.ones(geometry.shape), geometry, us=image)
    mask = np.zeros(geometry.shape, np.uint8)
    mask[0, 10:20, 5:15] = 1
    settings_us = BiomarkerSettings(channel="us")
    assert measure(case, Volume(mask, geometry, "1"), settings_us).rows[0]["touches_border"] == 0.0
    mask = np.zeros(geometry.shape, np.uint8)
    mask[0, 10:20, 20:30] = 1
    assert measure(case, Volume(mask, geometry, "1"), settings_us).rows[0]["touches_border"] == 1.0


def test_other_channels_are_measured_without_suv_names():
    geometry = GRIDS["even"]
    ct = np.full(geometry.shape, -100, np.int16)
    ct[5:9, 5:9, 5:9] = 40
    mask = Volume((ct > 0).astype(np.uint8), geometry, "1")
    case = pet_case(np.ones(geometry.shape), geometry, ct=Volume(ct, geometry, HOUNSFIELD))
    table = measure(case, mask, BiomarkerSettings(channel="ct"))
    row = table.rows[0]
    assert (row["max"], row["mean"]) == (40.0, 40.0)
    assert row["volume"] == pytest.approx(64 * 0.008)
    assert set(row) == {column.name for column in table.columns}
    assert (
        set(table.totals)
        == {column.name for column in table.total_columns}
        == {"lesions", "volume", "max", "Dmax", "Dmax_edge"}
    )


def test_voxels_that_are_not_finite_make_nan_with_a_note():
    geometry = GRIDS["even"]
    suv = np.ones(geometry.shape)
    suv[6, 6, 6] = np.nan
    mask = np.zeros(geometry.shape, np.uint8)
    mask[5:9, 5:9, 5:9] = 1
    mask[20:22, 20:22, 20:22] = 1
    table = measure(pet_case(suv, geometry), Volume(mask, geometry, "1"), DEFAULT)
    first, second = table.rows
    assert all(math.isnan(first[name]) for name in ("SUVmax", "SUVmean", "SUVpeak", "TLG"))
    assert first["MTV"] == pytest.approx(64 * 0.008)
    assert second["SUVmax"] == 1.0
    assert math.isnan(table.totals["SUVmax"])
    assert math.isnan(table.totals["TLG"])
    assert table.totals["TMTV"] == pytest.approx(72 * 0.008)
    assert "lesion 1: no intensity: 1 of 64 voxels are not finite numbers" in table.notes
    assert "SUVmax and TLG of the patient are undefined where they are for a lesion" in table.notes


def test_a_hotter_neighbour_in_the_sphere_has_a_note():
    geometry = GRIDS["even"]
    suv = np.full(geometry.shape, 20.0)
    suv[10:12, 10:12, 10:12] = 5.0
    mask = np.zeros(geometry.shape, np.uint8)
    mask[10:12, 10:12, 10:12] = 1
    table = measure(pet_case(suv, geometry), Volume(mask, geometry, "1"), DEFAULT)
    assert table.rows[0]["SUVpeak"] > table.rows[0]["SUVmax"]
    assert "SUVpeak is above SUVmax" in table.notes[0]


def test_errors_name_the_case():
    geometry = GRIDS["even"]
    case = pet_case(np.ones(geometry.shape), geometry, case_id="P9")
    mask = Volume(np.zeros(geometry.shape, np.uint8), geometry, "1")
    with pytest.raises(RecipeError, match=r"P9: found biomarkers.channel = 'ct'; needed one of .*: suv"):
        measure(case, mask, BiomarkerSettings(channel="ct"))
    other = GRIDS["thick slices"]
    with pytest.raises(GeometryError, match="P9: mask against channel suv: found grid 24 x 48 x 56"):
        measure(case, Volume(np.zeros(other.shape, np.uint8), other, "1"), DEFAULT)
    with pytest.raises(DatasetError, match="P9: found a mask of float32 voxels; needed integer labels"):
        measure(case, mask.with_array(np.zeros(geometry.shape, np.float32)), DEFAULT)


images = hnp.arrays(np.float32, (5, 6, 7), elements=st.floats(0, 20, width=32))
masks = hnp.arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0, 0, 0, 1]))
SMALL = Geometry((5, 6, 7), (4.0, 3.0, 2.5))
PLAIN = ("label", "voxels", "SUVmax", "MTV", "touches_border")
ROUNDED = ("SUVmean", "SUVpeak", "TLG", "diameter_3d", "x", "y", "z")


def as_set(table, names=PLAIN + ROUNDED):
    """Rows in an order that does not depend on numbering, which ties may change."""
    return sorted(tuple(row[name] for name in names) for row in table.rows)


def assert_same(first, second, **tolerance):
    assert len(first.rows) == len(second.rows)
    assert np.allclose(
        np.array(as_set(first, (*PLAIN, "x", "y", "z"))).ravel(),
        np.array(as_set(second, (*PLAIN, "x", "y", "z"))).ravel(),
        **tolerance,
    )
    for name in (*PLAIN, *ROUNDED):
        mine, yours = (sorted(row[name] for row in table.rows) for table in (first, second))
        assert mine == pytest.approx(yours, rel=1e-4, abs=1e-4), name
    for name, value in first.totals.items():
        assert second.totals[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name


@settings(deadline=None)
@given(images, masks, st.sampled_from([(0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1)]))
def test_the_order_of_the_axes_does_not_matter(image, mask, axes):
    turned = Geometry(
        tuple(SMALL.shape[a] for a in axes),
        tuple(SMALL.spacing[a] for a in axes),
        SMALL.origin,
        tuple(SMALL.matrix[:, list(axes)].ravel()),
    )
    here = measure(pet_case(image, SMALL), Volume(mask, SMALL, "1"), DEFAULT)
    there = measure(
        pet_case(image.transpose(axes), turned), Volume(mask.transpose(axes), turned, "1"), DEFAULT
    )
    assert_same(here, there, atol=1e-9)


@settings(deadline=None)
@given(images, masks, st.sampled_from([0, 1, 2]))
def test_a_flipped_array_with_flipped_directions_measures_the_same(image, mask, axis):
    matrix = SMALL.matrix.copy()
    matrix[:, axis] *= -1
    last = np.zeros(3)
    last[axis] = SMALL.shape[axis] - 1
    flipped = Geometry(SMALL.shape, SMALL.spacing, tuple(SMALL.to_world(last)), tuple(matrix.ravel()))
    here = measure(pet_case(image, SMALL), Volume(mask, SMALL, "1"), DEFAULT)
    there = measure(
        pet_case(np.flip(image, axis), flipped), Volume(np.flip(mask, axis), flipped, "1"), DEFAULT
    )
    assert_same(here, there, atol=1e-9)
    for name in ("diameter_in_slice", "width_in_slice"):
        mine, yours = (sorted(row[name] for row in table.rows) for table in (here, there))
        assert mine == pytest.approx(yours, abs=1e-9)


@settings(deadline=None)
@given(images, st.floats(0, 20, width=32))
def test_the_peak_of_a_threshold_mask_is_not_above_its_maximum(image, threshold):
    table = measure(pet_case(image, SMALL), Volume(image >= threshold, SMALL, "1"), DEFAULT)
    highest = table.totals["SUVmax"]
    assert all(row["SUVpeak"] <= highest * (1 + 1e-6) for row in table.rows)


@settings(deadline=None)
@given(images, masks, st.sampled_from([0.25, 2.0, 8.0]))
def test_uptake_is_linear_in_the_dose_scale(image, mask, factor):
    here = measure(pet_case(image, SMALL), Volume(mask, SMALL, "1"), DEFAULT)
    there = measure(pet_case(image * np.float32(factor), SMALL), Volume(mask, SMALL, "1"), DEFAULT)
    for row, scaled in zip(here.rows, there.rows, strict=True):
        for name in ("SUVmax", "SUVmean", "SUVpeak", "TLG"):
            assert scaled[name] == pytest.approx(row[name] * factor, rel=1e-6)
        assert scaled["MTV"] == row["MTV"]


@settings(deadline=None)
@given(images, masks)
def test_volumes_and_glycolysis_add_up(image, mask):
    table = measure(pet_case(image, SMALL), Volume(mask, SMALL, "1"), DEFAULT)
    assert table.totals["TMTV"] == pytest.approx(int(mask.sum()) * SMALL.voxel_ml)
    assert sum(row["voxels"] for row in table.rows) == mask.sum()
    total = image[mask > 0].sum(dtype=np.float64) * SMALL.voxel_ml
    assert table.totals["TLG"] == pytest.approx(total, rel=1e-6, abs=1e-9)
    sizes = [row["voxels"] for row in table.rows]
    assert sizes == sorted(sizes, reverse=True)
