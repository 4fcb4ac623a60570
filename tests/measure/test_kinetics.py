from __future__ import annotations

import math

import numpy as np
import pytest

import phantoms
from lesionlab.core.components import components
from lesionlab.core.errors import RecipeError
from lesionlab.core.phases import Phases
from lesionlab.core.results import Column
from lesionlab.core.settings import KineticsSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import together
from lesionlab.measure.kinetics import SER_NAMES, kinetic_columns, kinetic_maps, kinetics

SETTINGS = KineticsSettings(auc_s=90.0, enhancing=70.0)
TIMES = (-30.0, 60.0, 180.0, 300.0)
BALLS = (
    ((30.0, 22.0, 20.0), 8.0, "washout"),
    ((14.0, 22.0, 20.0), 6.0, "plateau"),
    ((22.0, 36.0, 28.0), 4.0, "persistent"),
)


def measured(balls=BALLS, times=TIMES, settings=SETTINGS, **changes):
    case, mask = phantoms.dce_case(balls, times)
    labels = Volume(components(mask.array)[0], mask.geometry, "1")
    stated = changes.get("times_s", times)
    phases = Phases(tuple(case.channels), tuple(case.channels.values()), stated, ("found",))
    return phases, labels, kinetics(phases, labels, settings)


def test_known_curves_give_known_values() -> None:
    _, labels, found = measured()
    ml = labels.geometry.voxel_ml
    washout, plateau, persistent = found.rows
    assert washout["PE_early"] == pytest.approx(150.0)
    assert washout["PE_late"] == pytest.approx(150.0 - 0.2 * 240)
    assert washout["SER"] == pytest.approx(150.0 / 102.0)
    assert washout["signal_change"] == pytest.approx(100 * (202.0 - 250.0) / 250.0)
    assert washout["time_to_peak"] == 60.0
    assert washout["upslope"] == pytest.approx(2.5)
    assert washout["AUC"] == pytest.approx(150 * 60 / 2 + 30 * (150 + 144) / 2)
    assert plateau["SER"] == pytest.approx(1.0)
    assert persistent["time_to_peak"] == 300.0
    assert [row["curve_type"] for row in found.rows] == [3.0, 2.0, 1.0]
    voxels = [int((labels.array == n).sum()) for n in (1, 2, 3)]
    # The persistent one reaches 60 % in the early phase: below the threshold of 70 %.
    assert [row["FTV"] for row in found.rows] == pytest.approx([voxels[0] * ml, voxels[1] * ml, 0.0])
    assert found.totals == {"FTV": pytest.approx((voxels[0] + voxels[1]) * ml)}
    assert (washout["washout_share"], plateau["plateau_share"]) == (1.0, 1.0)
    assert washout[SER_NAMES[3]] == pytest.approx(washout["FTV"])
    assert plateau[SER_NAMES[2]] == pytest.approx(plateau["FTV"])
    assert math.isnan(persistent["washout_share"])
    assert any(n.startswith("lesion 3: no enhancing voxel") for n in found.notes)
    assert any("background limit 60 " in n for n in found.notes)


def test_a_mixed_lesion_is_counted_by_voxel() -> None:
    """Two halves of different curves touch and make one lesion."""
    balls = (((20.0, 22.0, 20.0), 6.0, "plateau"), ((30.0, 22.0, 20.0), 6.0, "washout"))
    case, mask = phantoms.dce_case(balls, TIMES)
    labels = Volume((mask.array > 0).astype(np.int32), mask.geometry, "1")
    phases = Phases(tuple(case.channels), tuple(case.channels.values()), TIMES)
    row = kinetics(phases, labels, SETTINGS).rows[0]
    late = phases.volumes[3].array[mask.array > 0]
    assert row["washout_share"] == pytest.approx(np.isclose(late, 202.0).mean())
    assert row["washout_share"] + row["plateau_share"] + row["persistent_share"] == pytest.approx(1.0)
    assert sum(row[name] for name in SER_NAMES) == pytest.approx(row["FTV"])
    assert 120.0 < row["PE_early"] < 150.0
    assert row["PE_early_max"] == pytest.approx(150.0)


def test_maps_agree_with_lesions_and_are_empty_in_air() -> None:
    phases, labels, found = measured()
    maps = kinetic_maps(phases, labels, SETTINGS)
    assert {v.unit for v in maps.values()} == {"%", "1", "s", "%/s", "%.s"}
    for name, column in (("pe_post1", "PE_early"), ("ser", "SER"), ("auc", "AUC"), ("upslope", "upslope")):
        for number, row in enumerate(found.rows, start=1):
            values = maps[name].array[labels.array == number]
            assert values.mean() == pytest.approx(row[column], rel=1e-5), name
    air = phases.volumes[0].array < 50
    for name in ("pe_post1", "pe_post3", "ser", "signal_change", "time_to_peak", "auc", "upslope", "pe_peak"):
        assert np.isnan(maps[name].array[air]).all(), name
        assert np.isfinite(maps[name].array[labels.array > 0]).all(), name
    assert maps["enhancing"].array.sum() * labels.geometry.voxel_ml == pytest.approx(found.totals["FTV"])
    nothing = labels.with_array(np.zeros_like(labels.array))
    assert np.isnan(kinetic_maps(phases, nothing, SETTINGS)["pe_post1"].array[air]).all()


def test_background_in_a_lesion_is_left_out() -> None:
    case, mask = phantoms.dce_case(BALLS[:1], TIMES)
    labels = (mask.array > 0).astype(np.int32)
    dark = labels.astype(bool) & (np.indices(labels.shape)[0] >= 10)
    volumes = [
        Volume(np.where(dark, 0.02 * v.array, v.array), v.geometry, v.unit) for v in case.channels.values()
    ]
    phases = Phases(tuple(case.channels), tuple(volumes), TIMES)
    row = kinetics(phases, mask.with_array(labels), SETTINGS).rows[0]
    assert row["analysed_share"] == pytest.approx(1 - dark.sum() / labels.sum())
    assert row["PE_early"] == pytest.approx(150.0)
    black = Phases(phases.names, tuple(v.with_array(v.array * ~labels.astype(bool)) for v in volumes), TIMES)
    found = kinetics(black, mask.with_array(labels), SETTINGS)
    assert found.rows[0]["analysed_share"] == 0.0
    assert math.isnan(found.rows[0]["PE_early"]) and found.rows[0]["FTV"] == 0.0
    assert any("no voxel reaches the background limit" in n for n in found.notes)


def test_what_is_undefined_says_why() -> None:
    _, _, unknown = measured(times_s=None)
    assert math.isnan(unknown.rows[0]["AUC"]) and math.isnan(unknown.rows[0]["time_to_peak"])
    assert unknown.rows[0]["PE_early"] == pytest.approx(150.0)
    assert any("phase times unknown" in n for n in unknown.notes)
    _, _, short = measured(settings=KineticsSettings(auc_s=301.0))
    assert math.isnan(short.rows[0]["AUC"]) and short.rows[0]["upslope"] == pytest.approx(2.5)
    assert any("before 301 s: AUC is undefined" in n for n in short.notes)
    _, _, single = measured(times=TIMES[:2])
    assert math.isnan(single.rows[0]["SER"]) and single.rows[0]["FTV"] > 0
    assert any("one phase after contrast" in n for n in single.notes)
    phases, labels, _ = measured()
    flat = Phases(phases.names, (phases.volumes[0], *phases.volumes[1:3], phases.volumes[0]), TIMES)
    back = kinetics(flat, labels, SETTINGS)
    assert math.isnan(back.rows[0]["SER"]) and back.rows[0]["FTV"] == 0.0
    assert any("late signal equals that before contrast" in n for n in back.notes)


def test_no_lesion_and_a_phase_that_is_not_there() -> None:
    phases, labels, _ = measured()
    empty = kinetics(phases, labels.with_array(np.zeros_like(labels.array)), SETTINGS)
    assert empty.rows == () and empty.totals == {"FTV": 0.0}
    with pytest.raises(RecipeError, match="early = 5 with phases up to post3; needed at most 3"):
        kinetics(phases, labels, KineticsSettings(early=5))
    with pytest.raises(RecipeError, match="late = 4"):
        kinetic_maps(phases, labels, KineticsSettings(late=4))


def test_a_one_voxel_lesion_is_measured() -> None:
    phases, labels, _ = measured()
    array = np.zeros_like(labels.array)
    array[tuple(np.argwhere(labels.array == 1)[40])] = 1
    row = kinetics(phases, labels.with_array(array), SETTINGS).rows[0]
    assert row["PE_early"] == pytest.approx(150.0)
    assert row["FTV"] == pytest.approx(labels.geometry.voxel_ml)
    # Its enhancing neighbours outside the mask count as neighbours.
    crowded = kinetics(phases, labels.with_array(array), KineticsSettings(neighbours=4)).rows[0]
    assert crowded["FTV"] == pytest.approx(labels.geometry.voxel_ml)


def test_every_column_has_a_name_of_its_own_a_unit_and_a_meaning() -> None:
    columns: tuple[Column, ...] = kinetic_columns(KineticsSettings(late=3, neighbours=4))
    assert len({c.name for c in columns}) == len(columns)
    assert all(c.unit and c.meaning for c in columns)
    _, _, found = measured()
    assert all(list(row) == [c.name for c in columns] for row in found.rows)


def test_equal_notes_share_a_line() -> None:
    assert together([(1, "a"), (2, "b"), (3, "a")]) == ("lesions 1, 3: a", "lesion 2: b")
    assert together([(k, "a") for k in range(1, 9)]) == ("lesions 1, 2, 3, 4, 5 and 3 more: a",)
