"""autoPET: whole-body PET/CT with manually outlined lesions, and negative controls.

Checked on phantoms of the three layouts; each fact with the place where it was looked up:

1. TCIA as NIfTI (FDG-PET-CT-Lesions), a patient with one or more studies:
   PETCT_HASH/STUDY/{SUV,CTres,SEG}.nii.gz; SUV in SUVbw, CTres the CT in HU on the PET grid (-1024 outside),
   SEG 0 and 1; PET.nii.gz and CT.nii.gz beside them are not needed. A study's name is that of the scanner's
   protocol, blanks included: "03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-10445". (The collection's own
   converter, github.com/lab-midas/TCIA_processing, tcia_dicom_to_nifti.py.)
2. nnU-Net: imagesTr/CASE_{0000,0001}.nii.gz, labelsTr/CASE.nii.gz, with dataset.json (`tumor` = 1) and
   splits_final.json if there are any. CASE is PETCT_HASH_STUDY (0000 = CTres, 0001 = SUV: nnU-Net's
   Dataset221_AutoPETII_2023.py) or TRACER_PATIENT_STUDY, as fdg_HASH_STUDY and psma_HASH_DATE (release with
   PSMA). Copies in the other order are about too: per case, the channel that reaches below -200 is the CT,
   the other, with nothing below 0, the SUV.
3. TCIA as DICOM, here or in manifest-*/FDG-PET-CT-Lesions: PETCT_HASH/STUDY/SERIES/*.dcm with CT, PT and SEG
   (same converter). PET becomes SUVbw by the standard's rules, which differ from the published NIfTI where
   those took AcquisitionTime of the first file (`calculate_suv_factor` there; docs/reference/suv.md).

Lesion-free studies have an empty mask. Folds of splits_final.json are the official ones where no patient is
on both sides. The tracer (fdg, psma), where names tell it, is the case's diagnosis field.

Gatidis et al., Scientific Data 2022, doi 10.1038/s41597-022-01718-3: 1,014 FDG studies of 900 patients; with
PSMA 597 more of 378 patients.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from lesionlab.core.case import AcquisitionFacts, Case, ChannelFacts
from lesionlab.core.errors import ReadError
from lesionlab.core.files import sha256_of
from lesionlab.core.splits import OfficialFolds, Split
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Volume
from lesionlab.read.case import open_case
from lesionlab.read.datasets.layout import LESION, Dataset, Item, Listing, labels_in
from lesionlab.read.folders import files_below
from lesionlab.read.masks import load_mask
from lesionlab.read.nifti import read_volume

BELOW_CT: Final = -200.0
"""Air on a CT lies far below, SUV never; between this and 0 neither is certain."""
STUDY_FILES: Final = ("SUV.nii.gz", "CTres.nii.gz", "SEG.nii.gz")


def find(root: Path, classes: bool) -> Listing:
    """The studies of whichever of the three layouts lies here; there is one kind of lesion."""
    if (root / "imagesTr").is_dir():
        return _nnunet(root)
    places = (root, root / "FDG-PET-CT-Lesions", *sorted(root.glob("manifest-*/FDG-PET-CT-Lesions")))
    patients = [folder for place in places for folder in sorted(place.glob("PETCT_*")) if folder.is_dir()]
    studies = [study for patient in patients for study in sorted(patient.iterdir()) if study.is_dir()]
    if not studies:
        raise DATASET.absent(root, "imagesTr and no PETCT_*/STUDY")
    items, missing = [], []
    for study in studies:
        name = f"{study.parent.name}_{study.name}"
        there = [file for file in STUDY_FILES if (study / file).is_file()]
        if len(there) == len(STUDY_FILES):
            items.append(_nifti_item(name, study))
        elif not there and (files := _dicom_files(study)):
            items.append(_dicom_item(name, study, files))
        else:
            missing += [f"{name}: found no {file}" for file in STUDY_FILES if file not in there]
    return Listing(tuple(items), LESION, tuple(missing))


def _nifti_item(name: str, study: Path) -> Item:
    suv, ct, mask = (study / file for file in STUDY_FILES)

    def read() -> Case:
        return _case(name, study.parent.name, {"suv": suv, "ct": ct}, mask)

    return Item(
        name, study.parent.name, (suv, ct, mask), lambda: labels_in(load_mask(mask).array), read, "fdg"
    )


def _dicom_files(study: Path) -> tuple[Path, ...]:
    return tuple(file for file in files_below(study) if file.suffix.lower() == ".dcm")


def _dicom_item(name: str, study: Path, files: tuple[Path, ...]) -> Item:
    def read() -> Case:
        case = open_case(study, case_id=name, reference="pet")
        if case.truth is None:
            raise ReadError(study, "PET and CT without SEG", "the segmentation of the study")
        return Case(name, study.parent.name, case.channels, "pet", case.truth, case.facts, diagnosis="fdg")

    def peek() -> frozenset[int]:
        truth = read().truth
        return frozenset() if truth is None else labels_in(truth.array)

    return Item(name, study.parent.name, files, peek, read, "fdg")


def _nnunet(root: Path) -> Listing:
    names = sorted({f.name[:-12] for f in (root / "imagesTr").glob("[!.]*_????.nii.gz")})
    items, missing = [], []
    for name in names:
        images = tuple(root / "imagesTr" / f"{name}_{channel:04d}.nii.gz" for channel in range(2))
        mask = root / "labelsTr" / f"{name}.nii.gz"
        lacking = [file for file in (*images, mask) if not file.is_file()]
        missing += [f"{name}: found no {file.relative_to(root)}" for file in lacking]
        if not lacking:
            items.append(_nnunet_item(name, images, mask))
    return Listing(tuple(items), _labels(root), tuple(missing), _folds(root))


def _nnunet_item(name: str, images: tuple[Path, ...], mask: Path) -> Item:
    patient = patient_of(name)

    def read() -> Case:
        return _case(name, patient, channels_by_values(images), mask)

    tracer = name.split("_")[0].lower()
    kind = tracer if tracer in ("fdg", "psma") else "fdg"
    return Item(name, patient, (*images, mask), lambda: labels_in(load_mask(mask).array), read, kind)


def patient_of(name: str) -> str:
    """The patient in a case's name: TRACER_PATIENT_STUDY or PETCT_HASH_STUDY without the study."""
    parts = name.split("_")
    return "_".join(parts[:2]) if len(parts) > 2 else name


def channels_by_values(images: tuple[Path, ...]) -> dict[str, Path]:
    """Which of two files is SUV and which CT, by their values; ReadError where that does not tell."""
    lowest = [float(read_volume(file).volume.array.min()) for file in images]
    ct = [low < BELOW_CT for low in lowest]
    suv = [low >= 0 for low in lowest]
    if ct == [True, False] and suv[1]:
        return {"suv": images[1], "ct": images[0]}
    if ct == [False, True] and suv[0]:
        return {"suv": images[0], "ct": images[1]}
    found = f"lowest values {lowest[0]:g} and {lowest[1]:g}"
    raise ReadError(images[0], found, f"one image below {BELOW_CT:g} (CT) and one with nothing below 0 (SUV)")


def _case(name: str, patient: str, files: dict[str, Path], mask: Path) -> Case:
    units = {"suv": SUVBW, "ct": HOUNSFIELD}
    volumes, facts, notes = {}, {}, []
    for channel, file in files.items():
        loaded = read_volume(file)
        volumes[channel] = Volume(loaded.volume.array, loaded.volume.geometry, units[channel])
        facts[channel] = ChannelFacts("", (str(file),), sha256_of([file]))
        notes += [f"{channel}: {note}" for note in loaded.notes]
    truth = load_mask(mask, volumes["suv"].geometry)
    notes.append(f"suv from {files['suv'].name}, ct from {files['ct'].name}, truth from {mask.name}")
    tracer = name.split("_")[0].lower()
    kind = tracer if tracer in ("fdg", "psma") else "fdg"
    return Case(name, patient, volumes, "suv", truth, AcquisitionFacts(facts, tuple(notes)), diagnosis=kind)


def _labels(root: Path) -> dict[str, int]:
    """The labels of dataset.json; lesion where there is none."""
    file = root / "dataset.json"
    if not file.is_file():
        return dict(LESION)
    try:
        labels = {str(k): int(v) for k, v in json.loads(file.read_text(encoding="utf-8"))["labels"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReadError(file, "no labels as whole numbers", "nnU-Net's dataset.json") from None
    return {re.sub(r"\s+", "-", name): number for name, number in labels.items() if number}


def _folds(root: Path) -> OfficialFolds | None:
    file = root / "splits_final.json"
    if not file.is_file():
        return None
    try:
        splits = json.loads(file.read_text(encoding="utf-8"))
        found = tuple(Split(tuple(one["train"]), tuple(one["val"])) for one in splits)
    except (ValueError, KeyError, TypeError):
        raise ReadError(file, "no list of train and val", "nnU-Net's splits_final.json") from None
    return OfficialFolds(f"{root.name} splits_final.json", found)


DATASET = Dataset(
    "autoPET",
    "https://doi.org/10.7937/gkr0-xv29 (TCIA) or https://doi.org/10.57754/FDAT.6gjsg-zcg93 (with PSMA)",
    "as the page of your copy says (TCIA: restricted, after a signed agreement)",
    find,
)
