"""The scan that a DICOM result refers to, and the UIDs that name the result.

Headers only, pixels never. Finding the source again belongs to `pipeline/`, what may be chosen to
`dicom_settings.py`, the objects to `dicom_seg.py`, `dicom_sr.py`, `dicom_rtstruct.py` and `dicom_capture.py`.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.charset import convert_encodings
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from lesionlab.core.errors import WriteError
from lesionlab.core.grid import same_voxels
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report.tables import lesion_names

_IDENTITY_WORDS: Final = """
    SpecificCharacterSet TimezoneOffsetFromUTC
    PatientName PatientID IssuerOfPatientID PatientBirthDate PatientSex OtherPatientIDsSequence
    PatientIdentityRemoved DeidentificationMethod DeidentificationMethodCodeSequence
    StudyInstanceUID StudyDate StudyTime StudyID AccessionNumber ReferringPhysicianName StudyDescription
    IssuerOfAccessionNumberSequence
    PatientAge PatientSize PatientWeight
    ClinicalTrialSponsorName ClinicalTrialProtocolID ClinicalTrialProtocolName ClinicalTrialSiteID
    ClinicalTrialSiteName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID
    ClinicalTrialTimePointID ClinicalTrialTimePointDescription ClinicalTrialCoordinatingCenterName
    """
_IDENTITY: Final = tuple(_IDENTITY_WORDS.split())
"""Attributes of patient and study that a result takes over from its source."""
_REQUIRED: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
UTF_8: Final = "ISO_IR 192"
_SETS: Final = (100, 101, 109, 110, 144, 127, 126, 138, 148, 203, 13, 166, 192)
PLAIN_SETS: Final = ("GB18030", "GBK", *(f"ISO_IR {number}" for number in _SETS))
"""Character sets without code extensions, PS3.3 tables C.12-2 and C.12-5."""
SEXES: Final = ("M", "F", "O")
MOST_SEPARATE: Final = 250
"""So many lesions, the largest, have a segment, contours and measurements of their own; the rest share one.

A noisy threshold gives thousands of fragments; no viewer lists them, and each costs a frame per slice.
"""


@dataclass(frozen=True, eq=False)
class SourcePlane:
    """One image of the source: the header of its file, its frame there from 1 (None: a one-frame file).

    `position` is the LPS position in mm of its first voxel; None for a picture without one.
    """

    header: Dataset
    frame: int | None
    position: tuple[float, float, float] | None


@dataclass(frozen=True, eq=False)
class DicomSource:
    """The images of the one series that results refer to, in order of their array index z on `geometry`."""

    planes: tuple[SourcePlane, ...]
    geometry: Geometry

    @property
    def header(self) -> Dataset:
        """The header of the first image."""
        return self.planes[0].header

    @property
    def series_uid(self) -> str:
        """The series of all planes."""
        return str(self.header.SeriesInstanceUID)

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID, "" where the source has none (single pictures)."""
        return str(self.header.get("FrameOfReferenceUID") or "")

    @property
    def multiframe(self) -> bool:
        """True where one file holds many frames."""
        return self.planes[0].frame is not None

    @property
    def instances(self) -> list[Dataset]:
        """The headers of all files, each once, in order of z."""
        return list({str(plane.header.SOPInstanceUID): plane.header for plane in self.planes}.values())

    def on_grid(self, volume: Volume) -> Volume | None:
        """The volume on the source's own grid where it has the same voxels; else None."""
        return same_voxels(volume, self.geometry)


class Uids:
    """UIDs that follow from a run and its mask: written twice, a result has the same ones.

    A run at another time gives other objects; the tracking UID of a lesion depends on the source and
    the mask alone.
    """

    def __init__(
        self, findings: Findings, source: DicomSource, tracking: Mapping[int, str] | None = None
    ) -> None:
        self._known = dict(tracking or {})
        labels = np.ascontiguousarray(findings.lesions.labels.array)
        mask = hashlib.sha256(labels.tobytes()).hexdigest()
        self._lesions = (source.series_uid, mask)
        run = findings.provenance
        self._run = (*self._lesions, run.recipe_sha256, run.bundle_sha256, run.started)

    def instance(self, kind: str) -> str:
        """SOPInstanceUID of the object of a kind."""
        return derived_uid("instance", kind, *self._run)

    def series(self, kind: str) -> str:
        """SeriesInstanceUID of the series that holds the object of a kind."""
        return derived_uid("series", kind, *self._run)

    def lesion(self, number: int) -> str:
        """Tracking UID of a lesion, the one known from before a correction; 0 is the patient."""
        return self._known.get(number) or derived_uid("lesion", str(number), *self._lesions)


def merged(findings: Findings) -> tuple[dict[int, str], NDArray[np.integer[Any]]]:
    """What the objects hold of the lesions: names by number, and an array of these numbers.

    The first `MOST_SEPARATE` lesions (they are numbered by size) as they are; where there are more, all
    others as one under the next number, so that no voxel is lost.
    """
    names, labels = lesion_names(findings.lesions), findings.lesions.labels.array
    rest = len(names) - MOST_SEPARATE
    if rest <= 1:
        return names, labels
    kept = dict(sorted(names.items())[:MOST_SEPARATE])
    together = MOST_SEPARATE + 1
    kept[together] = f"{rest} smaller lesions"
    return kept, np.minimum(labels, together)


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (a UUID of version 5's form) that depends on the parts alone."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"


def identity(source: DicomSource) -> Dataset:
    """Patient, study and series of the source: what every result takes over; missing ones empty."""
    header, copied = source.header, Dataset()
    for keyword in _IDENTITY:
        if keyword in header:
            copied[keyword] = deepcopy(header[keyword])
    speak_one_set(copied)
    for keyword in _REQUIRED:
        if keyword not in copied or copied[keyword].value is None:
            setattr(copied, keyword, "")
    if copied.PatientSex not in SEXES:
        copied.PatientSex = ""
    if not str(header.get("StudyInstanceUID") or ""):
        raise WriteError(
            source.series_uid, "no StudyInstanceUID in the source", "a scan that states its study"
        )
    for keyword in ("SeriesInstanceUID", "Modality", "SOPClassUID", "Rows", "Columns"):
        copied[keyword] = deepcopy(header[keyword])
    if source.frame_of_reference:
        copied.FrameOfReferenceUID = source.frame_of_reference
        copied.PositionReferenceIndicator = header.get("PositionReferenceIndicator") or ""
    return copied


def speak_one_set(dataset: Dataset, *texts: str) -> None:
    """Let a data set speak UTF-8 where its own character set is not one plain one, or lacks one of the texts.

    Values stay the same. Sets that switch (ISO 2022), empty and misspelt ones are common in scans, and
    refused where results are written.
    """
    stated = dataset.get("SpecificCharacterSet")
    if stated is None and all(text.isascii() for text in texts):
        return
    if stated in PLAIN_SETS and all(_in_set(text, stated) for text in texts):
        return
    dataset.decode()
    dataset.SpecificCharacterSet = UTF_8


def _in_set(text: str, stated: str) -> bool:
    try:
        text.encode(convert_encodings(stated)[0])
    except UnicodeEncodeError:
        return False
    return True


def references(source: DicomSource) -> list[Dataset]:
    """One header per file of the source, in order of z, with no more than it takes to refer to it."""
    base, found = identity(source), []
    for header in source.instances:
        item = Dataset()
        item.update(base)
        item.SOPInstanceUID = header.SOPInstanceUID
        found.append(item)
    return found


def stand_ins(source: DicomSource) -> list[Dataset]:
    """The source as plain headers in order of z: one per plane, or one of all planes for a multi-frame file.

    The images' own positions and orientation are kept; only attributes that results need are there.
    """
    base = identity(source)
    if not source.multiframe:
        return [_classic(base, source, plane) for plane in source.planes]
    combined = Dataset()
    combined.update(base)
    combined.SOPInstanceUID = source.header.SOPInstanceUID
    combined.NumberOfFrames = len(source.planes)
    shared = Dataset()
    orientation, measures = Dataset(), Dataset()
    _place(orientation, measures, source.geometry)
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    combined.SharedFunctionalGroupsSequence = [shared]
    combined.PerFrameFunctionalGroupsSequence = [_positioned(plane, source) for plane in source.planes]
    return [combined]


def _classic(base: Dataset, source: DicomSource, plane: SourcePlane) -> Dataset:
    item = Dataset()
    item.update(base)
    item.SOPInstanceUID = plane.header.SOPInstanceUID
    if "NumberOfFrames" in plane.header:
        item.NumberOfFrames = plane.header.NumberOfFrames
        shared, measures = Dataset(), Dataset()
        _place(Dataset(), measures, source.geometry)
        shared.PixelMeasuresSequence = [measures]
        item.SharedFunctionalGroupsSequence = [shared]
    if plane.position is not None:
        item.ImagePositionPatient = [decimal(v) for v in plane.position]
        _place(item, item, source.geometry)
    elif "PixelSpacing" in plane.header:
        item.PixelSpacing = plane.header.PixelSpacing
    return item


def _place(orientation: Dataset, measures: Dataset, geometry: Geometry) -> None:
    matrix = geometry.matrix
    orientation.ImageOrientationPatient = [decimal(v) for v in (*matrix[:, 2], *matrix[:, 1])]
    measures.PixelSpacing = [decimal(v) for v in geometry.spacing[1:]]
    measures.SliceThickness = decimal(geometry.spacing[0])
    measures.SpacingBetweenSlices = decimal(geometry.spacing[0])


def _positioned(plane: SourcePlane, source: DicomSource) -> Dataset:
    if plane.position is None:
        raise WriteError(source.series_uid, "a multi-frame source without positions", "ImagePositionPatient")
    item, position = Dataset(), Dataset()
    position.ImagePositionPatient = [decimal(v) for v in plane.position]
    item.PlanePositionSequence = [position]
    return item


def zone_of(dataset: Dataset) -> tzinfo:
    """The time zone that all of a data set's dates and times are in (TimezoneOffsetFromUTC); else UTC."""
    try:
        return datetime.strptime(str(dataset.get("TimezoneOffsetFromUTC") or ""), "%z").tzinfo or UTC
    except ValueError:
        return UTC


def decimal(value: float) -> str:
    """A number as DICOM decimal string, at most 16 characters."""
    return str(format_number_as_ds(float(value)))
