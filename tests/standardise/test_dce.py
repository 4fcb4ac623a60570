"""Phases of a DCE series: their names, their order and their times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phantoms
from dicom_phantoms import edit_all, mr_volume, write_mr
from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import DatasetError
from lesionlab.core.registry import find_recipe
from lesionlab.core.settings import KineticsSettings
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case
from lesionlab.standardise import standardise
from lesionlab.standardise.dce import header_times, phase_names, phases_of, with_phases

DEFAULT = KineticsSettings()


def facts(header: dict | None = None, *slices: dict) -> ChannelFacts:
    return ChannelFacts("MR", header=header or {}, slices=tuple(slices) or ({},))


def clock(*times: str, keyword: str = "AcquisitionTime", **more: str | float) -> list[ChannelFacts]:
    return [facts(more, {keyword: t}, {keyword: t}) for t in times]


@pytest.mark.parametrize(
    ("found", "times", "words"),
    [
        # As in a breast scan of 354 s per phase: the reference states -230, 177 and 531 s for it.
        (clock("102551", "103238", "103832", keyword="ContentTime"), (-230, 177, 531), "start of post1"),
        (clock("100000", "100100", "100130"), (-45, 15, 45), "half of 30 s"),
        (clock("100000", "100100", "100130.5"), (-44.75, 15.25, 45.75), "AcquisitionTime"),
        (clock("100000", "100100", "100130", AcquisitionDuration=20.0), (-50, 10, 40), "AcquisitionDuration"),
        # Longer than the interval cannot be the duration of one phase.
        (clock("100000", "100100", "100130", AcquisitionDuration=300.0), (-45, 15, 45), "interval"),
        (clock("100000", "100100"), (-30, 30), "half of 60 s"),
        (clock("235930", "000030", "000130"), (-30, 30, 90), "AcquisitionTime"),
        (
            clock("235930", "000030", "000130", AcquisitionDate="20240229"),
            (-30, 30, 90),
            "AcquisitionTime",
        ),
        (clock(0.0, 60000.0, 120000.0, keyword="TriggerTime"), (-30, 30, 90), "TriggerTime"),
        (
            clock("20240101100000.0", "20240101100100.0", keyword="FrameAcquisitionDateTime"),
            (-30, 30),
            "FrameAcquisitionDateTime",
        ),
        (clock("100000", "100100", "100200", ContrastBolusStartTime="100040"), (-10, 50, 110), "Bolus"),
        # The injection after midnight, stated as a time alone.
        (clock("235930", "000030", "000130", ContrastBolusStartTime="000010"), (-10, 50, 110), "Bolus"),
        (
            clock("235930", "000030", ContrastBolusStartTime="000010", AcquisitionDate="20240229"),
            (-10, 50),
            "Bolus",
        ),
        # A bolus after the middle of the first phase after contrast is a mistake of the header.
        (clock("100000", "100100", "100200", ContrastBolusStartTime="110000"), (-30, 30, 90), "assumed"),
    ],
)
def test_times_from_headers(found, times, words) -> None:
    got, note = header_times(found)
    assert got == pytest.approx(times)
    assert words in note


@pytest.mark.parametrize(
    "found",
    [
        clock("100000", "100000", "100000"),
        clock("", "", ""),
        clock("noon", "1pm", "2pm"),
        [None, None],
        [*clock("100000"), facts()],
    ],
)
def test_times_that_are_unknown(found) -> None:
    got, note = header_times(found)
    assert got is None
    assert "phase times unknown" in note


def test_the_first_clock_that_grows_decides() -> None:
    found = [
        facts({}, {"AcquisitionTime": "100000", "ContentTime": t}) for t in ("110000", "110100", "110200")
    ]
    got, note = header_times(found)
    assert got == pytest.approx((-30, 30, 90))
    assert "ContentTime" in note


def test_the_earliest_slice_starts_a_phase() -> None:
    found = [
        facts({}, {"ContentTime": a}, {"ContentTime": b})
        for a, b in (("100010", "100000"), ("100100", "100110"))
    ]
    assert header_times(found)[0] == pytest.approx((-30, 30))


def test_times_of_the_recipe_win_and_must_fit() -> None:
    case, _ = phantoms.dce_case(())
    assert phases_of(case, DEFAULT).times_s is None
    given = phases_of(case, KineticsSettings(times_s=(-30.0, 60.0, 180.0, 300.0)))
    assert given.times_s == (-30.0, 60.0, 180.0, 300.0)
    assert given.names == ("pre", "post1", "post2", "post3")
    with pytest.raises(DatasetError, match=r"2 times in kinetics.times_s for 4 phases"):
        phases_of(case, KineticsSettings(times_s=(-30.0, 60.0)))


def test_phases_that_are_missing() -> None:
    case, _ = phantoms.dce_case(())
    volumes = dict(case.channels)
    del volumes["post2"]
    with pytest.raises(
        DatasetError, match=r"phases pre, post1, post3; needed pre, post1, post2, \.\.\. without"
    ):
        phase_names(replace(case, channels=volumes))
    with pytest.raises(DatasetError, match="found phases pre; needed"):
        phase_names(replace(case, channels={"pre": volumes["pre"]}))
    other = Case("P", "P", {"mr": volumes["pre"]}, "mr")
    assert phase_names(other) == ()
    with pytest.raises(DatasetError, match="channels mr; needed the phases pre, post1"):
        phases_of(other, DEFAULT)


def test_more_than_nine_phases_are_ordered_by_number() -> None:
    case, _ = phantoms.dce_case((), times_s=(-10.0, *(10.0 * k for k in range(1, 12))))
    assert phase_names(case)[-2:] == ("post10", "post11")


def test_standardising_keeps_every_phase() -> None:
    case, _ = phantoms.dce_case(())
    found = standardise(case, find_recipe("dce-measure"))
    assert list(found.channels) == ["pre", "post1", "post2", "post3"]
    kept = standardise(case, find_recipe("dce-measure").changed(biomarkers={"kinetics": False}))
    assert list(kept.channels) == ["pre", "post1"]


def test_series_of_their_own_become_phases(tmp_path: Path) -> None:
    volumes = [mr_volume(seed=s) for s in (1, 2, 3)]
    # Written in another order than acquired; descriptions alone would sort them wrongly.
    for name, volume, time in zip("bca", volumes, ("101000", "101130", "101300"), strict=True):
        files = write_mr(tmp_path / name, volume, StudyFacts(seed=ord(name)))
        edit_all(
            files,
            SeriesDescription=f"t1 {name}",
            StudyInstanceUID="1.2.3",
            FrameOfReferenceUID="1.2.3.4",
            AcquisitionTime=time,
            PatientID="P7",
        )
    case = open_case(tmp_path)
    assert set(case.channels) == {"mr_t1_a", "mr_t1_b", "mr_t1_c"}
    found = standardise(case, find_recipe("dce-measure"))
    assert found.reference == "pre"
    for name, volume in zip(("pre", "post1", "post2"), volumes, strict=True):
        np.testing.assert_array_equal(found.channels[name].array, volume.array)
    assert any("phases: pre = mr_t1_b, post1 = mr_t1_c, post2 = mr_t1_a" in n for n in found.notes)
    assert phases_of(found, DEFAULT).times_s == pytest.approx((-45, 45, 135))


@pytest.mark.parametrize("times", [None, ("100300", "100200", "100100")])
def test_phases_of_one_series_keep_their_order_beside_another_series(
    tmp_path: Path, times: tuple[str, ...] | None
) -> None:
    """What ordered them alone orders them beside a T2 series too, whatever a clock of theirs says."""
    volumes = [mr_volume(seed=s) for s in (1, 2, 3)]
    common = {"StudyInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.3.4", "PatientID": "P7"}
    for phase, volume in enumerate(volumes):
        files = write_mr(tmp_path / str(phase), volume, StudyFacts(seed=phase))
        edit_all(files, SeriesInstanceUID="1.2.3.99", TemporalPositionIdentifier=phase + 1, **common)
        if times:
            edit_all(files, AcquisitionTime=times[phase])
    t2 = write_mr(tmp_path / "t2", study=StudyFacts(seed=9))
    edit_all(t2, SeriesDescription="T2", EchoTime="80", **common)
    found = with_phases(open_case(tmp_path))
    assert phase_names(found) == ("pre", "post1", "post2") and "mr_t2" in found.channels
    for name, volume in zip(phase_names(found), volumes, strict=True):
        np.testing.assert_array_equal(found.channels[name].array, volume.array)


def test_series_on_both_sides_of_midnight_without_dates() -> None:
    found = with_phases(mr_case(("mr_a", "2", "000130"), ("mr_b", "2", "235930"), ("mr_c", "2", "000030")))
    assert "phases: pre = mr_b, post1 = mr_c, post2 = mr_a" in found.notes


def mr_case(*descriptions: tuple[str, str, str]) -> Case:
    """A case of MR series (name, EchoTime, AcquisitionTime) on one grid."""
    volume = mr_volume()
    known = {n: facts({"EchoTime": echo}, {"AcquisitionTime": t}) for n, echo, t in descriptions}
    return Case("P", "P", dict.fromkeys(known, volume), descriptions[0][0], facts=AcquisitionFacts(known))


def test_series_that_are_no_phases_stay() -> None:
    alone = mr_case(("mr_t1", "2", "100000"), ("mr_t2", "80", "101000"))
    assert with_phases(alone) is alone
    untimed = mr_case(("mr_a", "2", "100000"), ("mr_b", "2", "100000"))
    assert with_phases(untimed) is untimed
    phased = phantoms.dce_case(())[0]
    assert with_phases(phased) is phased


def test_two_sets_of_series_cannot_be_told_apart() -> None:
    double = mr_case(
        ("mr_a", "2", "100000"), ("mr_b", "2", "100100"), ("mr_c", "80", "100000"), ("mr_d", "80", "100100")
    )
    with pytest.raises(DatasetError, match="several sets of MR series: mr_a, mr_b and mr_c, mr_d"):
        with_phases(double)
