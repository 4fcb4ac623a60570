"""Contours in any form (NIfTI and kin, arrays, pictures, RTSTRUCT, DICOM SEG) to a label volume on a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.grid import overlaps, resample
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.dicom_pixels import decode
from lesionlab.read.dicom_slices import Slice, read_header, slices_of, telling_warnings
from lesionlab.read.dicom_stack import UNEVEN, heights_of, normal_of
from lesionlab.read.loaded import as_labels
from lesionlab.read.nifti import ITK_SUFFIXES, NIFTI_SUFFIXES, read_volume
from lesionlab.read.orthonormal import nearest_orthonormal
from lesionlab.read.rtstruct import frames_of_reference, rasterise, referenced_series
from lesionlab.read.stacks import ARRAY_SUFFIXES, PICTURE_SUFFIXES, TIFF_SUFFIXES, read_stack

VOLUME_SUFFIXES = NIFTI_SUFFIXES + ITK_SUFFIXES
STACK_SUFFIXES = ARRAY_SUFFIXES + TIFF_SUFFIXES + PICTURE_SUFFIXES


@dataclass(frozen=True)
class Target:
    """Where a mask has to go: the reference grid, and what DICOM objects may refer to.

    `frame` is the FrameOfReferenceUID of the reference ("" when unknown); `grids` are the grids of the
    case's series by SeriesInstanceUID.
    """

    geometry: Geometry
    frame: str = ""
    grids: Mapping[str, Geometry] = field(default_factory=dict)


def load_mask(path: Path, geometry: Geometry | None = None, *, names: Sequence[str] = ()) -> Volume:
    """Read labels (0 = background) from any mask file; with `geometry`, bring them onto that grid.

    `names` picks ROIs of an RTSTRUCT or segments of a SEG; otherwise all are united to label 1. Raises
    ReadError for what is no label image and GeometryError for a mask that misses the grid.
    """
    return read_mask(Path(path), None if geometry is None else Target(geometry), names=names)[0]


def read_mask(path: Path, target: Target | None, *, names: Sequence[str] = ()) -> tuple[Volume, list[str]]:
    """As `load_mask`, with notes on what was united, moved or lost."""
    if not path.is_file():
        raise ReadError(path, "no such file", "a mask file")
    lower = path.name.lower()
    if lower.endswith(VOLUME_SUFFIXES):
        loaded = read_volume(path)
        labels, notes = loaded.volume.with_array(as_labels(path, loaded.volume.array), ONE), [*loaded.notes]
    elif lower.endswith(STACK_SUFFIXES):
        labels, notes = _read_drawn(path, None if target is None else target.geometry)
    else:
        with telling_warnings([]):
            labels, notes = _read_dicom_mask(path, target, names)
    if target is None:
        return labels, notes
    labels, more = _onto(path, labels, target.geometry)
    return labels, notes + more


def _read_drawn(path: Path, like: Geometry | None) -> tuple[Volume, list[str]]:
    """Pictures often write 255 for 1: an image of one value besides 0 becomes 0 and 1."""
    loaded = read_stack(path, like)
    array = as_labels(path, loaded.volume.array)
    notes = [*loaded.notes]
    values = np.unique(array)
    if path.suffix.lower() in PICTURE_SUFFIXES + TIFF_SUFFIXES and values.tolist() in ([0, 255], [255]):
        array, notes = (array == 255).astype(np.uint8), [*notes, "mask value 255 taken as label 1"]
    return loaded.volume.with_array(array, ONE), notes


def _read_dicom_mask(path: Path, target: Target | None, names: Sequence[str]) -> tuple[Volume, list[str]]:
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
    mask, notes = rasterise(path, header, grid, names)
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
    labels = {
        int(s.SegmentNumber): str(s.get("SegmentLabel") or s.SegmentNumber) for s in header.SegmentSequence
    }
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
        elif _segment_of(item) in wanted:
            mask[place] |= frame * 2.0 >= full
    notes = [f"segments united: {', '.join(labels[n] for n in sorted(wanted))}"] if len(wanted) > 1 else []
    if kind == "FRACTIONAL":
        notes.append("fractional segmentation cut at one half")
    return Volume(mask, geometry, ONE), notes


def _segment_of(item: Slice) -> int:
    for group in item.groups:
        for found in group.get("SegmentIdentificationSequence") or []:
            return int(found.ReferencedSegmentNumber)
    return 1


def _seg_grid(path: Path, slices: Sequence[Slice]) -> tuple[Geometry, list[int]]:
    """The grid that all frames lie on and the slice index of each frame."""
    first = slices[0]
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
    one frame to the next in units of the stated spacing where they fit it, else of the smallest step.
    """
    levels, place = np.unique(np.round(heights, 3), return_inverse=True)
    stated = float(first.get("SpacingBetweenSlices") or first.get("SliceThickness") or 1.0)
    steps = np.diff(levels)
    if not steps.size:
        return stated, [0] * len(heights)
    for unit, tolerance in ((stated, UNEVEN), (float(steps.min()), 0.2)):
        counts = np.rint(steps / unit)
        if counts.min() >= 1 and np.abs(steps / unit - counts).max() <= tolerance:
            levels_at = np.concatenate([[0.0], np.cumsum(counts)])
            step = float((levels[-1] - levels[0]) / levels_at[-1])
            if np.abs(levels - levels[0] - step * levels_at).max() <= UNEVEN * step:
                return step, levels_at[place].astype(int).tolist()
    raise GeometryError(
        path, f"frames at uneven heights (smallest step {steps.min():.4g} mm)", "frames on one grid"
    )


def _onto(path: Path, labels: Volume, geometry: Geometry) -> tuple[Volume, list[str]]:
    """Bring labels onto the reference grid by nearest neighbour, and say what that cost."""
    if labels.geometry.matches(geometry):
        return Volume(labels.array, geometry, ONE), []
    found, needed = labels.geometry.describe(), f"an overlap with the scan's {geometry.describe()}"
    if not overlaps(labels.geometry, geometry):
        raise GeometryError(path, f"a mask on another place: {found}", needed)
    moved = resample(labels, geometry, order=0, outside=0.0)
    before = int(np.count_nonzero(labels.array)) * labels.geometry.voxel_ml
    after = int(np.count_nonzero(moved.array)) * geometry.voxel_ml
    if before > 0 and after == 0:
        raise GeometryError(
            path, f"a mask of {before:.3g} ml that reaches no voxel of the scan: {found}", needed
        )
    note = f"mask moved by nearest neighbour, {before:.4g} ml became {after:.4g} ml; its own {found}"
    return moved, [note]
