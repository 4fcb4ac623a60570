"""Public data sets: checked and counted first, then written as cases that `plan` reads.

Which files a data set consists of is known in `read/datasets/`; official folds are `core/splits.py`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from lesionlab.core.errors import DatasetError, LesionLabError
from lesionlab.core.files import write_json
from lesionlab.core.recipe import Recipe
from lesionlab.core.splits import FOLDS_FILE, write_folds
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.pipeline.files import converted_from, remove_converted, stamp, write_converted
from lesionlab.read.datasets import DATASETS, Dataset, Item, Listing
from lesionlab.standardise import with_suv

DATASET_FILE: Final = "dataset.json"
"""Beside the cases: the data set's name, labels, origin and counts."""
SHOWN: Final = 3


@dataclass(frozen=True)
class Checked:
    """What a data set holds, before anything is written.

    `root` is its folder, `counts` are cases by diagnosis, `labels` cases by label name, `faults` one line for
    each file that is missing and each mask that cannot be used.
    """

    dataset: Dataset
    root: Path
    listing: Listing
    patients: int
    lesion_free: int
    counts: Mapping[str, int]
    labels: Mapping[str, int]
    faults: tuple[str, ...]

    @property
    def cases(self) -> int:
        """Cases that can be converted."""
        return len(self.listing.items)


def check_dataset(
    name: str, source: str | Path, *, classes: bool = False, progress: Progress = silent
) -> Checked:
    """List a data set's cases and read every mask, and write nothing.

    `classes` keeps benign and malignant apart where the data set tells them; otherwise every lesion has
    label 1. Raises DatasetError for an unknown name or patients on two sides of an official fold, ReadError,
    saying where to get it, for a folder that is not laid out as the data set is.
    """
    if name not in DATASETS:
        raise DatasetError(name, "no data set of that name", f"one of {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    listing = dataset.find(Path(source), classes)
    names = {number: label for label, number in listing.labels.items()}
    known: Counter[str] = Counter()
    faults, good, free = list(listing.missing), [], 0
    for number, item in enumerate(listing.items):
        progress(f"checking {item.id}", number / max(len(listing.items), 1))
        try:
            found = item.peek()
        except LesionLabError as error:
            faults.append(str(error))
            continue
        strange = sorted(found - set(names))
        if strange:
            faults.append(f"{item.id}: found labels {strange}; needed labels of {dict(listing.labels)}")
            continue
        good.append(item)
        free += not found
        known.update(names[label] for label in found)
    kept = replace(listing, items=tuple(good))
    _require_apart(kept)
    progress("checked", 1.0)
    people = len({item.patient_id for item in good})
    counts = Counter(item.diagnosis or "-" for item in good)
    labels = {label: known[label] for label in listing.labels}
    return Checked(dataset, Path(source), kept, people, free, counts, labels, tuple(faults))


def convert_dataset(checked: Checked, out: str | Path, *, progress: Progress = silent) -> list[Outcome[Path]]:
    """Write every case of a checked data set as NIfTI into `out/CASE/`, with its folds and dataset.json.

    PET from DICOM becomes SUVbw. A case that was converted before from the same files is kept; one that came
    from this folder and is no longer among its cases is removed. Outcomes hold the cases' folders. Raises
    DatasetError when there is nothing to write, WriteError where other files lie in a folder to be removed.
    """
    if not checked.cases:
        found = f"no case ({'; '.join(checked.faults[:SHOWN]) or 'nothing in it'})"
        raise DatasetError(checked.dataset.title, found, "at least one case")
    out = Path(out)
    _withdraw(checked, out)
    labels = dict(checked.listing.labels)
    tasks = [_task(item, checked.dataset, labels, out / item.id) for item in checked.listing.items]
    outcomes = run_tasks(tasks, progress=progress)
    if checked.listing.folds is not None:
        write_folds(checked.listing.folds, out)
    write_json(out / DATASET_FILE, _record(checked))
    return outcomes


def require_labels(source: Path, recipe: Recipe) -> None:
    """Raise DatasetError where a converted data set's labels are not the recipe's, before a case is read."""
    file = source / DATASET_FILE
    if not file.is_file():
        return
    try:
        labels = {str(name): int(number) for name, number in json.loads(file.read_text())["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return  # another program's dataset.json
    known = {0, *recipe.labels.values()}  # nnU-Net's file names the background too
    strange = {name: number for name, number in labels.items() if number not in known}
    if strange:
        told = ", ".join(f"{name} = {number}" for name, number in labels.items())
        raise DatasetError(file, f"labels {told}", f"those of recipe {recipe.name}: {recipe.labels}")


def _withdraw(checked: Checked, out: Path) -> None:
    """Remove what an earlier conversion of this folder left and this one will not write: cases, folds."""
    root, wanted = checked.root.absolute(), {item.id for item in checked.listing.items}
    for folder in sorted(out.iterdir()) if out.is_dir() else ():
        origin = (converted_from(folder) if folder.name not in wanted else None) or {}
        if "dataset" in origin and Path(str(origin.get("source", ""))).absolute().is_relative_to(root):
            remove_converted(folder)
    if checked.listing.folds is None and _title(out) == checked.dataset.title:
        (out / FOLDS_FILE).unlink(missing_ok=True)


def _title(folder: Path) -> str:
    """The name of the data set that a folder holds; "" where no dataset.json of ours tells."""
    try:
        return str(json.loads((folder / DATASET_FILE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _task(item: Item, dataset: Dataset, labels: dict[str, int], folder: Path) -> Task[Path]:
    def run() -> Path:
        marks = [stamp(file) for file in item.files]
        origin = {
            "dataset": dataset.title,
            "source": str(item.files[0]),
            "stamp": marks,
            "labels": labels,
            "patient": item.patient_id,
            "diagnosis": item.diagnosis,
        }
        if converted_from(folder) == origin:
            return folder
        case = item.read()
        if "pet" in case.channels and "suv" not in case.channels:
            case = with_suv(case)
        write_converted(case, folder, origin)
        return folder

    return Task(item.id, run)


def _require_apart(listing: Listing) -> None:
    """Raise DatasetError where official folds or the test set have a patient on both sides."""
    folds = listing.folds
    if folds is None:
        return
    patient = {item.id: item.patient_id for item in listing.items}
    held = set(folds.test)
    sides: list[tuple[str, Sequence[str], Sequence[str]]] = [
        (f"fold {number}", split.train, split.val) for number, split in enumerate(folds.splits)
    ]
    sides.append(("test set", [case for case in patient if case not in held], folds.test))
    for name, first, second in sides:
        both = {patient[c] for c in first if c in patient} & {patient[c] for c in second if c in patient}
        if both:
            told = ", ".join(sorted(both)[:SHOWN])
            raise DatasetError(
                f"{folds.name}, {name}", f"{len(both)} patients on both sides ({told})", "one side each"
            )


def _record(checked: Checked) -> dict[str, Any]:
    dataset = checked.dataset
    return {
        "name": dataset.title,
        "source": dataset.source,
        "licence": dataset.licence,
        "labels": dict(checked.listing.labels),
        "cases": checked.cases,
        "patients": checked.patients,
        "lesion_free": checked.lesion_free,
        "diagnoses": dict(checked.counts),
        "notes": list(checked.listing.notes),
        "left_out": list(checked.faults),
    }
