"""Reading single quantities from a PET header: number, unit repair, refusal by attribute name.

Each function takes the series' mappings (DICOM keyword to value) and returns what is known with the
attributes that said so. What is done with the quantities belongs to the modules beside this one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import WITHOUT_CREATOR
from lesionlab.standardise.suv_nuclides import nuclide_of

MEGABECQUEREL_BELOW: Final = 1e5
"""Doses are about 4e8 Bq; smaller numbers than this can only be MBq."""
SMALL_DOSE_BQ: Final = 1e6
GRAMS_ABOVE: Final = 1000.0
CENTIMETRES_ABOVE: Final = 3.0
TALLEST_CM: Final = 300.0
HALF_LIFE_AGREEMENT: Final = 0.01

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """A value, the attributes that it rests on, and what a reader should know about it."""

    value: T
    tags: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PetSeries:
    """A PET series' attributes: `header` series-wide, `slices` one mapping per slice in array order."""

    subject: str
    header: Mapping[str, Any]
    slices: Sequence[Mapping[str, Any]]

    def each(self) -> list[dict[str, Any]]:
        """The attributes of every slice, its own before the series'."""
        return [{**self.header, **item} for item in self.slices]

    def text(self, keyword: str) -> str:
        """An attribute as text, "" where it is absent."""
        return str(self.header.get(keyword, "")).strip()

    def refusal(self, found: str, needed: str) -> SuvError:
        """The error to raise about this series."""
        return SuvError(self.subject, found, needed)

    def positive(self, keyword: str, meaning: str, item: Mapping[str, Any] | None = None) -> float:
        """A number above 0, from one slice's attributes where given; SuvError names what is there."""
        value = (self.header if item is None else item).get(keyword)
        number = number_of(value)
        if number is None or not number > 0:
            raise self.refusal(f"{keyword} {'absent' if value is None else value}", f"{meaning}, above 0")
        return number

    def unclaimed(self, name: str) -> tuple[str, ...]:
        """A warning when a private attribute was found without the creator that gives it its meaning."""
        if name not in self.header.get(WITHOUT_CREATOR, ()):
            return ()
        return (f"{name} found without its private creator, taken because the manufacturer fits",)


def number_of(value: Any) -> float | None:
    """A finite number from a number or text; None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def words_of(header: Mapping[str, Any], keyword: str) -> tuple[str, ...]:
    """A many-valued attribute as upper-case words; backslashes separate values in text."""
    value = header.get(keyword, ())
    values = value.split("\\") if isinstance(value, str) else value
    return tuple(word for word in (str(v).strip().upper() for v in values) if word)


def weight_kg(series: PetSeries) -> Known[float]:
    """PatientWeight in kg; above 1000 it can only be g."""
    weight = series.positive("PatientWeight", "the weight in kg")
    if weight > GRAMS_ABOVE:
        return Known(weight / 1000.0, ("PatientWeight",), (f"PatientWeight {weight:g} taken as g",))
    return Known(weight, ("PatientWeight",))


def height_cm(series: PetSeries) -> Known[float]:
    """PatientSize (stored in m) in cm; above 3 it can only be cm."""
    size = series.positive("PatientSize", "the height in m")
    warnings = (f"PatientSize {size:g} taken as cm",) if size > CENTIMETRES_ABOVE else ()
    height = size if warnings else size * 100.0
    if height > TALLEST_CM:
        raise series.refusal(f"PatientSize {size:g}", "the height in m")
    return Known(height, ("PatientSize",), warnings)


def dose_bq(series: PetSeries) -> Known[float]:
    """RadionuclideTotalDose in Bq; below 1e5 it can only be MBq."""
    dose = series.positive("RadionuclideTotalDose", "the dose in Bq")
    tracers = number_of(series.header.get("RadiopharmaceuticalInformationSequence", 1.0))
    if tracers is not None and tracers != 1.0:
        raise series.refusal(f"RadiopharmaceuticalInformationSequence of {tracers:.0f} items", "one tracer")
    warnings: tuple[str, ...] = ()
    if dose < MEGABECQUEREL_BELOW:
        warnings = (f"RadionuclideTotalDose {dose:g} taken as MBq",)
        dose *= 1e6
    elif dose < SMALL_DOSE_BQ:
        warnings = (f"RadionuclideTotalDose {dose:g} Bq is less than 1 MBq",)
    return Known(dose, ("RadionuclideTotalDose",), warnings)


def half_life_s(series: PetSeries) -> Known[float]:
    """RadionuclideHalfLife in s; where it is absent, the nuclide's own.

    A stated half-life that is not its nuclide's is used and warned about.
    """
    nuclide = nuclide_of(series.header)
    if series.header.get("RadionuclideHalfLife") is None:
        if nuclide is None:
            raise series.refusal(
                "RadionuclideHalfLife absent", "the half-life in s, or a RadionuclideCodeSequence"
            )
        warning = f"RadionuclideHalfLife absent: {nuclide.half_life_s:g} s of {nuclide.name} ({nuclide.tag})"
        doubts = (f"{nuclide.tag}: {nuclide.doubt}",) if nuclide.doubt else ()
        return Known(nuclide.half_life_s, (nuclide.tag,), (warning, *doubts))
    half_life = series.positive("RadionuclideHalfLife", "the half-life in s")
    warnings: tuple[str, ...] = ()
    if nuclide is not None and abs(half_life / nuclide.half_life_s - 1) > HALF_LIFE_AGREEMENT:
        text = f"RadionuclideHalfLife {half_life:g} s, but {nuclide.tag} says {nuclide.name}"
        warnings = (f"{text} ({nuclide.half_life_s:g} s)",)
    return Known(half_life, ("RadionuclideHalfLife",), warnings)
