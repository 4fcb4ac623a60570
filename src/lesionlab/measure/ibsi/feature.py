"""The shape of a catalogue entry of the image biomarker standard; the entries stand with their family.

Names are the tags of the standard's published reference values (`stat_mean`, `cm_joint_max`); texture
families append how matrices were aggregated (`cm_joint_max_3D_avg`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from lesionlab.core.units import ONE

INTENSITY: Final = "[intensity]"
"""Stands for the unit of the image that is measured."""
INTENSITY_SQUARED: Final = "[intensity]2"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: tag, the standard's 4-character code, UCUM unit, and its formula in one line."""

    name: str
    code: str
    unit: str
    formula: str


def unit_of(feature: Feature, image_unit: str) -> str:
    """The feature's unit for an image of this unit (both UCUM): g/ml becomes g2/ml2 where it is squared."""
    squared = feature.unit.replace(INTENSITY_SQUARED, _squared(image_unit))
    unit = squared.replace(INTENSITY, image_unit)
    return unit.removeprefix("1.") or ONE


def _squared(unit: str) -> str:
    """A UCUM unit squared: every exponent doubled, annotations in braces left alone."""
    pattern = r"\{[^}]*\}|(10\*|[A-Za-z\[%][^./{}\d+-]*)([+-]?\d+)?"
    return re.sub(pattern, lambda m: f"{m[1]}{2 * int(m[2] or 1)}" if m[1] else m[0], unit)
