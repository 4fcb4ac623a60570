"""From files to a `Case`: DICOM, NIfTI and kin, arrays, stacks, pictures, and masks in any of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlab.core.lazy import on_first_use

if TYPE_CHECKING:
    from lesionlab.read.case import OBSERVERS, open_case
    from lesionlab.read.cohort import find_cases, is_dicom_scan
    from lesionlab.read.masks import load_mask
    from lesionlab.read.nifti import load_volume
    from lesionlab.read.pet import open_pet

__all__ = ["OBSERVERS", "find_cases", "is_dicom_scan", "load_mask", "load_volume", "open_case", "open_pet"]

_HOMES = {
    "OBSERVERS": "lesionlab.read.case",
    "find_cases": "lesionlab.read.cohort",
    "is_dicom_scan": "lesionlab.read.cohort",
    "load_mask": "lesionlab.read.masks",
    "load_volume": "lesionlab.read.nifti",
    "open_case": "lesionlab.read.case",
    "open_pet": "lesionlab.read.pet",
}
__getattr__ = on_first_use(__name__, _HOMES)
