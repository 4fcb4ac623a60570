"""What a stored value (times its rescale slope) means: one rule per value of Units.

A rule turns values into Bq/ml or into SUVbw at once. The way from Bq/ml to SUVbw is in `suv_decay.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lesionlab.core.private_tags import PHILIPS_ACTIVITY_FACTOR, PHILIPS_SUV_FACTOR
from lesionlab.standardise.suv_header import PetSeries, number_of, words_of
from lesionlab.standardise.suv_normalisers import body_of, multiple_of_suvbw


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What each slice's values are multiplied with to be in Bq/ml, or in SUVbw."""

    rule: str
    means: Literal["Bq/ml", "SUVbw"]
    factors: tuple[float, ...]
    tags: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def activity(series: PetSeries) -> Calibrated:
    """BQML: Bq/ml as it is."""
    return Calibrated("Units BQML", "Bq/ml", (1.0,) * len(series.slices), ())


GML_TYPES: Final[Mapping[str, str]] = {
    "BW": "SUVbw",
    "LBM": "SUVlbm-morgan",
    "LBMJAMES128": "SUVlbm-james128",
    "LBMJANMA": "SUVlbm-janmahasatian",
    "IBW": "SUVibw",
}
"""SUVType under Units GML to the kind of SUV; LBM alone is the formula with 120."""


def grams_per_ml(series: PetSeries) -> Calibrated:
    """GML: an SUV of the kind that SUVType names (empty: body weight), brought to SUVbw."""
    name = series.text("SUVType").upper()
    if (name or "BW") not in GML_TYPES:
        raise series.refusal(f"SUVType {name} with Units GML", f"SUVType {', '.join(GML_TYPES)} or empty")
    kind = GML_TYPES[name or "BW"]
    tags = ("Units", "SUVType") if name else ("Units",)
    if kind == "SUVbw":
        return Calibrated("Units GML", "SUVbw", (1.0,) * len(series.slices), tags)
    return _from_kind(series, f"Units GML, SUVType {name} ({kind})", kind, tags)


def surface_per_ml(series: PetSeries) -> Calibrated:
    """CM2ML: SUV by body surface area, brought to SUVbw."""
    name = series.text("SUVType").upper()
    if name not in ("", "BSA"):
        raise series.refusal(f"SUVType {name} with Units CM2ML", "SUVType BSA or empty")
    return _from_kind(series, "Units CM2ML (SUVbsa)", "SUVbsa", ("Units", "SUVType") if name else ("Units",))


def _from_kind(series: PetSeries, rule: str, kind: str, tags: tuple[str, ...]) -> Calibrated:
    body = body_of(series)
    multiple = multiple_of_suvbw(kind, body.value)
    if not multiple > 0:
        raise series.refusal(
            f"PatientWeight and PatientSize without a {kind}", "a body that its formula is made for"
        )
    factors = (1.0 / multiple,) * len(series.slices)
    return Calibrated(rule, "SUVbw", factors, (*tags, *body.tags), body.warnings)


def philips_counts(series: PetSeries) -> Calibrated:
    """CNTS: Philips' factor to SUVbw where it is not 0, else its factor to Bq/ml; per slice."""
    meanings: tuple[tuple[str, Literal["SUVbw", "Bq/ml"]], ...] = (
        (PHILIPS_SUV_FACTOR, "SUVbw"),
        (PHILIPS_ACTIVITY_FACTOR, "Bq/ml"),
    )
    for name, means in meanings:
        found = [number_of(item.get(name)) for item in series.each()]
        factors = tuple(factor for factor in found if factor)
        if any(factor < 0 for factor in factors) or 0 < len(factors) < len(found):
            raise series.refusal(
                f"{name} in {len(factors)} of {len(found)} slices", "one above 0 in every slice"
            )
        if factors:
            return Calibrated("Units CNTS", means, factors, ("Units", name), series.unclaimed(name))
    raise series.refusal(
        "Units CNTS without Philips' factors", f"{PHILIPS_SUV_FACTOR} or {PHILIPS_ACTIVITY_FACTOR}, not 0"
    )


def counts_per_second(series: PetSeries, voxel_ml: float | None) -> Calibrated:
    """CPS, on request: calibrated by DoseCalibrationFactor, then divided by the voxel volume.

    With DCAL in CorrectedImage the calibration is done already.
    """
    if voxel_ml is None:
        raise series.refusal("no PixelSpacing and SliceThickness with Units CPS", "the voxel volume")
    tags = ["Units", "CorrectedImage"]
    factors = [1.0 / voxel_ml] * len(series.slices)
    if "DCAL" not in words_of(series.header, "CorrectedImage"):
        tags.append("DoseCalibrationFactor")
        meaning = "the calibration from counts/s (or DCAL in CorrectedImage)"
        factors = [
            factor * series.positive("DoseCalibrationFactor", meaning, item)
            for factor, item in zip(factors, series.each(), strict=True)
        ]
    warning = f"Units CPS, taken on request: divided by the voxel volume of {voxel_ml:.6g} ml"
    return Calibrated("Units CPS", "Bq/ml", tuple(factors), tuple(tags), (warning,))


def voxel_ml_of(series: PetSeries) -> float | None:
    """Voxel volume from PixelSpacing and the slices' distance or thickness; None where they are absent."""
    item = series.each()[0]
    spacing = [number_of(value) for value in item.get("PixelSpacing", ())]
    depth = number_of(item.get("SpacingBetweenSlices", item.get("SliceThickness")))
    if len(spacing) != 2 or spacing[0] is None or spacing[1] is None or depth is None:
        return None
    volume = spacing[0] * spacing[1] * depth / 1000.0
    return volume if volume > 0 else None


UNIT_RULES: Final[Mapping[str, Callable[[PetSeries], Calibrated]]] = {
    "BQML": activity,
    "GML": grams_per_ml,
    "CM2ML": surface_per_ml,
    "CNTS": philips_counts,
}
"""CPS has a rule too, but only on request."""
