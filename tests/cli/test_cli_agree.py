"""The verbs about agreement: of measured patients (numbers and pictures out), and of readers' masks."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import phantoms
from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.agreement import bland_altman, concordance
from lesionlab.pipeline.agreement import measured
from lesionlab.pipeline.observers import read_cases
from lesionlab.report import save_volume

GRID = Geometry((6, 12, 12), (4.0, 4.0, 4.0))
TRUE = [12.0, 40.0, 8.0, 0.0, 77.0, 31.0]
FOUND = [13.0, 37.0, 9.0, 2.0, 80.0, 33.0]


def totals(path: Path, values: list[float], **more: str) -> Path:
    rows = [f"p{k},,{value},{'' if value == 0 else 4 + value / 10}" for k, value in enumerate(values)]
    rows += [f"{case},{why},," for case, why in more.items()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["case_id,error,TMTV,SUVmax", *rows]) + "\n")
    return path


def test_two_tables_of_patients_agree_as_the_functions_say(run, tmp_path: Path) -> None:
    one = totals(tmp_path / "a" / "patients.csv", FOUND, p8="found no scan").parent
    other = totals(tmp_path / "b.csv", [*TRUE, 5.0])
    result = run("agree", one, other, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    rows = {row["biomarker"]: row for row in answer["biomarkers"]}
    assert list(rows) == ["TMTV", "SUVmax"]
    expected = bland_altman(TRUE, FOUND)
    assert (rows["TMTV"]["bias"], rows["TMTV"]["upper"]) == pytest.approx((expected.bias, expected.upper))
    assert rows["TMTV"]["ccc_low"] == pytest.approx(concordance(TRUE, FOUND).low)
    assert (rows["SUVmax"]["n"], rows["SUVmax"]["undefined"]) == (5, 1)
    assert (answer["cases"], answer["alone"]) == (6, ["p6"])
    with (tmp_path / "out" / "agreement.csv").open(newline="") as file:
        assert float(next(csv.DictReader(file))["bias"]) == pytest.approx(expected.bias)
    for name in ("TMTV", "SUVmax"):
        for kind in ("bland_altman", "identity"):
            assert (tmp_path / "out" / f"{name}_{kind}.png").read_bytes().startswith(b"\x89PNG")
    told = run("agree", one, other, "-o", tmp_path / "out", "--biomarkers", "TMTV").stdout
    assert "SUVmax" not in told
    assert "in one of the two only, and so in no number: p6" in told


def test_measured_folders_bring_suvpeak_and_units(run, tmp_path: Path) -> None:
    phantoms.write_pet_patient(tmp_path / "in" / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    phantoms.write_pet_patient(
        tmp_path / "in" / "berta", [((40.0, 60.0, 40.0), 14.0, 6.0), ((90.0, 60.0, 60.0), 10.0, 5.0)]
    )
    result = run("examine", tmp_path / "in", "-m", "pet-threshold", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    found = measured(tmp_path / "out")
    assert set(found.cases) == {"anna", "berta"}
    assert found.cases["berta"]["SUVpeak"] == pytest.approx(6.0, rel=0.02)  # the hotter lesion's
    assert found.units["TMTV"] == "ml"
    alike = json.loads(
        run("agree", tmp_path / "out", tmp_path / "out", "-o", tmp_path / "agreed", "--json").stdout
    )
    peak = next(row for row in alike["biomarkers"] if row["biomarker"] == "SUVpeak")
    assert (peak["n"], peak["bias"], peak["icc"]) == (2, 0.0, 1.0)
    assert alike["units"]["SUVpeak"] == found.units["SUVpeak"]


def test_lesions_beside_a_table_are_those_of_patients_csv_alone(run, tmp_path: Path) -> None:
    own = totals(tmp_path / "patients.csv", FOUND)
    rows = ["p0,1,9.5", "p0,2,4", "p1,1,7", "p1,2,"]
    (tmp_path / "lesions.csv").write_text("\n".join(["case_id,lesion,SUVpeak", *rows]) + "\n")
    (tmp_path / "columns.csv").write_text("table,name,unit\nlesions,SUVpeak,g/ml{SUVbw}\n")
    found = measured(own)
    assert found.cases["p0"]["SUVpeak"] == 9.5
    assert math.isnan(found.cases["p1"]["SUVpeak"])  # one lesion has none, and it might be the hottest
    assert found.units == {"SUVpeak": "g/ml{SUVbw}"}
    expert = tmp_path / "expert.csv"
    expert.write_text("case_id,TMTV,SUVpeak\n" + "".join(f"p{k},{v},{3 + k}\n" for k, v in enumerate(TRUE)))
    other = measured(expert)
    assert [other.cases[f"p{k}"]["SUVpeak"] for k in range(6)] == [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    assert other.units == {}


def test_tables_without_anything_in_common_are_told(run, tmp_path: Path) -> None:
    one, other = tmp_path / "a.csv", tmp_path / "b.csv"
    one.write_text("case_id,TMTV\np1,3\n")
    other.write_text("case_id,TMTV\np2,3\n")
    result = run("agree", one, other, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "found no case in both" in result.stderr
    other.write_text("case_id,volume\np1,3\n")
    result = run("agree", one, other, "-o", tmp_path / "out", "--biomarkers", "TMTV")
    assert "found no values of TMTV; needed columns in both" in result.stderr


def test_infinite_values_are_left_out_and_signs_in_a_column_name_no_folders(run, tmp_path: Path) -> None:
    for name, last in (("one", "inf"), ("other", "9")):
        rows = ["p1,3,1", "p2,5,2", "p3,8,3", f"p4,{last},4"]
        (tmp_path / f"{name}.csv").write_text("\n".join(["case,SUVmax (g/ml),../x", *rows]) + "\n")
    given = ("agree", tmp_path / "one.csv", tmp_path / "other.csv", "--biomarkers", "SUVmax (g/ml),../x")
    result = run(*given, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)["biomarkers"][0]
    assert (row["biomarker"], row["n"], row["undefined"]) == ("SUVmax (g/ml)", 3, 1)
    found = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    names = (".._x_bland_altman", ".._x_identity", "SUVmax_g_ml__bland_altman", "SUVmax_g_ml__identity")
    assert found == [f"out/{name}.png" for name in names]


def test_another_columns_file_beside_a_table_does_no_harm(run, tmp_path: Path) -> None:
    table = totals(tmp_path / "a.csv", [3.0, 4.0, 6.0])
    (tmp_path / "columns.csv").write_text("name,meaning\nTMTV,x\n")
    result = run("agree", table, table, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["units"].values()) == {""}


def draw(path: Path, start: int, voxels: int = 60, geometry: Geometry = GRID) -> None:
    array = np.zeros(geometry.shape, dtype=np.uint8)
    array.ravel()[start : start + voxels] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(Volume(array, geometry, "1"), path)


@pytest.fixture
def readings(tmp_path: Path) -> Path:
    """Six cases by three readers a little apart, and a model that is further off and lacks the last."""
    for case in range(6):
        for name, shift in (("anna", 0), ("bert", 2), ("cora", 3 + case % 2)):
            draw(tmp_path / name / f"p{case}.nii.gz", 100 + shift)
        if case < 5:
            draw(tmp_path / "model" / f"p{case}.nii.gz", 115 + case)
    return tmp_path


def test_readers_their_consensus_and_a_model_among_them(run, readings: Path) -> None:
    names = [readings / name for name in ("anna", "bert", "cora")]
    result = run(
        *("observers", *names, "-m", readings / "model", "--consensus", "majority"),
        *("-o", readings / "out", "--json"),
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    pairs = {(p["first"], p["second"]): p for p in answer["pairs"] if p["score"] == "dice"}
    assert pairs["anna", "bert"]["estimate"] == pytest.approx(2 * 58 / 120)
    model = answer["model"]["dice"]
    assert (model["standing"], model["cases"]) == ("below", 6)
    assert model["model"]["low"] < model["model"]["estimate"] < model["lowest"] < model["highest"]
    with (readings / "out" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * (3 + 3)
    lost = [float(row["dice"]) for row in rows if (row["case"], row["first"]) == ("p5", "model")]
    assert lost == [0.0, 0.0, 0.0]  # a missing prediction counts as an empty one, and is told
    assert answer["notes"] == {"p5": ["no prediction: taken as an empty one"]}
    assert "note: case p5: no prediction: taken as an empty one" in result.stderr
    agreed = sitk.GetArrayFromImage(sitk.ReadImage(str(readings / "out" / "consensus" / "p0.nii.gz")))
    assert np.flatnonzero(agreed).tolist() == list(range(102, 162))  # where bert and one of the others are
    told = run("observers", *names, "-m", readings / "model", "-o", readings / "out").stdout
    assert "Williams" in told
    assert "below" in told


def test_staple_masks_are_written_and_single_files_taken(run, readings: Path) -> None:
    draw(readings / "x.nii.gz", 100)
    draw(readings / "y.nii.gz", 101)
    result = run(
        *("observers", f"X={readings / 'x.nii.gz'}", readings / "y.nii.gz", "--consensus", "staple"),
        *("-m", readings / "model" / "p0.nii.gz", "-o", readings / "out", "--json"),
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["cases"], answer["pairs"][0]["first"]) == (1, "X")
    assert answer["model"]["dice"]["model"]["estimate"] > 0
    assert (readings / "out" / "consensus" / "x.nii.gz").is_file()


def test_cases_that_cannot_be_compared_are_listed_and_the_rest_goes_on(run, readings: Path) -> None:
    (readings / "bert" / "p1.nii.gz").unlink()
    draw(readings / "cora" / "p2.nii.gz", 100, geometry=Geometry((6, 12, 12), (4.0, 4.0, 5.0)))
    names = [readings / name for name in ("anna", "bert", "cora")]
    result = run("observers", *names, "-o", readings / "out", "--json")
    assert result.exit_code == 1
    assert "case p1: found no mask by bert; needed a mask by every reader" in result.stderr
    assert "case p2: cora: found grid" in result.stderr
    answer = json.loads(result.stdout)
    assert (answer["cases"], answer["model"], list(answer["failed"])) == (4, {}, ["p1", "p2"])


def test_a_reader_may_be_called_model(run, readings: Path) -> None:
    names = [readings / name for name in ("anna", "bert", "model")]
    draw(readings / "model" / "p5.nii.gz", 115)
    alone = json.loads(run("observers", *names, "-o", readings / "out", "--json").stdout)
    pairs = {(p["first"], p["second"]) for p in alone["pairs"]}
    assert pairs == {("anna", "bert"), ("anna", "model"), ("bert", "model")}
    assert (alone["cases"], alone["model"]) == (6, {})
    given = (*names, "-m", readings / "cora", "-o", readings / "out")
    assert set(json.loads(run("observers", *given, "--json").stdout)["model"]["dice"]["by_reader"]) == {
        *("anna", "bert", "model")
    }
    with (readings / "out" / "pairs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["case"] == "p0"]
    assert [row["first"] for row in rows] == [*("anna", "anna", "bert"), *["(model)"] * 3]
    assert [row["second"] for row in rows[3:]] == ["anna", "bert", "model"]


def test_one_reader_and_an_unknown_consensus_are_refused(run, readings: Path) -> None:
    with pytest.raises(DatasetError, match="readers: found 1 of them; needed two or more folders of masks"):
        read_cases({"anna": readings / "anna"})
    result = run(
        *("observers", readings / "anna", readings / "bert", "--consensus", "vote", "-o", readings / "out")
    )
    assert result.exit_code == 2
