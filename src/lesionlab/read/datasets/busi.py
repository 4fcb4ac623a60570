"""BUSI: breast ultrasound with benign, malignant and normal images.

Checked on phantoms of the documented layout. Expected, here or in a folder Dataset_BUSI_with_GT:

    benign/benign (N).png        and malignant/malignant (N).png, normal/normal (N).png; colour or grey
    benign/benign (N)_mask.png   and (N)_mask_1.png, (N)_mask_2.png where an image has several lesions: their
                                 union is the truth; all zero for normal images

The patient of an image is not told: each counts as one of its own. Images of the same patient, copies, images
with both labels and a few that show no breast are in it (Pawłowska, Karwat and Żołek, letter to Data in
Brief, 2023; Aumente-Maestro, Díez and Remeseiro, Computer Methods and Programs in Biomedicine 260:108540,
2025, who publish a curated list), and can therefore lie in two folds; the scan of `plan` finds the copies.
Pixels have no stated size. Names of folders and masks: as the loaders of others read them.

Al-Dhabyani, Gomaa, Khaled and Fahmy, Data in Brief 2020, doi 10.1016/j.dib.2019.104863: 437 benign, 210
malignant and 133 normal images.
"""

from __future__ import annotations

import re
from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, image_case, labels_in, merged_masks

CLASSES = {"benign": 1, "malignant": 2}
KINDS = ("benign", "malignant", "normal")


def find(root: Path, classes: bool) -> Listing:
    """Every image of the three folders with all of its masks."""
    candidates = (root, root / "Dataset_BUSI_with_GT")
    folder = next((f for f in candidates if any((f / kind).is_dir() for kind in KINDS)), None)
    if folder is None:
        raise DATASET.absent(root, f"folder {', '.join(KINDS)}")
    items, missing = [], []
    missing += [f"{kind}: found no folder {folder / kind}" for kind in KINDS if not (folder / kind).is_dir()]
    for kind in KINDS:
        for image in sorted((folder / kind).glob("[!.]*.png"), key=_number):
            if "_mask" in image.stem:
                continue
            masks = sorted((folder / kind).glob(f"{_escaped(image.stem)}_mask*.png"))
            if masks:
                items.append(_item(image, masks, kind, classes))
            else:
                missing.append(f"{image.stem}: found no {image.stem}_mask.png")
    notes = ("patients are not told: every image counts as a patient of its own",)
    return Listing(tuple(items), CLASSES if classes else LESION, tuple(missing), None, notes)


def _item(image: Path, masks: list[Path], kind: str, classes: bool) -> Item:
    label = CLASSES.get(kind, 1) if classes else 1
    name = f"{kind}-{_number(image):04d}"

    def peek() -> frozenset[int]:
        return labels_in(merged_masks(masks, label).array)

    def read() -> Case:
        return image_case(name, f"BUSI-{name}", kind, (image, *masks), merged_masks(masks, label))

    return Item(name, f"BUSI-{name}", (image, *masks), peek, read, kind)


def _number(image: Path) -> int:
    found = re.search(r"\d+", image.stem)
    return int(found.group()) if found else 0


def _escaped(stem: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", stem)


DATASET = Dataset(
    "BUSI",
    "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset (Dataset_BUSI.zip)",
    "no licence file comes with it; cite the article, doi 10.1016/j.dib.2019.104863",
    find,
)
