"""Body-weight SUV from a PET header: which factor turns each slice's values into SUVbw, and why.

Pure functions of header mappings (DICOM keyword to value); no files, no arrays. The rules follow the QIBA
vendor-neutral pseudo-code and the IBSI SUV manual and stand in the modules beside this one: `suv_units`,
`suv_decay`, `suv_times`, `suv_normalisers`, `suv_header`, `suv_nuclides`. A combination without a rule
raises SuvError with the attribute's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lesionlab.core.recipe import SuvSettings
from lesionlab.core.suv import SuvAudit
from lesionlab.standardise.suv_decay import decay_rule
from lesionlab.standardise.suv_header import PetSeries, number_of, words_of
from lesionlab.standardise.suv_normalisers import multiples_of
from lesionlab.standardise.suv_units import UNIT_RULES, Calibrated, counts_per_second, voxel_ml_of

Header = Mapping[str, Any]
STANDARD = SuvSettings()


def suv_audit(
    subject: str,
    header: Header,
    slices: Sequence[Header],
    settings: SuvSettings = STANDARD,
    *,
    voxel_ml: float | None = None,
) -> SuvAudit:
    """The SUVbw factor of every slice of a PET series, with the reasons.

    `header` holds series-wide attributes (the tracer's flattened into it), `slices` one mapping per slice
    in array order; both keyed by DICOM keyword. `voxel_ml` is needed for counts per second alone; by
    default it comes from the header. Raises SuvError, naming the attribute, for what is missing,
    impossible or has no rule.
    """
    series = PetSeries(subject, header, slices)
    require_values(series)
    calibrated = calibration(series, settings, voxel_ml)
    warnings = [*attenuation_doubts(series, calibrated.means), *calibrated.warnings]
    audit = SuvAudit(calibrated.rule, calibrated.tags, calibrated.factors)
    if calibrated.means == "Bq/ml":
        rule = decay_rule(series, series.text("Units").upper())
        warnings += decay_doubts(series)
        decayed = rule(series, settings)
        warnings += decayed.warnings
        audit = SuvAudit(
            f"{calibrated.rule}, {decayed.rule}",
            (*calibrated.tags, *decayed.tags),
            tuple(a * b for a, b in zip(calibrated.factors, decayed.factors, strict=True)),
            tuple(replace(c, factor=c.factor * calibrated.factors[0]) for c in decayed.candidates),
            quantities=decayed.quantities,
            administered=decayed.administered,
        )
    multiples, flags = multiples_of(series)
    unsaid = tuple(flag for flag in flags if flag not in warnings)
    return replace(audit, warnings=tuple(dict.fromkeys(warnings)), multiples=multiples, flags=unsaid)


def require_values(series: PetSeries) -> None:
    """Refuse what is no PET series, has no slices, or adds an intercept (PET values start at 0)."""
    modality = series.text("Modality") or "PT"
    if modality != "PT":
        raise series.refusal(f"Modality {modality}", "Modality PT")
    if not series.slices:
        raise series.refusal("no DICOM header", "the PET series' header (or a file that holds SUVbw)")
    for item in series.each():
        intercept = item.get("RescaleIntercept", 0.0)
        if number_of(intercept) != 0.0:
            raise series.refusal(f"RescaleIntercept {intercept}", "RescaleIntercept 0")


def calibration(series: PetSeries, settings: SuvSettings, voxel_ml: float | None) -> Calibrated:
    """What the values are, by Units; counts per second only where the settings allow them."""
    units = series.text("Units").upper()
    if units == "CPS" and settings.allow_cps:
        return counts_per_second(series, voxel_ml or voxel_ml_of(series))
    if units not in UNIT_RULES:
        hint = ", or CPS with allow_cps" if units == "CPS" else ""
        raise series.refusal(f"Units {units or 'absent'}", f"Units {' or '.join(UNIT_RULES)}{hint}")
    return UNIT_RULES[units](series)


def attenuation_doubts(series: PetSeries, means: str) -> list[str]:
    """Refuse values that are not corrected for attenuation; warn where the header does not quite say.

    CorrectedImage must contain ATTN. Where it is absent altogether, AttenuationCorrectionMethod vouches for
    activities; for values that were SUV already, its absence is only a warning.
    """
    words = words_of(series.header, "CorrectedImage")
    if "ATTN" in words:
        return []
    method = series.text("AttenuationCorrectionMethod")
    if words:
        raise series.refusal(f"CorrectedImage {', '.join(words)}", "ATTN among them")
    if method.upper() not in ("", "NONE"):
        return [f"CorrectedImage absent: AttenuationCorrectionMethod {method!r} taken for ATTN"]
    if means == "SUVbw":
        return ["CorrectedImage absent: whether attenuation was corrected is not known"]
    raise series.refusal("CorrectedImage absent", "ATTN among its values, or AttenuationCorrectionMethod")


def decay_doubts(series: PetSeries) -> list[str]:
    """Refuse activities whose CorrectedImage denies the decay correction; warn where the two disagree."""
    words = words_of(series.header, "CorrectedImage")
    none = series.text("DecayCorrection").upper() == "NONE"
    if none and "DECY" in words:
        return ["CorrectedImage names DECY, DecayCorrection is NONE: taken as not corrected"]
    if words and not none and "DECY" not in words:
        raise series.refusal(f"CorrectedImage {', '.join(words)}", "DECY among them")
    return []
