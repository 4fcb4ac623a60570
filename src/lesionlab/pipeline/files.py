"""Files between stages: converted cases, and masks that must lie on a given grid.

A converted case is a folder of NIfTI files; its case.json says what they cannot (patient, units, notes, how
SUV was computed).
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import Case, ChannelFacts
from lesionlab.core.errors import GeometryError, ReadError, WriteError
from lesionlab.core.files import write_json, writing
from lesionlab.core.grid import require_same_grid
from lesionlab.core.suv import SuvAudit
from lesionlab.core.volume import Volume
from lesionlab.read import OBSERVERS
from lesionlab.read.folders import files_below
from lesionlab.read.masks import Target, read_mask
from lesionlab.report import save_volume

CASE_FILE = "case.json"
TRUTH_FILE = "truth.nii.gz"
WITH_GRID = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")
"""Mask files that state a grid of their own; all others (contours, pictures) are drawn onto the image's."""
SAME_PLACE, SAME_SIZE = 0.1, 0.01
"""How far a segmentation's voxels may lie beside the image's, in voxels, and differ in volume: rounding."""


def mask_on(case: Case, path: Path) -> tuple[Volume, list[str]]:
    """The labels of a mask file on a case's reference channel, never resampled; notes on what was united.

    A DICOM segmentation may hold some slices of the image's, in any order. Raises GeometryError, naming both
    grids, when a file with a grid of its own lies on another one, and for another frame of reference.
    """
    image = case.channels[case.reference]
    if not path.name.lower().endswith(WITH_GRID):
        header = case.facts.channels.get(case.reference, ChannelFacts()).header
        frame = str(header.get("FrameOfReferenceUID") or "")
        drawn, notes = read_mask(path, Target(image.geometry, frame))
        from lesionlab.read.dicom_slices import read_header  # pydicom, slow to load

        own = read_header(path)
        if own is not None and own.get("Modality") != "RTSTRUCT":
            notes = _notes_on_its_voxels(path, drawn, notes)
        return drawn, notes
    mask, notes = read_mask(path, None)
    require_same_grid(str(path), image, mask)
    return mask, notes


def _notes_on_its_voxels(path: Path, drawn: Volume, notes: list[str]) -> list[str]:
    """The notes on a segmentation as it is; GeometryError where it was moved to become `drawn`, or cut."""
    try:
        own, told = read_mask(path, None)
    except (GeometryError, ReadError):
        return notes  # a picture's, which has no place of its own
    index = drawn.geometry.to_index(own.geometry.to_world(np.argwhere(own.array)))
    nearest = np.rint(index)
    held = ((nearest >= 0) & (nearest < drawn.geometry.shape)).all()
    fits = math.isclose(own.geometry.voxel_ml, drawn.geometry.voxel_ml, rel_tol=SAME_SIZE)
    if not (held and fits and (np.abs(index - nearest) <= SAME_PLACE).all()):
        raise GeometryError(path, own.geometry.describe(), drawn.geometry.describe())
    return told


def require_apart(results: Path, scan: Path) -> None:
    """Raise WriteError for results that would replace a scan, or be read as part of it the next time."""
    if results.resolve().is_relative_to(scan.resolve()):
        raise WriteError(
            results, f"a place in the scan {scan}", "one outside it: results are no part of a scan"
        )


def filled_rows(reader: csv.DictReader[str]) -> list[dict[str, str]]:
    """The rows of a table with something in a cell; spreadsheets leave others below it."""
    return [row for row in reader if any(cell for name, cell in row.items() if name is not None)]


def require_spared(tables: Iterable[Path], *given: Path | None) -> None:
    """Raise WriteError for a table that would replace a given file, or an image in a given folder."""
    for table, path in product(tables, given):
        if path is None:
            continue
        place, own = table.resolve(), path.resolve()
        image = place.is_file() and place.suffix.lower() != ".csv"
        if place == own or (image and place.is_relative_to(own)):
            raise WriteError(table, "a file that was given", "another place for the result (-o)")


def require_none_of(folder: Path, names: Collection[str]) -> None:
    """Raise WriteError for a folder with a file of these names: another command's results, which would go."""
    there = [name for name in names if (folder / name).is_file()]
    if there:
        raise WriteError(folder, f"{there[0]} of other results", "a folder of its own")


def write_converted(case: Case, folder: Path, origin: Mapping[str, object]) -> None:
    """Write a standardised case as NIfTI files with case.json beside them, the folder whole or not at all.

    Of an earlier conversion nothing is left. Raises WriteError, and nothing is lost, where the folder holds
    other files than those of a conversion.
    """
    _require_own(folder)
    channels = {name: {"file": f"{name}.nii.gz", "unit": v.unit} for name, v in case.channels.items()}
    with writing(folder) as temporary:
        for name, volume in case.channels.items():
            save_volume(volume, temporary / f"{name}.nii.gz")
        if case.truth is not None:
            save_volume(case.truth, temporary / TRUTH_FILE)
        for reader, mask in case.observers.items():
            save_volume(mask, temporary / OBSERVERS / f"{reader}.nii.gz")
        record = {
            "case_id": case.id,
            "patient_id": case.patient_id,
            "reference": case.reference,
            "channels": channels,
            "truth": None if case.truth is None else TRUTH_FILE,
            "observers": list(case.observers),
            "diagnosis": case.diagnosis,
            "notes": list(case.notes),
            "suv": {n: f.suv.record() for n, f in case.facts.channels.items() if f.suv is not None},
            "origin": dict(origin),
        }
        write_json(temporary / CASE_FILE, record)


def remove_converted(folder: Path) -> None:
    """Remove a converted case; raises WriteError, and removes nothing, where other files lie with it."""
    _require_own(folder)
    shutil.rmtree(folder)


def _require_own(folder: Path) -> None:
    """Raise WriteError for a folder with files in it that no conversion wrote."""
    record = _record(folder) or {}
    own = {CASE_FILE, TRUTH_FILE, OBSERVERS} if record else set()
    own |= {f"{name}.nii.gz" for name in record.get("channels", ())}
    inside = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    others = [name for name in inside if name not in own and not name.startswith(".")]
    if others:
        needed = "a new or empty folder, or one with nothing but a converted case"
        raise WriteError(folder, f"{others[0]} in it", needed)


def restored(case: Case, source: Path) -> Case:
    """A case with what its case.json remembers (patient, units, notes), unchanged where it has none.

    Raises ReadError for a case.json of ours that is damaged.
    """
    record = _record(source)
    if record is None:
        return case
    try:
        units = {name: str(channel["unit"]) for name, channel in record["channels"].items()}
        patient_id, notes = str(record["patient_id"]), tuple(map(str, record["notes"]))
        audits = {name: SuvAudit.from_record(item) for name, item in record.get("suv", {}).items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ReadError(
            source / CASE_FILE, "an incomplete record", "the case.json that `convert` wrote"
        ) from None
    channels = {
        name: volume.with_array(volume.array, units.get(name, volume.unit))
        for name, volume in case.channels.items()
    }
    facts = dict(case.facts.channels)
    facts |= {
        n: replace(facts.get(n, ChannelFacts()), suv=audit) for n, audit in audits.items() if n in channels
    }
    told = replace(case.facts, channels=facts).with_notes(*notes)
    # the order of the readers, which files do not keep
    drawn = {name: case.observers[name] for name in record.get("observers", ()) if name in case.observers}
    return replace(
        case,
        patient_id=patient_id,
        channels=channels,
        facts=told,
        observers=drawn or case.observers,
        diagnosis=str(record.get("diagnosis", "")),
    )


def converted_from(folder: Path) -> dict[str, object] | None:
    """What a converted case's folder was made from; None where it is none."""
    record = _record(folder)
    return None if record is None else record["origin"]


def stamp(path: Path) -> str:
    """A mark that changes when a file under `path` is added, removed, renamed, resized or rewritten.

    Links are followed, as when the scans are read.
    """
    files = [path] if path.is_file() else files_below(path)
    lines = [
        f"{file.relative_to(path).as_posix()} {file.stat().st_size} {file.stat().st_mtime_ns}"
        for file in files
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _record(folder: Path) -> dict[str, Any] | None:
    """The case.json of a folder that `convert` wrote; None for any other."""
    try:
        record = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("origin"), dict) else None
