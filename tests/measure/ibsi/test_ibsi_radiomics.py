from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.recipe import BiomarkerSettings, RadiomicsSettings, dump_recipe, load_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.measure.ibsi.feature import Feature, unit_of
from lesionlab.measure.ibsi.radiomics import FEATURES, MOST_LEVELS, feature_columns, feature_names, radiomics
from phantoms import pet_case

ALL = tuple(FEATURES)
AGGREGATIONS = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb")
PET = RadiomicsSettings(families=ALL, aggregations=AGGREGATIONS, bin_size=0.5, bin_origin=0.0)
SHAPE_ALONE = tuple(
    feature.name
    for feature in FEATURES["morphology"]
    if feature.name not in ("morph_com", "morph_integ_int", "morph_moran_i", "morph_geary_c")
)


def volume(array, spacing=(2.0, 2.0, 2.0)):
    return Volume(np.asarray(array, np.float32), Geometry(array.shape, spacing), SUVBW)


def blob(seed=0, shape=(9, 10, 11), spacing=(2.0, 2.0, 2.0)):
    rng = np.random.default_rng(seed)
    image = volume(rng.gamma(3, 1.0, shape), spacing)
    mask = np.zeros(shape, bool)
    mask[2:7, 2:8, 2:9] = rng.random((5, 6, 7)) < 0.8
    return image, mask


def undefined(values):
    return {tag for tag, value in values.items() if math.isnan(value)}


def same(here, there, rel=1e-9, only=lambda tag: True):
    assert list(here) == list(there)
    for tag, value in here.items():
        if only(tag):
            assert there[tag] == pytest.approx(value, rel=rel, abs=1e-9, nan_ok=True), tag


def test_a_blob_has_every_feature():
    values, notes = radiomics(*blob(), PET)
    assert tuple(values) == feature_names(PET) == tuple(c.name for c in feature_columns(PET, SUVBW))
    assert len(values) == 487
    assert undefined(values) == set()
    assert notes == ()


def test_only_the_chosen_families_are_computed():
    chosen = PET.model_copy(
        update={"families": ("ngtdm", "statistics"), "aggregations": ("3D_avg", "3D_comb")}
    )
    values, _ = radiomics(*blob(), chosen)
    names = [f.name for f in FEATURES["statistics"]] + [f"{f.name}_3D" for f in FEATURES["ngtdm"]]
    assert list(values) == names
    everything, _ = radiomics(*blob(), PET)
    assert all(values[name] == everything[name] for name in names)


@pytest.mark.parametrize("spacing", [None, (2.0, 2.0, 2.0), (3.0, 3.0, 3.0)])
def test_an_empty_lesion(spacing):
    image, mask = blob()
    values, notes = radiomics(image, np.zeros_like(mask), PET.model_copy(update={"spacing_mm": spacing}))
    assert undefined(values) == set(values)
    assert notes == ("no radiomics: the lesion has no voxel",)


def test_a_lesion_lost_to_a_coarse_grid():
    image, mask = blob()
    mask[:] = False
    mask[4, 5, 6] = True
    values, notes = radiomics(image, mask, PET.model_copy(update={"spacing_mm": (9.0, 9.0, 9.0)}))
    assert undefined(values) == set(values)
    assert notes == ("no radiomics: the lesion is too small for the interpolated grid",)


def test_one_voxel():
    image, mask = blob()
    mask[:] = False
    mask[4, 5, 6] = True
    values, notes = radiomics(image, mask, PET)
    assert values["stat_mean"] == values["stat_max"] == image.array[4, 5, 6]
    assert values["morph_vol_approx"] == 8.0
    assert values["loc_peak_loc"] == values["loc_peak_glob"]
    assert {"morph_moran_i", "cm_corr_3D_avg", "cm_contrast_2D_comb", "ivh_v10"} <= undefined(values)
    assert any("ivh_v10" in note and "one intensity" in note for note in notes)
    assert any("(cm_*, ngt_*) are undefined: one grey level, or no two voxels" in note for note in notes)


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_constant_intensity_stays_constant_when_it_is_interpolated(interpolation):
    """Rounding errors of a spline, spread over a fixed number of bins, would be 4 bits of entropy."""
    rng = np.random.default_rng(0)
    mask = np.ones((4, 5, 3), bool)
    for level, *spacing in zip(rng.normal(size=40), *rng.uniform(0.3, 1.5, (3, 40)), strict=True):
        flat = volume(np.full(mask.shape, level), (1.0, 1.0, 1.0))
        grid = {"spacing_mm": tuple(spacing), "interpolation": interpolation}
        chosen = RadiomicsSettings(families=("statistics", "histogram"), bin_number=16, **grid)
        values, _ = radiomics(flat, mask, chosen)
        assert values["stat_mean"] == np.float32(level)
        assert (values["stat_var"], values["stat_kurt"], values["ih_entropy"]) == (0.0, 0.0, 0.0)


def test_constant_intensity():
    image, mask = blob()
    values, notes = radiomics(image.with_array(np.full_like(image.array, 3.25)), mask, PET)
    assert values["stat_var"] == values["ih_entropy"] == values["cm_contrast_3D_comb"] == 0.0
    assert values["ih_mean"] == 7.0
    assert {"morph_moran_i", "morph_geary_c", "cm_corr_3D_avg", "ivh_v10"} <= undefined(values)
    assert not undefined(values).intersection(SHAPE_ALONE)
    assert "morph_moran_i, morph_geary_c are undefined: one voxel, or constant intensity" in notes
    assert any(note.startswith("12 features (cm_corr, cm_info_corr1) are undefined") for note in notes)


def test_every_nan_has_a_reason():
    """Each NaN is named in a note, alone or as one of a family, or a note says that all of them are."""
    image, mask = blob()
    line = np.zeros_like(mask)
    line[4, 5, 2:9] = True
    plane = np.zeros_like(mask)
    plane[4, 2:6, 2:6] = True
    pair = np.zeros_like(mask)
    pair[4, 5, 5:7] = True
    for drawn in (line, plane, pair):
        values, notes = radiomics(image, drawn, PET)
        before = [note.split(" undefined: ")[0] for note in notes]
        named = sum(int(text.split()[0]) if text[0].isdigit() else len(text.split(", ")) for text in before)
        assert named == len(undefined(values)) > 0


def test_voxels_that_are_not_finite():
    image, mask = blob()
    array = image.array.copy()
    inside = np.argwhere(mask)[:3]
    array[tuple(inside.T)] = [np.nan, np.inf, -np.inf]
    values, notes = radiomics(image.with_array(array), mask, PET)
    assert undefined(values) == {tag for tag in values if tag not in SHAPE_ALONE}
    assert notes == (
        f"no features of intensity, histogram or texture: 3 of {mask.sum()} voxels are not finite numbers",
    )
    # beyond the lesion they do no harm
    array = image.array.copy()
    array[0, 0, 0] = np.nan
    same(radiomics(image, mask, PET)[0], radiomics(image.with_array(array), mask, PET)[0], only=_no_peak)


def _by_search(tag):
    """Smallest enclosing bodies are searched for; from another orientation the search may stop elsewhere."""
    return "mvee" in tag or "ombb" in tag


def _no_peak(tag):
    return not tag.startswith("loc_")


def test_a_range_that_leaves_nothing():
    image, mask = blob()
    values, notes = radiomics(image, mask, PET.model_copy(update={"keep_range": (100.0, 200.0)}))
    assert undefined(values) == {tag for tag in values if tag not in SHAPE_ALONE}
    assert notes == ("no features of intensity, histogram or texture: re-segmentation leaves no voxel",)


def test_bins_too_fine():
    image, mask = blob()
    values, notes = radiomics(image, mask, PET.model_copy(update={"bin_size": 1e-9}))
    assert not math.isnan(values["stat_mean"])
    assert math.isnan(values["ih_mean"])
    assert math.isnan(values["szm_sze_3D"])
    assert f"grey levels are more than {MOST_LEVELS}" in notes[0]
    assert len(notes) == 1


def test_a_lesion_at_the_border_and_one_slice():
    image = volume(np.random.default_rng(0).gamma(3, 1.0, (1, 12, 12)))
    values, notes = radiomics(image, np.ones((1, 12, 12), bool), PET)
    assert not math.isnan(values["cm_contrast_2D_avg"])
    assert values["cm_contrast_2D_avg"] == pytest.approx(values["cm_contrast_3D_avg"])
    assert undefined(values) <= {"morph_vol_dens_aee", "morph_area_dens_aee"}
    assert len(notes) <= 1


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), axis=st.sampled_from([0, 1, 2]))
def test_unchanged_by_flips(seed, axis):
    image, mask = blob(seed, spacing=(3.0, 2.0, 2.0))
    flipped = image.with_array(np.ascontiguousarray(np.flip(image.array, axis)))
    here, there = radiomics(image, mask, PET)[0], radiomics(flipped, np.flip(mask, axis), PET)[0]
    same(here, there, rel=0.15, only=_by_search)
    same(here, there, rel=1e-7, only=lambda tag: not _by_search(tag))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), order=st.permutations([0, 1, 2]))
def test_unchanged_by_the_order_of_axes(seed, order):
    chosen = PET.model_copy(update={"aggregations": ("3D_avg", "3D_comb")})
    image, mask = blob(seed)
    turned = volume(np.ascontiguousarray(image.array.transpose(order)))
    here, there = radiomics(image, mask, chosen)[0], radiomics(turned, mask.transpose(order), chosen)[0]
    same(here, there, rel=0.15, only=_by_search)
    same(here, there, rel=1e-7, only=lambda tag: not _by_search(tag))


def test_twice_the_activity_doubles_what_is_in_units_of_intensity():
    """Linear in the injected dose: with bins that scale along, grey levels do not change."""
    image, mask = blob()
    twice = PET.model_copy(update={"bin_size": 1.0})
    here, there = radiomics(image, mask, PET)[0], radiomics(image.with_array(image.array * 2), mask, twice)[0]
    units = {c.name: c.unit for c in feature_columns(PET, "u")}
    powers = {"u": 2.0, "u2": 4.0, "u.mm3": 2.0}
    assert set(powers) < set(units.values())
    for tag, value in here.items():
        factor = powers.get(units[tag], 1.0)
        assert there[tag] == pytest.approx(value * factor, rel=1e-6, abs=1e-9), tag


def test_columns_of_a_number_of_bins_have_no_unit():
    chosen = PET.model_copy(update={"families": ("volume_histogram",), "volume_histogram_bins": 100})
    assert {column.unit for column in feature_columns(chosen, SUVBW)} == {"1"}


@pytest.mark.parametrize(
    ("unit", "image", "expected"),
    [
        ("[intensity]", SUVBW, "g/ml{SUVbw}"),
        ("[intensity]2", SUVBW, "g2/ml2{SUVbw}"),
        ("[intensity]2", HOUNSFIELD, "[hnsf'U]2"),
        ("[intensity]2", "10*-6.mm2/s", "10*-12.mm4/s2"),
        ("[intensity]2", "{stored}", "{stored}"),
        ("[intensity].mm3", SUVBW, "g/ml{SUVbw}.mm3"),
        ("[intensity].mm3", "1", "mm3"),
        ("[intensity]2", "1", "1"),
        ("mm", SUVBW, "mm"),
    ],
)
def test_units_of_features(unit, image, expected):
    assert unit_of(Feature("x", "ABCD", unit, ""), image) == expected


def test_measure_puts_the_features_behind_its_own_columns():
    geometry = Geometry((12, 14, 16), (4.0, 4.0, 4.0))
    rng = np.random.default_rng(1)
    suv = rng.gamma(2, 1.0, geometry.shape).astype(np.float32)
    mask = np.zeros(geometry.shape, np.uint8)
    mask[2:7, 2:8, 2:9] = 1
    mask[9:11, 10:12, 12:14] = 1
    mask[10, 2, 2] = 1
    case, drawn = pet_case(suv, geometry), Volume(mask, geometry, "1")
    plain = measure(case, drawn, BiomarkerSettings())
    table = measure(case, drawn, BiomarkerSettings(), PET)
    assert table.columns == plain.columns + feature_columns(PET, SUVBW)
    assert table.totals == pytest.approx(plain.totals)
    assert [set(row) for row in table.rows] == [{column.name for column in table.columns}] * 3
    for row, before in zip(table.rows, plain.rows, strict=True):
        assert {name: row[name] for name in before} == pytest.approx(before)
        assert row["stat_max"] == row["SUVmax"]
        assert row["stat_mean"] == pytest.approx(row["SUVmean"])
        assert row["morph_vol_approx"] == pytest.approx(1000 * row["MTV"])
    alone, _ = radiomics(case.channels["suv"], table.labels.array == 2, PET)
    assert {tag: table.rows[1][tag] for tag in alone} == pytest.approx(alone, nan_ok=True)
    assert any(note.startswith("lesion 3:") for note in table.notes)


def test_measure_without_families_is_as_before():
    geometry = Geometry((6, 6, 6), (4.0, 4.0, 4.0))
    case = pet_case(np.ones(geometry.shape), geometry)
    drawn = Volume(np.ones(geometry.shape, np.uint8), geometry, "1")
    assert (
        measure(case, drawn, BiomarkerSettings(), RadiomicsSettings()).rows
        == measure(case, drawn, BiomarkerSettings()).rows
    )
    empty = measure(case, drawn.with_array(np.zeros(geometry.shape, np.uint8)), BiomarkerSettings(), PET)
    assert empty.rows == ()
    assert empty.columns[-1].name.startswith("ngl_")


def test_the_recipe_of_all_families(tmp_path):
    recipe = find_recipe("pet-radiomics")
    assert set(recipe.radiomics.families) == set(FEATURES)
    (tmp_path / "again.toml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "again.toml") == recipe
    assert radiomics(*blob(), recipe.radiomics)[1] == ()
