"""STS: soft-tissue sarcoma with FDG-PET, CT and T1 MR, each with the tumour's contour on its own grid.

Verified on real files (36 patients). Expected:

    STS_NNN/pet.nii.gz      SUVbw; with pet_mask.nii.gz, 0 and 1
    STS_NNN/ct.nii.gz       HU; with ct_mask.nii.gz; of some patients
    STS_NNN/mr_t1.nii.gz    with mr_t1_mask.nii.gz; of some patients

One patient per folder, one tumour each. The truth is the contour on PET. The original collection on TCIA is
DICOM with RTSTRUCT: `lesionlab convert` reads that without a name of a data set.

Vallières et al., Physics in Medicine and Biology 2015, doi 10.1088/0031-9155/60/14/5471; this form is the
validation set of the image biomarker standard, whose images are cropped 5 cm around the tumour.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.read.case import open_case
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, labels_in
from lesionlab.read.masks import load_mask

SCANS = ("pet", "ct", "mr_t1")


def find(root: Path, classes: bool) -> Listing:
    """Every patient with PET and its contour; there is one kind of lesion."""
    folders = sorted(f for f in root.glob("STS_*") if f.is_dir())
    if not folders:
        raise DATASET.absent(root, "folder STS_NNN")
    items, missing = [], []
    for folder in folders:
        there = [name for name in SCANS if (folder / f"{name}.nii.gz").is_file()]
        wanted = [f"{name}_mask.nii.gz" for name in there]
        lacking = [name for name in ("pet.nii.gz", *wanted) if not (folder / name).is_file()]
        missing += [f"{folder.name}: found no {name}" for name in lacking]
        if "pet" in there and (folder / "pet_mask.nii.gz").is_file():
            items.append(_item(folder, tuple(folder / f"{name}.nii.gz" for name in there)))
    return Listing(tuple(items), LESION, tuple(missing))


def _item(folder: Path, scans: tuple[Path, ...]) -> Item:
    mask = folder / "pet_mask.nii.gz"

    def peek() -> frozenset[int]:
        return labels_in(load_mask(mask).array)

    def read() -> Case:
        return open_case(folder, truth=mask, case_id=folder.name)

    return Item(folder.name, folder.name, (*scans, mask), peek, read, "sarcoma")


DATASET = Dataset(
    "STS",
    "validation set of the image biomarker standard (theibsi.github.io), from TCIA Soft-tissue-Sarcoma, "
    "https://doi.org/10.7937/K9/TCIA.2015.7GO2GSKS",
    "CC BY 3.0",
    find,
)
