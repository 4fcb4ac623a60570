"""Which mask file belongs to which truth, and both read onto one grid.

Scoring them is `evaluation.py`. A case is an image file (its name is the id) or a folder with mask.nii.gz or
truth.nii.gz in it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lesionlab.core.errors import DatasetError, GeometryError, LesionLabError, ReadError, reason
from lesionlab.core.grid import overlaps, resample
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import refuse_probabilities
from lesionlab.pipeline.cohort import SUFFIXES, cases_by_name, require_single
from lesionlab.pipeline.files import WITH_GRID, restored
from lesionlab.read import find_cases, load_mask, load_volume, open_case
from lesionlab.read.dicom_slices import read_header

NAMES = ("mask.nii.gz", "truth.nii.gz")
"""What a case's own folder is searched for: results of `examine` and of `convert`."""
RECORDS = ("patient.json", "case.json", "run.json")
"""What `examine` and `convert` write beside a patient's mask or truth, and what names the case."""
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm")
PREDICTION, TRUTH, CASE, IMAGE, PROBABILITY = "prediction", "truth", "case_id", "image", "probability"
PROBABILITY_NAMES = ("probability.nii.gz",)
Label = int | Literal["all"] | None
"""One label; all of them as one foreground; or None: whichever it is, but only one."""


@dataclass(frozen=True)
class Pair:
    """The files of one case; None where there is none. `sides` names where both were looked for."""

    case_id: str
    prediction: Path | None
    truth: Path | None
    image: Path | None = None
    probability: Path | None = None
    sides: tuple[Path, Path] | None = None


def pairs_of(
    predictions: Path, truths: Path, *, images: Path | None = None, probabilities: Path | None = None
) -> list[Pair]:
    """One file against one, or two folders paired by case id; a side that lacks a case is None.

    Truths may also be scans that come with contours. `images` (scans) and `probabilities` (maps) are
    folders with the same ids, or a single file for a single case. Raises ReadError when a folder
    holds nothing.
    """
    sides = (predictions, truths)
    if predictions.is_file() and truths.is_file():
        name = case_id_of(predictions)
        return [Pair(name, predictions, truths, images, probabilities, sides)]
    found, known = mask_files(predictions, NAMES), truth_files(truths)
    scans = {} if images is None else scan_files(images)
    maps = {} if probabilities is None else mask_files(probabilities, PROBABILITY_NAMES)
    return [
        Pair(name, found.get(name), known.get(name), scans.get(name), maps.get(name), sides)
        for name in sorted({*found, *known})
    ]


def listed_pairs(table: Path) -> list[Pair]:
    """The pairs of a CSV file with columns `prediction`, `truth` and, if wished, `case_id`.

    Columns `image` and `probability` may be there too. Paths are relative to the file's folder, an empty cell
    is no file. Without `case_id` the prediction's (or truth's) name is the id. Raises ReadError for a file
    that is no such table and DatasetError for ids that occur twice.
    """
    needed = f"a CSV file with columns {PREDICTION} and {TRUTH}"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = list(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(table, reason(error), needed) from None
    if not {PREDICTION, TRUTH} <= set(head) or not rows:
        found = "no row" if {PREDICTION, TRUTH} <= set(head) else f"columns {', '.join(head) or 'none'}"
        raise ReadError(table, found, f"{needed}, and a row per case")
    pairs = [_listed(table, row) for row in rows]
    names = [pair.case_id for pair in pairs]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise DatasetError(
            table, f"case {', '.join(twins)} more than once", f"a {CASE} of its own in each row"
        )
    return pairs


def _listed(table: Path, row: Mapping[str, str | None]) -> Pair:
    prediction, truth, image, probability = (
        table.parent / text if (text := row.get(name)) else None
        for name in (PREDICTION, TRUTH, IMAGE, PROBABILITY)
    )
    name = row.get(CASE) or case_id_of(prediction or truth or table)
    return Pair(name, prediction, truth, image, probability, (table, table))


def scan_files(folder: Path) -> dict[str, Path]:
    """Scans by case id: those that `find_cases` finds, and what lies in the folder itself by its own name.

    Raises ReadError when there is none, DatasetError for two of one id.
    """
    found = cases_by_name(folder)
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    # The folder of a single patient is one case to `find_cases`, whatever the patient's own folder is called.
    return {**found, **{case_id_of(path): path for path in inside if not path.name.startswith(".")}}


def truth_files(folder: Path) -> dict[str, Path]:
    """Truths by case id: mask files as `mask_files` finds them, else scans that come with contours."""
    try:
        return mask_files(folder, NAMES[::-1])
    except ReadError:
        if not find_cases(folder):
            raise
        return cases_by_name(folder)


def mask_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Masks in a folder by case id: image files, and subfolders that hold one of `names`.

    A single file stands for itself, and the folder that `examine` or `convert` wrote for one patient is that
    case alone. Raises ReadError when there is none, DatasetError for two of one id.
    """
    if folder.is_file():
        return {case_id_of(folder): folder}
    if not folder.is_dir():
        raise ReadError(folder, "no such file or folder", "a mask, or a folder of masks")
    own = _own_id(folder)
    masks: dict[str, list[Path]] = {}
    for path in [folder] if own else sorted(folder.iterdir()):
        inside = next((path / name for name in names if (path / name).is_file()), None)
        if inside is not None:
            masks.setdefault(own or path.name, []).append(inside)
        elif path.is_file() and path.name.lower().endswith(MASK_SUFFIXES) and not path.name.startswith("."):
            masks.setdefault(case_id_of(path), []).append(path)
    if not masks:
        wanted = f"CASE{MASK_SUFFIXES[0]} or CASE/{' or CASE/'.join(names)}"
        raise ReadError(folder, "no mask", wanted)
    for name, files in masks.items():
        require_single(folder, name, files)
    return {name: files[0] for name, files in masks.items()}


def _own_id(folder: Path) -> str:
    """The case id of a folder that `examine` or `convert` wrote for one patient; "" for any other folder."""
    kept = [folder / name for name in RECORDS if (folder / name).is_file()]
    if not kept or not any((folder / name).is_file() for name in NAMES):
        return ""
    try:
        record = json.loads(kept[0].read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = None
    found = record.get(CASE) if isinstance(record, dict) else None
    return str(found or folder.resolve().name)


def case_id_of(path: Path) -> str:
    """The case id that a mask file's name gives."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


@dataclass(frozen=True, eq=False)
class LoadedPair:
    """Truth and prediction (None: missing) as masks of 0 and 1 on the truth's grid, with what was changed.

    `labels` are those of both files, where one of them was asked for.
    """

    truth: Volume
    mask: Volume | None
    notes: tuple[str, ...] = ()
    labels: frozenset[int] = frozenset()


def load_pair(pair: Pair, *, label: Label = None, resampled: bool = False) -> LoadedPair:
    """Read both masks of a case onto the truth's grid.

    Contours are drawn onto the grid of the other side, or of the image where neither has one. Raises
    GeometryError, naming both grids, for two grids unless `resampled` asks for nearest neighbour,
    DatasetError for a missing truth, a probability map, or several labels without `label`; ReadError for
    what is no mask.
    """
    if pair.truth is None:
        where = "a truth" if pair.sides is None else f"a truth of that name in {pair.sides[1]}"
        raise DatasetError(f"case {pair.case_id}", "a prediction alone", where)
    truth = _truth(pair, pair.truth)
    notes: list[str] = []
    mask = None
    labels = _labels(truth) if isinstance(label, int) else frozenset()
    if pair.prediction is not None:
        mask, notes = _onto(pair.prediction, truth.geometry, resampled)
        labels |= _labels(mask) if isinstance(label, int) else frozenset()
        mask = _binary(pair.prediction, mask, label)
    return LoadedPair(_binary(pair.truth, truth, label), mask, tuple(notes), labels)


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
    if path.is_file() and path.name.lower().endswith(WITH_GRID):
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
        return _mask(path)
    if pair.prediction is not None and not is_contours(pair.prediction):
        return load_mask(path, _mask(pair.prediction).geometry)
    if pair.image is None:
        needed = "the image that they were drawn on (--images), or a mask with a grid on the other side"
        raise ReadError(path, "contours without a grid", needed)
    return load_mask(path, _image(pair.image).geometry)


def is_contours(path: Path) -> bool:
    """True for an RTSTRUCT: contours in mm, which state no grid of voxels."""
    if path.name.lower().endswith(WITH_GRID) or not path.is_file():
        return False
    header = read_header(path)
    return header is not None and str(header.get("Modality") or "") == "RTSTRUCT"


def _mask(path: Path, geometry: Geometry | None = None) -> Volume:
    """As `load_mask`; a probability map is called by its name."""
    try:
        return load_mask(path, geometry)
    except ReadError as error:
        if path.is_file() and path.name.lower().endswith(WITH_GRID):
            try:
                volume = load_volume(path)
            except LesionLabError:
                raise error from None
            refuse_probabilities(str(path), volume)
        raise


def _onto(path: Path, geometry: Geometry, resampled: bool) -> tuple[Volume, list[str]]:
    """A prediction on the truth's grid, and what that took."""
    if is_contours(path):
        return load_mask(path, geometry), []
    dicom = not path.name.lower().endswith(WITH_GRID)
    mask = _mask(path)
    if mask.geometry.matches(geometry):
        return mask, []
    placed = _placed(mask, geometry) if dicom else None
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
