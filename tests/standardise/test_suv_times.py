"""Acquisition, administration and decay reference: every order, every repair, by hand-computed factors."""

from __future__ import annotations

from typing import Any

import pytest

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import GE_ADMIN_DATETIME, GE_DECAY_DATETIME
from lesionlab.core.recipe import SuvSettings
from lesionlab.standardise.dicom_times import clock_of, moment, stated
from pet_headers import ONE_HALF_LIFE, at, audit

AUTOPET = SuvSettings(times="autopet")
HALF_HOUR = 2 ** (1800 / 6000)


def test_beds_that_agree_on_one_start_give_it() -> None:
    """Mean activity of a 120 s frame falls at 59.86 s; two beds, both counting from 10:40:00."""
    beds = [at("104000", 59861.0), at("104200", 179861.0), at("104400", 299861.0)]
    found = audit(beds, SeriesTime="120000")
    assert found.tags[-1].startswith("AcquisitionTime, FrameReferenceTime")
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 3, rel=1e-4)
    assert found.candidates[1].rule == "SeriesTime"
    assert any("differ by" in w for w in found.warnings)


def test_one_acquisition_time_repeated_for_all_beds_is_not_believed() -> None:
    """Such scanners count FrameReferenceTime from the series' start but repeat its AcquisitionTime."""
    found = audit([at("104000", 0.0), at("104000", 240000.0), at("104000", 480000.0)])
    assert found.tags[-1] == "SeriesTime"
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any("not taken: AcquisitionTime, FrameReferenceTime" in n for n in found.notes)


def test_a_start_before_the_series_or_after_the_acquisition_is_not_believed() -> None:
    assert audit([at("104001", 1328700.0)]).tags[-1] == "SeriesTime"
    assert audit([at("104000", 0.0)]).tags[-1] == "SeriesTime"


def test_a_frame_that_some_slices_lack_is_no_evidence() -> None:
    found = audit([at("104000", 59861.0), {}], SeriesTime="120000")
    assert [c.rule for c in found.candidates] == ["AcquisitionTime", "SeriesTime"]


def test_a_rewritten_series_time_gives_way_to_the_first_acquisition() -> None:
    found = audit([{"AcquisitionTime": "104500"}, {"AcquisitionTime": "104000"}], SeriesTime="113000")
    assert found.tags[-1] == "AcquisitionTime"
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 2)
    assert any("differ by" in w for w in found.warnings)


def test_the_ge_tag_wins() -> None:
    found = audit(
        **{GE_DECAY_DATETIME: "20240301104000.00", "SeriesTime": "111000", "AcquisitionTime": "111000"}
    )
    assert found.tags[-1] == GE_DECAY_DATETIME
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert found.candidates[1].factor == pytest.approx(ONE_HALF_LIFE * HALF_HOUR)


def test_a_ge_tag_with_a_time_alone_is_put_on_its_day() -> None:
    """Given at 23:00, corrected to 00:40; the public times say 01:10."""
    found = audit(
        without=("RadiopharmaceuticalStartDateTime",),
        **{GE_DECAY_DATETIME: "004000.00", GE_ADMIN_DATETIME: "230000.00"},
        SeriesTime="011000",
        AcquisitionTime="011000",
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_ge_tags_that_contradict_each_other_are_refused() -> None:
    slices = [{GE_DECAY_DATETIME: "20240301104000"}, {GE_DECAY_DATETIME: "20240301110000"}]
    with pytest.raises(SuvError, match="one moment of decay correction"):
        audit(slices)


def test_the_decay_correction_datetime_is_a_cross_check() -> None:
    found = audit(DecayCorrectionDateTime="20240301103000")
    assert found.tags[-1] == "SeriesTime"
    assert found.candidates[-1].rule == "DecayCorrectionDateTime"
    assert len(found.warnings) == 1


def test_autopet_takes_the_acquisition_time_of_the_first_image() -> None:
    slices = [
        {"AcquisitionTime": "111000", "InstanceNumber": 1.0},
        {"AcquisitionTime": "104000", "InstanceNumber": 2.0},
    ]
    found = audit(slices, settings=AUTOPET)
    assert found.factors == pytest.approx((ONE_HALF_LIFE * HALF_HOUR,) * 2)
    assert found.candidates[1].rule == "SeriesTime"
    assert any("autoPET" in w for w in found.warnings)
    unnumbered = [{"AcquisitionTime": "111000"}, {"AcquisitionTime": "104000"}]
    assert audit(unnumbered, settings=AUTOPET).factors == found.factors
    assert audit(slices).factors == pytest.approx((ONE_HALF_LIFE,) * 2)


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        ({"RadiopharmaceuticalStartTime": "090000.00"}, "RadiopharmaceuticalStartTime"),
        ({"RadiopharmaceuticalStartTime": "0900"}, "RadiopharmaceuticalStartTime"),
        ({"RadiopharmaceuticalStartTime": "09:00:00"}, "RadiopharmaceuticalStartTime"),
        ({GE_ADMIN_DATETIME: "20240301090000"}, GE_ADMIN_DATETIME),
        ({"RadiopharmaceuticalStartDateTime": "202403010900"}, "RadiopharmaceuticalStartDateTime"),
    ],
)
def test_other_places_and_forms_of_the_injection(changes: dict[str, Any], tag: str) -> None:
    without = () if "RadiopharmaceuticalStartDateTime" in changes else ("RadiopharmaceuticalStartDateTime",)
    found = audit(without=without, **changes)
    assert tag in found.tags
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_an_injection_before_midnight() -> None:
    found = audit(
        without=("RadiopharmaceuticalStartDateTime",),
        RadiopharmaceuticalStartTime="230000",
        AcquisitionTime="004000",
        SeriesTime="004000",
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_beds_on_both_sides_of_midnight() -> None:
    found = audit(
        [
            at("235900", 59861.0) | {"AcquisitionDate": "20240229"},
            at("000100", 179861.0) | {"AcquisitionDate": "20240301"},
        ],
        without=("RadiopharmaceuticalStartDateTime",),
        RadiopharmaceuticalStartTime="221900",
        SeriesDate="20240229",
        SeriesTime="235900",
    )
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 2, rel=1e-4)
    assert found.warnings == ()


DATELESS = ("AcquisitionDate", "RadiopharmaceuticalStartDateTime")


@pytest.mark.parametrize("left", ["SeriesDate", "StudyDate", "ContentDate"])
def test_an_acquisition_without_its_date_takes_another(left: str) -> None:
    without = tuple(d for d in ("SeriesDate", "StudyDate", "ContentDate") if d != left)
    found = audit(without=(*DATELESS, *without), RadiopharmaceuticalStartTime="090000", **{left: "20240301"})
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any(f"{left} taken" in w for w in found.warnings)


def test_an_acquisition_without_its_date_after_midnight() -> None:
    """The series opened at 23:50, the acquisition at 00:10 belongs to the next day."""
    found = audit(
        without=("AcquisitionDate",),
        RadiopharmaceuticalStartDateTime="20240301221000",
        SeriesTime="235000",
        AcquisitionTime="001000",
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert found.candidates[1].factor == pytest.approx(ONE_HALF_LIFE * 2 ** (1200 / 6000))


@pytest.mark.parametrize(("given", "scanned"), [("090000", "104000"), ("233000", "011000")])
def test_the_injections_date_alone_is_enough(given: str, scanned: str) -> None:
    found = audit(
        without=("AcquisitionDate", "SeriesDate"),
        RadiopharmaceuticalStartDateTime=f"20240301{given}",
        AcquisitionTime=scanned,
        SeriesTime=scanned,
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any("within a day" in w for w in found.warnings)


@pytest.mark.parametrize(("given", "scanned"), [("090000", "104000"), ("233000", "011000")])
def test_no_date_at_all_is_enough_for_times_within_a_day(given: str, scanned: str) -> None:
    found = audit(
        without=(*DATELESS, "SeriesDate"),
        RadiopharmaceuticalStartTime=given,
        AcquisitionTime=scanned,
        SeriesTime=scanned,
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert found.tags[-1] == "SeriesTime"
    assert any("no date in the header" in w for w in found.warnings)


@pytest.mark.parametrize("left", [{}, {"StudyDate": "20240229"}])
@pytest.mark.parametrize("frames", [True, False])
def test_beds_on_both_sides_of_midnight_without_dates(left: dict[str, Any], frames: bool) -> None:
    slices = [at("235000", 59861.0), at("000100", 719861.0)]
    found = audit(
        [{key: value for key, value in item.items() if frames or "Frame" not in key} for item in slices],
        without=(*DATELESS, "SeriesDate", "SeriesTime"),
        RadiopharmaceuticalStartTime="221000",
        **left,
    )
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 2, rel=1e-4)


@pytest.mark.parametrize("stray", ["19000101104000", "20400101104000"])
@pytest.mark.parametrize("keyword", ["DecayCorrectionDateTime", "SeriesDate"])
def test_a_date_that_was_changed_alone_is_told_and_not_taken(keyword: str, stray: str) -> None:
    """Its factor would be beyond every number."""
    value = stray[:8] if keyword == "SeriesDate" else stray
    found = audit([at("104000", 59861.0)], **{keyword: value})
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE, rel=1e-4)
    assert all(c.factor == pytest.approx(ONE_HALF_LIFE, rel=1e-4) for c in found.candidates)
    assert any(f"{stray[:4]}-01-01 10:40:00 is no decay reference" in w for w in found.warnings)


@pytest.mark.parametrize("reference_ms", [1e15, -1e15])
def test_a_frame_reference_time_beyond_all_dates_is_no_evidence(reference_ms: float) -> None:
    found = audit([at("104000", reference_ms)])
    assert found.tags[-1] == "SeriesTime" and found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_a_zone_offset_counts_only_beside_the_series_own() -> None:
    """Without TimezoneOffsetFromUTC all times are the scanner's; with it, another offset is another clock."""
    offset = "20240301090000.000+0100"
    assert audit(RadiopharmaceuticalStartDateTime=offset).factors[0] == pytest.approx(ONE_HALF_LIFE)
    found = audit(RadiopharmaceuticalStartDateTime=offset, TimezoneOffsetFromUTC="+0100")
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    found = audit(RadiopharmaceuticalStartDateTime="20240301080000.000+0000", TimezoneOffsetFromUTC="+0100")
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    found = audit(RadiopharmaceuticalStartDateTime="20240301140000.000+0000", TimezoneOffsetFromUTC="-0500")
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_acquisition_datetime_serves_when_date_and_time_are_absent() -> None:
    found = audit(
        without=("AcquisitionDate", "AcquisitionTime"),
        AcquisitionDateTime="20240301104000",
        SeriesTime="113000",
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


@pytest.mark.parametrize(
    ("text", "clock"),
    [("09", "090000"), ("0930", "093000"), ("093015.25", "093015.25"), ("9:30", ""), ("", ""), ("late", "")],
)
def test_times_may_leave_minutes_and_seconds_out(text: str, clock: str) -> None:
    assert clock_of({"T": text}, "T") == clock


def test_what_is_no_moment_is_none() -> None:
    assert moment({"D": "20240301"}, "D", "T") is None
    assert moment({"D": "2024", "T": "090000"}, "D", "T") is None
    assert moment({"D": "20240231", "T": "090000"}, "D", "T") is None
    assert stated({"DT": "20240301"}, "DT") is None
    assert stated({"DT": "20241301090000"}, "DT") is None
