from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.files import sha256_of
from lesionlab.core.results import Findings
from lesionlab.report.tables import patient_record, plain, write_csv, write_run, write_tables

MakeFindings = Callable[..., Findings]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (float("nan"), ""),
        (3.0, "3"),
        (np.float32(0.1), repr(float(np.float32(0.1)))),
        (np.int64(7), "7"),
        (-0.25, "-0.25"),
        (1e20, "1e+20"),
        (True, "True"),
        ("a, b", "a, b"),
        (float("inf"), "inf"),
    ],
)
def test_values_as_csv_text(value: object, text: str) -> None:
    assert plain(value) == text


def test_lesions_csv_reads_back_to_the_tables_own_numbers(two_lesions: Findings, tmp_path: Path) -> None:
    write_tables(two_lesions, tmp_path)
    rows = rows_of(tmp_path / "lesions.csv")
    assert list(rows[0]) == ["case_id", "lesion", "voxels", "SUVmax", "SUVpeak", "MTV"]
    assert [row["lesion"] for row in rows] == ["1", "2"]
    for row, lesion in zip(rows, two_lesions.lesions.rows, strict=True):
        assert row["case_id"] == "case-1"
        for name in ("voxels", "SUVmax", "MTV"):
            assert float(row[name]) == lesion[name]
        assert row["SUVpeak"] == ""  # NaN


def test_columns_csv_names_unit_meaning_and_code(two_lesions: Findings, tmp_path: Path) -> None:
    write_tables(two_lesions, tmp_path)
    rows = rows_of(tmp_path / "columns.csv")
    written = rows_of(tmp_path / "lesions.csv")[0]
    described = {row["name"]: row for row in rows if row["table"] == "lesions"}
    assert list(described) == list(written)
    assert described["SUVmax"]["unit"] == "g/ml{SUVbw}"
    assert described["SUVmax"]["code"] == "IBSI:84IY"
    assert described["SUVmax"]["meaning"] == "highest SUVbw <of a voxel> & nothing else"
    assert {row["name"] for row in rows if row["table"] == "patient"} == {
        "case_id",
        "lesions",
        "TMTV",
        "Dmax",
    }


def test_no_lesion_gives_a_header_alone(make_findings: MakeFindings, tmp_path: Path) -> None:
    write_tables(make_findings(), tmp_path)
    assert (tmp_path / "lesions.csv").read_text() == "case_id,lesion,voxels,SUVmax,SUVpeak,MTV\n"
    patient = json.loads((tmp_path / "patient.json").read_text())
    assert patient["lesion_count"] == 0
    assert patient["lesions"] == []
    assert patient["totals"] == {"lesions": 0.0, "TMTV": 0.0, "Dmax": None}


def test_patient_json_holds_the_answer_with_units(two_lesions: Findings, tmp_path: Path) -> None:
    write_tables(two_lesions, tmp_path)
    patient = json.loads((tmp_path / "patient.json").read_text())
    assert patient["case_id"] == "case-1"
    assert patient["patient_id"] == "patient-1"
    assert patient["lesion_count"] == 2
    assert patient["totals"]["TMTV"] == two_lesions.lesions.totals["TMTV"]
    assert patient["lesions"][1]["lesion"] == 2
    assert patient["lesions"][0]["SUVpeak"] is None
    assert patient["units"] == {
        "lesion": "1",
        "voxels": "1",
        "SUVmax": "g/ml{SUVbw}",
        "SUVpeak": "g/ml{SUVbw}",
        "MTV": "ml",
        "lesions": "1",
        "TMTV": "ml",
        "Dmax": "mm",
    }
    assert patient["scores"] == {"dice": 0.8125, "volume_error_ml": -1.5, "lesion_ppv": None}
    assert patient["notes"] == ["CT <resampled> & clipped"]


def test_a_case_without_truth_has_no_scores(make_findings: MakeFindings) -> None:
    assert patient_record(make_findings())["scores"] is None


def test_run_json_names_where_every_number_comes_from(two_lesions: Findings, tmp_path: Path) -> None:
    (tmp_path / "mask.nii.gz").write_bytes(b"a mask")
    write_tables(two_lesions, tmp_path)
    write_run(two_lesions, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["recipe_sha256"] == "a1" * 32
    assert run["mask_sha256"] == sha256_of([tmp_path / "mask.nii.gz"])
    assert run["bundle_sha256"] == "b2" * 32
    assert run["inputs"] == {"suv": "c3" * 32}
    assert run["seconds"] == {"read": 1.25, "measure": 0.5}
    assert run["device"] == "cpu"
    assert run["versions"]["lesionlab"] == "0.1.0"
    assert run["settings"]["threshold"] == {"suv": 4.0}
    assert run["grid"]["shape"] == [20, 30, 40]
    assert run["grid"]["spacing_mm"] == [5.0, 4.0, 3.0]
    assert run["notes"]["reading"] == ["CT <resampled> & clipped"]
    named = {column["name"] for column in run["columns"]}
    patient = json.loads((tmp_path / "patient.json").read_text())
    assert set(patient["totals"]) | set(patient["lesions"][0]) <= named


def test_commas_quotes_and_line_breaks_survive(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ["a", "b"], [['x, "y"\nz', 1.5]])
    assert rows_of(tmp_path / "t.csv") == [{"a": 'x, "y"\nz', "b": "1.5"}]
    assert not math.isnan(float(rows_of(tmp_path / "t.csv")[0]["b"]))
