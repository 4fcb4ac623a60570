"""A PET series to SUV, with the audit of how: the whole of `lesionlab suv`.

Only joins reading, conversion and writing; the rules are in `standardise/suv*.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlab.core.recipe import SuvSettings
from lesionlab.core.suv import SuvAudit
from lesionlab.core.volume import Volume
from lesionlab.read import open_pet
from lesionlab.report import require_volume_name, save_volume
from lesionlab.standardise import suv_volume


@dataclass(frozen=True, eq=False)
class SuvResult:
    """One PET series as SUV of one kind, and how it came about."""

    case_id: str
    kind: str
    volume: Volume
    audit: SuvAudit

    def record(self) -> dict[str, Any]:
        """The result without its voxels, as plain data for JSON."""
        return {
            "case_id": self.case_id,
            "kind": self.kind,
            "unit": self.volume.unit,
            "maximum": float(self.volume.array.max()),
            **self.audit.record(),
        }


def suv_of(source: str | Path, kind: str = "SUVbw", settings: SuvSettings | None = None) -> SuvResult:
    """The PET series of one patient as SUV of a kind of `core.suv.SUV_KINDS`.

    Other channels and contours beside it are not looked at. Raises ReadError for a source without a PET
    series in DICOM, SuvError, naming the attribute, for a header that has no rule.
    """
    case = open_pet(source)
    volume, audit = suv_volume(case, kind, settings or SuvSettings())
    return SuvResult(case.id, kind, volume, audit)


def suv_file(
    source: str | Path, out: Path, kind: str = "SUVbw", settings: SuvSettings | None = None
) -> SuvResult:
    """The same, with the volume written to a file (NIfTI, or what its suffix says). WriteError as writing."""
    require_volume_name(out)
    result = suv_of(source, kind, settings)
    save_volume(result.volume, out)
    return result
