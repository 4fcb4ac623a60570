"""Which mask file belongs to which truth.

Reading both is `loaded_pairs.py`, scoring them `evaluation.py`. A case is an image file (its name is the
id), a folder with mask.nii.gz or truth.nii.gz in it, or a scan that comes with contours.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lesionlab.core.case import SPACING_UNKNOWN
from lesionlab.core.errors import DatasetError, ReadError, reason
from lesionlab.pipeline.cohort import SUFFIXES, cases_by_name, plain_id, require_single
from lesionlab.pipeline.files import filled_rows
from lesionlab.read import OBSERVERS, find_cases, is_dicom_scan
from lesionlab.report.corrected import MASK

NAMES = (MASK, "truth.nii.gz")
"""What a case's own folder is searched for: results of `examine` and of `convert`."""
RECORDS = ("patient.json", "case.json", "run.json")
"""What `examine` and `convert` write beside a patient's mask or truth, and what names the case."""
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm")
PREDICTION, TRUTH, CASE, IMAGE, PROBABILITY = "prediction", "truth", "case_id", "image", "probability"
PROBABILITY_NAMES = ("probability.nii.gz",)


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
    """One case against one whatever they are called, or two folders paired by case id.

    One case is a file, the folder that `examine` or `convert` wrote for one patient, or as truth a DICOM scan
    that comes with contours. In pairs by id, the truth's, a side that lacks a case is None; names that differ
    as `called_as` has it are one id. `images` (scans) and `probabilities` (maps) are folders with the same
    ids, or a single file for a single case. Raises ReadError when a folder holds nothing.
    """
    sides, is_scan = (predictions, truths), is_dicom_scan(truths)
    one = _one_mask(predictions, NAMES)
    other = _one_mask(truths, NAMES[::-1]) or ((truths.resolve().name, truths) if is_scan else None)
    if one and other:
        name = case_id_of(predictions) if predictions.is_file() and truths.is_file() else one[0] or other[0]
        scan = images if images is None or find_cases(images) == [images] else scan_files(images).get(name)
        return [Pair(name, one[1], other[1], scan, _one_map(probabilities, name), sides)]
    found = mask_files(predictions, NAMES)
    known = _named_scan(truths, found) if is_scan else truth_files(truths)
    found = called_as(known, found)
    both = {**found, **known}
    scans = {} if images is None else called_as(both, scan_files(images))
    maps = {} if probabilities is None else called_as(both, mask_files(probabilities, PROBABILITY_NAMES))
    return [
        Pair(name, found.get(name), known.get(name), scans.get(name), maps.get(name), sides)
        for name in sorted(both)
    ]


def listed_pairs(table: Path) -> list[Pair]:
    """The pairs of a CSV file with columns `prediction`, `truth` and, if wished, `case_id`.

    Columns `image` and `probability` may be there too. Paths are relative to the file's folder, an empty cell
    is no file, empty rows are passed over. Without `case_id` the prediction's (or truth's) name is the id.
    Raises ReadError for a file that is no such table and DatasetError for ids that occur twice.
    """
    needed = f"a CSV file with columns {PREDICTION} and {TRUTH}"
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = filled_rows(reader), tuple(reader.fieldnames or ())
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


def _one_mask(path: Path, names: Sequence[str]) -> tuple[str, Path] | None:
    """Case id ("" for a file, which may have any name) and mask of a path that is one patient's; or None."""
    if path.is_file():
        return "", path
    own = _own_id(path) if path.is_dir() else ""
    return (own, next(path / name for name in names if (path / name).is_file())) if own else None


def _one_map(path: Path | None, name: str) -> Path | None:
    """The probability map of a single case: a file, or what the folder holds alone or under that id."""
    if path is None or path.is_file():
        return path
    maps = mask_files(path, PROBABILITY_NAMES)
    return next(iter(maps.values())) if len(maps) == 1 else called_as([name], maps).get(name)


def _named_scan(folder: Path, names: Container[str]) -> dict[str, Path]:
    """The scan that a folder is, under which of `names` it or a folder in it has; under its own otherwise."""
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir())
    own = folder.resolve().name
    return {next((name for name in (own, *inside) if name in names), own): folder}


def called_as(names: Collection[str], files: Mapping[str, Path]) -> dict[str, Path]:
    """Files under those of `names` that mean the same case, else under their own.

    Results lie in folders whose names have underscores for spaces and signs: `Patient_01` is `Patient 01`,
    where neither side has both.
    """
    free = [name for name in names if name not in files]
    plain = {plain_id(name): name for name in free}
    count = Counter(map(plain_id, free)) + Counter(plain_id(name) for name in files if name not in names)

    def called(name: str) -> str:
        own = plain_id(name)
        return plain[own] if name not in names and own in plain and count[own] == 2 else name

    return {called(name): path for name, path in files.items()}


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


def patients_of(pairs: Sequence[Pair]) -> dict[str, str]:
    """Case to patient, of the cases whose truth or prediction lies where its patient is noted."""
    found = {pair.case_id: patient_of(pair.truth, pair.prediction) for pair in pairs}
    return {case: patient for case, patient in found.items() if patient}


def patient_of(*masks: Path | None) -> str:
    """The patient that `convert` or `examine` noted beside the first of some masks; "" where none tells."""
    found = [str(record["patient_id"]) for record in _records(masks) if record.get("patient_id")]
    return found[0] if found else ""


def spacing_notes(*masks: Path | None) -> tuple[str, ...]:
    """What `convert` or `examine` noted beside masks of a pixel spacing that is unknown."""
    notes = [str(note) for record in _records(masks) for note in record.get("notes") or ()]
    return tuple(dict.fromkeys(note for note in notes if SPACING_UNKNOWN in note))[:1]


def _records(masks: Sequence[Path | None]) -> list[dict[str, Any]]:
    """The records of `examine` and `convert` beside masks, those of readers one folder up."""
    found = []
    for mask in masks:
        if mask is None:
            continue
        folder = mask.parent.parent if mask.parent.name == OBSERVERS else mask.parent
        for name in RECORDS[:2]:
            try:
                record = json.loads((folder / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue
            if isinstance(record, dict):
                found.append(record)
    return found


def case_id_of(path: Path) -> str:
    """The case id that a mask file's name gives."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]
