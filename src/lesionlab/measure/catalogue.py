"""What is measured: every column with its unit, its meaning and its code, as literal tables.

Only names and definitions. How a value is computed stands in the module that the meaning belongs to:
`uptake` (intensities), `shape` (diameters, centroid), `spread` (distances between lesions).

Codes are given where our definition is the coded one: DCM and SCT are DICOM's coding schemes, IBSI the
image biomarker standardisation initiative's. A diameter between voxel centres is none of IBSI's.
"""

from __future__ import annotations

from dataclasses import replace
from math import pi
from typing import Final

from lesionlab.core import units
from lesionlab.core.results import Column

IDENTITY: Final = (
    Column("lesion", units.ONE, "number of the lesion in `labels`, 1 = the largest"),
    Column("label", units.ONE, "label of the lesion in the mask"),
    Column("voxels", units.ONE, "voxels in the lesion"),
)

SUV_UPTAKE: Final = (
    Column("SUVmax", units.SUVBW, "highest SUVbw of a voxel in the lesion", "IBSI:84IY"),
    Column("SUVmean", units.SUVBW, "mean SUVbw over the lesion's voxels", "IBSI:Q4LE"),
    Column("SUVpeak", units.SUVBW, "", "DCM:126031"),
    Column("MTV", units.MILLILITRE, "metabolic tumour volume: voxels x voxel volume", "DCM:126032"),
    Column("TLG", units.GRAM, "total lesion glycolysis: MTV x SUVmean", "DCM:126033"),
)
PEAK_MEANING: Final = (
    "{which} mean SUVbw in a sphere of {ml:g} ml (r = {radius:.1f} mm) centred on {centre}; "
    "voxels weigh by their share in the sphere, also those outside the lesion"
)
PEAK_CENTRES: Final = {
    "any_voxel": ("highest", "any voxel of the lesion"),
    "hottest_voxel": ("", "the lesion's hottest voxel (of several the one with the highest mean)"),
}

GENERAL_INTENSITY: Final = (
    Column("max", "", "highest value of a voxel in the lesion", "IBSI:84IY"),
    Column("mean", "", "mean value over the lesion's voxels", "IBSI:Q4LE"),
    Column("volume", units.MILLILITRE, "voxels x voxel volume", "IBSI:YEKZ"),
)

SHAPE: Final = (
    Column("diameter_3d", units.MILLIMETRE, "largest distance between two voxel centres of the lesion"),
    Column(
        "diameter_in_slice",
        units.MILLIMETRE,
        "largest distance between two voxel centres of the lesion in one slice (z) of the grid",
        "SCT:103339001",
    ),
    Column(
        "width_in_slice",
        units.MILLIMETRE,
        "extent of the voxel centres of that slice at right angles to its longest diameter",
        "SCT:103340004",
    ),
    Column("x", units.MILLIMETRE, "centroid of the voxel centres, LPS x (to the patient's left)"),
    Column("y", units.MILLIMETRE, "centroid of the voxel centres, LPS y (to the back)"),
    Column("z", units.MILLIMETRE, "centroid of the voxel centres, LPS z (to the head)"),
    Column("touches_border", units.ONE, "1 where the lesion reaches the border of the image, else 0"),
)

SUV_TOTALS: Final = (
    Column("lesions", units.ONE, "number of lesions"),
    Column("TMTV", units.MILLILITRE, "total metabolic tumour volume: sum of MTV over the lesions"),
    Column("TLG", units.GRAM, "sum of TLG over the lesions"),
    Column("SUVmax", units.SUVBW, "highest SUVmax of the lesions"),
    Column("Dmax", units.MILLIMETRE, "largest distance between two lesion centroids"),
    Column("Dmax_edge", units.MILLIMETRE, "largest distance between two voxel centres of different lesions"),
)

GENERAL_TOTALS: Final = (
    Column("lesions", units.ONE, "number of lesions"),
    Column("volume", units.MILLILITRE, "sum of volume over the lesions"),
    Column("max", "", "highest max of the lesions"),
    Column("Dmax", units.MILLIMETRE, "largest distance between two lesion centroids"),
    Column("Dmax_edge", units.MILLIMETRE, "largest distance between two voxel centres of different lesions"),
)


def peak_radius_mm(peak_ml: float) -> float:
    """Radius in mm of a sphere of `peak_ml`; 6.2 mm for 1 ml."""
    return float((3000.0 * peak_ml / (4.0 * pi)) ** (1.0 / 3.0))


def lesion_columns(unit: str, peak_ml: float, peak_centre: str = "any_voxel") -> tuple[Column, ...]:
    """The columns of a lesion table for a channel of this unit: SUV names only where the unit is SUVbw."""
    if unit == units.SUVBW:
        which, centre = PEAK_CENTRES[peak_centre]
        radius = peak_radius_mm(peak_ml)
        meaning = PEAK_MEANING.format(which=which, ml=peak_ml, radius=radius, centre=centre).strip()
        uptake = tuple(replace(c, meaning=meaning) if c.name == "SUVpeak" else c for c in SUV_UPTAKE)
        return IDENTITY + uptake + SHAPE
    return IDENTITY + _in_unit(GENERAL_INTENSITY, unit) + SHAPE


def total_columns(unit: str) -> tuple[Column, ...]:
    """The patient totals for a channel of this unit."""
    return SUV_TOTALS if unit == units.SUVBW else _in_unit(GENERAL_TOTALS, unit)


def _in_unit(columns: tuple[Column, ...], unit: str) -> tuple[Column, ...]:
    return tuple(replace(c, unit=c.unit or unit) for c in columns)
