"""The SUV of a header as a whole: gates, refusals by name, the audit, and what must hold for any header."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import GE_DECAY_DATETIME
from lesionlab.standardise import suv_audit
from pet_headers import HEADER, ONE_HALF_LIFE, at, audit, series

REFUSALS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "modality": ({"Modality": "CT"}, (), "Modality CT"),
    "no units": ({}, ("Units",), "Units absent.*BQML or GML or CM2ML or CNTS"),
    "proportional counts": ({"Units": "PROPCNTS"}, (), "Units PROPCNTS"),
    "proportional counts per second": ({"Units": "PROPCPS"}, (), "Units PROPCPS"),
    "per centimetre": ({"Units": "1CM"}, (), "Units 1CM"),
    "counts per second": ({"Units": "CPS"}, (), "Units CPS.*allow_cps"),
    "counts": ({"Units": "CNTS"}, (), "Units CNTS.*7053"),
    "surface as grams": ({"Units": "GML", "SUVType": "BSA"}, (), "SUVType BSA with Units GML"),
    "no decay correction": ({}, ("DecayCorrection",), "DecayCorrection absent"),
    "another decay correction": (
        {"DecayCorrection": "END"},
        (),
        "DecayCorrection END.*START or ADMIN or NONE",
    ),
    "no frame": ({"DecayCorrection": "NONE"}, (), "ActualFrameDuration absent"),
    "no attenuation correction": ({"CorrectedImage": ("DECY",)}, (), "CorrectedImage DECY.*ATTN"),
    "no decay in corrections": ({"CorrectedImage": "ATTN"}, (), "CorrectedImage ATTN.*DECY"),
    "no corrections": ({}, ("CorrectedImage",), "CorrectedImage absent"),
    "no weight": ({}, ("PatientWeight",), "PatientWeight absent"),
    "zero weight": ({"PatientWeight": 0.0}, (), "PatientWeight 0.0"),
    "infinite weight": ({"PatientWeight": "inf"}, (), "PatientWeight inf"),
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


@pytest.mark.parametrize("intercept", [-5.0, "none"])
def test_an_intercept_is_refused(intercept: Any) -> None:
    with pytest.raises(SuvError, match=f"RescaleIntercept {intercept}"):
        audit([{"RescaleIntercept": 0.0}, {"RescaleIntercept": intercept}])


def test_no_header_at_all() -> None:
    with pytest.raises(SuvError, match="no DICOM header"):
        suv_audit("P1", {}, ())


def test_a_method_of_attenuation_correction_vouches_for_a_missing_list_of_corrections() -> None:
    found = audit(without=("CorrectedImage",), AttenuationCorrectionMethod="measured, CT")
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE)
    assert any("taken for ATTN" in w for w in found.warnings)
    with pytest.raises(SuvError, match="CorrectedImage absent"):
        audit(without=("CorrectedImage",), AttenuationCorrectionMethod="NONE")


def test_suv_without_a_list_of_corrections_is_believed_with_a_warning() -> None:
    found = audit(without=("CorrectedImage",), Units="GML")
    assert found.factors == (1.0, 1.0, 1.0)
    assert any("not known" in w for w in found.warnings)
    with pytest.raises(SuvError, match="CorrectedImage DECY"):
        audit(Units="GML", CorrectedImage="DECY")


def test_the_audit_tells_rule_attributes_factor_and_what_was_not_taken() -> None:
    found = audit(**{GE_DECAY_DATETIME: "20240301104000.00", "SeriesTime": "101000"})
    assert found.rule == "Units BQML, DecayCorrection START"
    assert found.tags == (
        "PatientWeight",
        "RadionuclideTotalDose",
        "RadionuclideHalfLife",
        "RadiopharmaceuticalStartDateTime",
        GE_DECAY_DATETIME,
    )
    assert [c.rule for c in found.candidates] == [GE_DECAY_DATETIME, "SeriesTime", "AcquisitionTime"]
    assert found.candidates[1].factor == pytest.approx(ONE_HALF_LIFE * 2 ** (-1800 / 6000))
    assert any("factor 0.0004" in note for note in found.notes)
    assert any("not taken: SeriesTime" in note for note in found.notes)
    assert any("differ by" in note and "warning" in note for note in found.notes)
    record = json.loads(json.dumps(found.record()))
    assert record["factor_minimum"] == record["factors"][0] == found.factors[0]
    assert [c["taken"] for c in record["candidates"]] == [True, False, False]
    assert record["candidates"][1]["reference"] == "2024-03-01T10:10:00"


def test_a_clean_header_has_no_warnings_and_every_kind() -> None:
    found = audit()
    assert found.warnings == found.flags == ()
    assert set(found.multiples) == {
        "SUVbw",
        "SUVlbm-morgan",
        "SUVlbm-james128",
        "SUVlbm-janmahasatian",
        "SUVibw",
        "SUVbsa",
    }


weights = st.floats(3.0, 250.0)
doses = st.floats(1e7, 1e9)
scales = st.floats(0.5, 3.0)
corrections = st.sampled_from(["START", "ADMIN", "NONE"])


@settings(max_examples=30, deadline=None)
@given(weight=weights, dose=doses, scale=scales, correction=corrections)
def test_suv_is_linear_in_weight_and_inverse_in_dose(
    weight: float, dose: float, scale: float, correction: str
) -> None:
    def factors(weight: float, dose: float) -> tuple[float, ...]:
        changes = {"PatientWeight": weight, "RadionuclideTotalDose": dose, "DecayCorrection": correction}
        return audit([at("104000", 60000.0), at("104200", 180000.0)], **changes).factors

    base = factors(weight, dose)
    assert factors(weight * scale, dose) == pytest.approx([f * scale for f in base], rel=1e-9)
    assert factors(weight, dose * scale) == pytest.approx([f / scale for f in base], rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(5)), correction=corrections)
def test_the_order_of_slices_does_not_matter(order: list[int], correction: str) -> None:
    beds = [at(f"10{40 + 2 * i}00", 59861.0 + 120000.0 * i) | {"InstanceNumber": i + 1} for i in range(5)]
    straight = audit(beds, DecayCorrection=correction).factors
    mixed = audit([beds[i] for i in order], DecayCorrection=correction).factors
    assert mixed == pytest.approx([straight[i] for i in order], rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(minutes=st.integers(0, 590), start=st.integers(0, 1439))
def test_a_bare_time_of_injection_needs_no_date_and_no_day(minutes: int, start: int) -> None:
    """Any delay up to six half-lives, whenever the day begins: the factor depends on the delay alone."""
    scan = (start + minutes) % 1440
    found = audit(
        without=("RadiopharmaceuticalStartDateTime",),
        RadiopharmaceuticalStartTime=f"{start // 60:02d}{start % 60:02d}00",
        AcquisitionTime=f"{scan // 60:02d}{scan % 60:02d}00",
        SeriesTime=f"{scan // 60:02d}{scan % 60:02d}00",
    )
    assert found.factors[0] == pytest.approx(80000.0 / 4e8 * 2 ** (minutes * 60 / 6000), rel=1e-9)


def test_a_series_header_is_not_changed() -> None:
    before = dict(HEADER)
    series()
    audit(Units="GML")
    assert before == HEADER
