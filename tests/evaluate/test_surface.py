from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import score_case, surface
from lesionlab.evaluate.surface import diagonal_mm, element_sizes, surface_distances, surface_scores

SPACING = (3.0, 2.0, 1.0)
NAMES = ["hd_mm", "hd95_mm", "assd_mm", "nsd_2mm"]


def block(shape, *ranges):
    array = np.zeros(shape, bool)
    array[tuple(slice(*one) for one in ranges)] = True
    return array


def test_two_voxels_a_known_distance_apart():
    """Each voxel has eight equal elements at its corners; four are n steps from the other, four n - 1."""
    shape = (9, 9, 9)
    first = block(shape, (1, 2), (4, 5), (4, 5))
    for axis, step in enumerate(SPACING):
        second = np.roll(np.moveaxis(block(shape, (1, 2), (4, 5), (4, 5)), 0, axis), 5, axis)
        found = surface_distances(np.moveaxis(first, 0, axis), second, SPACING)
        assert found.hd_mm == found.hd95_mm == pytest.approx(5 * step)
        assert found.percentile_mm(50) == pytest.approx(4 * step)
        assert found.assd_mm == pytest.approx(4.5 * step)
        assert found.nsd(4 * step) == pytest.approx(0.5)
        assert found.nsd(4 * step - 0.01) == 0.0
        assert found.nsd(5 * step) == 1.0
        corner = np.linalg.norm(np.cross([1.5, -1.0, 0.0], [1.5, 0.0, -0.5])) / 2
        assert found.mask_sizes == pytest.approx([corner] * 8)


def test_a_distance_counts_as_much_as_its_area():
    """A rod of 3 voxels in one of 5: four corner pieces 2 mm beyond, four edge pieces 1 mm beyond."""
    rod, longer = block((3, 3, 8), (1, 2), (1, 2), (1, 4)), block((3, 3, 8), (1, 2), (1, 2), (1, 6))
    corner, edge = 0.875, math.hypot(1.5, 1.0) * 1.0
    whole = 4 * (2 * corner + 2 * edge) + 4 * (2 * corner + 4 * edge)
    found = surface_distances(rod, longer, SPACING)
    assert sorted(set(found.mask_sizes.round(12))) == pytest.approx([corner, edge])
    assert found.hd_mm == 2.0
    assert found.to_truth_mm.max() == 0.0
    assert found.assd_mm == pytest.approx(4 * (1.0 * edge + 2.0 * corner) / whole)
    assert found.nsd(1.0) == pytest.approx(1.0 - 4 * corner / whole)
    # the corner pieces are 9.8 % of the longer rod: more than the 5 % left out at 95
    assert found.hd95_mm == 2.0
    assert found.percentile_mm(90.0) == 1.0
    # of rods of 6 and 8 voxels they are 6.1 %, and 3.4 % where these are ten times as thin
    rod, longer = (block((3, 3, 12), (1, 2), (1, 2), (1, end)) for end in (7, 9))
    for spacing, hd95 in ((SPACING, 2.0), ((0.3, 0.2, 1.0), 1.0)):
        found = surface_distances(rod, longer, spacing)
        assert (found.hd_mm, found.hd95_mm) == (2.0, hd95)


def test_a_single_slice_is_a_contour():
    """A square of 2 x 2 pixels in one of 2 x 4: sides of 1 mm and corners of half a diagonal."""
    small, wide = block((1, 6, 8), (0, 1), (2, 4), (2, 4)), block((1, 6, 8), (0, 1), (2, 4), (2, 6))
    found = surface_distances(small, wide, SPACING)
    corner = math.hypot(2.0, 1.0) / 2
    assert found.mask_sizes.sum() == pytest.approx(4 * corner + 2 * 2.0 + 2 * 1.0)
    assert found.truth_sizes.sum() == pytest.approx(4 * corner + 2 * 2.0 + 6 * 1.0)
    assert found.hd_mm == 2.0
    # beyond: two corners and a side of 2 mm at 2 mm, two sides of 1 mm at 1 mm; the inner end lies between
    # the long sides, its middle 2 mm from either
    far = (2 * corner + 2.0) * 2.0 + 2 * 1.0 * 1.0 + 2.0 * 2.0
    assert found.assd_mm == pytest.approx(far / (found.mask_sizes.sum() + found.truth_sizes.sum()))
    volume = surface_distances(small, wide, SPACING, flat=False)
    assert len(volume.mask_sizes) == 18
    assert volume.mask_sizes.sum() > found.mask_sizes.sum()


def test_a_slice_of_a_volume_has_two_sides():
    """A lesion of one slice is flat only in an image of one slice."""
    first = block((4, 8, 8), (1, 2), (2, 5), (2, 5))
    second = np.roll(first, 1, axis=2)
    expected = surface_scores(first, second, SPACING)
    scores = [Volume(mask.astype(np.uint8), Geometry(mask.shape, SPACING), "1") for mask in (first, second)]
    values = score_case("P1", *scores).values
    assert {name: values[name] for name in NAMES} == pytest.approx(expected)
    picture = surface_scores(first[1:2], second[1:2], SPACING)
    assert picture["assd_mm"] != pytest.approx(expected["assd_mm"])


RECORDED = [
    # seed, shape, share of voxels, spacing; then HD, HD95, both averages pooled, and surface Dice at 2 mm
    (1, (7, 8, 9), 0.02, (3.0, 1.5, 0.8), (6.053098380169, 5.660388679234, 3.371298970834, 0.153685644359)),
    (2, (7, 8, 9), 0.5, (3.0, 1.5, 0.8), (1.6, 0.8, 0.039050054973507185, 1.0)),
    (3, (10, 20, 30), 0.004, (4.0, 2.0, 2.0), (18.8679622641, 14.9666295471, 8.05995730788, 0.07087650869)),
    (4, (12, 12, 12), 0.9, (1.0, 1.0, 1.0), (1.7320508075688772, 1.0, 0.112633468999711, 1.0)),
    (5, (30, 40), 0.01, (0.7, 0.5), (7.382411530117, 6.830812543175, 2.580015428452, 0.444444444444)),
    (6, (9, 9), 0.6, (2.0, 1.0), (2.0, 1.0, 0.18342673398734, 1.0)),
]  # fmt: skip


@pytest.mark.parametrize(("seed", "shape", "share", "spacing", "expected"), RECORDED)
def test_values_recorded_from_surface_distance(seed, shape, share, spacing, expected):
    """surface-distance 0.1 (Surface-Distance-Based-Measures) on the same random masks."""
    random = np.random.default_rng(seed)
    mask, truth = random.random(shape) < share, random.random(shape) < share
    if len(shape) == 2:
        mask, truth, spacing = mask[None], truth[None], (9.0, *spacing)
    assert list(surface_scores(mask, truth, spacing).values()) == pytest.approx(expected, rel=1e-10)


def test_element_areas_recorded_from_surface_distance():
    """How often each area occurs among its 256 entries at 3 x 2 x 1 mm, to six places."""
    recorded = {
        0.0: 2, 0.875: 16, 1.75: 32, 1.802776: 8, 2.0: 2, 2.625: 16, 2.677776: 16, 3.0: 2, 3.162278: 8,
        3.354102: 8, 3.5: 2, 3.605551: 2, 3.625: 16, 4.037278: 16, 4.125: 16, 4.229102: 16, 4.5: 8, 5.0: 8,
        5.25: 8, 5.625: 16, 5.982527: 8, 6.0: 2, 6.078439: 8, 6.324555: 2, 6.5: 8, 6.708204: 2, 6.75819: 8,
    }  # fmt: skip
    assert Counter(element_sizes(SPACING).round(6).tolist()) == recorded
    assert element_sizes(SPACING) == pytest.approx(element_sizes(SPACING)[::-1])


def literal(mask, truth, spacing):
    """Every element of one surface against every element of the other."""
    sides = []
    for array in (mask, truth):
        padded = np.pad(array, 1).astype(int)
        z, y, x = (n - 1 for n in padded.shape)
        number = sum(
            padded[dz : z + dz, dy : y + dy, dx : x + dx] << (4 * dx + 2 * dz + dy)
            for dz in (0, 1)
            for dy in (0, 1)
            for dx in (0, 1)
        )
        at = np.argwhere((number > 0) & (number < 255))
        sides.append((at * np.asarray(spacing), element_sizes(spacing)[number[tuple(at.T)]]))
    apart = cdist(sides[0][0], sides[1][0])
    directed = [(apart.min(axis=1), sides[0][1]), (apart.min(axis=0), sides[1][1])]
    whole = sum(area.sum() for _, area in directed)
    hd95 = [min(d for d in far if area[far <= d].sum() >= 0.95 * area.sum() - 1e-9) for far, area in directed]
    return {
        "hd_mm": max(far.max() for far, _ in directed),
        "hd95_mm": max(hd95),
        "assd_mm": sum(far @ area for far, area in directed) / whole,
        "nsd_2mm": sum(area[far <= 2.0 + 1e-9].sum() for far, area in directed) / whole,
    }


shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=2, max_side=7)
masks = shapes.flatmap(
    lambda shape: st.tuples(
        *[hnp.arrays(bool, shape, elements=st.sampled_from([False, False, True])).filter(np.any)] * 2
    )
)
spacings = st.tuples(*[st.sampled_from([0.4, 1.0, 2.5, 6.0])] * 3)


@settings(max_examples=40, deadline=None)
@given(masks, spacings)
def test_the_definition_taken_literally(pair, spacing):
    assert surface_scores(*pair, spacing) == pytest.approx(literal(*pair, spacing), abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(masks, spacings, st.permutations(range(3)), st.sets(st.sampled_from([0, 1, 2])))
def test_sides_flips_and_axes_do_not_matter(pair, spacing, order, flipped):
    mask, truth = pair
    expected = surface_scores(mask, truth, spacing)
    assert surface_scores(truth, mask, spacing) == pytest.approx(expected, abs=1e-9)
    turned = [np.flip(array, tuple(flipped)).transpose(order) for array in pair]
    steps = tuple(spacing[axis] for axis in order)
    assert surface_scores(*turned, steps) == pytest.approx(expected, abs=1e-9)
    assert surface_scores(mask, mask.copy(), spacing) == dict(zip(NAMES, (0.0, 0.0, 0.0, 1.0), strict=True))
    assert expected["assd_mm"] <= expected["hd_mm"] + 1e-9
    assert expected["hd95_mm"] <= expected["hd_mm"]


@pytest.mark.parametrize("way", ["tree", "grid"])
@pytest.mark.parametrize("shape", [(14, 20, 17), (1, 30, 25)])
def test_all_three_searches_agree(monkeypatch, way, shape):
    random = np.random.default_rng(7)
    mask, truth = np.zeros(shape, bool), random.random(shape) < 0.002
    mask[:, 3:6, 2:7] = True
    truth[0, 1, 1] = True
    spacing = (2.5, 1.3, 0.7)
    near = surface_distances(mask, truth, spacing)
    called = []
    for name in ("_by_tree", "_by_grid"):
        one = getattr(surface, name)
        monkeypatch.setattr(surface, name, lambda *a, one=one, name=name: called.append(name) or one(*a))
    monkeypatch.setattr(surface, "ROWS_SEARCHED", 2)
    monkeypatch.setattr(surface, "GRID_S", math.inf if way == "tree" else 0.0)
    monkeypatch.setattr(surface, "CHUNK", 5)
    surface._steps.cache_clear()
    try:
        far = surface_distances(mask, truth, spacing)
    finally:
        surface._steps.cache_clear()
    assert called == [f"_by_{way}"] * 2
    assert far.to_truth_mm == pytest.approx(near.to_truth_mm, rel=1e-12)
    assert far.to_mask_mm == pytest.approx(near.to_mask_mm, rel=1e-12)


def test_the_rows_searched_are_the_nearest_whatever_the_spacing():
    for spacing in ((1.0, 1.0, 1.0), (6.0, 0.5, 0.5), (0.01, 90.0, 1.0)):
        steps, squares = surface._steps(spacing)
        assert len(squares) == len(steps) + 1 == surface.ROWS_SEARCHED + 1
        n = surface.ROWS_SEARCHED + 1
        every = np.add.outer(
            (np.arange(-n, n + 1) * spacing[0]) ** 2, (np.arange(-n, n + 1) * spacing[1]) ** 2
        )
        assert squares == pytest.approx(np.sort(every, axis=None)[: len(squares)])
        assert squares[:-1] == pytest.approx((steps**2 * np.square(spacing[:2])).sum(axis=1))


def test_far_apart_lesions():
    """The far lesion's distance is to the nearest of many, hundreds of voxels away."""
    shape = (60, 150, 150)
    truth = block(shape, (5, 9), (5, 9), (5, 9))
    mask = truth | block(shape, (50, 54), (140, 144), (130, 134))
    found = surface_distances(mask, truth, (3.0, 2.0, 2.0))
    assert found.hd_mm == pytest.approx(math.hypot(45 * 3.0, 135 * 2.0, 125 * 2.0))
    assert found.to_mask_mm.max() == 0.0
    assert found.nsd(0.0) == pytest.approx(2.0 / 3.0)


def test_what_lies_outside_the_array_is_empty():
    """A lesion at the border has its surface there, as it has away from it."""
    inside = [block((9, 9, 9), (2, 6), (2, 6), (2, 6)), block((9, 9, 9), (2, 6), (3, 7), (2, 6))]
    cut = [array[2:6, 2:7, 2:6] for array in inside]
    assert surface_scores(*cut, SPACING) == surface_scores(*inside, SPACING)


def test_tolerances_name_their_values():
    mask, truth = block((4, 5, 6), (1, 3), (1, 3), (1, 3)), block((4, 5, 6), (1, 3), (1, 3), (1, 5))
    values = surface_scores(mask, truth, SPACING, tolerances_mm=(0.5, 2.0, 10.0))
    assert list(values)[3:] == ["nsd_0.5mm", "nsd_2mm", "nsd_10mm"]
    assert values["nsd_0.5mm"] < values["nsd_2mm"] <= values["nsd_10mm"] == 1.0


def test_a_tolerance_of_so_many_voxels_includes_them():
    """Three steps of 0.1 mm are a little more than 0.3 in binary."""
    mask = block((3, 3, 9), (1, 2), (1, 2), (1, 2))
    assert surface_distances(mask, np.roll(mask, 3, axis=2), (0.1, 0.1, 0.1)).nsd(0.3) == 1.0


@pytest.mark.parametrize("empty", ["mask", "truth", "both"])
def test_without_a_surface_there_is_no_distance(empty):
    full, nothing = np.ones((2, 3, 4), bool), np.zeros((2, 3, 4), bool)
    mask, truth = nothing if empty != "truth" else full, nothing if empty != "mask" else full
    assert all(math.isnan(value) for value in surface_scores(mask, truth, SPACING).values())
    assert math.isnan(surface_distances(mask, truth, SPACING).percentile_mm(50))


def test_a_missed_case_is_charged_the_diagonal():
    assert diagonal_mm(Geometry((4, 3, 12), (1.0, 1.0, 1.0))) == 13.0
    assert diagonal_mm(Geometry((1, 3, 4), (9.0, 1.0, 1.0))) == 5.0


def test_impossible_questions_are_refused():
    mask = np.ones((2, 3, 4), bool)
    with pytest.raises(GeometryError, match=r"masks of \(2, 3, 4\) and \(2, 3, 5\); needed one \(z, y, x\)"):
        surface_distances(mask, np.ones((2, 3, 5), bool), SPACING)
    with pytest.raises(GeometryError, match=r"spacing \(3.0, 0.0, 1.0\) mm"):
        surface_distances(mask, mask, (3.0, 0.0, 1.0))
    found = surface_distances(mask, mask, SPACING)
    for tolerance in (-1.0, math.inf, math.nan):
        with pytest.raises(DatasetError, match="a tolerance of"):
            found.nsd(tolerance)
    for percent in (0.0, 101.0):
        with pytest.raises(DatasetError, match="percentile"):
            found.percentile_mm(percent)


def test_masks_are_not_changed_and_may_be_read_only_views():
    mask = block((5, 6, 7), (1, 4), (2, 4), (2, 6))
    view = mask[::-1, :, ::-1]
    view.flags.writeable = False
    before = mask.copy()
    surface_scores(view, view[:, ::-1], SPACING)
    assert np.array_equal(mask, before)


def test_the_compiler_is_loaded_only_where_distances_are_computed():
    code = "import sys, lesionlab.evaluate; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
