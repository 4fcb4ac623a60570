"""From files to a `Case`: DICOM, NIfTI and kin, arrays, stacks, pictures, and masks in any of these."""

from __future__ import annotations

from lesionlab.read.case import OBSERVERS, open_case
from lesionlab.read.cohort import find_cases
from lesionlab.read.masks import load_mask
from lesionlab.read.nifti import load_volume
from lesionlab.read.pet import open_pet

__all__ = ["OBSERVERS", "find_cases", "load_mask", "load_volume", "open_case", "open_pet"]
