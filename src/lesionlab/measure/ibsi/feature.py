"""The shape of a catalogue entry of the image biomarker standard; the entries stand with their family.

Names are the tags of the standard's published reference values (`stat_mean`, `cm_joint_max`); texture
families append how matrices were aggregated (`cm_joint_max_3D_avg`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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
