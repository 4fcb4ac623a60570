"""DICOM files to single slices with a place in the patient: classic files and enhanced multi-frames alike.

Reads headers only. Sorting and stacking belong to `dicom_stack.py`, choosing among series to `dicom.py`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.hooks import hooks, raw_element_value
from pydicom.uid import MediaStorageDirectoryStorage

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.warned import recorded_warnings

log = logging.getLogger(__name__)


def _value_as_written(raw: Any, data: dict[str, Any], **settings: Any) -> None:
    """pydicom's value of an element; the text as it stands for an integer (IS) that says infinity.

    pydicom keeps other text in place of a number as it is, so who needs the number names the attribute.
    """
    try:
        raw_element_value(raw, data, **settings)
    except OverflowError:
        data["value"] = raw.value.decode("ascii", "replace").strip(" \0")


hooks.register_callback("raw_element_value", _value_as_written)


@dataclass(frozen=True, eq=False)
class Slice:
    """One image plane: its file, frame index there, header, and geometry as far as it is stated.

    `position` is LPS mm (3,); `axes` (2, 3) are the directions of growing column and row index;
    `spacing` is (y, x) in mm. Slope and intercept are None where the header has none. `groups` are
    the functional groups of an enhanced frame, innermost first.
    """

    path: Path
    frame: int
    header: Dataset
    groups: tuple[Dataset, ...]
    shape: tuple[int, int]
    position: NDArray[np.float64] | None
    axes: NDArray[np.float64] | None
    spacing: tuple[float, float] | None
    slope: float | None
    intercept: float | None

    def get(self, keyword: str) -> Any:
        """An attribute by keyword: from the frame's own groups, then the shared ones, then the header."""
        for group in self.groups:
            found = _nested(group, keyword)
            if found is not None:
                return found
        return self.header.get(keyword)


@contextmanager
def telling_warnings(notes: list[str]) -> Iterator[None]:
    """Turn pydicom's warnings into notes (each once, quoted values removed: they may name a patient)."""
    with recorded_warnings() as caught:
        yield
    for warning in caught:
        text = re.sub(r"(['\"]).*?\1", "...", str(warning.message).splitlines()[0])
        if f"DICOM: {text}" not in notes:
            notes.append(f"DICOM: {text}")
            log.debug("pydicom warns: %s", text)


def read_header(path: Path) -> Dataset | None:
    """The header without pixels, or None for a file that is not DICOM.

    Files without the 128-byte preamble are recognised by their first group (0008). Raises ReadError for a
    DICOM file that ends within its header.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
        bare = start[:4] in (
            b"\x08\x00\x00\x00",
            b"\x08\x00\x05\x00",
            b"\x08\x00\x08\x00",
            b"\x08\x00\x16\x00",
        )
        if start[128:132] != b"DICM" and not bare:
            return None
        header = pydicom.dcmread(path, stop_before_pixels=True, force=bare)
    except InvalidDicomError:
        return None
    except OSError as error:
        raise ReadError(path, error.strerror or str(error), "a readable file") from None
    except Exception as error:  # pydicom answers damaged files with many exception types
        raise ReadError(
            path, f"a damaged DICOM header ({type(error).__name__})", "a complete DICOM file"
        ) from None
    if getattr(header, "file_meta", {}).get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    if "SOPClassUID" not in header:
        raise ReadError(path, "a DICOM header without SOPClassUID (truncated file)", "a complete DICOM file")
    return header


def slices_of(path: Path, header: Dataset) -> list[Slice]:
    """One slice for a classic file, one per frame for a multi-frame one.

    Raises ReadError for a header without image size and GeometryError for impossible spacing.
    """
    if not isinstance(header.get("Rows"), int) or not isinstance(header.get("Columns"), int):
        raise ReadError(path, "no Rows and Columns", "a DICOM image")
    stated = numbers(path, "NumberOfFrames", header.get("NumberOfFrames"), 1)
    frames = 1 if stated is None else max(int(stated[0]), 1)
    shared = _first(header, "SharedFunctionalGroupsSequence")
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    if own and len(own) != frames:
        raise ReadError(path, f"{len(own)} per-frame groups for {frames} frames", "one group for each frame")
    found = []
    for frame in range(frames):
        groups = tuple(g for g in (own[frame] if own else None, shared) if g is not None)
        found.append(_slice(path, frame, header, groups))
    return found


def numbers(path: Path, keyword: str, value: Any, count: int) -> NDArray[np.float64] | None:
    """`count` finite numbers of an attribute, or None when absent; ReadError names a malformed one."""
    if value is None or value == "":
        return None
    try:
        array = np.array([float(v) for v in np.atleast_1d(np.asarray(value, dtype=object))])
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if array.shape != (count,) or not np.isfinite(array).all():
        raise ReadError(path, f"{keyword} {str(value)[:60]}", f"{count} numbers")
    return array


def _slice(path: Path, frame: int, header: Dataset, groups: tuple[Dataset, ...]) -> Slice:
    partial = Slice(path, frame, header, groups, (header.Rows, header.Columns), None, None, None, None, None)

    def read(keyword: str, count: int) -> NDArray[np.float64] | None:
        return numbers(path, keyword, partial.get(keyword), count)

    axes = read("ImageOrientationPatient", 6)
    spacing = read("PixelSpacing", 2)
    if spacing is not None and not (spacing > 0).all():
        raise GeometryError(path, f"PixelSpacing {spacing.tolist()} mm", "two positive spacings")
    slope, intercept = read("RescaleSlope", 1), read("RescaleIntercept", 1)
    return Slice(
        path,
        frame,
        header,
        groups,
        (header.Rows, header.Columns),
        read("ImagePositionPatient", 3),
        None if axes is None else axes.reshape(2, 3),
        None if spacing is None else (float(spacing[0]), float(spacing[1])),
        None if slope is None else float(slope[0]),
        None if intercept is None else float(intercept[0]),
    )


def _first(dataset: Dataset, keyword: str) -> Dataset | None:
    items = dataset.get(keyword)
    return items[0] if items else None


def _nested(group: Dataset, keyword: str) -> Any:
    """An attribute one level down in a functional group item (each holds one-item sequences)."""
    if keyword in group:
        return group.get(keyword)
    for element in group:
        if element.VR == "SQ" and element.value and keyword in element.value[0]:
            return element.value[0].get(keyword)
    return None
