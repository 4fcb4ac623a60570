"""SUV on real scans, reference objects and vendors' headers, against their published answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionlab.core.grid import resample
from lesionlab.core.private_tags import PHILIPS_ACTIVITY_FACTOR, PHILIPS_SUV_FACTOR
from lesionlab.core.registry import find_recipe
from lesionlab.read import load_mask, load_volume, open_case
from lesionlab.standardise import standardise, suv_audit, suv_volume, with_suv

pytestmark = pytest.mark.real

OBJECTS = {
    "DRO_0_0": "Units BQML, DecayCorrection START",
    "DRO_1_0": "Units BQML, DecayCorrection START",
    "DRO_2_0": "Units GML",
    "DRO_2_1": "Units GML, SUVType LBMJAMES128 (SUVlbm-james128)",
    "DRO_2_4": "Units CNTS",
    "DRO_3_0": "Units BQML, DecayCorrection START",
    "DRO_3_1": "Units BQML, DecayCorrection ADMIN",
    "DRO_3_4": "Units BQML, DecayCorrection NONE",
    "DRO_4_1": "Units BQML, DecayCorrection START",
    "DRO_5_0": "Units BQML, DecayCorrection START",
}


def test_every_reference_object_is_tried(shared_data: Path) -> None:
    assert {path.name for path in (shared_data / "suv_dro").glob("DRO_*")} == set(OBJECTS)


@pytest.mark.parametrize("name", OBJECTS)
def test_reference_objects_read_what_they_must(shared_data: Path, name: str) -> None:
    folder = shared_data / "suv_dro" / name
    case = standardise(open_case(folder), find_recipe("pet-threshold"))
    inside = load_mask(folder / "mask" / "DRO_mask.nii.gz", case.geometry).array > 0
    values = case.channels["suv"].array[inside]
    found = [float(values.min()), float(np.median(values)), float(values.max())]
    assert found == pytest.approx([0.20, 1.00, 4.00], abs=0.005)
    audit = case.facts.channels["suv"].suv
    assert audit is not None
    assert audit.rule == OBJECTS[name]


def flattened(instance: dict[str, Any]) -> dict[str, Any]:
    """An instance of the vendors' headers under the names that reading gives to private attributes."""
    private = instance.get("PhilipsPETPrivateGroup", {})
    names = {
        "SUVScaleFactor": PHILIPS_SUV_FACTOR,
        "ActivityConcentrationScaleFactor": PHILIPS_ACTIVITY_FACTOR,
    }
    return instance | {name: private[key] for key, name in names.items() if key in private}


def test_vendor_headers_give_their_published_factor(shared_data: Path) -> None:
    folder = shared_data / "suv_vendor_metadata"
    rows = list(csv.DictReader((folder / "expected_suvbw_factors.csv").read_text().splitlines()))
    assert len(rows) == 8
    for row in rows:
        instances = json.loads((folder / "test" / "metadata" / row["file"]).read_text())
        slices = [flattened(instance) for instance in instances]
        found = suv_audit(row["file"], slices[0], slices).factors
        assert found == pytest.approx([float(row["suvbw_factor"])] * len(slices), rel=2e-4), row["file"]


def test_grams_per_ml_as_dicom_equal_the_published_nifti(shared_data: Path) -> None:
    opened = open_case(shared_data / "sts_dicom" / "STS_010", reference="pet")
    case = with_suv(opened)
    published = load_volume(shared_data / "sts" / "STS_010" / "pet.nii.gz")
    np.testing.assert_allclose(case.channels["suv"].array, published.array, atol=1e-5)
    audit = case.facts.channels["suv"].suv
    assert audit is not None
    assert audit.rule == "Units GML"
    # A woman of 65 kg and 160 cm: 1.07 x 65 - 148 (65/160)^2 kg of lean mass.
    lean, _ = suv_volume(opened, "SUVlbm-morgan")
    assert lean.array.max() == pytest.approx(published.array.max() * 45.125 / 65, rel=1e-3)


def test_a_raw_whole_body_series_gives_the_published_suv(shared_data: Path) -> None:
    case = standardise(open_case(shared_data / "pet_raw_ge" / "image"), find_recipe("pet-threshold"))
    published = load_volume(shared_data / "pet_raw_ge" / "reference_suv_crop.nii.gz")
    ours = resample(case.channels["suv"], published.geometry)
    worst = np.abs(ours.array - published.array).max(axis=(1, 2))
    assert len(worst) == 59
    assert int((worst < 0.001).sum()) >= 57
    assert any("not taken" in n for n in case.notes)
