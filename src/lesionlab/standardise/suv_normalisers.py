"""What uptake is normalised by besides body weight: lean body mass, ideal weight, body surface.

Formulas of weight, height and sex; and the kinds of SUV that follow. Reading the header belongs to
`suv_header.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lesionlab.core.errors import SuvError
from lesionlab.standardise.suv_header import Known, PetSeries, height_cm, weight_kg

Sex = Literal["M", "F"]
BOTH: Final[tuple[Sex, ...]] = ("M", "F")


@dataclass(frozen=True, slots=True)
class Body:
    """Weight in kg, height in cm, and the sexes that formulas are averaged over (one where it is known)."""

    weight_kg: float
    height_cm: float
    sexes: tuple[Sex, ...]

    @property
    def body_mass_index(self) -> float:
        """kg/m2."""
        return self.weight_kg / (self.height_cm / 100.0) ** 2


def morgan_kg(body: Body, sex: Sex) -> float:
    """Lean body mass after Morgan and Bray: for men 1.10 W - 120 (W/H)^2, for women 1.07 W - 148 (W/H)^2."""
    return _quadratic(body, sex, 120.0)


def james128_kg(body: Body, sex: Sex) -> float:
    """Lean body mass after James: as Morgan's, with 128 for men."""
    return _quadratic(body, sex, 128.0)


def _quadratic(body: Body, sex: Sex, men: float) -> float:
    linear, square = (1.10, men) if sex == "M" else (1.07, 148.0)
    return linear * body.weight_kg - square * (body.weight_kg / body.height_cm) ** 2


def janmahasatian_kg(body: Body, sex: Sex) -> float:
    """Lean body mass after Janmahasatian et al. 2005: 9270 W over 6680 + 216 BMI (F: 8780 + 244 BMI)."""
    constant, slope = (6680.0, 216.0) if sex == "M" else (8780.0, 244.0)
    return 9270.0 * body.weight_kg / (constant + slope * body.body_mass_index)


def ideal_weight_kg(body: Body, sex: Sex) -> float:
    """Ideal body weight: 48.0 + 1.06 (H - 152) for men, 45.5 + 0.91 (H - 152) for women."""
    constant, slope = (48.0, 1.06) if sex == "M" else (45.5, 0.91)
    return constant + slope * (body.height_cm - 152.0)


def surface_m2(body: Body) -> float:
    """Body surface area after DuBois and DuBois: 0.007184 W^0.425 H^0.725."""
    return float(0.007184 * body.weight_kg**0.425 * body.height_cm**0.725)


MASSES: Final[Mapping[str, Callable[[Body, Sex], float]]] = {
    "SUVlbm-morgan": morgan_kg,
    "SUVlbm-james128": james128_kg,
    "SUVlbm-janmahasatian": janmahasatian_kg,
    "SUVibw": ideal_weight_kg,
}


def body_of(series: PetSeries) -> Known[Body]:
    """Weight, height and sex; a sex that is neither M nor F stands for the mean of both, flagged."""
    weight, height = weight_kg(series), height_cm(series)
    sex = series.text("PatientSex").upper()
    sexes: tuple[Sex, ...] = ("M",) if sex == "M" else ("F",) if sex == "F" else BOTH
    tags, warnings = (*weight.tags, *height.tags), (*weight.warnings, *height.warnings)
    if sexes == BOTH:
        warnings += (f"PatientSex {sex or 'absent'}: the mean of both sexes' formulas",)
    else:
        tags += ("PatientSex",)
    return Known(Body(weight.value, height.value, sexes), tags, warnings)


def mass_kg(kind: str, body: Body) -> float:
    """The mass that a kind of SUV is normalised by, averaged over the body's sexes; it may be below 0."""
    return sum(MASSES[kind](body, sex) for sex in body.sexes) / len(body.sexes)


def multiple_of_suvbw(kind: str, body: Body) -> float:
    """SUV of that kind over SUVbw: N / W for masses, BSA 1e4 / (W 1000) for the surface in cm2 per g."""
    if kind == "SUVbsa":
        return surface_m2(body) * 1e4 / (body.weight_kg * 1000.0)
    return 1.0 if kind == "SUVbw" else mass_kg(kind, body) / body.weight_kg


def multiples_of(series: PetSeries) -> tuple[dict[str, float], tuple[str, ...]]:
    """Every kind's multiple of SUVbw, as far as the header allows, and flags on what was assumed or lacks."""
    multiples = {"SUVbw": 1.0}
    try:
        body = body_of(series)
    except SuvError as error:
        return multiples, (f"only SUVbw: {error.found}",)
    flags = list(body.warnings)
    for kind in (*MASSES, "SUVbsa"):
        multiple = multiple_of_suvbw(kind, body.value)
        if multiple > 0:
            multiples[kind] = multiple
        else:
            flags.append(
                f"no {kind}: its formula gives {multiple * body.value.weight_kg:.3g} kg for this body"
            )
    return multiples, tuple(flags)
