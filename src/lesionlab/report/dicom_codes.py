"""The codes that our DICOM objects speak in, as literal tables: findings, body regions, quantities, units.

DCM and SCT are DICOM's schemes (PS3.16), IBSI the image biomarker standard's, UCUM the units'; what no scheme
defines as we do has a code of our own under `OWN`. Which object holds what is decided in `dicom_*.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pydicom.sr.coding import Code

from lesionlab.core import units
from lesionlab.core.results import Column

OWN: Final = "99LESIONLAB"
"""Our private coding scheme; the SR states its name."""
LONGEST_MEANING: Final = 64

FINDINGS: Final = {
    "neoplasm": Code("108369006", "SCT", "Neoplasm"),
    "primary": Code("372087000", "SCT", "Neoplasm, Primary"),
    "secondary": Code("14799000", "SCT", "Neoplasm, Secondary"),
    "lesion": Code("52988006", "SCT", "Lesion"),
}
"""What a segment is called; nothing that we compute tells a primary tumour from a metastasis."""
ABNORMAL: Final = Code("49755003", "SCT", "Morphologically Abnormal Structure")

REGIONS: Final = {
    "ABDOMEN": Code("818981001", "SCT", "Abdomen"),
    "BRAIN": Code("12738006", "SCT", "Brain"),
    "BREAST": Code("76752008", "SCT", "Breast"),
    "CHEST": Code("816094009", "SCT", "Chest"),
    "HEAD": Code("69536005", "SCT", "Head"),
    "LIVER": Code("10200004", "SCT", "Liver"),
    "LUNG": Code("39607008", "SCT", "Lung"),
    "NECK": Code("45048000", "SCT", "Neck"),
    "PELVIS": Code("816092008", "SCT", "Pelvis"),
    "WHOLEBODY": Code("38266002", "SCT", "Entire body"),
}
"""Body regions by DICOM's BodyPartExamined; any other value gives no region."""

COLOURS: Final = (
    *((230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180)),
    *((70, 240, 240), (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (170, 110, 40)),
)
"""Red, green, blue of the lesions in turn, in every object that we write."""

MAXIMUM: Final = Code("56851009", "SCT", "Maximum")
MEAN: Final = Code("373098007", "SCT", "Mean")
TOTAL: Final = Code("255619001", "SCT", "Total")
PEAK: Final = Code("126031", "DCM", "Peak Value Within ROI")
SUV: Final = Code("126401", "DCM", "SUVbw")
METABOLIC_VOLUME: Final = Code("126032", "DCM", "Metabolic Volume")
GLYCOLYSIS: Final = Code("126033", "DCM", "Total Lesion Glycolysis")
VOXEL_SUM: Final = Code("126030", "DCM", "Sum of segmented voxel method for volume")
DIAMETER: Final = Code("81827009", "SCT", "Diameter")
SUV_METHOD: Final = Code("126410", "DCM", "SUV body weight calculation method")
YES: Final = Code("373066001", "SCT", "Yes")
NO: Final = Code("373067005", "SCT", "No")
LESION_FOUND: Final = Code("lesion-found", OWN, "Lesion found by the method")
COMMENT: Final = Code("121106", "DCM", "Comment")
IN_SPACE: Final = Code("voxels-3d", OWN, "Between voxel centres of the whole lesion")
IN_SLICE: Final = Code("voxels-in-slice", OWN, "Between voxel centres in one slice of the grid")
PEAK_METHOD: Final = Code("peak-sphere", OWN, "Sphere of fixed volume, voxels weighed by share")


@dataclass(frozen=True)
class Quantity:
    """What a column is in a structured report: its concept, and how it was derived and measured."""

    name: Code
    derivation: Code | None = None
    method: Code | None = None


QUANTITIES: Final = {
    "SUVmax": Quantity(SUV, MAXIMUM, SUV_METHOD),
    "SUVmean": Quantity(SUV, MEAN, SUV_METHOD),
    "SUVpeak": Quantity(SUV, PEAK, PEAK_METHOD),
    "MTV": Quantity(METABOLIC_VOLUME, None, VOXEL_SUM),
    "TMTV": Quantity(METABOLIC_VOLUME, TOTAL, VOXEL_SUM),
    "diameter_3d": Quantity(DIAMETER, MAXIMUM, IN_SPACE),
    "diameter_in_slice": Quantity(Code("103339001", "SCT", "Long axis"), None, IN_SLICE),
    "width_in_slice": Quantity(Code("103340004", "SCT", "Short axis"), None, IN_SLICE),
}
"""Columns whose meaning in DICOM is more than their own code; `TLG` depends on the table, see `quantity`."""

AGGREGATIONS: Final = {
    "_2D_avg": "Texture by slice and direction, averaged",
    "_2D_comb": "Texture by slice, directions merged, averaged",
    "_2_5D_avg": "Texture by direction, slices merged, averaged",
    "_2_5D_comb": "Texture in slices, all merged",
    "_3D_avg": "Texture in 3D by direction, averaged",
    "_3D_comb": "Texture in 3D, directions merged",
    "_2_5D": "Texture in slices, merged",
    "_2D": "Texture by slice, averaged",
    "_3D": "Texture in 3D",
}
"""How texture matrices were aggregated, by the ending of a feature's name (the first that fits)."""

MEANINGS: Final = {
    "IBSI:84IY": "Maximum intensity",
    "IBSI:Q4LE": "Mean intensity",
    "DCM:113069": "Time To Peak",
    "SCT:42798000": "Area",
}
"""Meanings of codes in our tables that pydicom lists under no scheme or under several names."""

UNIT_WORDS: Final = {
    units.SUVBW: "Standardized Uptake Value body weight",
    units.ONE: "no units",
    units.HOUNSFIELD: "Hounsfield unit",
    units.STORED: "stored value",
    units.PIXELS: "pixels",
}


PLAIN: Final = str.maketrans({"−": "-", "–": "-", "×": "x", "²": "2", "³": "3", "µ": "u", "·": ","})


def quantity(column: Column, *, total: bool = False) -> Quantity:
    """The concept of a column of the lesion table, or of the patient's totals.

    Columns with a code of DICOM, SNOMED or the image biomarker standard take it, with the aggregation of
    textures as method; all others a code of our own, their name.
    """
    if column.name == "TLG":
        return Quantity(GLYCOLYSIS, TOTAL if total else None)
    known = QUANTITIES.get(column.name)
    if known is not None:
        return known
    scheme, _, value = column.code.partition(":")
    if not value:
        return Quantity(own(column.name, column.meaning))
    method = None
    if scheme == "IBSI":
        ending = next((e for e in AGGREGATIONS if column.name.endswith(e)), "")
        method = own(f"texture{ending}", AGGREGATIONS[ending]) if ending else None
    if column.name == "volume":
        method = VOXEL_SUM
    return Quantity(Code(value, scheme, meaning_of(scheme, value) or column.name), None, method)


def colour_of(number: int) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a lesion."""
    return COLOURS[(number - 1) % len(COLOURS)]


def own(value: str, meaning: str) -> Code:
    """A code of our own scheme."""
    return Code(value, OWN, short(meaning) or value)


def unit(column: Column) -> Code:
    """A column's unit as a UCUM code."""
    return Code(column.unit, "UCUM", short(UNIT_WORDS.get(column.unit, column.unit)))


def short(text: str) -> str:
    """Text fit for a code's meaning: ASCII, at most 64 characters, cut at a word."""
    text = plain_ascii(text)
    if len(text) <= LONGEST_MEANING:
        return text
    return text[: LONGEST_MEANING + 1].rsplit(" ", 1)[0][:LONGEST_MEANING].rstrip(" ,;:")


def plain_ascii(text: str) -> str:
    """Text that every character set of DICOM holds; what it cannot say becomes a question mark."""
    return text.translate(PLAIN).encode("ascii", "replace").decode("ascii")


def meaning_of(scheme: str, value: str) -> str:
    """The standard's own words for a code; empty for one that is not known here."""
    return MEANINGS.get(f"{scheme}:{value}") or (short(_ibsi().get(value, "")) if scheme == "IBSI" else "")


@lru_cache(maxsize=1)
def _ibsi() -> dict[str, str]:
    from pydicom.sr.codedict import codes  # a table of thousands, wanted only by reports with radiomics

    found = [getattr(codes.IBSI, name) for name in dir(codes.IBSI)]
    return {code.value: code.meaning for code in found if isinstance(code, Code)}
