"""BreastDM (BreaDM.zip): breast DCE-MRI with pre-contrast, post-contrast and subtraction series.

Checked on phantoms of the archive's folder `seg3D`, as people who read it describe it. Expected, here or in a
folder BreaDM or BreaDM/seg3D:

    {train,val,test}/images/BreaDM-{Be,Ma}-NNNN/{VIBRANT,VIBRANT+C2,SUB2}.npy
    {train,val,test}/labels/BreaDM-{Be,Ma}-NNNN/ the same names

Three series of each of 232 patients (166, 19 and 47), 696 arrays; any other of VIBRANT+C1 to 8 and SUB1 to 8
is read too. VIBRANT is the pre-contrast phase `pre`, VIBRANT+C2 is `post2`, SUB2 is `sub2`. Arrays are (y, x,
z), 369 x 369 x 8, with blank slices appended where a lesion has fewer; labels hold 0 and 255. Slices that are
zero in every series are removed, 255 becomes 1. Be is benign, Ma malignant. Voxel sizes are not in the files:
1 mm by convention. `seg` (slices of all 17 series as pictures) and `cls` (crops for classification) are not
read.

The official split becomes one fold, train against val; its test patients are kept out of training. A patient
in two folders is taken from the first: in `seg` three training patients (Be-1801, 1803, 1804) lie in test as
well, in `cls/img9Se` six (Ma-1802 to 1804, 1806 to 1808); `seg3D` is clean but for 18 masks of six test
patients in the training labels, which are not looked at. (Audits of the archive of 1,303,964,654 bytes: Yu,
"Replication and Reproducibility Analysis ... on the BreastDM Dataset", MICCAI 2026 workshop, and others'
loaders.)

Zhao et al., Computers in Biology and Medicine 2023, doi 10.1016/j.compbiomed.2023.107255.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import SPACING_UNKNOWN, AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.splits import OfficialFolds, Split
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, binary, labels_in, plain_volume
from lesionlab.read.stacks import decoded

CLASSES = {"benign": 1, "malignant": 2}
KINDS: Final = {"Be": "benign", "Ma": "malignant"}
SPLITS: Final = ("train", "val", "test")
PATIENT: Final = re.compile(r"BreaDM-(Be|Ma)-\d+$")
UNKNOWN: Final = f"{SPACING_UNKNOWN}: 1 mm assumed, so lengths and volumes mean voxels"


def find(root: Path, classes: bool) -> Listing:
    """Every patient of the three folders; one who lies in several is taken from the first."""
    folders = (root, root / "seg3D", root / "BreaDM" / "seg3D")
    folder = next((f for f in folders if (f / "train" / "images").is_dir()), None)
    if folder is None:
        raise DATASET.absent(root, "train/images")
    items: dict[str, Item] = {}
    sides: dict[str, list[str]] = {split: [] for split in SPLITS}
    missing, notes = [], []
    for split in SPLITS:
        for images in sorted((folder / split / "images").glob("BreaDM-*")):
            kind = PATIENT.match(images.name)
            if kind is None:
                missing.append(f"{images}: found no patient's name; needed BreaDM-Be-NNNN or BreaDM-Ma-NNNN")
                continue
            if images.name in items:
                notes.append(f"{images.name} lies in {split} too, and is left where it was first")
                continue
            lacking, item = _item(images, folder / split / "labels" / images.name, KINDS[kind[1]], classes)
            missing += lacking
            if item is not None:
                items[images.name] = item
                sides[split].append(images.name)
    splits = (Split(tuple(sides["train"]), tuple(sides["val"])),) if sides["val"] else ()
    folds = OfficialFolds("BreastDM train, val, test", splits, tuple(sides["test"]))
    labels = CLASSES if classes else LESION
    return Listing(tuple(items.values()), labels, tuple(missing), folds, tuple(notes))


def _item(images: Path, labels: Path, kind: str, classes: bool) -> tuple[list[str], Item | None]:
    """The lines about missing files of a patient, and the item where pre-contrast and a mask are there."""
    series = {_channel(file): file for file in sorted(images.glob("*.npy")) if _channel(file)}
    masks = {name: labels / file.name for name, file in series.items()}
    lacking = [f"{images.name}: found no {f.name} in labels" for f in masks.values() if not f.is_file()]
    masks = {name: file for name, file in masks.items() if file.is_file()}
    if "pre" not in series:
        return [*lacking, f"{images.name}: found no VIBRANT.npy"], None
    if not masks:
        return lacking, None
    label = CLASSES[kind] if classes else 1
    name = images.name

    def peek() -> frozenset[int]:
        drawn = masks.get("pre", next(iter(masks.values())))
        return frozenset({label}) if labels_in(binary(drawn, decoded(drawn))) else frozenset()

    def read() -> Case:
        return _read(name, kind, series, masks, label)

    return lacking, Item(name, name, (*series.values(), *masks.values()), peek, read, kind)


def _channel(file: Path) -> str:
    found = re.fullmatch(r"VIBRANT(?:\+C(\d))?|SUB(\d)", file.stem)
    if found is None:
        return ""
    return f"post{found[1]}" if found[1] else f"sub{found[2]}" if found[2] else "pre"


def _read(name: str, kind: str, series: Mapping[str, Path], masks: Mapping[str, Path], label: int) -> Case:
    arrays = {channel: _depth_first(file) for channel, file in sorted(series.items())}
    drawn = {channel: binary(file, _depth_first(file)) for channel, file in sorted(masks.items())}
    shape = arrays["pre"].shape
    for files, read in ((series, arrays), (masks, drawn)):
        for channel, array in read.items():
            if array.shape != shape:
                raise ReadError(files[channel], f"{array.shape} (z, y, x)", f"{shape} as in VIBRANT.npy")
    truth = drawn.get("pre", next(iter(drawn.values())))
    notes = [UNKNOWN]
    others = [channel for channel, mask in drawn.items() if not np.array_equal(mask, truth)]
    if others:
        notes.append(f"the masks of {', '.join(others)} differ from the one taken")
    full = np.logical_or.reduce([array.any(axis=(1, 2)) for array in arrays.values()])
    if not full.any():
        raise ReadError(series["pre"], "blank slices only", "an image")
    if not full.all():
        notes.append(f"{int((~full).sum())} blank slices of {full.size} removed")
    volumes = {channel: plain_volume(array[full]) for channel, array in arrays.items()}
    mask = Volume(truth[full] * np.uint8(label), volumes["pre"].geometry, ONE)
    facts = {c: ChannelFacts("MR", (str(series[c]),), sha256_of([series[c]])) for c in volumes}
    told = AcquisitionFacts(facts, tuple(notes))
    return Case(name, name, volumes, "pre", mask, told, diagnosis=kind)


def _depth_first(file: Path) -> NDArray[np.generic]:
    array = decoded(file)
    if array.ndim != 3:
        raise ReadError(file, f"an array of shape {array.shape}", "(y, x, z)")
    return np.ascontiguousarray(np.moveaxis(array, -1, 0))


DATASET = Dataset(
    "BreastDM",
    "https://github.com/smallboy-code/Breast-cancer-dataset (BreaDM.zip, from the authors)",
    "none stated; from the authors, cite doi 10.1016/j.compbiomed.2023.107255",
    find,
)
