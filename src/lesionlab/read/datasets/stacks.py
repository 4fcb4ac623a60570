"""Stacks with several observers: ultrasound and photoacoustic volumes of excised specimens as 3D TIFF.

Checked on phantoms of this layout, which is our own; there is no public collection of the kind. Expected:

    SPECIMEN/us.tif             ultrasound, and/or SPECIMEN/pa.tif, photoacoustic; pages are z
    SPECIMEN/mask_READER.tif    each reader's mask on the same voxels, 0 outside; as many readers as drew
    SPECIMEN/STACK/...          the same one folder deeper, where a specimen was scanned several times

The specimen is the patient, so that its stacks, and the slices of each, stay in one fold. Voxel sizes come
from ImageJ's metadata, or from us.json (spacing_mm, z, y, x) beside the stack, or from a file spacing.json at
the top for all; without them a voxel is 1 mm by convention, and the case says so. All readers' masks are
kept: which one counts, or which consensus, is `standardise.truth` of the recipe.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from lesionlab.core.case import SPACING_UNKNOWN, AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.units import ONE, STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, binary, labels_in
from lesionlab.read.loaded import Loaded
from lesionlab.read.stacks import TIFF_SUFFIXES, decoded, read_stack, sidecar_of

CHANNELS: Final = ("us", "pa")
MASK: Final = "mask_"
SPACING_FILE: Final = "spacing.json"
UNKNOWN: Final = f"{SPACING_UNKNOWN}: 1 mm assumed, so lengths and volumes mean voxels"


def find(root: Path, classes: bool) -> Listing:
    """Every stack with an image and a reader's mask; there is one kind of lesion."""
    below = sorted(f for depth in ("*", "*/*") for f in root.glob(depth) if f.is_dir())
    stacks = [folder for folder in below if _files(folder, CHANNELS)]
    if not stacks:
        raise DATASET.absent(root, "SPECIMEN/us.tif or pa.tif")
    spacing = _spacing(root)
    items, missing = [], []
    readers = sorted({name for stack in stacks for name in _readers(stack)})
    for stack in stacks:
        name = "-".join(stack.relative_to(root).parts)
        drawn = _readers(stack)
        missing += [f"{name}: found no {MASK}{reader}.tif" for reader in readers if reader not in drawn]
        if drawn:
            items.append(_item(name, stack, root, spacing))
        else:
            missing.append(f"{name}: found no {MASK}READER.tif")
    return Listing(tuple(items), LESION, tuple(missing))


def _files(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    found = {file.stem.lower(): file for file in sorted(folder.iterdir()) if _is_tiff(file)}
    return {name: found[name] for name in names if name in found}


def _readers(folder: Path) -> dict[str, Path]:
    files = [f for f in sorted(folder.iterdir()) if _is_tiff(f) and f.stem.lower().startswith(MASK)]
    return {file.stem[len(MASK) :]: file for file in files}


def _is_tiff(file: Path) -> bool:
    return file.is_file() and file.name.lower().endswith(TIFF_SUFFIXES)


def _item(name: str, stack: Path, root: Path, spacing: tuple[float, float, float] | None) -> Item:
    images, drawn = _files(stack, CHANNELS), _readers(stack)
    specimen = stack.relative_to(root).parts[0]
    told = [f for f in (*map(sidecar_of, images.values()), root / SPACING_FILE) if f.is_file()]

    def peek() -> frozenset[int]:
        return frozenset[int]().union(*(labels_in(binary(f, decoded(f))) for f in drawn.values()))

    def read() -> Case:
        first = _image(next(iter(images.values())), spacing)
        loaded = {channel: _beside(file, first) for channel, file in images.items()}
        observers = {reader: _mask(file, first.volume.geometry) for reader, file in drawn.items()}
        facts = {channel: ChannelFacts("", (str(f),), sha256_of([f])) for channel, f in images.items()}
        acquired = AcquisitionFacts(facts, first.notes)
        return Case(name, specimen, loaded, next(iter(loaded)), None, acquired, observers)

    return Item(name, specimen, (*images.values(), *drawn.values(), *told), peek, read)


def _image(file: Path, spacing: tuple[float, float, float] | None) -> Loaded:
    try:
        if spacing is None or sidecar_of(file).is_file():
            return read_stack(file)
    except ReadError as error:
        if error.found != "no voxel spacing":
            raise
    array = _pages(file)
    notes = () if spacing else (UNKNOWN,)
    return Loaded(Volume(array, Geometry(array.shape, spacing or (1.0, 1.0, 1.0)), STORED), notes)


def _beside(file: Path, first: Loaded) -> Volume:
    """Another channel on the voxels of the first."""
    array, shape = _pages(file), first.volume.geometry.shape
    if array.shape != shape:
        raise GeometryError(file, f"a stack of {array.shape} (z, y, x)", f"{shape} as in the first channel")
    return Volume(array, first.volume.geometry, STORED)


def _mask(file: Path, geometry: Geometry) -> Volume:
    array = _pages(file)
    if array.shape != geometry.shape:
        raise GeometryError(file, f"a mask of {array.shape} (z, y, x)", f"the image's {geometry.shape}")
    return Volume(binary(file, array), geometry, ONE)


def _pages(file: Path) -> NDArray[Any]:
    array = decoded(file)
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3:
        raise ReadError(file, f"an array of shape {array.shape}", "pages of one 3D stack")
    return array


def _spacing(root: Path) -> tuple[float, float, float] | None:
    file = root / SPACING_FILE
    if not file.is_file():
        return None
    try:
        z, y, x = map(float, json.loads(file.read_text(encoding="utf-8"))["spacing_mm"])
    except (ValueError, KeyError, TypeError):
        raise ReadError(file, "no spacing", '{"spacing_mm": [z, y, x]}') from None
    if not all(0 < size < math.inf for size in (z, y, x)):
        raise ReadError(file, f"spacing_mm {[z, y, x]}", "three positive spacings")
    return z, y, x


DATASET = Dataset(
    "stacks with several observers",
    "your own scans as SPECIMEN/us.tif, pa.tif and mask_READER.tif",
    "your own",
    find,
)
