"""Contours in any form (NIfTI and kin, arrays, pictures, RTSTRUCT, DICOM SEG) to a label volume on a grid.

What is particular to DICOM belongs to `dicom_masks.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.grid import overlaps, resample
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.loaded import Loaded, as_labels
from lesionlab.read.nifti import VOLUME_SUFFIXES, read_volume
from lesionlab.read.stacks import (
    COLOUR,
    PICTURE_SUFFIXES,
    STACK_SUFFIXES,
    TIFF_SUFFIXES,
    UNKNOWN_SPACING,
    read_stack,
)

LOSSY_SUFFIXES = (".jpg", ".jpeg")
NEARLY_WHITE = 192


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
        raise ReadError(path, "a folder" if path.is_dir() else "no such file", "a mask file")
    lower = path.name.lower()
    if lower.endswith(VOLUME_SUFFIXES):
        loaded = _placed(path, read_volume(path), target)
        labels, notes = loaded.volume.with_array(as_labels(path, loaded.volume.array), ONE), [*loaded.notes]
    elif lower.endswith(STACK_SUFFIXES):
        labels, notes = _read_drawn(path, None if target is None else target.geometry)
    else:
        from lesionlab.read.dicom_masks import read_dicom_mask  # pydicom, slow to import

        labels, notes = read_dicom_mask(path, target, names)
    if target is None:
        return labels, notes
    labels, more = _onto(path, labels, target.geometry)
    return labels, notes + more


def _placed(path: Path, loaded: Loaded, target: Target | None) -> Loaded:
    """A mask whose file states no spacing on the target's grid, whose shape it must have; others as read."""
    if target is None or UNKNOWN_SPACING not in loaded.notes:
        return loaded
    shape, needed = loaded.volume.array.shape, target.geometry.shape
    if shape != needed:
        raise GeometryError(path, f"shape {shape} (z, y, x) without spacing", f"the image's shape {needed}")
    rest = tuple(note for note in loaded.notes if note != UNKNOWN_SPACING)
    return Loaded(Volume(loaded.volume.array, target.geometry, loaded.volume.unit), rest)


def _read_drawn(path: Path, like: Geometry | None) -> tuple[Volume, list[str]]:
    """Pictures often write white, or a colour, for 1; several colours do not tell which label is which."""
    loaded = read_stack(path, like)
    array = as_labels(path, loaded.volume.array)
    notes = [*loaded.notes]
    if path.suffix.lower() in LOSSY_SUFFIXES and COLOUR not in notes and (array >= NEARLY_WHITE).any():
        array = _black_and_white(path, array)
    values = np.unique(array)
    drawn = values[values > 0].tolist()
    if path.suffix.lower() in PICTURE_SUFFIXES + TIFF_SUFFIXES and drawn in ([255], [65535]):
        array, notes = (array > 0).astype(np.uint8), [*notes, f"mask value {drawn[0]} taken as label 1"]
    if COLOUR in notes:
        if len(drawn) > 1:
            raise ReadError(
                path, "a mask in several colours", "grey values: 0 outside, labels 1, 2 and so on"
            )
        array, notes = (array > 0).astype(np.uint8), [*loaded.notes, "mask of one colour taken as label 1"]
    return loaded.volume.with_array(array, ONE), notes


def _black_and_white(path: Path, array: NDArray[Any]) -> NDArray[np.uint8]:
    """A JPEG drawn in black and white as 0 and 255, cut half way: compression leaves greys around both."""
    white, black = array >= NEARLY_WHITE, array < 256 - NEARLY_WHITE
    if array.size - np.count_nonzero(black) >= 2 * np.count_nonzero(white):
        found = f"a JPEG mask of {np.unique(array).size} grey values, most of them not near white"
        raise ReadError(path, found, "black and white, or labels in a format without loss (PNG)")
    return np.where(array >= 128, 255, 0).astype(np.uint8)


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
