"""Contours in DICOM objects to a label volume: RTSTRUCT and SEG.

Masks in other files, and bringing masks onto a scan's grid, belong to `masks.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.dicom_pixels import decode
from lesionlab.read.dicom_slices import Slice, numbers, read_header, slices_of, telling_warnings
from lesionlab.read.dicom_stack import SAME_PLACE, UNEVEN, heights_of, normal_of, require_alike, sideways_mm
from lesionlab.read.orthonormal import nearest_orthonormal
from lesionlab.read.rtstruct import frames_of_reference, rasterise, referenced_series

if TYPE_CHECKING:
    from lesionlab.read.masks import Target


def read_dicom_mask(path: Path, target: Target | None, names: Sequence[str]) -> tuple[Volume, list[str]]:
    """Labels of an RTSTRUCT, on the grid that it was drawn on, or of a SEG, on its own; with notes.

    `names` picks ROIs or segments; otherwise all are united. Raises ReadError for any other file and
    GeometryError for another frame of reference than the target's.
    """
    with telling_warnings([]):
        return _read(path, target, names)


def _read(path: Path, target: Target | None, names: Sequence[str]) -> tuple[Volume, list[str]]:
    header = read_header(path)
    modality = "" if header is None else str(header.get("Modality") or "")
    if header is None or modality not in ("RTSTRUCT", "SEG"):
        found = f"DICOM of modality {modality}" if modality else "a file that is no mask"
        raise ReadError(path, found, "NIfTI, MHA, NRRD, .npy, TIFF, PNG, RTSTRUCT or DICOM SEG")
    _require_frame(path, header, target)
    if modality == "SEG":
        return _read_seg(path, header, names)
    if target is None:
        raise ReadError(path, "an RTSTRUCT without a grid", "the scan that it was drawn on")
    drawn_on = [target.grids[uid] for uid in sorted(referenced_series(header)) if uid in target.grids]
    grid = drawn_on[0] if len(drawn_on) == 1 else target.geometry
    mask, notes = rasterise(path, header, grid, names, target.frame)
    return Volume(mask, grid, ONE), notes


def _require_frame(path: Path, header: Dataset, target: Target | None) -> None:
    if target is None or not target.frame:
        return
    stated = frames_of_reference(header) | {str(header.get("FrameOfReferenceUID") or "")} - {""}
    if stated and target.frame not in stated:
        raise GeometryError(
            path,
            f"FrameOfReferenceUID ending {sorted(stated)[0][-12:]}",
            f"that of the scan, ending {target.frame[-12:]}",
        )


def _read_seg(path: Path, header: Dataset, names: Sequence[str]) -> tuple[Volume, list[str]]:
    """Frames of the chosen segments, placed by their positions; frames left out are empty.

    In a label map the voxels hold segment numbers, 0 is its background.
    """
    labels = _segments(path, header)
    missing = [name for name in names if name not in labels.values()]
    if missing:
        raise ReadError(path, f"segments {', '.join(labels.values())}", f"a segment named {missing[0]!r}")
    wanted = {number for number, label in labels.items() if not names or label in names} - {0}
    kind = str(header.get("SegmentationType"))
    slices = slices_of(path, header)
    frames, _ = decode(slices[0])
    if len(frames) != len(slices):
        raise ReadError(path, f"{len(frames)} frames of pixels", f"{len(slices)} frames")
    full = 1.0 if kind == "BINARY" else float(header.get("MaximumFractionalValue") or 1)
    geometry, places = _seg_grid(path, slices)
    mask = np.zeros(geometry.shape, dtype=np.uint8)
    for item, place, frame in zip(slices, places, frames, strict=True):
        if kind == "LABELMAP":
            mask[place] |= np.isin(frame, list(wanted))
        elif _segment_of(path, item) in wanted:
            mask[place] |= frame * 2.0 >= full
    notes = [f"segments united: {', '.join(labels[n] for n in sorted(wanted))}"] if len(wanted) > 1 else []
    if kind == "FRACTIONAL":
        notes.append("fractional segmentation cut at one half")
    return Volume(mask, geometry, ONE), notes


def _segments(path: Path, header: Dataset) -> dict[int, str]:
    """The labels of the segments by number."""
    labels = {}
    for item in header.get("SegmentSequence") or []:
        number = numbers(path, "SegmentNumber", item.get("SegmentNumber"), 1)
        if number is not None:
            labels[int(number[0])] = str(item.get("SegmentLabel") or int(number[0]))
    if not labels:
        raise ReadError(path, "no numbered segment", "a SegmentSequence")
    return labels


def _segment_of(path: Path, item: Slice) -> int:
    for group in item.groups:
        for found in group.get("SegmentIdentificationSequence") or []:
            number = numbers(path, "ReferencedSegmentNumber", found.get("ReferencedSegmentNumber"), 1)
            if number is None:
                raise ReadError(path, "a frame without ReferencedSegmentNumber", "a segment for each frame")
            return int(number[0])
    return 1


def _seg_grid(path: Path, slices: Sequence[Slice]) -> tuple[Geometry, list[int]]:
    """The grid that all frames lie on and the slice index of each frame."""
    first = slices[0]
    require_alike(slices)
    sideways_mm(path, slices)
    normal = normal_of(first)
    heights = heights_of(slices)
    if first.axes is None or first.spacing is None:
        raise GeometryError(path, "frames without PixelSpacing", "PixelSpacing in mm")
    step, index = _places(path, first, heights)
    axes, _ = nearest_orthonormal(path, np.stack([normal, first.axes[1], first.axes[0]], axis=1))
    lowest = slices[int(np.argmin(heights))].position
    shape = (max(index) + 1, *first.shape)
    return Geometry(shape, (step, *first.spacing), tuple(np.ravel(lowest)), tuple(axes.ravel())), index  # type: ignore[arg-type]


def _places(path: Path, first: Slice, heights: NDArray[np.float64]) -> tuple[float, list[int]]:
    """The step in mm and the slice index of each frame, from the frames' heights.

    Empty frames may be left out, every second one too, and scanners round positions: steps are counted from
    one slice to the next in units of the stated spacing where they fit it, else of the smallest step.
    """
    stated = _stated_step(path, first)
    order = np.argsort(heights, kind="stable")
    # frames of several segments on one slice may differ in the last digits of their positions
    begins = np.diff(heights[order], prepend=-np.inf) > (0.01 if stated is None else SAME_PLACE * stated)
    place = np.empty(len(heights), dtype=np.intp)
    place[order] = np.cumsum(begins) - 1
    levels = heights[order][begins]
    steps = np.diff(levels)
    if not steps.size:
        return stated or 1.0, [0] * len(heights)
    for unit, tolerance in ((stated or float(steps.min()), UNEVEN), (float(steps.min()), 0.2)):
        counts = np.rint(steps / unit)
        if counts.min() >= 1 and np.abs(steps / unit - counts).max() <= tolerance:
            levels_at = np.concatenate([[0.0], np.cumsum(counts)])
            step = float((levels[-1] - levels[0]) / levels_at[-1])
            if np.abs(levels - levels[0] - step * levels_at).max() <= UNEVEN * step:
                return step, levels_at[place].astype(int).tolist()
    raise GeometryError(
        path, f"frames at uneven heights (smallest step {steps.min():.4g} mm)", "frames on one grid"
    )


def _stated_step(path: Path, first: Slice) -> float | None:
    """The slice spacing that the file states, None where it states none that can be."""
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        spacing = numbers(path, keyword, first.get(keyword), 1)
        if spacing is not None and spacing[0] > 0:
            return float(spacing[0])
    return None
