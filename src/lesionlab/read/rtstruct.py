"""RTSTRUCT contours to voxels: even-odd rule per slice, a voxel belongs where its centre is inside.

Contours are filled on the grid given; which grid that should be is decided in `masks.py`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry

Polygon = NDArray[np.float64]

PLANE_TOLERANCE = 0.01
"""Contours whose heights differ by less than this many slices lie in one plane."""


def referenced_series(header: Dataset) -> set[str]:
    """SeriesInstanceUIDs that the structure set says it was drawn on."""
    found = set()
    for frame in header.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                found.add(str(series.get("SeriesInstanceUID")))
    return found


def frames_of_reference(header: Dataset) -> set[str]:
    """FrameOfReferenceUIDs that the structure set states, the empty set when it states none."""
    items = [*(header.get("ReferencedFrameOfReferenceSequence") or [])]
    items += [*(header.get("StructureSetROISequence") or [])]
    uids = [item.get("FrameOfReferenceUID") or item.get("ReferencedFrameOfReferenceUID") for item in items]
    return {str(uid) for uid in uids if uid}


def rasterise(
    path: Path, header: Dataset, geometry: Geometry, names: Sequence[str] = ()
) -> tuple[NDArray[np.uint8], list[str]]:
    """The union of the named ROIs (all when none is named) on a grid, as 0 and 1, and notes.

    Contours of one ROI in one plane are combined by the even-odd rule, so a contour within another is a
    hole. An ROI without contours adds nothing. Raises ReadError for an unknown name and
    GeometryError for contours that are not parallel to the slices or all outside the grid.
    """
    rois = {
        int(r.ROINumber): str(r.get("ROIName") or r.ROINumber)
        for r in header.get("StructureSetROISequence") or []
    }
    known = ", ".join(rois.values()) or "none"
    missing = [name for name in names if name not in rois.values()]
    if missing or not rois:
        raise ReadError(
            path, f"ROIs {known}", f"an ROI named {missing[0]!r}" if missing else "at least one ROI"
        )
    wanted = {number: name for number, name in rois.items() if not names or name in names}
    notes = [f"ROIs united: {', '.join(wanted.values())}"] if len(wanted) > 1 else []
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    contours = 0
    for item in header.get("ROIContourSequence") or []:
        if int(item.get("ReferencedROINumber") or 0) not in wanted:
            continue
        polygons, skipped = _polygons(path, item, geometry)
        contours += len(polygons)
        notes += [f"{skipped} point or open contour(s) left out"] * bool(skipped)
        _fill_planes(mask, polygons)
    if contours and not mask.any():
        raise GeometryError(
            path, f"{contours} contours that reach no voxel", f"contours on the {geometry.describe()}"
        )
    return mask, notes


def _polygons(path: Path, item: Dataset, geometry: Geometry) -> tuple[list[tuple[float, Polygon]], int]:
    """Closed contours of one ROI as (height in slices, vertices (y, x) in voxels)."""
    polygons, skipped = [], 0
    for contour in item.get("ContourSequence") or []:
        if not str(contour.get("ContourGeometricType") or "").startswith("CLOSED"):
            skipped += 1
            continue
        values = np.array([float(v) for v in contour.get("ContourData") or []])
        if values.size < 9 or values.size % 3:
            raise ReadError(
                path, f"a contour of {values.size} numbers", "three or more points of three coordinates"
            )
        index = geometry.to_index(values.reshape(-1, 3))
        if float(np.ptp(index[:, 0])) > 0.5:
            raise GeometryError(
                path,
                f"a contour that crosses {float(np.ptp(index[:, 0])):.1f} slices",
                "contours parallel to the slices",
            )
        polygons.append((float(index[:, 0].mean()), index[:, 1:]))
    return polygons, skipped


def _fill_planes(mask: NDArray[np.uint8], polygons: list[tuple[float, Polygon]]) -> None:
    """Give every slice the nearest plane of contours, as far as they reach (half a step beyond)."""
    planes: dict[int, list[Polygon]] = defaultdict(list)
    for height, vertices in polygons:
        planes[round(height / PLANE_TOLERANCE)].append(vertices)
    if not planes:
        return
    heights = np.array(sorted(planes)) * PLANE_TOLERANCE
    step = float(np.median(np.diff(heights))) if len(heights) > 1 else 1.0
    reach = max(0.5, step / 2)
    for index in range(mask.shape[0]):
        distance = index - heights
        within = np.flatnonzero((distance >= -reach) & (distance < reach))
        if within.size:
            nearest = heights[within[np.argmin(np.abs(distance[within]))]]
            plane = planes[round(float(nearest) / PLANE_TOLERANCE)]
            mask[index] |= fill(plane, (mask.shape[1], mask.shape[2]))


def fill(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Even-odd fill of polygons with vertices (y, x) in voxel indices; 1 where the voxel centre is inside.

    A centre exactly on an edge belongs to the side of growing index, so that abutting polygons share no
    voxel. No polygon gives zeros.
    """
    crossings = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    for vertices in polygons:
        y0, x0 = vertices.T
        y1, x1 = np.roll(vertices, -1, axis=0).T
        low = np.clip(np.ceil(np.minimum(y0, y1)), 0, shape[0]).astype(int)
        high = np.clip(np.ceil(np.maximum(y0, y1)), 0, shape[0]).astype(int)
        counts = high - low
        edge = np.repeat(np.arange(len(vertices)), counts)
        rows = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = x0[edge] + (rows - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        np.add.at(crossings, (rows, np.clip(np.ceil(columns), 0, shape[1]).astype(int)), 1)
    filled: NDArray[np.uint8] = (np.cumsum(crossings[:, :-1], axis=1) % 2).astype(np.uint8)
    return filled
