"""The masks of a pair, read onto one grid: the truth's, or a larger one where that holds some slices only.

Which files make a pair is `pairs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import DatasetError, GeometryError, LesionLabError, ReadError
from lesionlab.core.grid import overlaps, resample
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import refuse_probabilities, without_ignored
from lesionlab.pipeline.files import WITH_GRID, restored
from lesionlab.pipeline.pairs import Pair
from lesionlab.read import load_mask, load_volume, open_case
from lesionlab.read.dicom_slices import read_header

Label = int | Literal["all"] | None
"""One label; all of them as one foreground; or None: whichever it is, but only one."""


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """Truth and prediction (None: missing) as masks of 0 and 1 on the truth's grid, with what was changed.

    `labels` are those of both files, where one of them was asked for; `counted` is False where nothing is
    scored, None where every voxel is.
    """

    truth: Volume
    mask: Volume | None
    notes: tuple[str, ...] = ()
    labels: frozenset[int] = frozenset()
    counted: NDArray[np.bool_] | None = None


def load_pair(
    pair: Pair, *, label: Label = None, resampled: bool = False, ignored: int | None = None
) -> LoadedPair:
    """Read both masks of a case onto the truth's grid, empty where the truth has the label `ignored`.

    Contours are drawn onto the grid of the other side, or of the image where neither has one that holds them
    all. Raises GeometryError, naming both grids, for two grids unless `resampled` asks for nearest neighbour,
    and for contours that no grid holds; DatasetError for a missing truth, a probability map, or several
    labels without `label`; ReadError for what is no mask.
    """
    if pair.truth is None:
        where = "a truth" if pair.sides is None else f"a truth of that name in {pair.sides[1]}"
        raise DatasetError(f"case {pair.case_id}", "a prediction alone", where)
    truth = _truth(pair, pair.truth)
    notes: list[str] = []
    mask = None
    judged = without_ignored(truth, truth, ignored)[1]
    labels = _labels(judged) if isinstance(label, int) else frozenset()
    if pair.prediction is not None:
        mask, notes = _onto(pair.prediction, truth.geometry, resampled)
        mask = without_ignored(mask, truth, ignored)[0]
        labels |= _labels(mask) if isinstance(label, int) else frozenset()
        mask = _binary(pair.prediction, mask, label)
    counted = None if judged is truth else truth.array != ignored
    return LoadedPair(_binary(pair.truth, judged, label), mask, tuple(notes), labels, counted)


def load_image(pair: Pair, geometry: Geometry) -> Volume | None:
    """The case's scan (its reference channel) on that grid, for a picture; None where it has none."""
    if pair.image is None:
        return None
    volume = _image(pair.image)
    if volume.geometry.matches(geometry):
        return volume
    return resample(volume, geometry, order=1, outside=float(volume.array.min()))


def load_probabilities(pair: Pair, geometry: Geometry) -> Volume | None:
    """The case's probability map as stored; None where it has none.

    Raises GeometryError, naming both grids, where it lies on another one.
    """
    if pair.probability is None:
        return None
    volume = load_volume(pair.probability)
    if not volume.geometry.matches(geometry):
        raise GeometryError(pair.probability, volume.geometry.describe(), geometry.describe())
    return volume


def _image(path: Path) -> Volume:
    if path.is_file() and _whole(path):
        return load_volume(path)
    case = restored(open_case(path), path)
    return case.channels[case.reference]


def _truth(pair: Pair, path: Path) -> Volume:
    """The truth in a mask file, or that of a scan with contours."""
    if path.is_dir():
        truth = open_case(path).truth
        if truth is None:
            raise DatasetError(path, "a scan without contours", "a mask or contours as truth")
        return truth
    if not is_contours(path):
        return _mask(path) if _whole(path) else _among_all(_mask(path), pair)
    if pair.prediction is not None and _whole(pair.prediction):
        drawn = load_mask(path, _mask(pair.prediction).geometry)
        if pair.image is None or not _beyond(path, drawn.geometry):
            return _all_of(path, drawn)
    if pair.image is None:
        needed = "the image that they were drawn on (--images), or a mask with all slices on the other side"
        raise ReadError(path, "contours without a grid", needed)
    return _all_of(path, load_mask(path, _image(pair.image).geometry))


def _all_of(path: Path, drawn: Volume) -> Volume:
    """Drawn contours as they are; GeometryError where a part of them lies beyond the grid, and so is lost."""
    if _beyond(path, drawn.geometry):
        found = f"contours that reach beyond the {drawn.geometry.describe()}"
        raise GeometryError(path, found, "a mask of the whole scan on the other side, or the scan (--images)")
    return drawn


def _beyond(path: Path, geometry: Geometry) -> bool:
    """True where a corner of a closed contour lies more than half a voxel outside a grid."""
    header = read_header(path)
    for item in (header.get("ROIContourSequence") or []) if header is not None else []:
        for contour in item.get("ContourSequence") or []:
            if str(contour.get("ContourGeometricType") or "").startswith("CLOSED"):
                index = geometry.to_index(np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3))
                if (index < -1.0).any() or (index > geometry.shape).any():
                    return True
    return False


def _among_all(truth: Volume, pair: Pair) -> Volume:
    """A DICOM segmentation, which may hold some slices only, among all: the image's, or those of both masks.

    Raises ReadError where contours are to be scored against it without an image: some might lie beyond it.
    """
    if pair.image is not None:
        geometry = _image(pair.image).geometry
    elif pair.prediction is None:
        return truth
    elif is_contours(pair.prediction):
        found = "contours, and as truth a segmentation that may hold some slices only"
        raise ReadError(pair.prediction, found, "the image that they were drawn on (--images)")
    else:
        geometry = _mask(pair.prediction).geometry
        if not _whole(pair.prediction):
            geometry = _around(geometry, truth.geometry)
    return _placed(truth, geometry) or truth


def _around(geometry: Geometry, other: Geometry) -> Geometry:
    """The smallest grid with the voxels of the first that has room for both."""
    first = np.rint(geometry.to_index(np.asarray(other.origin))).astype(int)
    low = np.minimum(first, 0)
    shape = np.maximum(geometry.shape, first + np.asarray(other.shape)) - low
    z, y, x = (int(size) for size in shape)
    origin = tuple(geometry.to_world(low).tolist())
    return Geometry((z, y, x), geometry.spacing, origin, geometry.direction)


def _whole(path: Path) -> bool:
    """True for a file of a grid with all its slices, which no DICOM object has to hold."""
    return path.name.lower().endswith(WITH_GRID)


def is_contours(path: Path) -> bool:
    """True for an RTSTRUCT: contours in mm, which state no grid of voxels."""
    if _whole(path) or not path.is_file():
        return False
    header = read_header(path)
    return header is not None and str(header.get("Modality") or "") == "RTSTRUCT"


def _mask(path: Path, geometry: Geometry | None = None) -> Volume:
    """As `load_mask`; a probability map is called by its name."""
    try:
        return load_mask(path, geometry)
    except ReadError as error:
        if path.is_file() and _whole(path):
            try:
                volume = load_volume(path)
            except LesionLabError:
                raise error from None
            refuse_probabilities(str(path), volume)
        raise


def _onto(path: Path, geometry: Geometry, resampled: bool) -> tuple[Volume, list[str]]:
    """A prediction on the truth's grid, and what that took."""
    if is_contours(path):
        return _all_of(path, load_mask(path, geometry)), []
    mask = _mask(path)
    if mask.geometry.matches(geometry):
        return mask, []
    placed = _placed(mask, geometry) if not _whole(path) else None
    if placed is not None:
        return placed, []
    if not resampled:
        needed = f"{geometry.describe()} (the truth's), or --resample"
        raise GeometryError(path, mask.geometry.describe(), needed)
    if not overlaps(mask.geometry, geometry):
        found = f"a mask on another place: {mask.geometry.describe()}"
        raise GeometryError(path, found, f"an overlap with the truth's {geometry.describe()}")
    moved = resample(mask, geometry, order=0, outside=0.0)
    before, after = (int(np.count_nonzero(v.array)) * v.geometry.voxel_ml for v in (mask, moved))
    note = f"prediction resampled by nearest neighbour: {before:.4g} ml became {after:.4g} ml"
    return moved, [f"{note}; its own {mask.geometry.describe()}"]


def _placed(mask: Volume, geometry: Geometry) -> Volume | None:
    """A mask that holds only some of a grid's slices (as DICOM SEG may) put among all; None if it is not one.

    Its voxels must be voxels of the grid, so nothing is resampled.
    """
    corner = geometry.to_index(np.asarray(mask.geometry.origin))
    start = np.rint(corner).astype(int)
    stop = start + np.asarray(mask.array.shape)
    if (start < 0).any() or (stop > np.asarray(geometry.shape)).any():
        return None
    origin = tuple(geometry.to_world(start).tolist())
    part = Geometry(mask.geometry.shape, geometry.spacing, origin, geometry.direction)
    if not part.matches(mask.geometry):
        return None
    array = np.zeros(geometry.shape, dtype=mask.array.dtype)
    z, y, x = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    array[z, y, x] = mask.array
    return Volume(array, geometry, mask.unit)


def _binary(path: Path, mask: Volume, label: Label) -> Volume:
    """The mask's foreground as 0 and 1."""
    array = mask.array
    if label is None:
        found = sorted(_labels(mask))
        if len(found) > 1:
            words = ", ".join(map(str, found[:8])) + (" ..." if len(found) > 8 else "")
            raise DatasetError(path, f"{len(found)} labels ({words})", "one, or --label N, or --label all")
    inside = array == label if isinstance(label, int) else array > 0
    return mask.with_array(inside.astype(np.uint8))


def _labels(mask: Volume) -> frozenset[int]:
    return frozenset(np.unique(mask.array).tolist()) - {0}
