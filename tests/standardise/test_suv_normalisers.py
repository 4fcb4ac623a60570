"""Lean body mass, ideal weight and body surface against numbers worked out by hand."""

from __future__ import annotations

import pytest

from lesionlab.core.errors import SuvError
from lesionlab.standardise.suv_normalisers import (
    Body,
    body_of,
    ideal_weight_kg,
    james128_kg,
    janmahasatian_kg,
    mass_kg,
    morgan_kg,
    multiple_of_suvbw,
    multiples_of,
    surface_m2,
)
from pet_headers import series

TALL = Body(80.0, 200.0, ("M",))
"""Weight over height 0.4 kg/cm, body mass index 20."""


@pytest.mark.parametrize(
    ("formula", "man", "woman"),
    [
        (morgan_kg, 88.0 - 19.2, 85.6 - 23.68),
        (james128_kg, 88.0 - 20.48, 85.6 - 23.68),
        (janmahasatian_kg, 741600.0 / 11000.0, 741600.0 / 13660.0),
        (ideal_weight_kg, 48.0 + 50.88, 45.5 + 43.68),
    ],
)
def test_masses_of_a_tall_body(formula, man: float, woman: float) -> None:
    assert formula(TALL, "M") == pytest.approx(man)
    assert formula(TALL, "F") == pytest.approx(woman)


def test_body_surface_of_dubois() -> None:
    """70 kg and 170 cm: 1.810 m2, as in the published nomogram."""
    assert surface_m2(Body(70.0, 170.0, ("F",))) == pytest.approx(1.810, abs=0.001)


def test_multiples_of_suvbw() -> None:
    assert multiple_of_suvbw("SUVbw", TALL) == 1.0
    assert multiple_of_suvbw("SUVlbm-morgan", TALL) == pytest.approx(68.8 / 80.0)
    assert multiple_of_suvbw("SUVbsa", TALL) == pytest.approx(surface_m2(TALL) * 1e4 / 80000.0)
    assert mass_kg("SUVibw", Body(80.0, 200.0, ("M", "F"))) == pytest.approx((98.88 + 89.18) / 2)


@pytest.mark.parametrize(
    ("sex", "sexes"), [("M", ("M",)), ("f", ("F",)), ("O", ("M", "F")), ("", ("M", "F"))]
)
def test_the_sex_of_a_header(sex: str, sexes: tuple[str, ...]) -> None:
    found = body_of(series(PatientSex=sex))
    assert found.value.sexes == sexes
    assert bool(found.warnings) == (len(sexes) == 2)


def test_a_kind_that_a_body_does_not_have_is_left_out_and_flagged() -> None:
    """230 kg at 150 cm: 246.1 - 348.0 kg of lean mass by the quadratic formula."""
    multiples, flags = multiples_of(series(PatientSex="F", PatientWeight=230.0, PatientSize=1.5))
    assert set(multiples) == {"SUVbw", "SUVlbm-janmahasatian", "SUVibw", "SUVbsa"}
    assert len(flags) == 2
    assert "no SUVlbm-morgan: its formula gives -102 kg" in flags[0]


def test_no_height_leaves_body_weight_alone() -> None:
    multiples, flags = multiples_of(series(without=("PatientSize",)))
    assert multiples == {"SUVbw": 1.0}
    assert flags == ("only SUVbw: PatientSize absent",)
    with pytest.raises(SuvError, match="PatientSize absent"):
        body_of(series(without=("PatientSize",)))
