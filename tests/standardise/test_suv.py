"""SUVbw from header mappings: each rule by hand-computed factors, each refusal by name."""

from __future__ import annotations

from typing import Any

import pytest

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import GE_ADMIN_DATETIME, GE_DECAY_DATETIME
from lesionlab.standardise import SuvAudit, suv_audit

HALF_LIFE = 6000.0
HEADER: dict[str, Any] = {
    "Modality": "PT",
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ("DECY", "ATTN", "SCAT"),
    "PatientWeight": 80.0,
    "RadionuclideTotalDose": 4e8,
    "RadionuclideHalfLife": HALF_LIFE,
    "RadiopharmaceuticalStartDateTime": "20240301090000.00",
    "SeriesDate": "20240301",
    "SeriesTime": "104000",
    "AcquisitionDate": "20240301",
    "AcquisitionTime": "104000.000",
}
"""Given at 09:00, scanned at 10:40: exactly one half-life of 6000 s later."""
ONE_HALF_LIFE = 80000.0 / 2e8


def audit(
    slices: list[dict[str, Any]] | None = None, *, without: tuple[str, ...] = (), **changes: Any
) -> SuvAudit:
    header = {key: value for key, value in (HEADER | changes).items() if key not in without}
    return suv_audit("P1", header, [{}] * 3 if slices is None else slices)


def at(time: str, reference_ms: float, duration_ms: float = 120000.0) -> dict[str, Any]:
    return {"AcquisitionTime": time, "FrameReferenceTime": reference_ms, "ActualFrameDuration": duration_ms}


def test_start_halves_the_dose_after_one_half_life() -> None:
    found = audit()
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 3, rel=1e-12)
    assert found.warnings == ()
    assert "RadiopharmaceuticalStartDateTime" in found.tags
    assert any("factor 0.0004" in note for note in found.notes)


def test_gml_is_suv_already_whatever_else_is_missing() -> None:
    assert suv_audit("P1", {"Units": "GML"}, [{}, {}]).factors == (1.0, 1.0)
    assert audit(Units="GML", SUVType="BW", DecayCorrection="ADMIN").factors == (1.0, 1.0, 1.0)


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


def test_a_rewritten_series_time_gives_way_to_the_first_acquisition() -> None:
    found = audit([{"AcquisitionTime": "104500"}, {"AcquisitionTime": "104000"}], SeriesTime="113000")
    assert found.tags[-1] == "AcquisitionTime"
    assert found.factors == pytest.approx((ONE_HALF_LIFE,) * 2)


def test_the_ge_tag_wins() -> None:
    found = audit(**{GE_DECAY_DATETIME: "20240301104000.00", "SeriesTime": "101000"})
    assert found.tags[-1] == GE_DECAY_DATETIME
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert [c.rule for c in found.candidates] == [GE_DECAY_DATETIME, "SeriesTime", "AcquisitionTime"]


def test_the_decay_correction_datetime_is_a_cross_check() -> None:
    found = audit(DecayCorrectionDateTime="20240301103000")
    assert found.tags[-1] == "SeriesTime"
    assert found.candidates[-1].rule == "DecayCorrectionDateTime"
    assert len(found.warnings) == 1


@pytest.mark.parametrize(
    ("changes", "tag"),
    [
        ({"RadiopharmaceuticalStartTime": "090000.00"}, "RadiopharmaceuticalStartTime"),
        ({GE_ADMIN_DATETIME: "20240301090000"}, GE_ADMIN_DATETIME),
    ],
)
def test_other_places_for_the_injection(changes: dict[str, Any], tag: str) -> None:
    found = audit(without=("RadiopharmaceuticalStartDateTime",), **changes)
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


def test_a_zone_offset_is_no_part_of_the_time() -> None:
    assert audit(RadiopharmaceuticalStartDateTime="20240301090000.000+0100").factors[0] == pytest.approx(
        ONE_HALF_LIFE
    )


def test_acquisition_datetime_serves_when_date_and_time_are_absent() -> None:
    found = audit(
        without=("AcquisitionDate", "AcquisitionTime"),
        AcquisitionDateTime="20240301104000",
        SeriesTime="113000",
    )
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)


def test_megabecquerels_and_grams_are_taken_as_such_with_a_warning() -> None:
    found = audit(RadionuclideTotalDose=400.0, PatientWeight=80000.0)
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any("taken as MBq" in w for w in found.warnings)
    assert any("taken as g" in w for w in found.warnings)


REFUSALS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "modality": ({"Modality": "CT"}, (), "Modality CT"),
    "no units": ({}, ("Units",), "Units absent.*BQML or GML"),
    "counts": ({"Units": "CNTS"}, (), "Units CNTS"),
    "lean body mass": ({"Units": "GML", "SUVType": "BSA"}, (), "SUVType BSA"),
    "none": ({"DecayCorrection": "NONE"}, (), "ActualFrameDuration absent"),
    "no decay correction": ({}, ("DecayCorrection",), "DecayCorrection absent"),
    "no attenuation correction": ({"CorrectedImage": ("DECY",)}, (), "CorrectedImage DECY.*ATTN"),
    "no decay in corrections": ({"CorrectedImage": "ATTN"}, (), "CorrectedImage ATTN.*DECY"),
    "no corrections": ({}, ("CorrectedImage",), "CorrectedImage absent"),
    "no weight": ({}, ("PatientWeight",), "PatientWeight absent"),
    "zero weight": ({"PatientWeight": 0.0}, (), "PatientWeight 0.0"),
    "no dose": ({}, ("RadionuclideTotalDose",), "RadionuclideTotalDose absent"),
    "a word for a dose": ({"RadionuclideTotalDose": "much"}, (), "RadionuclideTotalDose much"),
    "two tracers": ({"RadiopharmaceuticalInformationSequence": 2.0}, (), "2 items"),
    "no half-life": ({}, ("RadionuclideHalfLife",), "RadionuclideHalfLife absent"),
    "no injection": ({}, ("RadiopharmaceuticalStartDateTime",), "when the tracer was given"),
    "no acquisition": ({}, ("AcquisitionTime",), "no AcquisitionDate and AcquisitionTime"),
    "malformed acquisition": ({"AcquisitionTime": "99"}, (), "no AcquisitionDate and AcquisitionTime"),
    "impossible acquisition": ({"AcquisitionTime": "256161"}, (), "no AcquisitionDate"),
    "injected later": (
        {"RadiopharmaceuticalStartDateTime": "20240302090000"},
        (),
        "half-lives after administration",
    ),
    "days ago": ({"RadiopharmaceuticalStartDateTime": "20240228090000"}, (), "0 to 6 half-lives"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_has_no_rule_is_refused_by_attribute(name: str) -> None:
    changes, without, message = REFUSALS[name]
    with pytest.raises(SuvError, match=rf"^P1: found .*{message}"):
        audit(without=without, **changes)


def test_an_intercept_is_refused() -> None:
    with pytest.raises(SuvError, match="RescaleIntercept -5"):
        audit([{"RescaleIntercept": 0.0}, {"RescaleIntercept": -5.0}])


def test_no_header_at_all() -> None:
    with pytest.raises(SuvError, match="no DICOM header"):
        suv_audit("P1", {}, ())
