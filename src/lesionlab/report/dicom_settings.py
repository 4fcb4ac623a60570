"""What may be chosen about DICOM results, and what they tell of a correction.

Loads without pydicom, because every command that can write DICOM knows these settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

KINDS: Final = ("seg", "labelmap", "probability", "sr", "rtstruct", "sc")
"""What can be written: three segmentations, structured report, contours, secondary capture."""
Kind = Literal["seg", "labelmap", "probability", "sr", "rtstruct", "sc"]
SERIES_NUMBERS: Final = {
    "seg": 9101,
    "labelmap": 9102,
    "probability": 9103,
    "sr": 9104,
    "rtstruct": 9105,
    "sc": 9106,
}
CORRECTED_SERIES: Final = 100
LONGEST_LO: Final = 64
"""Letters of DICOM's VR LO (PS3.5)."""


@dataclass(frozen=True)
class Correction:
    """What is known of a mask that somebody corrected: by whom, and what its lesions were before.

    `person` is a DICOM person name, "" where nobody is named. By a lesion's number, `tracking` holds the
    tracking UID that it had (lesions that are new have none here), `methods` how its voxels came about
    (AUTOMATIC, SEMIAUTOMATIC, MANUAL).
    """

    person: str = ""
    tracking: Mapping[int, str] = field(default_factory=dict)
    methods: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DicomSettings:
    """What may be chosen about DICOM results.

    `finding` is a name of `dicom_codes.FINDINGS`; `region` one of `dicom_codes.REGIONS`, by default what the
    source's BodyPartExamined says. Without lesions there is no segmentation unless `empty_segmentation`.
    `pseudonym` de-identifies: it becomes the patient's name and id; UIDs are replaced unless `keep_uids`.
    With a `correction` the objects say that they are one.
    """

    kinds: tuple[Kind, ...] = ("seg", "sr")
    finding: str = "neoplasm"
    region: str = ""
    empty_segmentation: bool = False
    pseudonym: str = ""
    keep_uids: bool = False
    correction: Correction | None = None

    def series_words(self, what: str) -> str:
        """The description of a series, at most 64 letters."""
        if self.correction is None:
            return f"LesionLab {what}: research only"
        by = f" by {self.correction.person}" if self.correction.person else ""
        return f"LesionLab {what}, corrected{by}"[:LONGEST_LO]

    def series_number(self, kind: str) -> int:
        """The number of the series of a kind; corrections count on behind the results that they correct."""
        return SERIES_NUMBERS[kind] + (0 if self.correction is None else CORRECTED_SERIES)
