"""A PET header with a round answer, for tests of SUV rules: SUVbw = Bq/ml x 80 kg over half of 400 MBq."""

from __future__ import annotations

from typing import Any

from lesionlab.core.recipe import SuvSettings
from lesionlab.standardise import SuvAudit, suv_audit
from lesionlab.standardise.suv_header import PetSeries

HALF_LIFE = 6000.0
HEADER: dict[str, Any] = {
    "Modality": "PT",
    "Units": "BQML",
    "DecayCorrection": "START",
    "CorrectedImage": ("DECY", "ATTN", "SCAT"),
    "PatientWeight": 80.0,
    "PatientSize": 1.80,
    "PatientSex": "M",
    "RadionuclideTotalDose": 4e8,
    "RadionuclideHalfLife": HALF_LIFE,
    "RadiopharmaceuticalStartDateTime": "20240301090000.00",
    "SeriesDate": "20240301",
    "SeriesTime": "104000",
    "AcquisitionDate": "20240301",
    "AcquisitionTime": "104000.000",
}
"""Given at 09:00, scanned at 10:40: exactly one half-life of 6000 s later."""
WHOLE_DOSE = 80000.0 / 4e8
ONE_HALF_LIFE = 80000.0 / 2e8


def header(without: tuple[str, ...] = (), **changes: Any) -> dict[str, Any]:
    """The header with changes, some attributes left out."""
    return {key: value for key, value in (HEADER | changes).items() if key not in without}


def series(
    slices: list[dict[str, Any]] | None = None, *, without: tuple[str, ...] = (), **changes: Any
) -> PetSeries:
    """The header as a series of three slices, or of the given ones."""
    return PetSeries("P1", header(without, **changes), [{}] * 3 if slices is None else slices)


def audit(
    slices: list[dict[str, Any]] | None = None,
    *,
    without: tuple[str, ...] = (),
    settings: SuvSettings | None = None,
    **changes: Any,
) -> SuvAudit:
    """The audit of that series."""
    item = series(slices, without=without, **changes)
    return suv_audit(item.subject, item.header, item.slices, settings or SuvSettings())


def at(time: str, reference_ms: float, duration_ms: float = 120000.0) -> dict[str, Any]:
    """A slice acquired at a time, with its frame."""
    return {"AcquisitionTime": time, "FrameReferenceTime": reference_ms, "ActualFrameDuration": duration_ms}
