"""Half-lives of the radionuclides of PET, by DICOM code or name.

A literal table and the look-up; when a half-life is looked up belongs to `suv_header.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MINUTE: Final = 60.0
HOUR: Final = 3600.0
DAY: Final = 86400.0

HALF_LIVES_S: Final[Mapping[str, float]] = {
    "C-11": 20.361 * MINUTE,
    "N-13": 9.967 * MINUTE,
    "O-15": 122.27,
    "F-18": 6586.2,
    "Na-22": 2.6029 * 365.2422 * DAY,
    "K-38": 7.651 * MINUTE,
    "Sc-43": 3.891 * HOUR,
    "Sc-44": 4.042 * HOUR,
    "Ti-45": 3.083 * HOUR,
    "Mn-51": 46.2 * MINUTE,
    "Mn-52": 5.591 * DAY,
    "Fe-52": 8.275 * HOUR,
    "Cu-60": 23.7 * MINUTE,
    "Cu-61": 3.339 * HOUR,
    "Cu-62": 9.672 * MINUTE,
    "Cu-64": 12.7004 * HOUR,
    "Ga-66": 9.304 * HOUR,
    "Ga-68": 67.71 * MINUTE,
    "Ge-68": 270.93 * DAY,
    "Br-75": 96.7 * MINUTE,
    "Br-76": 16.2 * HOUR,
    "Rb-82": 75.45,
    "Y-86": 14.74 * HOUR,
    "Y-90": 64.05 * HOUR,
    "Zr-89": 78.42 * HOUR,
    "I-124": 4.176 * DAY,
    "Tb-152": 17.5 * HOUR,
}
"""Evaluated nuclear structure data (ENSDF, NuDat); F-18 as PET scanners state it (109.77 min)."""

CODES: Final[Mapping[str, str]] = {
    "C-105A1": "C-11",
    "40565003": "C-11",
    "C-107A1": "N-13",
    "21576001": "N-13",
    "C-B1038": "O-15",
    "129504001": "O-15",
    "C-111A1": "F-18",
    "77004003": "F-18",
    "C-155A1": "Na-22",
    "71633006": "Na-22",
    "C-135A4": "K-38",
    "423764008": "K-38",
    "126605": "Sc-43",
    "126600": "Sc-44",
    "C-166A2": "Ti-45",
    "75696008": "Ti-45",
    "126601": "Mn-51",
    "C-149A1": "Mn-52",
    "37225000": "Mn-52",
    "C-130A1": "Fe-52",
    "69089000": "Fe-52",
    "C-127A4": "Cu-60",
    "425364008": "Cu-60",
    "C-127A1": "Cu-61",
    "71425003": "Cu-61",
    "C-127A5": "Cu-62",
    "422934004": "Cu-62",
    "C-127A2": "Cu-64",
    "3932008": "Cu-64",
    "C-131A1": "Ga-66",
    "79477007": "Ga-66",
    "C-131A3": "Ga-68",
    "35337001": "Ga-68",
    "C-128A2": "Ge-68",
    "53315004": "Ge-68",
    "C-113A1": "Br-75",
    "17910003": "Br-75",
    "C-113A2": "Br-76",
    "79523006": "Br-76",
    "C-159A2": "Rb-82",
    "79197006": "Rb-82",
    "C-162A3": "Y-86",
    "10738001": "Y-86",
    "C-162A7": "Y-90",
    "14691008": "Y-90",
    "C-168A4": "Zr-89",
    "63360001": "Zr-89",
    "C-114A5": "I-124",
    "40937006": "I-124",
    "126606": "Tb-152",
}
"""DICOM CID 4020 (PET radionuclides): SNOMED-RT, SNOMED-CT and DCM code values to the nuclide."""

ELEMENTS: Final[Mapping[str, str]] = {
    "CARBON": "C",
    "NITROGEN": "N",
    "OXYGEN": "O",
    "FLUORINE": "F",
    "FLUOR": "F",
    "SODIUM": "Na",
    "POTASSIUM": "K",
    "SCANDIUM": "Sc",
    "TITANIUM": "Ti",
    "MANGANESE": "Mn",
    "IRON": "Fe",
    "COPPER": "Cu",
    "GALLIUM": "Ga",
    "GERMANIUM": "Ge",
    "BROMINE": "Br",
    "RUBIDIUM": "Rb",
    "YTTRIUM": "Y",
    "ZIRCONIUM": "Zr",
    "IODINE": "I",
    "TERBIUM": "Tb",
} | {name.partition("-")[0].upper(): name.partition("-")[0] for name in HALF_LIVES_S}

_WORDS: Final = "|".join(sorted(ELEMENTS, key=len, reverse=True))
_NAMED: Final = (
    re.compile(rf"(?<![A-Z])(?P<element>{_WORDS})[\s\-^\[(]*(?P<mass>\d{{2,3}})(?![\dM])"),
    re.compile(rf"(?<!\d)(?P<mass>\d{{2,3}})[\s\-^\])]*(?P<element>{_WORDS})(?![A-Z])"),
)
_GLUCOSE: Final = re.compile(r"(?<![A-Z])FDG(?![A-Z])|FLUORODEOXYGLUCOSE")


@dataclass(frozen=True, slots=True)
class Nuclide:
    """A radionuclide, its half-life, the attribute that names it, and a doubt about that ("" if none)."""

    name: str
    half_life_s: float
    tag: str
    doubt: str = ""


def nuclide_of(header: Mapping[str, Any]) -> Nuclide | None:
    """The nuclide that a PET header names; None when it names none that is known.

    In order: what RadionuclideCodeSequence means in words, its code (words first, because a code of
    another nuclide beside the right words has been seen in the wild), the name of the tracer.
    """
    value = str(header.get("RadionuclideCode", "")).strip()
    meaning, code = named_in(str(header.get("RadionuclideCodeMeaning", ""))), CODES.get(value)
    tracer = str(header.get("Radiopharmaceutical", ""))
    for name, tag in (
        (meaning, "RadionuclideCodeSequence"),
        (code, "RadionuclideCodeSequence"),
        (named_in(tracer), "Radiopharmaceutical"),
        ("F-18" if _GLUCOSE.search(tracer.upper()) else None, "Radiopharmaceutical"),
    ):
        if name is not None:
            contradicted = meaning is not None and code is not None and meaning != code
            doubt = f"the words mean {meaning}, the code {value} {code}" if contradicted else ""
            return Nuclide(name, HALF_LIVES_S[name], tag, doubt)
    return None


def named_in(text: str) -> str | None:
    """The one known nuclide that a text names ("^18^Fluorine", "F-18", "18F", "Ga68-PSMA"); else None."""
    found = set()
    for pattern in _NAMED:
        for match in pattern.finditer(text.upper()):
            name = f"{ELEMENTS[match['element']]}-{match['mass']}"
            if name in HALF_LIVES_S:
                found.add(name)
    return found.pop() if len(found) == 1 else None
