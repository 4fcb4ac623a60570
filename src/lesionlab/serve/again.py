"""Whether an instance that came again says something else than the one that is kept.

A PACS that puts a patient's data right, and a scanner that sends again what was cut short, use the same UIDs.
A study that is only passed on again is no news, though every station may leave its traces in the headers.
"""

from __future__ import annotations

from collections.abc import Collection
from io import BytesIO
from typing import Any

import pydicom
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

TRACES = frozenset(
    Tag(keyword)
    for keyword in (
        *("SpecificCharacterSet", "InstanceCoercionDateTime", "RetrieveAETitle", "InstanceAvailability"),
        *("ContributingEquipmentSequence", "OriginalAttributesSequence", "DigitalSignaturesSequence"),
        "DataSetTrailingPadding",
    )
)
"""What stations write on the way, beside private attributes. Of a character set the text is compared."""
PLAIN = frozenset((ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian))
PIXELS = 0x7FE0


def says_the_same(kept: bytes, came: bytes) -> bool:
    """True for two files of one instance that differ in traces of their way alone; False for no DICOM files.

    Pixels are compared as they are encoded, and not where one file is compressed in another way.
    """
    try:
        one, other = (pydicom.dcmread(BytesIO(content)) for content in (kept, came))
        syntaxes = {one.file_meta.TransferSyntaxUID, other.file_meta.TransferSyntaxUID}
        left_out = () if len(syntaxes) == 1 or syntaxes <= PLAIN else (PIXELS,)
        return _values(one, left_out) == _values(other, left_out)
    except Exception:
        # a header from elsewhere can break a decoder in more ways than can be listed
        return False


def _values(dataset: pydicom.Dataset, left_out: Collection[int]) -> dict[int, Any]:
    """Values by their tags, without traces and the groups `left_out`."""
    standard = [item for item in dataset if not item.tag.is_private and item.tag.element != 0]
    counted = [item for item in standard if item.tag not in TRACES and item.tag.group not in left_out]
    return {int(item.tag): item.value for item in counted}
