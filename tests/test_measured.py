"""Many scans with drawn masks: pairing, failures that do not stop the rest, and the tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import phantoms
from lesionlab import find_recipe
from lesionlab.core.errors import DatasetError, ReadError
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline import listed, measure_cohort, paired, write_cohort_measurements
from lesionlab.report import save_volume

GRID = Geometry((12, 16, 16), (4.0, 4.0, 4.0))
COARSE = Geometry((12, 8, 8), (4.0, 8.0, 8.0))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def cohort(tmp_path: Path) -> Path:
    """Three scans; a mask for `a`, one on another grid for `c`, and one without scan, `d`."""
    inside = phantoms.ball_mask(GRID, (24.0, 32.0, 32.0), 12.0)
    image = Volume(np.where(inside, 8.0, 1.0).astype(np.float32), GRID, SUVBW)
    (tmp_path / "masks").mkdir()
    for name in "abc":
        (tmp_path / "scans" / name).mkdir(parents=True)
        save_volume(image, tmp_path / "scans" / name / "suv.nii.gz")
    save_volume(Volume(inside.astype(np.uint8), GRID, ONE), tmp_path / "masks" / "a.nii.gz")
    save_volume(Volume(np.ones(COARSE.shape, np.uint8), COARSE, ONE), tmp_path / "masks" / "c.nii.gz")
    save_volume(Volume(inside.astype(np.uint8), GRID, ONE), tmp_path / "masks" / "d.nii.gz")
    return tmp_path


def test_a_failing_patient_is_listed_and_the_rest_measured(cohort: Path) -> None:
    outcomes = measure_cohort(paired(cohort / "scans", cohort / "masks"), find_recipe("pet-threshold"))
    errors = {o.name: o.error or "" for o in outcomes}
    assert errors["a"] == ""
    assert "case b: found no mask beside" in errors["b"]
    assert "found grid 12 x 8 x 8" in errors["c"] and "needed grid 12 x 16 x 16" in errors["c"]
    assert "case d: found no scan beside" in errors["d"]
    write_cohort_measurements(outcomes, cohort / "out", title="cohort", long=True)
    patients = {row["case_id"]: row for row in rows_of(cohort / "out" / "patients.csv")}
    assert [bool(patients[name]["error"]) for name in "abcd"] == [False, True, True, True]
    (lesion,) = rows_of(cohort / "out" / "lesions.csv")
    assert lesion["case_id"] == "a" and float(lesion["SUVmax"]) == 8.0
    long = {row["name"]: row for row in rows_of(cohort / "out" / "long.csv")}
    assert long["SUVmax"]["value"] == lesion["SUVmax"] and long["SUVmax"]["unit"] == SUVBW
    assert long["MTV"]["unit"] == "ml" and long["MTV"]["code"] == "DCM:126032"
    assert set(long) == set(lesion) - {"case_id", "lesion"}
    assert not (cohort / "out" / "report.html").exists()


def test_a_list_gives_the_same_as_two_folders(cohort: Path) -> None:
    table = cohort / "cases.csv"
    table.write_text(
        "case_id,image,mask,note\na,scans/a,masks/a.nii.gz,first\n,scans/b,masks/d.nii.gz,x\n,,,\n,,,,\n"
    )
    outcomes = measure_cohort(listed(table), find_recipe("pet-threshold"))
    assert [o.name for o in outcomes] == ["a", "b"]
    first, second = (o.value for o in outcomes)
    assert first is not None and second is not None and first.rows == second.rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("image,maske\na,b\n", "columns image, maske; needed a CSV file with columns image and mask"),
        ("image,mask\n", "no row"),
        ("", "columns none"),
    ],
)
def test_a_list_of_another_shape_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "cases.csv").write_text(text)
    with pytest.raises(ReadError, match=says):
        listed(tmp_path / "cases.csv")


def test_a_list_that_is_gone_or_names_a_case_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"cases.csv: found No such file or directory; needed a CSV file"):
        listed(tmp_path / "cases.csv")
    (tmp_path / "cases.csv").write_text("image,mask\nx/a.nii,m.nii\nx/a.nii,n.nii\n")
    with pytest.raises(DatasetError, match="case x more than once"):
        listed(tmp_path / "cases.csv")


@pytest.mark.parametrize(
    ("rows", "names"),
    [
        (["scans/a.nii.gz,masks/m1.nii.gz", "scans/b,masks/m2.nii.gz"], ["a", "b"]),
        (["a/suv.nii.gz,a/mask.nii.gz", "b/suv.nii.gz,b/mask.nii.gz"], ["a", "b"]),
        (["suv.nii.gz,mask.nii.gz", "b/suv.nii.gz,b/mask.nii.gz"], ["folder", "b"]),
        (["a.nii.gz,x/mask.nii.gz", ",b.nii.gz"], ["a", "b"]),
    ],
)
def test_a_list_without_ids_names_cases_after_their_images(
    tmp_path: Path, rows: list[str], names: list[str]
) -> None:
    table = tmp_path / "folder" / "cases.csv"
    table.parent.mkdir()
    table.write_text("\n".join(["image,mask", *rows]))
    assert [pair.case_id for pair in listed(table)] == names
