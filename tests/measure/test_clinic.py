"""Volumes by threshold, points of the intensity-volume curve, ratios, distances between edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.components import components
from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import BiomarkerSettings, parse_recipe
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.measure.references import Reference, References
from lesionlab.measure.shape import hull_points
from lesionlab.measure.spread import largest_edge_distance
from lesionlab.measure.thresholds import level_of, suv_at, volume_at, voxels_above
from phantoms import ball_mask, pet_case

GRID = Geometry((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
LIVER = Reference(2.0, 0.3, 1700, "sphere of 3 cm at (0.0, 0.0, 0.0) mm LPS")
BLOOD = Reference(1.5, 0.2, 80, "cylinder of 1 cm x 2 cm along z at (0.0, 0.0, 0.0) mm LPS")
EVERY = BiomarkerSettings(delineations=("fixed", "41", "50", "percist", "liver"), fixed_suv=4.0)


def two_shells():
    """A lesion of a hot core (SUVbw 10, r = 8 mm) in a shell (SUVbw 4.5, r = 14 mm), and a pale one."""
    suv, mask = np.ones(GRID.shape), np.zeros(GRID.shape, np.uint8)
    for centre, radius, value in (((-10, 0, 0), 14, 4.5), ((-10, 0, 0), 8, 10.0), ((25, 20, 20), 6, 3.0)):
        ball = ball_mask(GRID, centre, radius)
        suv[ball], mask[ball] = value, 1
    return suv, mask


def test_each_delineation_takes_the_voxels_at_or_above_its_level():
    suv, mask = two_shells()
    table = measure(pet_case(suv, GRID), Volume(mask, GRID, "1"), EVERY, references=References(LIVER, BLOOD))
    first, second = table.rows
    core, whole = ball_mask(GRID, (-10, 0, 0), 8).sum() * 0.008, first["MTV"]
    shell = whole - core
    # levels: fixed 4, 41 % 4.1, 50 % 5, PERCIST 1.5 x 2 + 2 x 0.3 = 3.6 and the liver's by default the same
    for name, volume in (("fixed", whole), ("41", whole), ("50", core), ("percist", whole), ("liver", whole)):
        assert first[f"MTV_{name}"] == pytest.approx(volume), name
        glycolysis = core * 10 + (shell * 4.5 if volume == whole else 0)
        assert first[f"TLG_{name}"] == pytest.approx(glycolysis), name
    assert second["MTV_fixed"] == second["MTV_percist"] == second["TLG_fixed"] == 0.0
    assert second["MTV_41"] == second["MTV_50"] == second["MTV"]
    assert table.totals["TMTV_50"] == pytest.approx(core + second["MTV"])
    assert table.totals["TLG_41"] == pytest.approx(first["TLG"] + second["TLG"])
    assert (first["SUVmax_to_liver"], first["SUVmax_to_blood"]) == pytest.approx((5.0, 10 / 1.5))
    assert first["SUVpeak_to_liver"] == pytest.approx(first["SUVpeak"] / 2)
    assert (table.totals["liver_SUVmean"], table.totals["blood_SUVsd"]) == (2.0, 0.2)
    for row in table.rows:
        assert set(row) == {column.name for column in table.columns}
    assert set(table.totals) == {column.name for column in table.total_columns}
    assert all(c.unit and c.meaning for c in (*table.columns, *table.total_columns))
    assert any("liver reference: SUVmean 2" in note for note in table.notes)


def test_what_needs_a_reference_is_unknown_without_one_and_says_so():
    suv, mask = two_shells()
    table = measure(pet_case(suv, GRID), Volume(mask, GRID, "1"), EVERY)
    assert math.isnan(table.rows[0]["MTV_percist"])
    assert math.isnan(table.totals["TLG_liver"])
    assert "MTV_liver and TLG_liver need a liver reference; none was given" in table.notes
    assert "MTV_percist and TLG_percist need a liver or blood pool reference; none was given" in table.notes
    assert "SUVmax_to_liver" not in table.rows[0]


def test_percist_takes_the_blood_pool_where_there_is_no_liver():
    assert level_of("percist", 9.0, EVERY, References(LIVER, BLOOD)) == pytest.approx(3.6)
    assert level_of("percist", 9.0, EVERY, References(None, BLOOD)) == pytest.approx(3.4)
    other = BiomarkerSettings(liver_factor=1.0, liver_deviations=3.0)
    assert level_of("liver", 9.0, other, References(LIVER)) == pytest.approx(2.9)


def test_a_reach_takes_in_what_hangs_together_and_leaves_the_neighbours():
    suv = np.ones(GRID.shape)
    suv[20, 20, 5:30] = 8.0
    suv[20, 25, 10] = 8.0  # hot, near and not connected
    mask = np.zeros(GRID.shape, np.uint8)
    mask[20, 20, 10:12] = mask[20, 20, 17:19] = 1
    numbers, boxes = components(mask)
    image = Volume(suv.astype(np.float32), GRID, SUVBW)

    def voxels(number, reach):
        return len(voxels_above(image, numbers, (number, boxes[number - 1]), 4.0, reach))

    # 2 own voxels; 2 more on each side within 4 mm; between the two lesions each voxel has one owner
    assert (voxels(1, 0.0), voxels(2, 0.0)) == (2, 2)
    assert (voxels(1, 4.0), voxels(2, 4.0)) == (6, 6)
    assert voxels(1, 100.0) + voxels(2, 100.0) == 24
    wide = BiomarkerSettings(delineations=("fixed",), delineation_reach_mm=4.0)
    table = measure(pet_case(suv, GRID), Volume(mask, GRID, "1"), wide)
    assert table.totals["TMTV_fixed"] == pytest.approx(12 * 0.008)
    assert "up to 4 mm around it" in next(c.meaning for c in table.columns if c.name == "MTV_fixed")


def test_points_of_the_intensity_volume_curve():
    values = np.arange(1.0, 11.0)
    assert volume_at(values, 4.0, 0.5) == 3.5
    assert [suv_at(values, share) for share in (0.1, 0.15, 0.5, 1.0)] == [10.0, 9.0, 6.0, 1.0]
    assert suv_at(values[:1], 0.1) == 1.0
    assert math.isnan(suv_at(values[:0], 0.5))
    suv, mask = two_shells()
    asked = BiomarkerSettings(volume_at_suv=(2.5, 5.0), suv_at_share=(0.1, 0.9))
    row = measure(pet_case(suv, GRID), Volume(mask, GRID, "1"), asked).rows[0]
    core = ball_mask(GRID, (-10, 0, 0), 8).sum() * 0.008
    assert (row["V_suv2.5"], row["V_suv5"]) == pytest.approx((row["MTV"], core))
    assert (row["I_10"], row["I_90"]) == (10.0, 4.5)


def test_voxels_that_are_not_finite_leave_all_of_it_unknown():
    suv, mask = two_shells()
    suv[20, 20, 15] = np.nan
    asked = EVERY.model_copy(update={"volume_at_suv": (2.5,), "suv_at_share": (0.1,)})
    references = References(LIVER)
    row = measure(pet_case(suv, GRID), Volume(mask, GRID, "1"), asked, references=references).rows[0]
    for name in ("MTV_41", "TLG_fixed", "V_suv2.5", "I_10", "SUVmax_to_liver"):
        assert math.isnan(row[name]), name


def test_the_second_rule_of_suvpeak_sits_on_the_hottest_voxel():
    suv = np.zeros((9, 9, 40))
    suv[4, 4, 8] = 10.0
    suv[1:8, 1:8, 25:32] = 9.0
    grid = Geometry(suv.shape, (2.0, 2.0, 2.0))
    mask = np.zeros(suv.shape, np.uint8)
    mask[4, 4, 8:32] = mask[1:8, 1:8, 25:32] = 1
    on_maximum = BiomarkerSettings(peak_centre="hottest_voxel")
    table = measure(pet_case(suv, grid), Volume(mask, grid, "1"), on_maximum)
    assert table.rows[0]["SUVpeak"] == pytest.approx(10 * 0.008, rel=1e-3)
    assert "centred on the lesion's hottest voxel" in next(
        c.meaning for c in table.columns if c.name == "SUVpeak"
    )
    anywhere = measure(pet_case(suv, grid), Volume(mask, grid, "1"), BiomarkerSettings())
    assert anywhere.rows[0]["SUVpeak"] == pytest.approx(9.0)


def test_settings_that_cannot_be_are_refused():
    base = {"name": "a", "channels": {"suv": {}}, "reference": "suv"}
    for wrong in ({"delineations": ["60"]}, {"suv_at_share": [0.0]}, {"peak_centre": "anywhere"}):
        with pytest.raises(RecipeError, match="biomarkers"):
            parse_recipe({**base, "biomarkers": wrong}, "test")


def test_the_farthest_edges_are_those_of_the_farthest_voxels():
    random = np.random.default_rng(4)
    lesions = [random.normal(size=(30, 3)) * 10 + random.normal(size=3) * 60 for _ in range(6)]
    brute = max(
        np.linalg.norm(a[:, None] - b[None], axis=2).max()
        for i, a in enumerate(lesions)
        for b in lesions[i + 1 :]
    )
    assert largest_edge_distance(lesions) == pytest.approx(brute)
    assert math.isnan(largest_edge_distance(lesions[:1]))
    # within one lesion it does not count, however long that is
    long = np.zeros((1, 1, 200), bool)
    long[:] = True
    rod = hull_points(long, (1.0, 1.0, 1.0))
    assert largest_edge_distance([rod, np.array([[0.0, 0.0, 100.0]])]) == pytest.approx(100.0)


def test_edges_lie_farther_apart_than_centroids():
    mask = np.zeros(GRID.shape, np.uint8)
    mask[ball_mask(GRID, (-20, 0, 0), 8)] = mask[ball_mask(GRID, (20, 0, 0), 6)] = 1
    table = measure(pet_case(np.ones(GRID.shape), GRID), Volume(mask, GRID, "1"), BiomarkerSettings())
    assert table.totals["Dmax"] == pytest.approx(40.0)
    assert table.totals["Dmax_edge"] == pytest.approx(54.0)


SMALL = Geometry((5, 6, 7), (4.0, 3.0, 2.5))
images = hnp.arrays(np.float32, SMALL.shape, elements=st.floats(0, 20, width=32))
masks = hnp.arrays(np.uint8, SMALL.shape, elements=st.sampled_from([0, 0, 0, 1]))
ASKED = EVERY.model_copy(update={"volume_at_suv": (2.5,), "suv_at_share": (0.1, 0.5)})


@settings(deadline=None, max_examples=25)
@given(images, masks, st.sampled_from([(0, 2, 1), (2, 1, 0), (1, 2, 0)]), st.sampled_from([0.0, 5.0]))
def test_axis_order_and_flips_change_nothing(image, mask, axes, reach):
    asked = ASKED.model_copy(update={"delineation_reach_mm": reach})
    matrix = SMALL.matrix[:, list(axes)].copy()
    shape = tuple(SMALL.shape[a] for a in axes)
    spacing = tuple(SMALL.spacing[a] for a in axes)
    last = SMALL.to_world([SMALL.shape[a] - 1 if a == axes[0] else 0 for a in range(3)])
    matrix[:, 0] *= -1
    turned = Geometry(shape, spacing, tuple(last), tuple(matrix.ravel()))

    def there(array):
        return np.flip(array.transpose(axes), 0)

    references = References(LIVER, BLOOD)
    one = measure(pet_case(image, SMALL), Volume(mask, SMALL, "1"), asked, references=references)
    two = measure(
        pet_case(there(image), turned), Volume(there(mask), turned, "1"), asked, references=references
    )
    for name, value in one.totals.items():
        assert two.totals[name] == pytest.approx(value, rel=1e-5, abs=1e-6, nan_ok=True), name
    for name in ("V_suv2.5", "I_10", "I_50", "MTV_41", "SUVmax_to_liver"):
        mine, yours = (sorted(row[name] for row in table.rows) for table in (one, two))
        assert mine == pytest.approx(yours, rel=1e-6), name


@settings(deadline=None, max_examples=25)
@given(images, masks, st.sampled_from([0.5, 2.0, 4.0]))
def test_volumes_add_up_over_lesions_and_scale_with_the_dose(image, mask, factor):
    def table(scale):
        liver = Reference(LIVER.mean * scale, LIVER.sd * scale, 9, "somewhere")
        asked = ASKED.model_copy(update={"fixed_suv": 4.0 * scale})
        case = pet_case(image * np.float32(scale), SMALL)
        return measure(case, Volume(mask, SMALL, "1"), asked, references=References(liver))

    here, there = table(1.0), table(factor)
    assert here.totals["TMTV_fixed"] == pytest.approx(((image >= 4) & (mask > 0)).sum() * SMALL.voxel_ml)
    for name in ("41", "50", "fixed", "percist", "liver"):
        total = math.fsum(row[f"MTV_{name}"] for row in here.rows)
        assert here.totals[f"TMTV_{name}"] == pytest.approx(total)
        assert there.totals[f"TLG_{name}"] == pytest.approx(factor * here.totals[f"TLG_{name}"], rel=1e-6)
        assert all(row[f"MTV_{name}"] <= row["MTV"] * (1 + 1e-9) for row in here.rows)
    for before, after in zip(here.rows, there.rows, strict=True):
        assert after["I_50"] == pytest.approx(factor * before["I_50"], rel=1e-6)
        assert after["SUVmax_to_liver"] == pytest.approx(before["SUVmax_to_liver"], rel=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_suvpeak_is_at_most_suvmax_where_the_sphere_lies_in_the_lesion(seed):
    """Every sphere centred in the core lies in the lesion; the peak of the core cannot exceed its maximum."""
    grid = Geometry((16, 16, 16), (2.0, 2.0, 2.0))
    suv = np.random.default_rng(seed).gamma(2.0, 2.0, grid.shape)
    centre = (15.0, 15.0, 15.0)
    whole, core = ball_mask(grid, centre, 14.0), ball_mask(grid, centre, 4.0)
    suv[~whole] = 0.0
    for rule in ("any_voxel", "hottest_voxel"):
        asked = BiomarkerSettings(peak_centre=rule)
        of_core = measure(pet_case(suv, grid), Volume(core, grid, "1"), asked).rows[0]["SUVpeak"]
        of_whole = measure(pet_case(suv, grid), Volume(whole, grid, "1"), asked).rows[0]
        assert of_core <= suv[whole].max() * (1 + 1e-6)
        assert of_whole["SUVpeak"] <= of_whole["SUVmax"] * (1 + 1e-6)
