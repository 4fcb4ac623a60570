"""BUS-BRA: breast ultrasound of biopsied lesions, one outline each, with official folds.

Verified on real files (1,127 images of 638 patients, folds 1 to 3 of the 5). Expected, here or in a folder
BUSBRA:

    Images/bus_NNNN-S.png      S is l or r (left, right half of a screen) or s (single); 8-bit grey
    Masks/mask_NNNN-S.png      the outline's inside, 1-bit or 0 and 255, on the same pixels
    bus_data.csv               ID, Case (the patient), Histology, Pathology (benign, malignant), BIRADS,
                               Device ...
    5-fold-cv.csv              ID, Pathology, kFold (the fold that holds the image out), valid_1 ...; optional

Files that `bus_data.csv` does not name are not part of the data set. Pixels have no stated size.

Gómez-Flores, Gregorio-Calas and Coelho de Albuquerque Pereira, Medical Physics 2024, doi 10.1002/mp.16812.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.splits import OfficialFolds, folds_by_number
from lesionlab.read.datasets.layout import (
    LESION,
    Dataset,
    Item,
    Listing,
    image_case,
    labels_in,
    merged_masks,
    table_rows,
)

CLASSES = {"benign": 1, "malignant": 2}


def find(root: Path, classes: bool) -> Listing:
    """The images that bus_data.csv names and whose files are there, with the official folds."""
    folder = next((f for f in (root, root / "BUSBRA") if (f / "bus_data.csv").is_file()), None)
    if folder is None:
        raise DATASET.absent(root, "bus_data.csv")
    items, missing = [], []
    for row in table_rows(folder / "bus_data.csv", ("ID", "Case", "Pathology")):
        name = row["ID"]
        image = folder / "Images" / f"{name}.png"
        mask = folder / "Masks" / f"{name.replace('bus_', 'mask_', 1)}.png"
        lacking = [file for file in (image, mask) if not file.is_file()]
        if classes and row["Pathology"] not in CLASSES:
            missing.append(f"{name}: found Pathology {row['Pathology']!r}; needed {' or '.join(CLASSES)}")
        elif lacking:
            missing += [f"{name}: found no {file.relative_to(folder)}" for file in lacking]
        else:
            items.append(_item(name, row, (image, mask), classes))
    return Listing(tuple(items), CLASSES if classes else LESION, tuple(missing), _folds(folder, items))


def _item(name: str, row: dict[str, str], files: tuple[Path, Path], classes: bool) -> Item:
    label = CLASSES[row["Pathology"]] if classes else 1
    patient = f"BUS-BRA-{row['Case']}"

    def peek() -> frozenset[int]:
        return labels_in(merged_masks(files[1:], label).array)

    def read() -> Case:
        return image_case(name, patient, row["Pathology"], files, merged_masks(files[1:], label))

    return Item(name, patient, files, peek, read, row["Pathology"])


def _folds(folder: Path, items: list[Item]) -> OfficialFolds | None:
    file = folder / "5-fold-cv.csv"
    if not file.is_file():
        return None
    numbers = {row["ID"]: row["kFold"] for row in table_rows(file, ("ID", "kFold"))}
    known = {item.id: numbers[item.id] for item in items if item.id in numbers}
    return folds_by_number("BUS-BRA 5-fold-cv.csv", known)


DATASET = Dataset(
    "BUS-BRA",
    "https://doi.org/10.5281/zenodo.8231412 (BUSBRA.zip)",
    "free use with citation (LICENSE.txt that comes with it)",
    find,
)
