"""A case: one patient at one timepoint, with its channels, its truth and what the scanner said.

Facts are plain values keyed by DICOM keyword, so that stages after `read/` need no DICOM library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

from lesionlab.core.errors import DatasetError
from lesionlab.core.suv import SuvAudit
from lesionlab.core.volume import Geometry, Volume

SPACING_UNKNOWN: Final = "pixel spacing unknown"
"""Part of the note that marks an image without pixel spacing, whose pixels then count as 1 mm."""


def spacing_words(unknown: int, cases: int) -> str:
    """What a table of many cases says where the pixel spacing of some is unknown; "" where it never is."""
    if not unknown:
        return ""
    which = f"in {'all' if unknown == cases else f'{unknown} of'} {cases} cases"
    return f"{SPACING_UNKNOWN} {which}: 1 mm was assumed, so mm and ml mean pixels there"


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """What is known about the files behind one channel.

    `header` holds series-wide DICOM attributes by keyword (nested sequences flattened to the keyword of
    the inner attribute, e.g. RadionuclideTotalDose; dates and times as DICOM strings, numbers as
    float); `slices` holds the attributes that differ by slice, one mapping per array z index.
    Both are empty for files that are not DICOM. `sha256` identifies the input files' content. `suv` tells
    how a PET channel's values became SUVbw; None before that, and for files that held SUV already.
    """

    modality: str = ""
    files: tuple[str, ...] = ()
    sha256: str = ""
    header: Mapping[str, Any] = field(default_factory=dict)
    slices: tuple[Mapping[str, Any], ...] = ()
    suv: SuvAudit | None = None


@dataclass(frozen=True, slots=True)
class AcquisitionFacts:
    """Facts per channel, and notes (repairs, assumptions, conversions) in reading order."""

    channels: Mapping[str, ChannelFacts] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def with_notes(self, *notes: str) -> AcquisitionFacts:
        """The same facts with more notes behind the present ones."""
        return replace(self, notes=self.notes + notes)


@dataclass(frozen=True, eq=False)
class Case:
    """One patient at one timepoint.

    `channels` maps a channel name (`suv`, `pet`, `ct`, `mr`, `us`, ...) to its volume; `reference` names
    the channel whose grid masks and results live on. `truth` is an integer label volume (0 =
    background) on the reference grid, or None when unknown (all zeros means known to be
    lesion-free). `observers` holds the same for each of several readers by name; which of them, or which
    consensus, is the truth is the recipe's choice (`standardise`). `diagnosis` is the data set's word for the
    whole case (`benign`, `malignant`, `normal`), "" where it has none. Raises DatasetError when the reference
    is not among the channels.
    """

    id: str
    patient_id: str
    channels: Mapping[str, Volume]
    reference: str
    truth: Volume | None = None
    facts: AcquisitionFacts = field(default_factory=AcquisitionFacts)
    observers: Mapping[str, Volume] = field(default_factory=dict)
    diagnosis: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", MappingProxyType(dict(self.channels)))
        object.__setattr__(self, "observers", MappingProxyType(dict(self.observers)))
        if self.reference not in self.channels:
            known = ", ".join(sorted(self.channels)) or "none"
            raise DatasetError(self.id, f"channels {known}", f"the reference channel {self.reference!r}")

    @property
    def geometry(self) -> Geometry:
        """The reference grid."""
        return self.channels[self.reference].geometry

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes from reading and standardising, in order."""
        return self.facts.notes

    @property
    def spacing_known(self) -> bool:
        """False where a note of reading says that no file states the pixel spacing."""
        return not any(SPACING_UNKNOWN in note for note in self.notes)
