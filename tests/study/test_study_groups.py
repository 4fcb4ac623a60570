"""Folds by a column: who is held out, who must not be trained on, and tables that cannot serve."""

from __future__ import annotations

from pathlib import Path

import pytest

import networks_phantom
from lesionlab.core.errors import DatasetError
from lesionlab.pipeline.files import write_converted
from lesionlab.study import load_study, report_study, run_study
from lesionlab.study.groups import folds_by_column
from lesionlab.study.settings import FoldsBy

BY = FoldsBy(file="cases.csv", case="ID", column="Device")
PATIENTS = {"a-l": "A", "a-r": "A", "b": "B", "c": "C", "d": "D"}


def table(folder: Path, *lines: str, header: str = "ID,Device") -> Path:
    (folder / "cases.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def test_each_value_is_held_out_in_turn_and_its_patients_are_never_trained_on(tmp_path: Path) -> None:
    source = table(tmp_path, "a-l,Toshiba", "a-r,GE", "b,GE", "c,Toshiba", "d,Aloka", "other,GE")
    folds = folds_by_column(source, BY, PATIENTS)
    assert [fold["val"] for fold in folds] == [["d"], ["a-r", "b"], ["a-l", "c"]]
    # patient A was seen on both scanners: neither image trains where one of them is tested
    assert [fold["train"] for fold in folds] == [["a-l", "a-r", "b", "c"], ["c", "d"], ["b", "d"]]


def test_a_table_that_cannot_split_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="a CSV file with a column ID"):
        folds_by_column(tmp_path, BY, PATIENTS)
    with pytest.raises(DatasetError, match="no column Device"):
        folds_by_column(table(tmp_path, "b,GE", header="ID,Scanner"), BY, PATIENTS)
    with pytest.raises(DatasetError, match=r"2 cases without a Device \(a-l, d\)"):
        folds_by_column(table(tmp_path, "a-l, ", "a-r,GE", "b,GE", "c,GE"), BY, PATIENTS)
    with pytest.raises(DatasetError, match="one value of Device"):
        folds_by_column(table(tmp_path, *(f"{name},GE" for name in PATIENTS)), BY, PATIENTS)


def test_a_study_by_scanner_tests_each_scanner_in_turn_and_refuses_another_number(tmp_path: Path) -> None:
    for number in range(4):
        case = networks_phantom.sphere_case(number)
        write_converted(case, tmp_path / "patients" / case.id, {"source": "phantom"})
    table(tmp_path / "patients", "sphere_0,GE", "sphere_1,GE", "sphere_2,GE", "sphere_3,Aloka")
    text = """
name = "scanners"
data = "patients"
recipe = "pet-threshold"
folds = 2
test_folds = [0]
amount = 1
post_processing = { choose = false }
folds_by = { file = "cases.csv", case = "ID", column = "Device" }
[[variants]]
name = "SUVbw 4"
"""
    (tmp_path / "study.toml").write_text(text)
    found = load_study(tmp_path / "study.toml")
    run_study(found, tmp_path / "work", device="cpu")
    report_study(found, tmp_path / "work", tmp_path / "out")
    rows = (tmp_path / "out" / "cases.csv").read_text().splitlines()
    assert [row.split(",")[3] for row in rows[1:]] == ["sphere_3"]
    assert "0 of 2 folds by Device" in (tmp_path / "out" / "study.md").read_text()
    (tmp_path / "study.toml").write_text(text.replace("folds = 2", "folds = 3"))
    with pytest.raises(DatasetError, match=r"2 folds by Device.*folds = 2 in the study"):
        run_study(load_study(tmp_path / "study.toml"), tmp_path / "work", device="cpu")
    shipped = text.replace("folds = 2", "folds = 3").replace(
        f'name = "{found.settings.name}"', 'name = "petct"'
    )
    (tmp_path / "study.toml").write_text(shipped)
    with pytest.raises(DatasetError, match=r"folds = 2 in a copy of .*petct\.toml"):
        run_study(load_study(tmp_path / "study.toml"), tmp_path / "work", device="cpu")
