"""Body-weight SUV from a PET header: which factor turns each slice's values into SUVbw, and why.

Pure functions of header mappings (DICOM keyword to value); no files, no arrays. Rules follow the QIBA
vendor-neutral pseudo-code and the IBSI SUV manual. A combination without a rule here raises SuvError
with the attribute's name; a rule is added as an entry in `UNIT_RULES` or `DECAY_RULES`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from lesionlab.core.errors import SuvError
from lesionlab.core.private_tags import GE_ADMIN_DATETIME, GE_DECAY_DATETIME
from lesionlab.standardise.dicom_times import moment, stated, time_near

Header = Mapping[str, Any]

MEGABECQUEREL_BELOW: Final = 1e5
"""Doses are about 4e8 Bq; smaller numbers than this can only be MBq."""
GRAMS_ABOVE: Final = 1000.0
AGREEMENT: Final = 0.01
"""Candidates for the decay reference that change the SUV by more than this share are worth a warning."""
HALF_LIVES: Final = 6.0
MARGIN_S: Final = 5.0
"""A back-computed reference may lie this much after the first acquisition (rounded durations)."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible moment of decay correction, and the SUVbw factor that it would give."""

    rule: str
    reference: datetime
    factor: float

    def __str__(self) -> str:
        return f"{self.rule} {self.reference:%H:%M:%S} (factor {self.factor:.6g})"


@dataclass(frozen=True, slots=True)
class SuvAudit:
    """How SUVbw came about: `factors` holds one number per slice, to be multiplied with its values.

    `tags` are the attributes that decided; `candidates` the decay references that were possible, the
    one taken first; `warnings` what a reader should know.
    """

    rule: str
    tags: tuple[str, ...]
    factors: tuple[float, ...]
    candidates: tuple[Candidate, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The audit in plain sentences, for the case's notes."""
        low, high = min(self.factors), max(self.factors)
        span = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
        first = f"SUVbw by {self.rule}: factor {span}, from {', '.join(self.tags)}"
        rejected = [f"SUVbw: not taken: {candidate}" for candidate in self.candidates[1:]]
        return (first, *rejected, *(f"SUVbw warning: {w}" for w in self.warnings))


def suv_audit(subject: str, header: Header, slices: Sequence[Header]) -> SuvAudit:
    """The SUVbw factor of every slice of a PET series, with the reasons.

    `header` holds series-wide attributes (the tracer's flattened into it), `slices` one mapping per slice
    in array order; both keyed by DICOM keyword. Raises SuvError, naming the attribute, for what is
    missing, impossible or has no rule yet.
    """
    if str(header.get("Modality", "PT")) != "PT":
        raise SuvError(subject, f"Modality {header.get('Modality')}", "Modality PT")
    if not slices:
        raise SuvError(subject, "no DICOM header", "the PET series' header (or a file that holds SUVbw)")
    for item in slices:
        if float(item.get("RescaleIntercept", 0.0)) != 0.0:
            raise SuvError(subject, f"RescaleIntercept {item['RescaleIntercept']}", "RescaleIntercept 0")
    units = str(header.get("Units", "")).strip()
    if units not in UNIT_RULES:
        raise SuvError(subject, f"Units {units or 'absent'}", f"Units {' or '.join(UNIT_RULES)}")
    return UNIT_RULES[units](subject, header, slices)


def _from_gml(subject: str, header: Header, slices: Sequence[Header]) -> SuvAudit:
    """GML holds SUV already; an empty SUVType means body weight."""
    kind = str(header.get("SUVType", "")).strip()
    if kind not in ("", "BW"):
        raise SuvError(subject, f"SUVType {kind} with Units GML", "SUVType BW or empty")
    return SuvAudit("Units GML", ("Units", "SUVType") if kind else ("Units",), (1.0,) * len(slices))


def _from_bqml(subject: str, header: Header, slices: Sequence[Header]) -> SuvAudit:
    """Bq/ml over the dose per gram of body, by the series' decay correction."""
    corrections = header.get("CorrectedImage", ())
    corrections = (corrections,) if isinstance(corrections, str) else tuple(corrections)
    decay = str(header.get("DecayCorrection", "")).strip()
    if decay not in DECAY_RULES:
        raise SuvError(
            subject,
            f"DecayCorrection {decay or 'absent'} with Units BQML",
            f"DecayCorrection {' or '.join(DECAY_RULES)}",
        )
    for needed in ("ATTN", "DECY"):
        if needed not in corrections:
            raise SuvError(
                subject, f"CorrectedImage {', '.join(corrections) or 'absent'}", f"{needed} among them"
            )
    return DECAY_RULES[decay](subject, header, slices)


def _corrected_to_start(subject: str, header: Header, slices: Sequence[Header]) -> SuvAudit:
    """DecayCorrection START: the dose is decayed from its administration to the moment of correction."""
    weight_g, weight_warnings = weight_in_g(subject, header)
    dose_bq, dose_warnings = dose_in_bq(subject, header)
    half_life_s = _positive(subject, header, "RadionuclideHalfLife", "the half-life in s")
    acquired = acquisition_start(subject, header, slices)
    given, given_tag = administration(subject, header, acquired)
    warnings = [*weight_warnings, *dose_warnings]
    taken, others = reference_moments(header, slices, half_life_s, acquired)

    def factor(reference: datetime) -> float:
        elapsed = (reference - given).total_seconds()
        return weight_g / (dose_bq * math.exp(-math.log(2) * elapsed / half_life_s))

    elapsed_s = (taken[1] - given).total_seconds()
    if not 0.0 <= elapsed_s <= HALF_LIVES * half_life_s:
        raise SuvError(
            subject,
            f"{taken[0]} {taken[1]:%Y-%m-%d %H:%M:%S} and {given_tag} {given:%Y-%m-%d %H:%M:%S}",
            f"the decay reference 0 to {HALF_LIVES:.0f} half-lives after administration",
        )
    candidates = tuple(Candidate(rule, when, factor(when)) for rule, when in (taken, *others))
    factors = [c.factor for c in candidates]
    if max(factors) > min(factors) * (1 + AGREEMENT):
        spread = 100 * (max(factors) / min(factors) - 1)
        warnings.append(f"candidates for the decay reference differ by {spread:.1f} % in SUVbw")
    tags = ("PatientWeight", "RadionuclideTotalDose", "RadionuclideHalfLife", given_tag, taken[0])
    rule = "Units BQML, DecayCorrection START"
    return SuvAudit(rule, tags, (factors[0],) * len(slices), candidates, tuple(warnings))


Rule = Callable[[str, Header, Sequence[Header]], SuvAudit]
UNIT_RULES: Final[Mapping[str, Rule]] = {"BQML": _from_bqml, "GML": _from_gml}
DECAY_RULES: Final[Mapping[str, Rule]] = {"START": _corrected_to_start}


def weight_in_g(subject: str, header: Header) -> tuple[float, list[str]]:
    """PatientWeight in g (stored in kg; above 1000 it can only be g) and warnings."""
    weight = _positive(subject, header, "PatientWeight", "the weight in kg")
    if weight > GRAMS_ABOVE:
        return weight, [f"PatientWeight {weight:g} taken as g"]
    return weight * 1000.0, []


def dose_in_bq(subject: str, header: Header) -> tuple[float, list[str]]:
    """RadionuclideTotalDose in Bq (below 1e5 it can only be MBq) and warnings."""
    dose = _positive(subject, header, "RadionuclideTotalDose", "the dose in Bq")
    tracers = float(header.get("RadiopharmaceuticalInformationSequence", 1.0))
    if tracers != 1.0:
        raise SuvError(
            subject, f"RadiopharmaceuticalInformationSequence of {tracers:.0f} items", "one tracer"
        )
    if dose < MEGABECQUEREL_BELOW:
        return dose * 1e6, [f"RadionuclideTotalDose {dose:g} taken as MBq"]
    return dose, []


def acquisition_start(subject: str, header: Header, slices: Sequence[Header]) -> datetime:
    """The earliest acquisition of any slice."""
    moments = [m for m in (_acquired({**header, **item}) for item in slices) if m is not None]
    if not moments:
        raise SuvError(subject, "no AcquisitionDate and AcquisitionTime", "when the acquisition started")
    return min(moments)


def administration(subject: str, header: Header, acquired: datetime) -> tuple[datetime, str]:
    """When the tracer was given, and the attribute that says so."""
    candidates = (
        ("RadiopharmaceuticalStartDateTime", stated(header, "RadiopharmaceuticalStartDateTime")),
        ("RadiopharmaceuticalStartTime", time_near(header, "RadiopharmaceuticalStartTime", acquired)),
        (GE_ADMIN_DATETIME, stated(header, GE_ADMIN_DATETIME)),
    )
    for tag, when in candidates:
        if when is not None:
            return when, tag
    raise SuvError(
        subject,
        "no RadiopharmaceuticalStartDateTime or RadiopharmaceuticalStartTime",
        "when the tracer was given",
    )


Named = tuple[str, datetime]


def reference_moments(
    header: Header, slices: Sequence[Header], half_life_s: float, acquired: datetime
) -> tuple[Named, list[Named]]:
    """The moment that START was corrected to, and the candidates that were not taken.

    In order: GE's private tag; the moment back-computed from each slice's frame, when all slices agree on
    one that is neither after the first acquisition nor before the series' own start (scanners that
    repeat one AcquisitionTime, or count FrameReferenceTime from another zero, fail this);
    SeriesDate and SeriesTime when not after the first acquisition (post-processing rewrites
    them); the first acquisition.
    """
    candidates: list[tuple[Named, bool]] = []
    private, series = stated(header, GE_DECAY_DATETIME), moment(header, "SeriesDate", "SeriesTime")
    if private is not None:
        candidates.append(((GE_DECAY_DATETIME, private), True))
    computed = [
        m for m in (back_computed({**header, **item}, half_life_s) for item in slices) if m is not None
    ]
    if computed and len(computed) == len(slices):
        early, late = min(computed), max(computed)
        agree = math.log(2) * (late - early).total_seconds() / half_life_s <= AGREEMENT
        opened = series if series is not None and series <= acquired else early
        in_time = (late - acquired).total_seconds() <= MARGIN_S >= (opened - early).total_seconds()
        middle = sorted(computed)[len(computed) // 2]
        candidates.append(
            (("AcquisitionTime, FrameReferenceTime and ActualFrameDuration", middle), agree and in_time)
        )
    if series is not None:
        candidates.append((("SeriesTime", series), series <= acquired))
    candidates.append((("AcquisitionTime", acquired), True))
    taken = next(named for named, fits in candidates if fits)
    others = [named for named, _ in candidates if named is not taken]
    correction = stated(header, "DecayCorrectionDateTime")
    if correction is not None:
        others.append(("DecayCorrectionDateTime", correction))
    return taken, others


def back_computed(item: Header, half_life_s: float) -> datetime | None:
    """Acquisition start + T_ave - FrameReferenceTime: the zero that FrameReferenceTime counts from.

    T_ave is when the decaying activity equals its mean over the frame, ln(lT / (1 - exp(-lT))) / l. None
    when an attribute is missing.
    """
    started = _acquired(item)
    frame_ms = item.get("ActualFrameDuration", item.get("FrameAcquisitionDuration"))
    reference_ms = item.get("FrameReferenceTime")
    if started is None or frame_ms is None or reference_ms is None or not float(frame_ms) > 0:
        return None
    rate = math.log(2) / half_life_s
    decayed = rate * float(frame_ms) / 1000.0
    average_s = math.log(decayed / -math.expm1(-decayed)) / rate
    return started + timedelta(seconds=average_s - float(reference_ms) / 1000.0)


def _acquired(item: Header) -> datetime | None:
    """Start of a slice's acquisition; enhanced files state it per frame, classic ones in two attributes."""
    frame = stated(item, "FrameAcquisitionDateTime")
    return frame or moment(item, "AcquisitionDate", "AcquisitionTime") or stated(item, "AcquisitionDateTime")


def _positive(subject: str, header: Header, keyword: str, meaning: str) -> float:
    value = header.get(keyword)
    try:
        number = float(value) if value is not None else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise SuvError(subject, f"{keyword} {'absent' if value is None else value}", f"{meaning}, above 0")
    return number
