"""Writes an RTSTRUCT whose contours follow the voxel edges of a mask, so that the mask comes back exactly.

Reading contours belongs to `read/rtstruct.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RTStructureSetStorage

from lesionlab.core.contours import edge_loops
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_series import StudyFacts, decimal, save, study_header


def write_rtstruct(path: Path, mask: Volume, study: StudyFacts, *, names: tuple[str, ...] = ("GTV",)) -> Path:
    """Write label 1 of `mask` as ROI `names[0]`, label 2 as `names[1]`, and so on; returns the path.

    Contours are closed planar polygons in LPS mm on the slice planes; a hole is a contour of its own
    (even-odd rule). A label without voxels gives an ROI without contours.
    """
    header = study_header(study, "RTSTRUCT", RTStructureSetStorage, path.name)
    header.SOPInstanceUID = study.uid("structures", path.name)
    header.StructureSetLabel = "phantom"
    header.StructureSetDate = header.StudyDate
    header.StructureSetTime = header.StudyTime
    frame = Dataset()
    frame.FrameOfReferenceUID = study.frame_of_reference
    header.ReferencedFrameOfReferenceSequence = Sequence([frame])
    rois, contours, observations = [], [], []
    for number, name in enumerate(names, start=1):
        rois.append(_roi(number, name, study))
        contours.append(_contours(number, mask))
        observation = Dataset()
        observation.ObservationNumber = observation.ReferencedROINumber = number
        observation.RTROIInterpretedType = "GTV"
        observation.ROIInterpreter = ""
        observations.append(observation)
    header.StructureSetROISequence = Sequence(rois)
    header.ROIContourSequence = Sequence(contours)
    header.RTROIObservationsSequence = Sequence(observations)
    path.parent.mkdir(parents=True, exist_ok=True)
    save(header, path)
    return path


def _roi(number: int, name: str, study: StudyFacts) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = study.frame_of_reference
    roi.ROIName = name
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    return roi


def _contours(number: int, mask: Volume) -> Dataset:
    item = Dataset()
    item.ReferencedROINumber = number
    item.ROIDisplayColor = [255, 0, 0]
    item.ContourSequence = Sequence()
    inside = mask.array == number
    for index in np.flatnonzero(inside.any(axis=(1, 2))):
        for loop in edge_loops(inside[index]):
            corners = np.array([(index, y - 0.5, x - 0.5) for y, x in loop], dtype=float)
            points = mask.geometry.to_world(corners)
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = [decimal(round(v, 6)) for v in points.ravel()]
            item.ContourSequence.append(contour)
    return item
