"""Writes an RTSTRUCT whose contours follow the voxel edges of a mask, so that the mask comes back exactly.

Reading contours belongs to `read/rtstruct.py`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import RTStructureSetStorage

from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_series import StudyFacts, decimal, save, study_header

Loop = list[tuple[int, int]]


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


def edge_loops(inside: NDArray[np.bool_]) -> list[Loop]:
    """Closed loops of voxel corners (y, x) around a 2D mask; corner (y, x) is half a voxel before centre.

    Edges run with the mask on one side, so every corner has as many edges in as out and chaining them
    always closes. No voxel gives no loop.
    """
    padded = np.pad(inside, 1)
    leaving: dict[tuple[int, int], Loop] = {}

    def add(starts: NDArray[np.int_], step_from: tuple[int, int], step_to: tuple[int, int]) -> None:
        for y, x in starts.tolist():
            start = (y + step_from[0], x + step_from[1])
            leaving.setdefault(start, []).append((y + step_to[0], x + step_to[1]))

    here = padded[1:-1, 1:-1]
    add(np.argwhere(here & ~padded[:-2, 1:-1]), (0, 0), (0, 1))
    add(np.argwhere(here & ~padded[1:-1, 2:]), (0, 1), (1, 1))
    add(np.argwhere(here & ~padded[2:, 1:-1]), (1, 1), (1, 0))
    add(np.argwhere(here & ~padded[1:-1, :-2]), (1, 0), (0, 0))
    loops = []
    while leaving:
        start = next(iter(leaving))
        loop, corner = [], start
        while corner in leaving:
            loop.append(corner)
            following = leaving[corner].pop()
            if not leaving[corner]:
                del leaving[corner]
            corner = following
        loops.append(loop)
    return loops
