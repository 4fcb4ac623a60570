"""A folder of images and masks: any data of one's own, 2D or 3D, in any image format.

Verified on real files (BUS-BRA's folders laid out so) and phantoms. Expected:

    images/NAME.ext             .png, .jpg, .tif, .bmp, .npy (with its sidecar), .nii.gz, .nrrd, .mha
    masks/NAME.ext              0 outside, labels 1, 2 ... (a picture of 0 and 255 has label 1), in any
                                of these formats and of the image's shape
    labels.json                 {"benign": 1, "malignant": 2}; optional, else {"lesion": 1}
    cases.csv                   columns case and patient, and diagnosis and fold if wanted; optional

Without cases.csv each case is a patient of its own. `fold` is the name of the fold that holds the case out,
or `test` for cases that are never trained on. Masks of several readers lie in masks/READER/NAME.ext.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.splits import OfficialFolds, folds_by_number
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, labels_in, table_rows
from lesionlab.read.folders import is_image, read_image, stem_of
from lesionlab.read.masks import load_mask
from lesionlab.read.nifti import load_volume
from lesionlab.read.stacks import PICTURE_SUFFIXES, STACK_SUFFIXES, decoded, sidecar_of

TEST: Final = "test"


def find(root: Path, classes: bool) -> Listing:
    """Every image with its mask; labels as labels.json names them."""
    if not (root / "images").is_dir() or not (root / "masks").is_dir():
        raise DATASET.absent(root, "images and masks")
    images = _by_name(root / "images")
    folders = sorted(f for f in (root / "masks").iterdir() if f.is_dir() and not f.name.startswith("."))
    readers = {f.name: _by_name(f) for f in folders}
    masks = readers or {"": _by_name(root / "masks")}
    rows = _rows(root / "cases.csv")
    items = []
    missing = [f"{name}: found no image; named in cases.csv" for name in sorted(set(rows) - set(images))]
    for name, image in images.items():
        lacking = [reader for reader, files in masks.items() if name not in files]
        missing += [f"{name}: found no masks/{f'{reader}/' if reader else ''}{name}" for reader in lacking]
        if rows and name not in rows:
            missing.append(f"{name}: found no row in cases.csv")
        elif not lacking:
            drawn = {reader: files[name] for reader, files in masks.items()}
            items.append(_item(name, image, drawn, rows.get(name, {})))
    return Listing(tuple(items), _labels(root), tuple(missing), _folds(rows, items))


def _rows(file: Path) -> dict[str, dict[str, str]]:
    """The rows of cases.csv by case; none where there is no such file."""
    rows: dict[str, dict[str, str]] = {}
    for row in table_rows(file, ("case", "patient")) if file.is_file() else ():
        if row["case"] in rows:
            raise ReadError(file, f"two rows of case {row['case']}", "one row per case")
        rows[row["case"]] = row
    return rows


def _by_name(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.is_file() and is_image(file) and not file.name.startswith("."):
            name = stem_of(file)
            if name in found:
                raise ReadError(folder, f"two files called {name}", "one file per case")
            found[name] = file
    return found


def _item(name: str, image: Path, masks: Mapping[str, Path], row: Mapping[str, str]) -> Item:
    patient, diagnosis = row.get("patient") or name, row.get("diagnosis", "")

    def grid() -> Geometry:
        return read_image(image).volume.geometry

    def peek() -> frozenset[int]:
        return frozenset[int]().union(*(labels_in(_mask(f, grid()).array) for f in masks.values()))

    def read() -> Case:
        loaded = read_image(image)
        volume = loaded.volume
        drawn = {reader: _mask(file, volume.geometry) for reader, file in masks.items()}
        channel = "us" if image.name.lower().endswith(PICTURE_SUFFIXES) else loaded.channel or "image"
        facts = AcquisitionFacts({channel: ChannelFacts("", (str(image),), sha256_of([image]))}, loaded.notes)
        truth = drawn.pop("", None)
        return Case(name, patient, {channel: volume}, channel, truth, facts, drawn, diagnosis)

    told = [file for file in (sidecar_of(image),) if file.is_file()]
    return Item(name, patient, (image, *masks.values(), *told), peek, read, diagnosis)


def _mask(file: Path, geometry: Geometry) -> Volume:
    """A mask on the image's grid, whose shape it must have in its own file: none is resampled."""
    drawn = decoded(file) if file.name.lower().endswith(STACK_SUFFIXES) else load_volume(file).array
    shape = (1, *drawn.shape) if drawn.ndim == 2 else drawn.shape
    if shape != geometry.shape:
        raise GeometryError(file, f"a mask of {shape} (z, y, x)", f"the image's {geometry.shape}")
    return load_mask(file, geometry)


def _labels(root: Path) -> dict[str, int]:
    file = root / "labels.json"
    if not file.is_file():
        return dict(LESION)
    try:
        labels = {str(k): int(v) for k, v in json.loads(file.read_text(encoding="utf-8")).items()}
    except (ValueError, TypeError, AttributeError):
        raise ReadError(file, "no names of labels", '{"benign": 1, "malignant": 2}') from None
    if sorted(labels.values()) != list(range(1, len(labels) + 1)):
        raise ReadError(file, f"labels {labels}", "labels numbered 1, 2 and so on")
    return labels


def _folds(rows: Mapping[str, Mapping[str, str]], items: list[Item]) -> OfficialFolds | None:
    numbers = {item.id: rows[item.id]["fold"] for item in items if rows.get(item.id, {}).get("fold")}
    if not numbers:
        return None
    test = tuple(name for name, fold in numbers.items() if fold == TEST)
    held = {name: fold for name, fold in numbers.items() if fold != TEST}
    folds = folds_by_number("cases.csv", held)
    return OfficialFolds(folds.name, folds.splits if len(folds.splits) > 1 else (), test)


DATASET = Dataset("a folder of images and masks", "your own files in images/ and masks/", "your own", find)
