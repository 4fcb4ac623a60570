"""MAMA-MIA: pre-treatment breast DCE-MRI of four collections, with expert segmentations.

Checked on phantoms of the published layout (Synapse syn60868042; the authors' code,
github.com/LidiaGarrucho/MAMA-MIA, src/preprocessing.py and src/challenge/scoring_task1.py). Expected:

    images/PATIENT/PATIENT_0000.nii.gz   before contrast, `pre`; _0001, _0002 ... are `post1`, `post2` ...
    segmentations/expert/PATIENT.nii.gz  0 and 1; segmentations/automatic is not read
    train_test_splits.csv                columns train_split (1,200), test_split (306) with PATIENT; optional

PATIENT begins with the collection: DUKE (291), ISPY1 (171), ISPY2 (980) or NACT (64), that is
Duke-Breast-Cancer-MRI, I-SPY 1, I-SPY 2 and Breast-MRI-NACT-Pilot, as DUKE_001; folders are in upper case,
files in either (images/ISPY2_100899/ispy2_100899_0000.nii.gz). The collection is the case's diagnosis field
(all lesions are cancers). Patients of test_split are kept out of training. patient_info_files/*.json and
clinical_and_imaging_info.xlsx lie beside and are not read.

Garrucho et al., Scientific Data 2025, doi 10.1038/s41597-025-04707-4 (arXiv:2406.13844): 1,506 patients.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.files import sha256_of
from lesionlab.core.splits import OfficialFolds
from lesionlab.core.volume import Volume
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, labels_in, table_rows
from lesionlab.read.masks import load_mask
from lesionlab.read.nifti import read_volume

COLLECTIONS: Final = ("DUKE", "ISPY1", "ISPY2", "NACT")


def find(root: Path, classes: bool) -> Listing:
    """Every patient with phases and an expert mask; there is one kind of lesion."""
    if not (root / "images").is_dir() or not (root / "segmentations" / "expert").is_dir():
        raise DATASET.absent(root, "images and segmentations/expert")
    masks = {
        file.name[:-7].upper(): file for file in sorted((root / "segmentations" / "expert").glob("*.nii.gz"))
    }
    items, missing = [], []
    for folder in sorted(f for f in (root / "images").iterdir() if f.is_dir()):
        patient = folder.name.upper()
        collection = next((c for c in COLLECTIONS if patient.startswith(f"{c}_")), None)
        if collection is None:
            missing.append(f"{folder.name}: found no collection's name; needed {', '.join(COLLECTIONS)}")
            continue
        phases = _phases(folder)
        if sorted(phases) != list(range(len(phases))) or len(phases) < 2:
            missing.append(f"{patient}: found phases {sorted(phases)}; needed 0000, 0001 and so on")
        elif patient not in masks:
            missing.append(f"{patient}: found no segmentations/expert/{patient}.nii.gz")
        else:
            items.append(_item(patient, collection, phases, masks[patient]))
    return Listing(tuple(items), LESION, tuple(missing), _folds(root, items))


def _phases(folder: Path) -> dict[int, Path]:
    found = {}
    for file in sorted(folder.glob("*.nii.gz")):
        number = re.fullmatch(rf"{re.escape(folder.name)}_(\d{{4}})\.nii\.gz", file.name, re.IGNORECASE)
        if number is not None:
            found[int(number[1])] = file
    return found


def _item(patient: str, collection: str, phases: dict[int, Path], mask: Path) -> Item:
    names = {"pre" if number == 0 else f"post{number}": file for number, file in sorted(phases.items())}

    def peek() -> frozenset[int]:
        return labels_in(load_mask(mask).array)

    def read() -> Case:
        volumes: dict[str, Volume] = {}
        facts, notes = {}, []
        for name, file in names.items():
            loaded = read_volume(file)
            volumes[name] = loaded.volume
            facts[name] = ChannelFacts("MR", (str(file),), sha256_of([file]))
            notes += [f"{name}: {note}" for note in loaded.notes]
        truth = load_mask(mask, volumes["pre"].geometry)
        told = AcquisitionFacts(facts, tuple(notes))
        return Case(patient, patient, volumes, "pre", truth, told, diagnosis=collection)

    return Item(patient, patient, (*names.values(), mask), peek, read, collection)


def _folds(root: Path, items: list[Item]) -> OfficialFolds | None:
    file = root / "train_test_splits.csv"
    if not file.is_file():
        return None
    held = {row["test_split"].strip().upper() for row in table_rows(file, ("train_split", "test_split"))}
    return OfficialFolds("MAMA-MIA train_test_splits.csv", (), tuple(i.id for i in items if i.id in held))


DATASET = Dataset(
    "MAMA-MIA",
    "https://doi.org/10.7303/syn60868042 (Synapse, free account)",
    "CC BY-NC 4.0 (segmentations; the images as their collections: CC BY 3.0, 4.0, BY-NC 4.0)",
    find,
)
