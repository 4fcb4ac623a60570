"""Every texture family against the standard's formulas in plain loops, and at its edges."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import texture_definitions as slow
from lesionlab.measure.ibsi import texture_directions
from lesionlab.measure.ibsi.region import Levels
from lesionlab.measure.ibsi.texture import (
    FEATURES,
    glcm,
    gldzm,
    glrlm,
    glszm,
    ngldm,
    ngtdm,
    suffixes,
    textures,
)

AGGREGATIONS = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb", "3D_avg", "3D_comb")


def levels_of(array: np.ndarray, mask: np.ndarray | None = None, count: int | None = None) -> Levels:
    array = np.asarray(array, dtype=np.int32)
    return Levels(
        array,
        int(array.max(initial=0)) if count is None else count,
        array > 0 if mask is None else mask,
        (1.0, 1.0, 1.0),
    )


def everything(levels: Levels) -> dict[str, float]:
    return textures(levels, FEATURES, AGGREGATIONS)


def by_definition(levels: Levels) -> dict[str, float]:
    result: dict[str, float] = {}
    for aggregation in AGGREGATIONS:
        pairs, runs = slow.directional(levels.array, levels.count, aggregation)
        for family, values in (("glcm", pairs), ("glrlm", runs)):
            names = [f"{feature.name}_{aggregation}" for feature in FEATURES[family]]
            result.update(zip(names, values, strict=True))
    for dimension in ("2D", "2_5D", "3D"):
        for family, values in slow.undirected(levels.array, levels.mask, dimension).items():
            names = [f"{feature.name}_{dimension}" for feature in FEATURES[family]]
            result.update(zip(names, values, strict=True))
    return result


def same(found: dict[str, float], wanted: dict[str, float]) -> None:
    assert set(found) == set(wanted)
    for tag, value in wanted.items():
        # the root in the second information correlation magnifies rounding near 0
        near = 1e-6 if "info_corr2" in tag else 1e-9
        assert found[tag] == pytest.approx(value, rel=1e-9, abs=near, nan_ok=True), tag


@st.composite
def regions(draw: st.DrawFn) -> Levels:
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)))
    array = draw(hnp.arrays(np.int32, shape, elements=st.integers(0, draw(st.integers(1, 4)))))
    if not array.any():
        array[0, 0, 0] = 1
    array[array > 0] += draw(st.sampled_from((0, 2, 40)))
    wider = draw(hnp.arrays(np.bool_, shape))
    return levels_of(array, (array > 0) | wider, int(array.max()) + draw(st.integers(0, 3)))


@settings(max_examples=60, deadline=None)
@given(regions())
def test_all_families_follow_the_definitions(levels: Levels) -> None:
    same(everything(levels), by_definition(levels))


def test_a_larger_region_follows_the_definitions() -> None:
    """Enough voxels for long runs, deep zones and more than one block of neighbours."""
    rng = np.random.default_rng(0)
    array = rng.choice([0, 1, 2, 5], size=(9, 15, 16), p=[0.1, 0.6, 0.2, 0.1]).astype(np.int32)
    array[2:7, 3:12, 3:12] = np.where(rng.random((5, 9, 9)) < 0.95, 2, 5)
    levels = levels_of(array, np.ones(array.shape, dtype=bool), 7)
    assert np.prod(np.array(array.shape) + 2) > 2048
    same(everything(levels), by_definition(levels))


@settings(max_examples=15, deadline=None)
@given(regions(), st.integers(0, 2))
def test_flips_change_nothing(levels: Levels, axis: int) -> None:
    turned = replace(levels, array=np.flip(levels.array, axis), mask=np.flip(levels.mask, axis))
    same(everything(turned), everything(levels))


@settings(max_examples=15, deadline=None)
@given(regions(), st.permutations((0, 1, 2)))
def test_the_volume_has_no_preferred_axis(levels: Levels, order: list[int]) -> None:
    turned = replace(levels, array=levels.array.transpose(order), mask=levels.mask.transpose(order))
    volume = ("3D_avg", "3D_comb")
    same(textures(turned, FEATURES, volume), textures(levels, FEATURES, volume))


def test_one_slice_is_the_same_in_slices_and_merged_over_slices() -> None:
    rng = np.random.default_rng(1)
    found = everything(levels_of(rng.integers(0, 4, size=(1, 7, 8))))
    for tag, value in found.items():
        if "_2D" in tag:
            assert found[tag.replace("_2D", "_2_5D")] == pytest.approx(value, nan_ok=True), tag


@pytest.mark.parametrize("shape", [(0, 0, 0), (2, 3, 4)])
def test_no_voxel_has_no_texture(shape: tuple[int, int, int]) -> None:
    found = everything(levels_of(np.zeros(shape), np.ones(shape, dtype=bool)))
    assert len(found) == 6 * (25 + 16) + 3 * (16 + 16 + 5 + 17)
    assert all(math.isnan(value) for value in found.values())


def test_one_voxel_has_no_pair_but_one_run_and_one_zone() -> None:
    found = everything(levels_of([[[3]]]))
    for tag, value in found.items():
        assert math.isnan(value) == tag.startswith(("cm_", "ngt_")), tag
    for tag in ("rlm_sre_3D_avg", "rlm_r_perc_2D_comb", "szm_sze_2D", "dzm_sde_3D", "ngl_lde_3D"):
        assert found[tag] == 1.0
    assert found["szm_hgze_3D"] == 9.0
    assert found["rlm_rl_entr_3D_comb"] == found["szm_zs_entr_3D"] == found["ngl_dc_entr_2D"] == 0.0


def test_one_level_has_no_correlation_and_the_values_the_standard_sets() -> None:
    found = everything(levels_of(np.full((2, 3, 4), 5), count=9))
    undefined = {tag for tag, value in found.items() if math.isnan(value)}
    assert undefined == {f"cm_{name}_{how}" for name in ("corr", "info_corr1") for how in AGGREGATIONS}
    assert found["cm_joint_max_3D_comb"] == found["cm_inv_diff_norm_2D_avg"] == 1.0
    assert found["cm_joint_avg_2_5D_avg"] == 5.0
    assert (
        found["cm_joint_entr_3D_avg"]
        == found["cm_info_corr2_3D_comb"]
        == found["cm_joint_var_2D_comb"]
        == 0.0
    )
    assert [found[f"ngt_{name}_3D"] for name in ("coarseness", "contrast", "busyness")] == [1e6, 0.0, 0.0]
    assert found["ngt_complexity_2D"] == found["ngt_strength_2_5D"] == 0.0
    assert found["szm_lze_3D"] == 24.0**2


def test_slices_without_a_pair_leave_the_average() -> None:
    array = np.zeros((3, 4, 4), dtype=np.int32)
    array[0] = [[1, 2, 1, 1], [2, 2, 3, 1], [1, 3, 3, 2], [1, 1, 2, 2]]
    alone = everything(levels_of(array[:1]))
    array[2, 3, 3] = 2
    found = everything(levels_of(array, count=3))
    for tag in ("cm_contrast_2D_avg", "cm_corr_2D_comb", "ngt_coarseness_2D"):
        assert found[tag] == pytest.approx(alone[tag])
    # a lone voxel is a run and a zone, though
    assert found["szm_sze_2D"] == pytest.approx((alone["szm_sze_2D"] + 1) / 2)


def test_busyness_is_undefined_where_its_denominator_is_nought() -> None:
    # two voxels of level 1 and one of level 2: i p_i is the same for both levels
    assert math.isnan(ngtdm(levels_of([[[1, 1, 2]]]), "3D")["ngt_busyness"])


def test_levels_beyond_what_tables_can_hold_have_no_texture() -> None:
    wide = everything(levels_of([[[1, 9000]]]))
    assert all(math.isnan(value) for value in wide.values())
    far = everything(levels_of([[[900_001, 900_002, 900_001]]]))
    assert far["cm_joint_avg_3D_comb"] == 900_001.5
    assert far["szm_lgze_3D"] == pytest.approx((2 / 900_001**2 + 1 / 900_002**2) / 3)
    further = everything(levels_of([[[1, 900_001, 900_002]]]))
    assert all(math.isnan(value) for value in further.values())


def test_inputs_of_any_layout_are_taken_and_left_alone() -> None:
    rng = np.random.default_rng(2)
    plain = levels_of(rng.integers(0, 5, size=(4, 5, 6)) * 3)
    before = plain.array.copy()
    frozen = replace(plain, array=np.asfortranarray(plain.array), mask=plain.mask[:, ::-1][:, ::-1])
    frozen.array.setflags(write=False)
    frozen.mask.setflags(write=False)
    assert everything(frozen) == pytest.approx(everything(plain), nan_ok=True)
    assert np.array_equal(plain.array, before)


def test_one_family_at_a_time_gives_the_same_under_plain_tags() -> None:
    rng = np.random.default_rng(3)
    levels = levels_of(rng.integers(0, 4, size=(3, 6, 5)), np.ones((3, 6, 5), dtype=bool))
    found = everything(levels)
    calls = {"glcm": glcm, "glrlm": glrlm, "glszm": glszm, "gldzm": gldzm, "ngtdm": ngtdm, "ngldm": ngldm}
    for family, call in calls.items():
        for suffix in suffixes(family, AGGREGATIONS):
            alone = call(levels, suffix)
            assert list(alone) == [feature.name for feature in FEATURES[family]]
            assert {f"{tag}_{suffix}": value for tag, value in alone.items()} == pytest.approx(
                {tag: found[tag] for tag in (f"{name}_{suffix}" for name in alone)}, nan_ok=True
            )


def test_order_and_repeats_of_the_wish_do_not_matter() -> None:
    levels = levels_of([[[1, 2], [2, 2]]])
    few = textures(levels, ["ngldm", "glcm"], ["3D_comb", "2D_avg", "3D_comb", "3D_avg"])
    assert len(few) == 25 * 3 + 17 * 2
    assert all(isinstance(value, float) for value in few.values())
    assert textures(levels, [], AGGREGATIONS) == {}
    assert suffixes("glszm", ["3D_comb", "2D_avg", "3D_avg"]) == ("3D", "2D")


def test_directions_counted_in_several_turns_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = levels_of(np.random.default_rng(8).integers(0, 7, (6, 7, 8)))
    wanted = everything(levels)
    for cells in (1, 7 * 7 * 3):
        monkeypatch.setattr(texture_directions, "CELLS", cells)
        same(everything(levels), wanted)


def test_names_and_codes_are_the_standards_and_unique() -> None:
    features = [feature for family in FEATURES.values() for feature in family]
    assert [len(family) for family in FEATURES.values()] == [25, 16, 16, 16, 5, 17]
    assert len({feature.name for feature in features}) == len({f.code for f in features}) == 95
    assert all(len(f.code) == 4 and f.unit == "1" and f.formula for f in features)
