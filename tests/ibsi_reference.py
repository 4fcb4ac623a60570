"""The IBSI-1 reference data sets: images, settings and published values, for tests and the conformance table.

Values and images are read from ../shared/data/ibsi1 (not part of the project); the settings below are the
standard's configurations (arXiv 1612.07003v11, section 5).
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final

import numpy as np

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import HOUNSFIELD, ONE
from lesionlab.core.volume import Volume
from lesionlab.measure.ibsi.chain import axes_of, prepare
from lesionlab.measure.ibsi.radiomics import feature_names, radiomics
from lesionlab.measure.ibsi.region import Region, tight_box
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
    "spatial",
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
    return bool(abs(np.rint(found / step) * step - value) <= tolerance + 1e-6 * step)


def last_digit(value: float) -> float:
    """A unit of the reference's last digit: the third significant one unless more are printed."""
    number = Decimal(repr(value)).normalize()
    digits, exponent = len(number.as_tuple().digits), number.adjusted()
    return float(10.0 ** (exponent - max(digits, 3) + 1))


def diagnostics(name: str) -> dict[str, float]:
    """What the standard publishes of the chain itself: grids, masks and intensities before and after."""
    image, mask = image_and_mask(name)
    chosen = settings(name)
    as_is = RadiomicsSettings()
    interpolated = chosen.model_copy(update={"keep_range": None, "outlier_sigma": None})
    axes = axes_of(image.geometry.shape, image.geometry.spacing, chosen.spacing_mm)
    old, new = image.geometry.shape, (axes[0].count, axes[1].count, axes[2].count)
    return {
        **_image("init_img", image, as_is, old),
        **_image("interp_img", image, interpolated, new),
        **_roi("init_roi", prepare(image, mask, as_is), old),
        **_roi("interp_roi", prepare(image, mask, interpolated), new),
        **_roi("reseg_roi", prepare(image, mask, chosen), new),
    }


def _image(
    stage: str, image: Volume, chosen: RadiomicsSettings, shape: tuple[int, int, int]
) -> dict[str, float]:
    whole = prepare(image, np.ones(image.array.shape, dtype=bool), chosen)
    return {
        **{f"img_dim_{a}_{stage}": float(n) for a, n in zip("zyx", shape, strict=True)},
        **{f"vox_dim_{a}_{stage}": s for a, s in zip("zyx", whole.spacing, strict=True)},
        f"mean_int_{stage}": float(whole.values.mean()),
        f"min_int_{stage}": float(whole.values.min()),
        f"max_int_{stage}": float(whole.values.max()),
    }


def _roi(stage: str, region: Region, shape: tuple[int, int, int]) -> dict[str, float]:
    found = {f"int_mask_dim_{a}_{stage}": float(n) for a, n in zip("zyx", shape, strict=True)}
    for kind, mask in (("int", region.intensity), ("morph", region.morphological)):
        for axis, box in zip("zyx", tight_box(mask), strict=True):
            found[f"{kind}_mask_bb_dim_{axis}_{stage}"] = float(box.stop - box.start)
        found[f"{kind}_mask_vox_count_{stage}"] = float(mask.sum())
    found[f"int_mask_mean_int_{stage}"] = float(region.inside.mean())
    found[f"int_mask_min_int_{stage}"] = float(region.inside.min())
    found[f"int_mask_max_int_{stage}"] = float(region.inside.max())
    return found


@dataclass(frozen=True, slots=True)
class Checked:
    """One published value beside ours; `passed` where ours lies within the tolerance."""

    tag: str
    family: str
    value: float
    tolerance: float
    found: float | None

    @property
    def passed(self) -> bool:
        return self.found is not None and agrees(self.found, self.value, self.tolerance)


def check(name: str) -> list[Checked]:
    """Every published value of one data set beside ours, None where we have no such tag."""
    chosen = settings(name)
    found, _ = radiomics(*image_and_mask(name), chosen)
    published = reference(name)
    families = {
        tag: family
        for family in FAMILIES
        for tag in feature_names(chosen.model_copy(update={"families": (family,)}))
    }
    if any(tag not in families for tag in published):
        found |= diagnostics(name)
    return [
        Checked(tag, families.get(tag, "image processing"), *published[tag], found.get(tag))
        for tag in published
    ]
