"""Small copies of public data sets' layouts, with known answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

from lesionlab.core.units import HOUNSFIELD, ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report import save_volume

GRID = Geometry((6, 10, 12), (3.0, 2.0, 2.0))


def speckle(number: int, shape: tuple[int, ...] = (40, 50)) -> np.ndarray:
    """A grey image (uint8) that no other number gives."""
    small = np.random.default_rng(number).uniform(20, 200, shape)
    return small.astype(np.uint8)


def disc(
    shape: tuple[int, int] = (40, 50), centre: tuple[int, int] = (20, 25), radius: int = 6
) -> np.ndarray:
    """A mask (bool) of one disc."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.asarray((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)


def picture(path: Path, array: np.ndarray) -> Path:
    """Write a PNG (bool as 1-bit)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def bus_bra(root: Path, patients: int = 6, folds: int = 3) -> Path:
    """Two images of every patient; every second patient's lesion is malignant."""
    rows, splits = ["ID,Case,Pathology,Device"], ["ID,Pathology,kFold"]
    for patient in range(1, patients + 1):
        kind = ("benign", "malignant")[patient % 2]
        for side in "lr":
            name = f"{patient:04d}-{side}"
            picture(root / "Images" / f"bus_{name}.png", speckle(2 * patient + (side == "r")))
            picture(root / "Masks" / f"mask_{name}.png", disc())
            rows.append(f"bus_{name},{patient},{kind},GE Logiq 7")
            splits.append(f"bus_{name},{kind},{(patient - 1) % folds + 1}")
    (root / "bus_data.csv").write_text("\n".join(rows) + "\n")
    (root / "5-fold-cv.csv").write_text("\n".join(splits) + "\n")
    return root


def busi(root: Path) -> Path:
    """A benign image with two lesions in two mask files, a malignant one, a normal one."""
    colour = np.repeat(speckle(1)[..., None], 3, axis=2)
    picture(root / "benign" / "benign (1).png", colour)
    picture(root / "benign" / "benign (1)_mask.png", disc(centre=(10, 10)).astype(np.uint8) * 255)
    picture(root / "benign" / "benign (1)_mask_1.png", disc(centre=(30, 40)).astype(np.uint8) * 255)
    picture(root / "malignant" / "malignant (1).png", speckle(2))
    picture(root / "malignant" / "malignant (1)_mask.png", disc().astype(np.uint8) * 255)
    picture(root / "normal" / "normal (1).png", speckle(3))
    picture(root / "normal" / "normal (1)_mask.png", np.zeros((40, 50), np.uint8))
    return root


def breastdm(root: Path) -> Path:
    """Two training patients, one to validate, one to test who is a training patient too, and one more."""
    sides = {"train": ("Be-1801", "Ma-1802"), "val": ("Ma-1803",), "test": ("Be-1801", "Be-1805")}
    for split, patients in sides.items():
        for patient in patients:
            images = root / "seg3D" / split / "images" / f"BreaDM-{patient}"
            labels = root / "seg3D" / split / "labels" / f"BreaDM-{patient}"
            images.mkdir(parents=True)
            labels.mkdir(parents=True)
            mask = np.zeros((20, 22, 8), np.uint8)
            mask[8:12, 9:14, 2:4] = 255
            for number, name in enumerate(("VIBRANT", "VIBRANT+C2", "SUB2")):
                series = speckle(number + int(patient[-4:]), (20, 22, 8))
                series[..., 5:] = 0  # three blank slices at the end
                np.save(images / f"{name}.npy", series)
                np.save(labels / f"{name}.npy", mask)
    return root


def _lesion(inside: bool = True) -> Volume:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[2:4, 3:6, 4:8] = inside
    return Volume(mask, GRID, ONE)


def _pet_ct(number: int) -> tuple[Volume, Volume]:
    random = np.random.default_rng(number)
    suv = Volume(random.uniform(0, 9, GRID.shape).astype(np.float32), GRID, SUVBW)
    ct = Volume(random.uniform(-1000, 400, GRID.shape).astype(np.int16), GRID, HOUNSFIELD)
    return suv, ct


def autopet_nifti(root: Path) -> Path:
    """A patient with two studies, the second lesion-free, and one with one; a study's name as published."""
    studies = (
        ("PETCT_aa", "03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-10445", True),
        ("PETCT_aa", "01-01-2004-NA-Unspecified CT ABDOMEN-67897", False),
        ("PETCT_bb", "1", True),
    )
    for number, (patient, study, sick) in enumerate(studies):
        folder = root / "FDG-PET-CT-Lesions" / patient / study
        suv, ct = _pet_ct(number)
        for name, volume in (("SUV", suv), ("CTres", ct), ("SEG", _lesion(sick))):
            save_volume(volume, folder / f"{name}.nii.gz")
    return root


def autopet_nnunet(root: Path, order: tuple[str, str] = ("ct", "suv")) -> Path:
    """Two studies of one patient and one of another, with channels in an order, and splits."""
    names = (
        "fdg_aa_04-27-2003-NA-PET-CT Ganzkoerper  primaer mit KM-12737",
        "fdg_aa_2001-01-01",
        "psma_bb_2002-01-01",
    )
    for number, name in enumerate(names):
        suv, ct = _pet_ct(number)
        for channel, kind in enumerate(order):
            volume = {"suv": suv, "ct": ct}[kind]
            save_volume(volume, root / "imagesTr" / f"{name}_{channel:04d}.nii.gz")
        save_volume(_lesion(), root / "labelsTr" / f"{name}.nii.gz")
    splits = [{"train": names[:2], "val": names[2:]}, {"train": names[2:], "val": names[:2]}]
    (root / "splits_final.json").write_text(json.dumps(splits))
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "tumor": 1}}))
    return root


def mama_mia(root: Path) -> Path:
    """A patient of each of two collections, file names in upper and lower case, one of them for testing."""
    for number, (folder, stem) in enumerate((("DUKE_001", "DUKE_001"), ("ISPY2_100899", "ispy2_100899"))):
        for phase in range(3):
            volume = Volume(speckle(10 * number + phase, GRID.shape), GRID, ONE)
            save_volume(volume, root / "images" / folder / f"{stem}_{phase:04d}.nii.gz")
        save_volume(_lesion(), root / "segmentations" / "expert" / f"{stem}.nii.gz")
    (root / "train_test_splits.csv").write_text("train_split,test_split\nDUKE_001,ISPY2_100899\n")
    return root


def stacks(root: Path, *, spacing: bool = True) -> Path:
    """Two specimens with two readers, who agree but for a slice; the first was scanned twice."""
    for number, place in enumerate(("S1/first", "S1/second", "S2")):
        folder = root / place
        folder.mkdir(parents=True)
        shape = (5, 20, 24)
        tifffile.imwrite(folder / "us.tif", speckle(number, shape))
        tifffile.imwrite(folder / "pa.tif", speckle(number + 50, shape))
        mask = np.zeros(shape, np.uint8)
        mask[1:4, 5:12, 6:14] = 255
        tifffile.imwrite(folder / "mask_anna.tif", mask)
        mask[3] = 0
        tifffile.imwrite(folder / "mask_bert.tif", mask)
    if spacing:
        (root / "spacing.json").write_text('{"spacing_mm": [0.2, 0.1, 0.1]}')
    return root


def folder(root: Path) -> Path:
    """Four pictures of two patients with two kinds of lesion, folds, and one picture kept for testing."""
    rows = ["case,patient,diagnosis,fold"]
    for number, (patient, kind, fold) in enumerate(
        (("p1", "benign", "a"), ("p1", "benign", "a"), ("p2", "malignant", "b"), ("p3", "malignant", "test"))
    ):
        picture(root / "images" / f"c{number}.png", speckle(number))
        label = 1 if kind == "benign" else 2
        picture(root / "masks" / f"c{number}.png", disc().astype(np.uint8) * label)
        rows.append(f"c{number},{patient},{kind},{fold}")
    (root / "cases.csv").write_text("\n".join(rows) + "\n")
    (root / "labels.json").write_text('{"benign": 1, "malignant": 2}')
    return root
