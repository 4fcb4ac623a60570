"""Two timepoints of a phantom whose changes are known."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.recipe import BiomarkerSettings
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.measure.references import Reference, References
from lesionlab.measure.response import Timepoint, percent_change, respond
from phantoms import ball_mask, pet_case

GRID = Geometry((44, 44, 44), (2.0, 2.0, 2.0), (-43.0, -43.0, -43.0))
OTHER = Geometry((30, 38, 34), (3.0, 2.5, 2.6), (-44.0, -47.0, -43.0))
REFERENCES = References(liver=Reference(1.8, 0.1, 900, "here"))


def timepoint(balls, grid=GRID, *, factor=0.8, background=0.5, references=REFERENCES):
    suv, mask = np.full(grid.shape, background), np.zeros(grid.shape, np.uint8)
    for centre, radius, value in balls:
        ball = ball_mask(grid, centre, radius)
        suv[ball], mask[ball] = value, 1
    case = pet_case(suv, grid)
    table = measure(case, Volume(mask, grid, "1"), BiomarkerSettings())
    return Timepoint(case.channels["suv"], table, references, factor)


FIRST = [((-20, -20, 0), 12, 8.0), ((22, 22, 0), 9, 4.0), ((22, -20, 20), 8, 3.0)]
SECOND = [((-20, -18, 0), 9.5, 5.0), ((22, 22, 1), 9, 4.0), ((-20, 22, -20), 8, 4.5)]


@pytest.mark.parametrize("grid", [GRID, OTHER], ids=["same grid", "other grid"])
def test_the_known_changes_are_found(grid):
    found = respond("P1", timepoint(FIRST), timepoint(SECOND, grid))
    assert [change.match.kind for change in found.changes] == ["matched", "matched", "vanished", "new"]
    shrunk, same, gone, fresh = found.changes
    assert shrunk.percent["SUVmax"] == pytest.approx(-37.5)
    assert shrunk.percent["SULpeak"] == pytest.approx(-37.5, abs=0.5)
    assert shrunk.percent["MTV"] == pytest.approx(100 * ((9.5 / 12) ** 3 - 1), abs=4)
    assert shrunk.percent["TLG"] == pytest.approx(100 * ((9.5 / 12) ** 3 * 5 / 8 - 1), abs=4)
    assert shrunk.percent["diameter_3d"] == pytest.approx(100 * (9.5 / 12 - 1), abs=8)
    assert shrunk.baseline["SULpeak"] == pytest.approx(0.8 * shrunk.baseline["SUVpeak"])
    assert (same.percent["SUVmax"], same.percent["SUVpeak"]) == pytest.approx((0.0, 0.0), abs=0.5)
    # what is left where the lesion was is the background
    assert (gone.followup["SUVmax"], gone.followup["MTV"]) == (0.5, 0.0)
    assert gone.percent["SUVmax"] == pytest.approx(100 * (0.5 - 3) / 3)
    assert (gone.percent["MTV"], gone.percent["diameter_3d"]) == (-100.0, -100.0)
    assert fresh.followup["SUVmax"] == 4.5
    assert math.isnan(fresh.percent["SUVmax"])
    total = found.totals
    assert (total.baseline["SUVmax"], total.followup["SUVmax"]) == (8.0, 5.0)
    assert total.baseline["MTV"] == pytest.approx(sum(c.baseline["MTV"] for c in (shrunk, same, gone)))
    assert total.percent["TLG"] == pytest.approx(100 * (total.followup["TLG"] / total.baseline["TLG"] - 1))
    assert (found.percist.category, found.percist.reason) == ("PMD", "new lesions: 1")


def test_the_hottest_lesion_may_be_another_one_at_follow_up():
    later = [((-20, -20, 0), 12, 3.0), ((22, 22, 0), 9, 4.0), ((22, -20, 20), 8, 3.0)]
    found = respond("P1", timepoint(FIRST), timepoint(later))
    # from 8.0 (lesion 1) to 4.0 (lesion 2), in SUL
    assert found.percist.category == "PMR"
    assert "6.40 to 3.20 (-50.0 %, -3.20 SUL)" in found.percist.reason


def test_what_is_left_of_a_lesion_is_taken_as_the_lesions_were():
    """The hottest voxel lies at the rim of the place, the highest mean elsewhere."""
    suv = np.full(GRID.shape, 1.0)
    suv[ball_mask(GRID, (-24.0, -20.0, 0.0), 7.0)] = 3.0
    z, y, x = np.rint(GRID.to_index((-10.0, -20.0, 0.0))).astype(int)
    suv[z, y, x] = 4.0
    peaks = {}
    for rule in ("any_voxel", "hottest_voxel"):
        later = timepoint([])
        settings = BiomarkerSettings(peak_centre=rule)
        lesion = (
            pet_case(suv, GRID),
            Volume(ball_mask(GRID, (-20.0, -20.0, 0.0), 12).astype(np.uint8), GRID, "1"),
        )
        [row] = measure(*lesion, settings).rows
        later = replace(later, image=lesion[0].channels["suv"], peak_centre=rule)
        [gone] = respond("P1", timepoint(FIRST[:1]), later).changes
        assert gone.match.kind == "vanished"
        assert gone.followup["SUVpeak"] == pytest.approx(row["SUVpeak"])
        peaks[rule] = row["SUVpeak"]
    assert peaks["hottest_voxel"] < 1.5 < 2.5 < peaks["any_voxel"]


def test_all_lesions_gone_is_a_complete_response_only_below_the_liver():
    none = timepoint([])
    found = respond("P1", timepoint(FIRST), none)
    assert found.percist.category == "CMR"
    assert found.totals.percent["TLG"] == -100.0
    assert math.isnan(found.totals.followup["SUVmax"])
    warm = respond("P1", timepoint(FIRST), timepoint([], background=2.0))
    assert warm.percist.category == "PMR"


def test_split_lesions_are_compared_together_with_a_note():
    later = [((-24, -20, 0), 4.5, 5.0), ((-13, -20, 0), 4.5, 6.0), *FIRST[1:]]
    found = respond("P1", timepoint(FIRST), timepoint(later))
    split = found.changes[0]
    assert split.match.kind == "split"
    assert split.followup["SUVmax"] == 6.0
    assert split.followup["MTV"] == pytest.approx(
        sum((ball_mask(GRID, c, r)).sum() * 0.008 for c, r, _ in later[:2])
    )
    assert any("(split): compared together" in note for note in found.notes)


def test_nothing_at_either_timepoint():
    found = respond("P1", timepoint([]), timepoint([]))
    assert found.changes == ()
    assert found.totals.baseline["MTV"] == found.totals.followup["TLG"] == 0.0
    assert found.percist.category == ""


def test_without_sul_the_changes_stay_and_the_category_goes():
    found = respond("P1", timepoint(FIRST, factor=math.nan), timepoint(SECOND))
    assert found.percist.category == ""
    assert found.changes[0].percent["SUVpeak"] == pytest.approx(-37.5, abs=0.5)
    assert math.isnan(found.changes[0].percent["SULpeak"])


def test_a_place_outside_the_follow_up_is_unknown_and_said_so():
    cut = Geometry((44, 44, 20), (2.0, 2.0, 2.0), (-43.0, -43.0, -43.0))
    found = respond("P1", timepoint(FIRST), timepoint([SECOND[0]], cut))
    gone = next(change for change in found.changes if change.match.baseline == (2,))
    assert gone.match.kind == "vanished"
    assert math.isnan(gone.followup["SUVmax"])
    assert any("outside the follow-up scan" in note for note in found.notes)


def test_units_and_grids_are_checked():
    one = timepoint(FIRST)
    with pytest.raises(DatasetError, match="P1: found a follow-up in 1; needed a channel"):
        respond("P1", one, replace(one, image=Volume(one.image.array, GRID, "1")))
    with pytest.raises(GeometryError, match="lesions of the baseline"):
        respond("P1", replace(one, image=timepoint([], OTHER).image), one)


def test_percent_of_nothing_is_unknown():
    assert percent_change(2.0, 3.0) == 50.0
    assert math.isnan(percent_change(0.0, 3.0))
    assert math.isnan(percent_change(math.nan, 3.0))


def test_columns_cover_the_quantities_and_name_the_formula():
    found = respond("P1", timepoint(FIRST), timepoint(SECOND), sul=("g/ml{SUVlbm(X)}", "mass by X"))
    names = [column.name for column in found.columns]
    assert names == [f"{q}_{s}" for q in found.quantities for s in ("baseline", "followup", "change")]
    peak = next(column for column in found.columns if column.name == "SULpeak_baseline")
    assert (peak.unit, "mass by X" in peak.meaning) == ("g/ml{SUVlbm(X)}", True)
    assert "within 15 mm" in found.rule


FINE = Geometry((20, 20, 20), (2.0, 2.0, 2.0))
COARSE = Geometry((10, 10, 10), (4.0, 4.0, 4.0))


def single(grid, value, marked=None):
    """A timepoint of one value everywhere, with one voxel drawn as lesion or none."""
    suv, mask = np.full(grid.shape, value), np.zeros(grid.shape, np.uint8)
    if marked is not None:
        mask[marked] = 1
    table = measure(pet_case(suv, grid), Volume(mask, grid, "1"), BiomarkerSettings())
    return Timepoint(pet_case(suv, grid).channels["suv"], table, References(), 0.8)


def test_a_vanished_lesion_between_coarser_voxels_has_its_residual():
    """Its centre, 18 mm, lies between centres 16 and 20 mm of the follow-up: no centre lies in it."""
    found = respond("P1", single(FINE, 9.0, (9, 9, 9)), single(COARSE, 7.0))
    assert found.changes[0].followup["SUVmax"] == 7.0
    assert not any("outside the follow-up" in note for note in found.notes)


def test_a_new_lesion_beyond_the_baseline_scan_is_warned_about():
    away = replace(COARSE, origin=(200.0, 0.0, 0.0))
    found = respond("P1", single(FINE, 1.0), single(away, 9.0, (4, 4, 4)))
    assert found.percist.category == "PMD"
    assert any("lesion 1 counts as new, but its place lies outside the baseline" in n for n in found.notes)
    seen = respond("P1", single(FINE, 1.0), single(COARSE, 9.0, (4, 4, 4)))
    assert not any("outside the baseline" in note for note in seen.notes)
