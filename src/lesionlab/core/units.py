"""Units as UCUM codes, and the names under which columns and volumes state them.

Only strings: no arithmetic and no conversion belongs here.
"""

from __future__ import annotations

from typing import Final

SUVBW: Final = "g/ml{SUVbw}"
ACTIVITY: Final = "Bq/ml"
HOUNSFIELD: Final = "[hnsf'U]"
ONE: Final = "1"
MILLIMETRE: Final = "mm"
MILLILITRE: Final = "ml"
GRAM: Final = "g"
"""Total lesion glycolysis, SUVbw x ml = g (DICOM CID 7471 uses g as its unit)."""
STORED: Final = "{stored}"
"""Arbitrary stored values: ultrasound grey levels, MR signal, unscaled PET."""
PERCENT: Final = "%"
SECOND: Final = "s"
SQUARE_MILLIMETRE: Final = "mm2"
PIXELS: Final = "{pixels}"
"""Lengths and areas on an image whose pixel spacing is not known."""
