"""Names under which private DICOM attributes appear in `ChannelFacts`, which has only keywords.

Written by `read/`, understood by `standardise/`; the private creator is part of the name because the tag
alone means nothing.
"""

from __future__ import annotations

from typing import Final

GE_DECAY_DATETIME: Final = "GEMS_PETD_01 (0009,xx0D)"
"""When GE's activities are decay-corrected to."""
GE_ADMIN_DATETIME: Final = "GEMS_PETD_01 (0009,xx3B)"
"""When GE says that the tracer was given."""
PHILIPS_SUV_FACTOR: Final = "Philips PET Private Group (7053,xx00)"
PHILIPS_ACTIVITY_FACTOR: Final = "Philips PET Private Group (7053,xx09)"

PRIVATE_TAGS: Final = {
    GE_DECAY_DATETIME: ("GEMS_PETD_01", 0x0009, 0x0D),
    GE_ADMIN_DATETIME: ("GEMS_PETD_01", 0x0009, 0x3B),
    PHILIPS_SUV_FACTOR: ("Philips PET Private Group", 0x7053, 0x00),
    PHILIPS_ACTIVITY_FACTOR: ("Philips PET Private Group", 0x7053, 0x09),
}
"""Name to (private creator, group, element offset)."""

VENDORS: Final = {0x0009: "GE", 0x7053: "PHILIPS"}
"""Group to the start of the Manufacturer whose files may carry its attributes without the creator."""

WITHOUT_CREATOR: Final = "PrivateAttributesWithoutCreator"
"""Key of the names found at their usual place (block 0x10) in a group that no creator has reserved."""
