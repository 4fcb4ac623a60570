"""Each value of Units by hand-computed factors."""

from __future__ import annotations

import pytest

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import (
    GE_ADMIN_DATETIME,
    PHILIPS_ACTIVITY_FACTOR,
    PHILIPS_SUV_FACTOR,
    WITHOUT_CREATOR,
)
from lesionlab.core.recipe import SuvSettings
from lesionlab.standardise import suv_audit
from lesionlab.standardise.suv_units import voxel_ml_of
from pet_headers import HEADER, ONE_HALF_LIFE, WHOLE_DOSE, audit, header, series

CPS = SuvSettings(allow_cps=True)


def test_gml_is_suv_already_whatever_else_is_missing() -> None:
    found = suv_audit("P1", {"Units": "GML", "CorrectedImage": "ATTN"}, [{}, {}])
    assert found.factors == (1.0, 1.0)
    assert found.multiples == {"SUVbw": 1.0}
    assert found.flags == ("only SUVbw: PatientWeight absent",)
    assert audit(Units="GML", SUVType="BW", DecayCorrection="ADMIN").factors == (1.0, 1.0, 1.0)


KINDS = {
    "LBM": 1.10 * 80 - 120 * (80 / 180) ** 2,
    "LBMJAMES128": 1.10 * 80 - 128 * (80 / 180) ** 2,
    "LBMJANMA": 9270 * 80 / (6680 + 216 * 80 / 1.8**2),
    "IBW": 48.0 + 1.06 * 28,
}


@pytest.mark.parametrize("kind", KINDS)
def test_gml_of_another_kind_is_brought_to_body_weight(kind: str) -> None:
    found = audit(Units="GML", SUVType=kind)
    assert found.factors == pytest.approx((80.0 / KINDS[kind],) * 3, rel=1e-12)
    assert {"SUVType", "PatientWeight", "PatientSize", "PatientSex"} <= set(found.tags)


def test_another_kind_without_height_is_refused() -> None:
    with pytest.raises(SuvError, match="PatientSize absent"):
        audit(Units="GML", SUVType="IBW", without=("PatientSize",))


def test_a_body_outside_a_formula_is_refused() -> None:
    """A woman of 230 kg and 150 cm has a negative lean mass by the quadratic formula."""
    with pytest.raises(SuvError, match="without a SUVlbm-morgan"):
        audit(Units="GML", SUVType="LBM", PatientSex="F", PatientWeight=230.0, PatientSize=1.5)


def test_unknown_sex_is_the_mean_of_both_and_flagged() -> None:
    found = audit(Units="GML", SUVType="IBW", PatientSex="O")
    assert found.factors[0] == pytest.approx(80.0 / ((48.0 + 1.06 * 28 + 45.5 + 0.91 * 28) / 2))
    assert any("PatientSex O" in w for w in found.warnings)
    assert any("PatientSex absent" in f for f in audit(without=("PatientSex",)).flags)


@pytest.mark.parametrize("kind", ["BSA", ""])
def test_cm2ml_is_suv_by_body_surface(kind: str) -> None:
    surface_cm2 = 0.007184 * 80**0.425 * 180**0.725 * 1e4
    found = audit(Units="CM2ML", SUVType=kind)
    assert found.factors[0] == pytest.approx(80000.0 / surface_cm2, rel=1e-12)
    with pytest.raises(SuvError, match="SUVType BW with Units CM2ML"):
        audit(Units="CM2ML", SUVType="BW")


def test_philips_suv_factor_comes_first_and_may_differ_by_slice() -> None:
    slices = [{PHILIPS_SUV_FACTOR: "0.0005 "}, {PHILIPS_SUV_FACTOR: 0.0007}]
    found = audit(slices, Units="CNTS", **{PHILIPS_ACTIVITY_FACTOR: 1.6})
    assert found.factors == (0.0005, 0.0007)
    assert found.span == "0.0005 to 0.0007"
    assert found.candidates == ()


@pytest.mark.parametrize("absent", [None, 0.0, "0"])
def test_philips_activity_factor_serves_where_the_other_is_absent_or_0(absent: object) -> None:
    given = {} if absent is None else {PHILIPS_SUV_FACTOR: absent}
    found = audit(Units="CNTS", **given, **{PHILIPS_ACTIVITY_FACTOR: 1.6})
    assert found.factors[0] == pytest.approx(1.6 * ONE_HALF_LIFE)
    assert found.candidates[0].factor == found.factors[0]
    assert found.rule == "Units CNTS, DecayCorrection START"
    admin = audit(Units="CNTS", DecayCorrection="ADMIN", **given, **{PHILIPS_ACTIVITY_FACTOR: 1.6})
    assert admin.factors[0] == pytest.approx(1.6 * WHOLE_DOSE)


@pytest.mark.parametrize("slices", [[{PHILIPS_SUV_FACTOR: 0.5}, {}], [{PHILIPS_SUV_FACTOR: -0.5}]])
def test_factors_that_some_slices_lack_or_are_negative_are_refused(slices: list[dict[str, float]]) -> None:
    with pytest.raises(SuvError, match="7053,xx00"):
        audit(slices, Units="CNTS")


def test_a_private_attribute_without_its_creator_is_warned_about() -> None:
    found = audit(Units="CNTS", **{PHILIPS_SUV_FACTOR: 0.0005, WITHOUT_CREATOR: (PHILIPS_SUV_FACTOR,)})
    assert any("without its private creator" in w for w in found.warnings)
    found = audit(
        without=("RadiopharmaceuticalStartDateTime",),
        **{GE_ADMIN_DATETIME: "20240301090000", WITHOUT_CREATOR: (GE_ADMIN_DATETIME,)},
    )
    assert any("without its private creator" in w for w in found.warnings)


def test_counts_per_second_on_request() -> None:
    """Calibrated already: divided by the voxel volume; else DoseCalibrationFactor of each slice first."""
    spacing = {"PixelSpacing": (4.0, 5.0), "SliceThickness": 3.0}
    corrected = (*HEADER["CorrectedImage"], "DCAL")
    found = audit(settings=CPS, Units="CPS", CorrectedImage=corrected, **spacing)
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE / 0.06)
    assert any("taken on request" in w for w in found.warnings)
    slices = [{"DoseCalibrationFactor": 10.0}, {"DoseCalibrationFactor": 20.0}]
    found = audit(slices, settings=CPS, Units="CPS", **spacing)
    assert found.factors == pytest.approx((10 * ONE_HALF_LIFE / 0.06, 20 * ONE_HALF_LIFE / 0.06))


def test_counts_per_second_take_the_given_voxel_volume_before_the_headers() -> None:
    counts = header(Units="CPS", DoseCalibrationFactor=1.0, PixelSpacing=(4.0, 5.0), SliceThickness=3.0)
    found = suv_audit("P1", counts, [{}], CPS, voxel_ml=0.1)
    assert found.factors[0] == pytest.approx(ONE_HALF_LIFE / 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PixelSpacing": (4.0, 5.0), "SliceThickness": 3.0}, "DoseCalibrationFactor absent"),
        ({"DoseCalibrationFactor": 2.0}, "no PixelSpacing and SliceThickness"),
    ],
)
def test_counts_per_second_without_calibration_or_volume_are_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(SuvError, match=message):
        audit(settings=CPS, Units="CPS", **changes)


def test_voxel_volume_prefers_the_distance_between_slices() -> None:
    item = series(PixelSpacing=(2.0, 2.0), SliceThickness=5.0, SpacingBetweenSlices=2.5)
    assert voxel_ml_of(item) == pytest.approx(0.01)
    assert voxel_ml_of(series(PixelSpacing=(2.0, 2.0))) is None
    assert voxel_ml_of(series(PixelSpacing=(2.0, 2.0), SliceThickness=0.0)) is None
