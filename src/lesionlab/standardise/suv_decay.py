"""From Bq/ml to SUVbw: the dose that is left at the moment to which the values belong.

One function per value of DecayCorrection. Which moments these are is decided in `suv_times.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from lesionlab.core.recipe import SuvSettings
from lesionlab.core.suv import Candidate
from lesionlab.standardise.suv_header import PetSeries, dose_bq, half_life_s, weight_kg
from lesionlab.standardise.suv_times import AGREEMENT, acquired_at, administered_at, frame_s, references

HALF_LIVES: Final = 6.0
FAR_HALF_LIVES: Final = 100.0
"""A candidate farther from the administration has another date, as in anonymised files, and no factor."""


@dataclass(frozen=True, slots=True)
class Decayed:
    """SUVbw per Bq/ml of every slice, with what decided it."""

    rule: str
    factors: tuple[float, ...]
    tags: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    quantities: Mapping[str, float] = field(default_factory=dict)
    administered: datetime | None = None


def corrected_to_administration(series: PetSeries, settings: SuvSettings) -> Decayed:
    """DecayCorrection ADMIN: values belong to the administration, so the whole dose counts."""
    weight, dose = weight_kg(series), dose_bq(series)
    factor = weight.value * 1000.0 / dose.value
    tags, warnings = (*weight.tags, *dose.tags), (*weight.warnings, *dose.warnings)
    known = {"weight_kg": weight.value, "activity_bq": dose.value}
    factors = (factor,) * len(series.slices)
    return Decayed("DecayCorrection ADMIN", factors, tags, warnings, quantities=known)


def corrected_to_start(series: PetSeries, settings: SuvSettings) -> Decayed:
    """DecayCorrection START: the dose is decayed from its administration to the moment of correction."""
    weight, dose, life = weight_kg(series), dose_bq(series), half_life_s(series)
    acquired = acquired_at(series)
    given = administered_at(series, min(acquired.value))
    found = references(series, life.value, acquired.value, autopet=settings.times == "autopet")
    require_window(series, given.tags[0], given.value, found.taken, life.value)

    def halvings(reference: datetime) -> float:
        return (reference - given.value).total_seconds() / life.value

    near = [named for named in (found.taken, *found.others) if abs(halvings(named[1])) <= FAR_HALF_LIVES]
    whole = weight.value * 1000.0 / dose.value
    candidates = tuple(Candidate(name, when, whole * 2.0 ** halvings(when)) for name, when in near)
    parts = (weight, dose, life, acquired, given)
    warnings = [*(w for part in parts for w in part.warnings), *found.warnings]
    for name, when in found.others:
        if (name, when) not in near:
            away = f"{abs(halvings(when)):.0f} half-lives from the administration"
            warnings.append(f"{name} {when:%Y-%m-%d %H:%M:%S} is no decay reference: {away}")
    factors = [candidate.factor for candidate in candidates]
    if max(factors) > min(factors) * (1 + AGREEMENT):
        spread = 100 * (max(factors) / min(factors) - 1)
        warnings.append(f"candidates for the decay reference differ by {spread:.1f} % in SUVbw")
    if settings.times == "autopet":
        warnings.append("AcquisitionTime taken as decay reference, as the autoPET conversion does")
    tags = (*weight.tags, *dose.tags, *life.tags, *given.tags, found.taken[0])
    known = _quantities(weight.value, dose.value, life.value, min(acquired.value) - given.value)
    spread_out = (factors[0],) * len(series.slices)
    rule = "DecayCorrection START"
    return Decayed(rule, spread_out, tags, tuple(warnings), candidates, known, given.value)


def not_corrected(series: PetSeries, settings: SuvSettings) -> Decayed:
    """DecayCorrection NONE: each slice's mean over its frame is brought back to the administration."""
    weight, dose, life = weight_kg(series), dose_bq(series), half_life_s(series)
    acquired = acquired_at(series)
    given = administered_at(series, min(acquired.value))
    rate = math.log(2) / life.value
    factors = []
    for item, started in zip(series.each(), acquired.value, strict=True):
        require_window(series, given.tags[0], given.value, (acquired.tags[0], started), life.value)
        duration = frame_s(item)
        if duration is None:
            shown = item.get("ActualFrameDuration", "absent")
            raise series.refusal(
                f"ActualFrameDuration {shown} with DecayCorrection NONE", "the frame's duration in ms"
            )
        within = rate * duration / -math.expm1(-rate * duration)
        since = math.exp(rate * (started - given.value).total_seconds())
        factors.append(weight.value * 1000.0 / dose.value * within * since)
    parts = (weight, dose, life, acquired, given)
    tags = (*weight.tags, *dose.tags, *life.tags, *given.tags, *acquired.tags, "ActualFrameDuration")
    warnings = tuple(w for part in parts for w in part.warnings)
    known = _quantities(weight.value, dose.value, life.value, min(acquired.value) - given.value)
    return Decayed("DecayCorrection NONE", tuple(factors), tags, warnings, (), known, given.value)


def _quantities(
    weight_kg: float, activity_bq: float, half_life_s: float, uptake: timedelta
) -> dict[str, float]:
    return {
        "weight_kg": weight_kg,
        "activity_bq": activity_bq,
        "half_life_s": half_life_s,
        "uptake_s": uptake.total_seconds(),
    }


DECAY_RULES: Final[Mapping[str, Callable[[PetSeries, SuvSettings], Decayed]]] = {
    "START": corrected_to_start,
    "ADMIN": corrected_to_administration,
    "NONE": not_corrected,
}


def require_window(
    series: PetSeries, given_tag: str, given: datetime, reference: tuple[str, datetime], life_s: float
) -> None:
    """Raise SuvError unless the reference lies from the administration to six half-lives after it."""
    elapsed_s = (reference[1] - given).total_seconds()
    if not 0.0 <= elapsed_s <= HALF_LIVES * life_s:
        raise series.refusal(
            f"{reference[0]} {reference[1]:%Y-%m-%d %H:%M:%S} and {given_tag} {given:%Y-%m-%d %H:%M:%S}",
            f"the decay reference 0 to {HALF_LIVES:.0f} half-lives after administration",
        )


def decay_rule(series: PetSeries, units: str) -> Callable[[PetSeries, SuvSettings], Decayed]:
    """The rule for the series' DecayCorrection; SuvError names it when there is none."""
    name = series.text("DecayCorrection").upper()
    if name not in DECAY_RULES:
        raise series.refusal(
            f"DecayCorrection {name or 'absent'} with Units {units}",
            f"DecayCorrection {' or '.join(DECAY_RULES)}",
        )
    return DECAY_RULES[name]
