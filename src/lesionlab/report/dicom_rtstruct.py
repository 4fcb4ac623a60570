"""The lesions as an RTSTRUCT: closed planar contours along the voxel edges, one ROI for each lesion.

Filled by the even-odd rule the contours give back the very mask. Reading contours belongs to
`read/rtstruct.py`.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage
from scipy.ndimage import find_objects

from lesionlab.core.contours import edge_loops
from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report.dicom_codes import colour_of, plain_ascii
from lesionlab.report.dicom_seg import (
    MANUFACTURER,
    MODEL,
    finding_of,
    method_of,
    version_of,
)
from lesionlab.report.dicom_settings import DicomSettings
from lesionlab.report.dicom_source import (
    DicomSource,
    SourcePlane,
    Uids,
    decimal,
    identity,
    merged,
    zone_of,
)

DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
"""Class of the study that an RTSTRUCT refers to; retired, but the attribute is required and all use it."""
DIGITS = 6


def structure_set(findings: Findings, source: DicomSource, settings: DicomSettings, uids: Uids) -> Dataset:
    """The lesions as contours on the source's planes, or on the mask's own where its grid is another.

    A hole is a contour of its own. Raises WriteError for a source without frame of reference.
    """
    if not source.frame_of_reference:
        raise WriteError(
            findings.case.id, "a picture without FrameOfReferenceUID", "a scan with a place for contours"
        )
    names, kept = merged(findings)
    drawn = findings.lesions.labels.with_array(kept)
    aligned = source.on_grid(drawn)
    labels = drawn if aligned is None else aligned
    planes = source.planes if aligned is not None else ()
    header = _header(findings, source, settings, uids)
    numbers = sorted(names)
    boxes = find_objects(labels.array)
    header.StructureSetROISequence = [
        _roi(number, names[number], method_of(findings, settings, number)[0], source) for number in numbers
    ]
    header.ROIContourSequence = [_contours(number, boxes[number - 1], labels, planes) for number in numbers]
    header.RTROIObservationsSequence = [_observation(number, settings) for number in numbers]
    return header


def _header(findings: Findings, source: DicomSource, settings: DicomSettings, uids: Uids) -> Dataset:
    header = Dataset()
    header.update(identity(source))
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    del header.Rows, header.Columns
    now = datetime.now(zone_of(header))
    header.SOPClassUID = RTStructureSetStorage
    header.SOPInstanceUID = uids.instance("rtstruct")
    header.SeriesInstanceUID = uids.series("rtstruct")
    header.Modality, header.InstanceNumber = "RTSTRUCT", 1
    header.SeriesNumber = settings.series_number("rtstruct")
    header.SeriesDescription = settings.series_words("contours")
    header.OperatorsName = ""
    header.Manufacturer, header.ManufacturerModelName = MANUFACTURER, MODEL
    header.SoftwareVersions = version_of(findings)
    header.StructureSetLabel = "LESIONS" if settings.correction is None else "CORRECTED"
    header.StructureSetName = "Lesions, research only"
    header.StructureSetDate, header.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    header.ApprovalStatus = "UNAPPROVED"
    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = source.series_uid
    series.ContourImageSequence = [_reference(item, None) for item in source.instances]
    study.ReferencedSOPClassUID = DETACHED_STUDY
    study.ReferencedSOPInstanceUID = header.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = source.frame_of_reference
    frame.RTReferencedStudySequence = [study]
    header.ReferencedFrameOfReferenceSequence = [frame]
    return header


def _reference(header: Dataset, frame: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = header.SOPClassUID
    item.ReferencedSOPInstanceUID = header.SOPInstanceUID
    if frame is not None:
        item.ReferencedFrameNumber = frame
    return item


def _roi(number: int, name: str, method: str, source: DicomSource) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = source.frame_of_reference
    roi.ROIName = plain_ascii(name)
    roi.ROIGenerationAlgorithm = method
    return roi


def _observation(number: int, settings: DicomSettings) -> Dataset:
    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.RTROIIdentificationCodeSequence = [_code(finding_of(settings))]
    item.RTROIInterpretedType = ""
    item.ROIInterpreter = ""
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
        code.value,
        code.scheme_designator,
        code.meaning,
    )
    return item


def _contours(
    number: int, box: tuple[slice, slice, slice], labels: Volume, planes: tuple[SourcePlane, ...]
) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = list(colour_of(number))
    inside = labels.array[box] == number
    z, y, x = (part.start for part in box)
    item.ContourSequence = [
        _contour([(row + y, column + x) for row, column in loop], z + k, labels.geometry, planes)
        for k in np.flatnonzero(inside.any(axis=(1, 2))).tolist()
        for loop in edge_loops(inside[k])
    ]
    return item


def _contour(
    loop: list[tuple[int, int]], z: int, geometry: Geometry, planes: tuple[SourcePlane, ...]
) -> Dataset:
    contour = Dataset()
    plane = planes[z] if planes else None
    if plane is not None:
        contour.ContourImageSequence = [_reference(plane.header, plane.frame)]
    points = _points(loop, z, geometry, plane)
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(points)
    contour.ContourData = [decimal(v) for v in np.round(points, DIGITS).ravel()]
    return contour


def _points(
    loop: list[tuple[int, int]], z: int, geometry: Geometry, plane: SourcePlane | None
) -> NDArray[np.float64]:
    """Corners without those on straight lines, LPS mm, on the plane of the image itself."""
    corners = np.asarray(loop, dtype=float)
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    corners = corners[(before != after).any(axis=1)]
    index = np.column_stack([np.full(len(corners), float(z)), corners - 0.5])
    points = geometry.to_world(index)
    if plane is not None and plane.position is not None:
        points = points + (np.asarray(plane.position) - geometry.to_world((z, 0, 0)))
    return points
