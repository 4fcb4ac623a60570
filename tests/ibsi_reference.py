"""The IBSI-1 reference data sets: images, settings and published values, for tests and the conformance table.

Values and images are read from ../shared/data/ibsi1 (not part of the project); the settings below are the
standard's configurations (arXiv 1612.07003v11, section 5).
"""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import HOUNSFIELD, ONE
from lesionlab.core.volume import Volume
from lesionlab.read.nifti import load_volume

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "ibsi1"
FILES: Final = {
    "phantom": "ibsi_1_dig_phantom.csv",
    "A": "ibsi_1_chest_config_a.csv",
    "B": "ibsi_1_chest_config_b.csv",
    "C": "ibsi_1_chest_config_c.csv",
    "D": "ibsi_1_chest_config_d.csv",
    "E": "ibsi_1_chest_config_e.csv",
}
NAMES: Final = tuple(FILES)
FAMILIES: Final = (
    "morphology",
    "local",
    "statistics",
    "histogram",
    "volume_histogram",
    "glcm",
    "glrlm",
    "glszm",
    "gldzm",
    "ngtdm",
    "ngldm",
)
SLICES: Final = ("2D_avg", "2D_comb", "2_5D_avg", "2_5D_comb")
VOLUME: Final = ("3D_avg", "3D_comb")
_SETTINGS: Final[dict[str, dict[str, object]]] = {
    # intensities 1, 3, 4, 6 are their own levels
    "phantom": {"aggregations": SLICES + VOLUME, "bin_size": 1.0, "bin_origin": 1.0},
    "A": {"aggregations": SLICES, "keep_range": (-500, 400), "bin_size": 25.0},
    "B": {
        "aggregations": SLICES,
        "spacing_mm": (0, 2, 2),
        "round_to": 1.0,
        "keep_range": (-500, 400),
        "bin_number": 32,
    },
    "C": {
        "aggregations": VOLUME,
        "spacing_mm": (2, 2, 2),
        "round_to": 1.0,
        "keep_range": (-1000, 400),
        "bin_size": 25.0,
        "volume_histogram_bin_size": 2.5,
    },
    "D": {
        "aggregations": VOLUME,
        "spacing_mm": (2, 2, 2),
        "round_to": 1.0,
        "outlier_sigma": 3.0,
        "bin_number": 32,
    },
    "E": {
        "aggregations": VOLUME,
        "spacing_mm": (2, 2, 2),
        "interpolation": "cubic",
        "round_to": 1.0,
        "keep_range": (-1000, 400),
        "outlier_sigma": 3.0,
        "bin_number": 32,
        "volume_histogram_bins": 1000,
    },
}


def settings(name: str) -> RadiomicsSettings:
    """The settings of one data set ("phantom", "A" to "E") with every family on."""
    return RadiomicsSettings.model_validate({"families": FAMILIES, **_SETTINGS[name]})


def reference(name: str) -> dict[str, tuple[float, float]]:
    """Published values: tag to (value, tolerance); tags without consensus are left out."""
    with (DATA / "reference_values" / FILES[name]).open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {
        row["tag"]: (float(row["reference value"]), float(row["tolerance"]))
        for row in rows
        if row["reference value"]
    }


def tags(name: str) -> tuple[str, ...]:
    """All tags of a data set, those without consensus among them."""
    with (DATA / "reference_values" / FILES[name]).open(newline="") as file:
        return tuple(row["tag"] for row in csv.DictReader(file, delimiter=";"))


def image_and_mask(name: str) -> tuple[Volume, np.ndarray]:
    """The image and the boolean mask (z, y, x) of one data set."""
    folder = DATA / ("digital_phantom" if name == "phantom" else "ct_phantom")
    unit = ONE if name == "phantom" else HOUNSFIELD
    image = load_volume(folder / "image" / "phantom.nii.gz")
    mask = load_volume(folder / "mask" / "mask.nii.gz")
    return image.with_array(image.array, unit), mask.array > 0


def agrees(found: float, value: float, tolerance: float) -> bool:
    """True where a value, rounded to the digits of the reference, lies within its tolerance."""
    step = last_digit(value)
    return bool(abs(round(found / step) * step - value) <= tolerance + 1e-6 * step)


def last_digit(value: float) -> float:
    """A unit of the reference's last digit: the third significant one unless more are printed."""
    number = Decimal(repr(value)).normalize()
    digits, exponent = len(number.as_tuple().digits), number.adjusted()
    return float(10.0 ** (exponent - max(digits, 3) + 1))
