"""Ultrasound features on BUS-BRA: every mask is measured, and cancers look like cancers. By patient."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from lesionlab.core.components import components
from lesionlab.core.settings import UltrasoundSettings
from lesionlab.measure.ultrasound import ultrasound
from lesionlab.read.masks import load_mask
from lesionlab.read.stacks import read_stack

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def patients(shared_data: Path):
    """Pathology and features by patient; those of several images (the largest lesion of each) in a list."""
    folder = shared_data / "bus_bra"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    found = defaultdict(list)
    for row in csv.DictReader((folder / "bus_data.csv").read_text().splitlines()):
        picture = folder / "Images" / f"{row['ID']}.png"
        if not picture.is_file():
            continue
        image = read_stack(picture).volume
        mask = load_mask(folder / "Masks" / picture.name.replace("bus_", "mask_"), image.geometry)
        labels = mask.with_array(components(mask.array)[0], "1")
        added = ultrasound(image, labels, UltrasoundSettings(), known=False)
        found[row["Case"], row["Pathology"]].append((picture.name, added.rows))
    assert len(found) == 638
    return found


def by_patient(patients, pathology: str, name: str) -> np.ndarray:
    return np.array(
        [
            np.mean([rows[0][name] for _, rows in images])
            for (_, kind), images in patients.items()
            if kind == pathology
        ]
    )


def test_every_feature_of_every_mask_is_finite(patients) -> None:
    images = [item for found in patients.values() for item in found]
    assert len(images) == 1127
    broken = [
        (name, key)
        for name, rows in images
        for row in rows
        for key, value in row.items()
        if not math.isfinite(value)
    ]
    assert broken == []


def test_cancers_are_taller_than_wide_more_often(patients) -> None:
    """47 of 205 patients with a cancer have an image of one taller than wide, 6 of 433 without."""
    taller = defaultdict(list)
    for (_, pathology), images in patients.items():
        taller[pathology].append(any(rows[0]["taller_than_wide"] > 1 for _, rows in images))
    assert (sum(taller["malignant"]), len(taller["malignant"])) == (47, 205)
    assert (sum(taller["benign"]), len(taller["benign"])) == (6, 433)


@pytest.mark.parametrize(
    ("name", "auc"),
    [("taller_than_wide", 0.83), ("margin_sharpness", 0.21), ("posterior_ratio", 0.34), ("echo_ratio", 0.53)],
)
def test_how_well_a_feature_alone_tells_them_apart(patients, name: str, auc: float) -> None:
    """Area under the ROC curve for malignant; below 0.5: blurred margins and shadows speak for cancer."""
    malignant, benign = (by_patient(patients, kind, name) for kind in ("malignant", "benign"))
    found = mannwhitneyu(malignant, benign).statistic / (len(malignant) * len(benign))
    assert found == pytest.approx(auc, abs=0.01)
