"""RTSTRUCT contours to voxels: even-odd rule per slice, a voxel belongs where its centre is inside.

Contours are filled on the grid given; which grid that should be is decided in `masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry
from lesionlab.read.dicom_slices import numbers

Polygon = NDArray[np.float64]

PLANE_TOLERANCE = 0.1
PLANE_TOLERANCE_MM = 0.1
"""Contours whose heights differ by less than this many slices, and mm, lie in one plane: coordinates are
rounded, and a plane that is split would leave its parts next to no slices."""
FARTHEST_MM = 10.0
"""No scan is outlined on slices farther apart: contours with a wider gap are lesions of their own."""
BRIDGED = 1.5
"""Planes up to this many smallest steps apart are neighbours, and the slices between them filled."""
SNAP = 6
"""Decimals of a voxel that count in a slice; beyond is the noise of computing positions."""
SLICE_SNAP = 3
"""Decimals of a slice that count in height."""


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
    rois = [_frame_of(roi) for roi in header.get("StructureSetROISequence") or []]
    return _listed_frames(header) | set(rois) - {""}


def _listed_frames(header: Dataset) -> set[str]:
    items = header.get("ReferencedFrameOfReferenceSequence") or []
    return {str(item.get("FrameOfReferenceUID") or "") for item in items} - {""}


def _frame_of(roi: Dataset) -> str:
    return str(roi.get("ReferencedFrameOfReferenceUID") or "")


def rasterise(
    path: Path, header: Dataset, geometry: Geometry, names: Sequence[str] = (), frame: str = ""
) -> tuple[NDArray[np.uint8], list[str]]:
    """The union of the named ROIs (all when none is named) on a grid, as 0 and 1, and notes.

    Contours of one ROI in one plane are combined by the even-odd rule, so a contour within another is a
    hole. An ROI without contours adds nothing; one in another frame of reference than `frame` is left out.
    Raises ReadError for an unknown name or malformed contours, and GeometryError for contours that are not
    parallel to the slices, all outside the grid or all in another frame.
    """
    wanted, notes = _wanted(path, header, names, frame)
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    contours = 0
    for item in header.get("ROIContourSequence") or []:
        name = wanted.get(_number(path, item, "ReferencedROINumber"))
        if name is None:
            continue
        polygons, skipped = _polygons(path, item, geometry)
        contours += len(polygons)
        notes += [f"{skipped} point or open contour(s) left out"] * bool(skipped)
        if not _fill_planes(mask, polygons, geometry.spacing[0]) and polygons:
            notes.append(f"the contours of ROI {name} reach no voxel")
    if contours and not mask.any():
        raise GeometryError(
            path, f"{contours} contours that reach no voxel", f"contours on the {geometry.describe()}"
        )
    return mask, notes


def _wanted(
    path: Path, header: Dataset, names: Sequence[str], frame: str
) -> tuple[dict[int, str], list[str]]:
    """The ROIs to fill, by number, and notes on those united or left out.

    Only a frame that the structure set lists beside that of the scan tells an ROI apart: tools that edit
    files leave stale ones behind.
    """
    items = {_number(path, roi, "ROINumber"): roi for roi in header.get("StructureSetROISequence") or []}
    rois = {number: str(roi.get("ROIName") or number) for number, roi in items.items() if number >= 0}
    known = ", ".join(rois.values()) or "none"
    missing = [name for name in names if name not in rois.values()]
    if missing or not rois:
        raise ReadError(
            path, f"ROIs {known}", f"an ROI named {missing[0]!r}" if missing else "at least one ROI"
        )
    others = (_listed_frames(header) or frames_of_reference(header)) - {frame} if frame else set()
    chosen = {number: name for number, name in rois.items() if not names or name in names}
    wanted = {number: name for number, name in chosen.items() if _frame_of(items[number]) not in others}
    strange = ", ".join(name for number, name in chosen.items() if number not in wanted)
    if strange and (names or not wanted):
        found = f"ROIs in another frame of reference: {strange}"
        raise GeometryError(path, found, f"ROIs in that of the scan, ending {frame[-12:]}")
    notes = [f"ROIs in another frame of reference left out: {strange}"] if strange else []
    return wanted, notes + ([f"ROIs united: {', '.join(wanted.values())}"] if len(wanted) > 1 else [])


def _number(path: Path, item: Dataset, keyword: str) -> int:
    """The number of an ROI, -1 where the item has none."""
    value = numbers(path, keyword, item.get(keyword), 1)
    return -1 if value is None else int(value[0])


def _polygons(path: Path, item: Dataset, geometry: Geometry) -> tuple[list[tuple[float, Polygon]], int]:
    """Closed contours of one ROI as (height in slices, vertices (y, x) in voxels), and how many others.

    A contour that is stored twice counts once: by the even-odd rule two would cancel each other.
    """
    polygons, skipped = [], 0
    known = set()
    for contour in item.get("ContourSequence") or []:
        if not str(contour.get("ContourGeometricType") or "").startswith("CLOSED"):
            skipped += 1
            continue
        values = _vertices(path, contour)
        if values.tobytes() in known:
            continue
        known.add(values.tobytes())
        index = geometry.to_index(values)
        if float(np.ptp(index[:, 0])) > 0.5:
            raise GeometryError(
                path,
                f"a contour that crosses {float(np.ptp(index[:, 0])):.1f} slices",
                "contours parallel to the slices",
            )
        polygons.append((float(index[:, 0].mean()), index[:, 1:]))
    return polygons, skipped


def _vertices(path: Path, contour: Dataset) -> NDArray[np.float64]:
    """The points of a contour in LPS mm, (n, 3)."""
    stored = contour.get("ContourData")
    count = 0 if stored is None else np.size(stored)
    if count < 9 or count % 3:
        raise ReadError(path, f"a contour of {count} numbers", "three or more points of three coordinates")
    values = numbers(path, "ContourData", stored, count)
    return np.asarray(values, dtype=np.float64).reshape(-1, 3)


def _fill_planes(mask: NDArray[np.uint8], polygons: Sequence[tuple[float, Polygon]], slice_mm: float) -> bool:
    """Give every slice the nearest plane of contours, as far as they reach; True where a voxel was filled."""
    planes = _planes(polygons, min(PLANE_TOLERANCE, PLANE_TOLERANCE_MM / slice_mm))
    if not planes:
        return False
    low, high = _reach(np.array([height for height, _ in planes]), slice_mm)
    starts = np.clip(np.ceil(np.round([low, high], SLICE_SNAP)), 0, mask.shape[0]).astype(int)
    found = False
    for (_, plane), first, last in zip(planes, *starts.tolist(), strict=True):
        if first < last:
            filled = fill(plane, (mask.shape[1], mask.shape[2]))
            mask[first:last] |= filled
            found = found or bool(filled.any())
    return found


def _planes(polygons: Sequence[tuple[float, Polygon]], tolerance: float) -> list[tuple[float, list[Polygon]]]:
    """The planes of contours in order of height (slices), each with its polygons."""
    planes: list[tuple[float, list[Polygon]]] = []
    for height, vertices in sorted(polygons, key=lambda polygon: polygon[0]):
        if planes and height - planes[-1][0] < tolerance:
            planes[-1][1].append(vertices)
        else:
            planes.append((height, [vertices]))
    return planes


def _reach(heights: NDArray[np.float64], slice_mm: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From where to where each plane counts, in slices: half way to its neighbours, else half a step.

    The step is the smallest distance of two planes, because contours lie on the slices of one scan; a single
    plane, or planes farther apart than slices are, fill one slice each.
    """
    gaps = np.diff(heights)
    step = float(gaps.min()) if gaps.size and gaps.min() * slice_mm <= FARTHEST_MM else 1.0
    near = gaps <= max(BRIDGED * step, 1.0)
    middle = (heights[:-1] + heights[1:]) / 2
    low = np.append(heights[:1] - step / 2, np.where(near, middle, heights[1:] - step / 2))
    high = np.append(np.where(near, middle, heights[:-1] + step / 2), heights[-1:] + step / 2)
    return low, high


def fill(polygons: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Even-odd fill of polygons with vertices (y, x) in voxel indices; 1 where the voxel centre is inside.

    A centre on an edge, to a millionth of a voxel, belongs to the side of growing index, so that abutting
    polygons share no voxel and the two sides of a keyhole leave no trace. No polygon gives zeros.
    """
    crossings = np.zeros((shape[0], shape[1] + 1), dtype=np.int64)
    for vertices in polygons:
        y0, x0 = np.round(vertices, SNAP).T
        y1, x1 = np.roll(y0, -1), np.roll(x0, -1)
        low = np.clip(np.ceil(np.minimum(y0, y1)), 0, shape[0]).astype(int)
        high = np.clip(np.ceil(np.maximum(y0, y1)), 0, shape[0]).astype(int)
        counts = high - low
        edge = np.repeat(np.arange(len(vertices)), counts)
        rows = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
        columns = x0[edge] + (rows - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
        first = np.ceil(np.round(columns, SNAP))
        np.add.at(crossings, (rows, np.clip(first, 0, shape[1]).astype(int)), 1)
    filled: NDArray[np.uint8] = (np.cumsum(crossings[:, :-1], axis=1) % 2).astype(np.uint8)
    return filled
