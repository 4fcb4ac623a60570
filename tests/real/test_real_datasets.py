"""Data sets on real files: BUS-BRA whole, converted and planned in part, and STS."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lesionlab.core.recipe import parse_recipe
from lesionlab.core.splits import read_folds
from lesionlab.pipeline.datasets import check_dataset, convert_dataset
from lesionlab.pipeline.training import gather_cohort
from lesionlab.plan.folds import official_splits
from lesionlab.plan.leaks import SAME, Seen, find_twins, look
from lesionlab.read.datasets import DATASETS

pytestmark = pytest.mark.real


def test_bus_bra_is_complete_and_its_folds_keep_patients_together(shared_data: Path) -> None:
    found = DATASETS["bus-bra"].find(shared_data / "bus_bra", True)
    assert len(found.items) == 1127 and not found.missing
    patients = {item.id: item.patient_id for item in found.items}
    assert len(set(patients.values())) == 638
    kinds = [item.diagnosis for item in found.items]
    assert (kinds.count("benign"), kinds.count("malignant")) == (760, 367)
    assert found.folds is not None
    assert [len(split["val"]) for split in official_splits(found.folds, patients)] == [376, 385, 366]
    for item in found.items[::200]:
        case = item.read()
        assert case.truth is not None and set(np.unique(case.truth.array)) - {0} == item.peek()


def test_bus_bra_holds_no_copy_and_one_would_be_found(shared_data: Path) -> None:
    items = DATASETS["bus-bra"].find(shared_data / "bus_bra", False).items[::3]
    images = {item.id: np.asarray(Image.open(item.files[0]))[None] for item in items}
    seen = [Seen(i.id, i.patient_id, frozenset({1}), i.diagnosis, look(images[i.id])) for i in items]
    assert find_twins(seen) == []
    # the threshold lies well between copies and different images
    assert find_twins(seen, 0.3) == []
    original = images[items[200].id]
    small = np.asarray(Image.fromarray(original[0]).resize((150, 180)))[None] * 0.8
    copy = Seen("copy", "someone", frozenset({1}), "benign", look(small))
    (twin,) = find_twins([*seen, copy])
    assert twin.second == "copy" and twin.distance < SAME / 2 and not twin.same_patient


def test_a_part_of_bus_bra_becomes_a_planned_workspace(shared_data: Path, tmp_path: Path) -> None:
    part = tmp_path / "BUSBRA"
    rows = (shared_data / "bus_bra" / "bus_data.csv").read_text().splitlines()
    part.mkdir()
    (part / "bus_data.csv").write_text("\n".join([rows[0], *rows[1::40]]) + "\n")
    (part / "5-fold-cv.csv").write_bytes((shared_data / "bus_bra" / "5-fold-cv.csv").read_bytes())
    for name in ("Images", "Masks"):
        (part / name).symlink_to(shared_data / "bus_bra" / name)
    checked = check_dataset("bus-bra", part)
    assert checked.cases == 29 and checked.lesion_free == 0 and not checked.faults
    outcomes = convert_dataset(checked, tmp_path / "cases")
    assert all(outcome.error is None for outcome in outcomes)
    recipe = parse_recipe(
        {
            "name": "us",
            "channels": {"us": {"normalisation": "fixed", "divide_by": 255.0}},
            "reference": "us",
            "standardise": {"size": [128, 128]},
            "network": {"configuration": "2d"},
        },
        "us",
    )
    found = gather_cohort(tmp_path / "cases", recipe, tmp_path / "work")
    assert len(found.patients) == 29 and len(found.folds) == 3 and not found.failed and not found.twins
    official = read_folds(tmp_path / "cases")
    assert official is not None and official.name == "BUS-BRA 5-fold-cv.csv"
    fingerprint = json.loads((found.workspace.preprocessed / "dataset_fingerprint.json").read_text())
    assert {tuple(shape) for shape in fingerprint["shapes_after_crop"]} <= {
        (1, 128, n) for n in range(100, 129)
    }


def test_sts_is_complete_and_its_pet_is_suv(shared_data: Path) -> None:
    found = DATASETS["sts"].find(shared_data / "sts", False)
    assert len(found.items) == 36 and not found.missing
    case = found.items[0].read()
    assert case.reference == "suv" and {"suv", "ct", "mr_t1"} == set(case.channels)
    assert case.truth is not None and case.truth.array.any() and found.items[0].peek() == {1}
