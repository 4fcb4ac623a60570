"""What every data set's module gives: its name and origin, its cases before they are read, what is missing.

Reading one data set is its own file; checking, counting and writing are `pipeline/datasets.py`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import GeometryError, ReadError, reason
from lesionlab.core.files import sha256_of
from lesionlab.core.splits import OfficialFolds
from lesionlab.core.units import ONE, STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.folders import read_image
from lesionlab.read.loaded import as_labels
from lesionlab.read.masks import load_mask
from lesionlab.read.stacks import UNKNOWN_SPACING

LESION: Final = {"lesion": 1}


@dataclass(frozen=True)
class Item:
    """A case that is not read yet: `peek` reads its mask and gives the labels in it, `read` all of it.

    `files` are those it is made of, images first.
    """

    id: str
    patient_id: str
    files: tuple[Path, ...]
    peek: Callable[[], frozenset[int]]
    read: Callable[[], Case]
    diagnosis: str = ""


@dataclass(frozen=True)
class Listing:
    """What a data set's folder holds: cases, names of labels, one line per missing file, folds, notes.

    Raises ReadError for two cases of one name, of which the second would be written over the first.
    """

    items: tuple[Item, ...]
    labels: Mapping[str, int]
    missing: tuple[str, ...] = ()
    folds: OfficialFolds | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        known: dict[str, Item] = {}
        for item in self.items:
            twin = known.setdefault(item.id, item)
            if twin is not item:
                found = f"two cases called {item.id}: {twin.files[0]} and {item.files[0]}"
                raise ReadError(item.files[0].parent, found, "names that tell cases apart")


@dataclass(frozen=True)
class Dataset:
    """A public data set: what it is called, where to get it, under which licence, and how to list it.

    `find(folder, classes)` lists the cases; `classes` keeps kinds of lesion apart where they are known.
    """

    title: str
    source: str
    licence: str
    find: Callable[[Path, bool], Listing]

    def absent(self, folder: Path, what: str) -> ReadError:
        """The error for a folder that is not laid out like this data set."""
        found = f"no {what}" if folder.is_dir() else "no such folder"
        published = "" if self.licence == "your own" else " as it is published"
        return ReadError(folder, found, f"{self.title}{published}: {self.source}")


def image_case(item: str, patient: str, diagnosis: str, files: Sequence[Path], mask: Volume) -> Case:
    """A 2D ultrasound case of one picture (the first file) and a mask on its pixels, 1 mm by convention."""
    loaded = read_image(files[0])
    if mask.array.shape != loaded.volume.array.shape:
        found = f"a mask of {mask.array.shape[1:]} pixels (y, x)"
        raise GeometryError(files[1], found, f"the image's {loaded.volume.array.shape[1:]}")
    facts = ChannelFacts("", tuple(map(str, files)), sha256_of([files[0]]))
    notes = tuple(dict.fromkeys((*loaded.notes, UNKNOWN_SPACING)))
    return Case(
        item,
        patient,
        {"us": loaded.volume},
        "us",
        mask,
        AcquisitionFacts({"us": facts}, notes),
        diagnosis=diagnosis,
    )


def merged_masks(files: Sequence[Path], label: int, like: Geometry | None = None) -> Volume:
    """The union of several mask files with one label; ReadError for files of two shapes."""
    volumes = [load_mask(file, like) for file in files]
    first = volumes[0]
    inside = np.zeros(first.array.shape, dtype=bool)
    for file, volume in zip(files, volumes, strict=True):
        if volume.array.shape != inside.shape:
            found = f"a mask of {volume.array.shape[1:]} pixels"
            raise ReadError(file, found, f"{inside.shape[1:]} as in {files[0].name}")
        inside |= volume.array > 0
    return first.with_array(inside.astype(np.uint8) * np.uint8(label), ONE)


def labels_in(array: NDArray[np.generic]) -> frozenset[int]:
    """The labels of a mask besides 0."""
    return frozenset(int(value) for value in np.unique(array)) - {0}


def binary(path: Path, array: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A mask of 0 and one other value (255, or true) as 0 and 1; ReadError for more values than two."""
    labels: NDArray[np.integer] = as_labels(path, array)
    values = sorted(labels_in(labels))
    if len(values) > 1:
        raise ReadError(path, f"mask values {values[:4]}", "0 and one other value")
    return (labels > 0).astype(np.uint8)


def plain_volume(array: NDArray[np.generic], spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Volume:
    """An array (z, y, x) of stored values as a volume whose place is not known."""
    return Volume(array, Geometry(array.shape, spacing), STORED)


def table_rows(file: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV file; ReadError when it cannot be read or lacks a column."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            rows = list(csv.DictReader(text))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(file, reason(error), "a readable CSV file") from None
    lacking = [name for name in columns if rows and name not in rows[0]]
    if not rows or lacking:
        found = f"no column {lacking[0]!r}" if lacking else "no rows"
        raise ReadError(file, found, f"columns {', '.join(columns)}")
    return [{key: value or "" for key, value in row.items() if key is not None} for row in rows]
