"""The verb that tests models against each other: masks or score tables in, five files out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.comparison import model_names
from lesionlab.report import save_volume

GRID = Geometry((6, 12, 12), (4.0, 4.0, 4.0))
CASES = 8


def write(path: Path, voxels: int, case: int, geometry: Geometry = GRID) -> None:
    array = np.zeros(geometry.shape, dtype=np.uint8)
    array.ravel()[100 : 100 + voxels + 4 * case] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(Volume(array, geometry, "1"), path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Truths of eight cases, a good model, and a poor one that gave nothing for the last."""
    for case in range(CASES):
        write(tmp_path / "truth" / f"p{case}.nii.gz", 40, case)
        write(tmp_path / "good" / f"p{case}.nii.gz", 38, case)
        if case < CASES - 1:
            write(tmp_path / "poor" / f"p{case}.nii.gz", 20, case)
    lines = ["case,patient,scanner", *(f"p{k},{k // 2},{'ab'[k % 2]}" for k in range(CASES))]
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_folders_of_masks_are_compared(run, folders: Path) -> None:
    result = run(
        *("compare", folders / "good", folders / "poor", "--truth", folders / "truth"),
        *("-o", folders / "out", "--json"),
    )
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    test = answer["tests"][0]
    assert (test["metric"], test["first"], test["second"], test["n"]) == ("dice", "good", "poor", CASES)
    assert test["difference"] < test["high"] < 0
    assert test["p_sign_flip"] == 2 / 2**CASES
    assert answer["missing_predictions"] == {"good": 0, "poor": 1}
    assert json.loads((folders / "out" / "comparison.json").read_text())["tests"] == answer["tests"]
    cases = rows_of(folders / "out" / "cases.csv")
    assert len(cases) == 2 * CASES
    lost = next(row for row in cases if (row["case"], row["model"]) == (f"p{CASES - 1}", "poor"))
    assert (float(lost["dice"]), float(lost["prediction_missing"])) == (0.0, 1.0)
    means = {(r["model"], r["metric"]): float(r["mean"]) for r in rows_of(folders / "out" / "means.csv")}
    poor = [float(row["dice"]) for row in cases if row["model"] == "poor"]
    assert means["poor", "dice"] == pytest.approx(np.mean(poor))
    assert rows_of(folders / "out" / "groups.csv") == []
    assert len(rows_of(folders / "out" / "differences.csv")) == 3


def test_patients_subgroups_and_metrics_are_chosen(run, folders: Path) -> None:
    result = run(
        *("compare", f"U-Net={folders / 'good'}", folders / "poor", "-t", folders / "truth"),
        *("-o", folders / "out", "--cases", folders / "cases.csv", "--by", "scanner", "--by", "truth_ml"),
        *("--metrics", "dice, sensitivity", "--seed", 3),
    )
    assert result.exit_code == 0, result.output
    assert "8 cases of 4 patients" in result.stdout
    assert "poor - U-Net" in result.stdout
    page = (folders / "out" / "evaluation.html").read_text()
    for words in ("Comparison of U-Net, poor", "Differences between models", "Subgroups", "scanner"):
        assert words in page
    groups = rows_of(folders / "out" / "groups.csv")
    assert {row["metric"] for row in groups} == {"dice", "sensitivity"}
    assert {row["value"] for row in groups if row["column"] == "scanner"} == {"a", "b"}
    assert len({row["value"] for row in groups if row["column"] == "truth_ml"}) == 3
    assert json.loads((folders / "out" / "comparison.json").read_text())["intervals"]["seed"] == 3


def test_tables_of_scores_are_compared_without_masks(run, folders: Path) -> None:
    for name in ("good", "poor"):
        run("evaluate", folders / name, folders / "truth", "-o", folders / "scores" / name)
    tables = [folders / "scores" / name / "cases.csv" for name in ("good", "poor")]
    from_tables = run("compare", *tables, "-o", folders / "out", "--json")
    assert from_tables.exit_code == 0, from_tables.output
    answer = json.loads(from_tables.stdout)
    assert answer["models"] == ["good/cases", "poor/cases"]
    masks = run(
        *("compare", folders / "good", folders / "poor", "-t", folders / "truth"),
        *("-o", folders / "out", "--json"),
    )
    for one, other in zip(answer["tests"], json.loads(masks.stdout)["tests"], strict=True):
        assert one["difference"] == pytest.approx(other["difference"])
        assert one["p_holm"] == pytest.approx(other["p_holm"])


def test_a_table_that_lacks_a_case_is_told(run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("case,dice,who\n1,0.9,x\n2,0.8,y\n3,,z\n")
    (tmp_path / "b.csv").write_text("case_id,dice\n1,0.7\n3,0.5\n,\n,,\n")  # as spreadsheets end it
    result = run("compare", tmp_path / "a.csv", tmp_path / "b.csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "b: not scored, and in none of its numbers: 2" in result.stdout
    assert "n=1" in result.stdout


def test_a_case_on_another_grid_is_listed_and_the_rest_compared(run, folders: Path) -> None:
    write(folders / "poor" / "p0.nii.gz", 20, 0, Geometry((6, 12, 12), (4.0, 4.0, 5.0)))
    result = run(
        *("compare", folders / "good", folders / "poor", "-t", folders / "truth"), *("-o", folders / "out")
    )
    assert result.exit_code == 1
    assert "error: poor: " in result.stderr
    assert "found grid" in result.stderr
    assert len(rows_of(folders / "out" / "cases.csv")) == 2 * CASES - 1


def test_models_are_named_by_what_tells_them_apart() -> None:
    names = model_names(["runs/a/masks", "runs/b/masks", "third=runs/c/masks", "d.csv"])
    assert list(names) == ["a/masks", "b/masks", "third", "d"]
    assert names["third"] == Path("runs/c/masks")
    with pytest.raises(DatasetError, match="models: found x twice; needed a name for each: NAME=PATH"):
        model_names(["x=1", "x=2"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "a.csv: found No such file or directory; needed a CSV file with a column case"),
        ("name,dice\n1,0.5\n", "found columns name, dice; needed a CSV file with a column case"),
        ("case,dice\n", "found no row"),
        ("case,dice\n1,0.5\n1,0.6\n", "found case 1 more than once"),
    ],
)
def test_what_is_no_table_of_cases_is_told(run, tmp_path: Path, text: str | None, told: str) -> None:
    path = tmp_path / "a.csv"
    if text is not None:
        path.write_text(text)
    good = tmp_path / "good.csv"
    good.write_text("case,dice\n1,0.5\n2,0.7\n")
    result = run("compare", good, "-o", tmp_path / "out", "--cases", path)
    assert result.exit_code == 1
    assert told in result.stderr


def test_a_table_of_scores_that_is_gone_is_told(run, tmp_path: Path) -> None:
    result = run("compare", tmp_path / "gone.csv", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "gone.csv: found No such file or directory; needed a CSV file with a column case" in result.stderr


def test_masks_need_a_truth_and_subgroups_a_column(run, folders: Path) -> None:
    alone = run("compare", folders / "good", "-o", folders / "out")
    assert alone.exit_code == 1
    assert "found masks and no truth" in alone.stderr
    unknown = run(
        *("compare", folders / "good", "-t", folders / "truth", "-o", folders / "out"),
        *("--cases", folders / "cases.csv", "--by", "vendor"),
    )
    assert unknown.exit_code == 1
    assert "found no column vendor; needed one of patient, scanner, dice" in unknown.stderr


def test_a_single_case_is_no_comparison(run, folders: Path) -> None:
    files = [folders / place / "p0.nii.gz" for place in ("good", "poor", "truth")]
    result = run("compare", *files[:2], "-t", files[2], "-o", folders / "out")
    assert result.exit_code == 1
    assert (
        f"{files[0]}: found a single file; needed a folder of masks; `evaluate` scores one" in result.stderr
    )


def test_a_table_without_what_is_tested_is_refused(run, tmp_path: Path) -> None:
    good, other, empty = (tmp_path / f"{name}.csv" for name in ("good", "other", "empty"))
    good.write_text("case,dice\n1,0.5\n2,0.7\n")
    other.write_text("case,hd95_mm,who\n1,3.5,x\n2,4,y\n")
    empty.write_text("case,dice\n1,\n2,\n")
    told = run("compare", good, other, "-o", tmp_path / "out")
    assert told.exit_code == 1
    assert "other.csv: found none of dice, fp_volume_ml, fn_volume_ml; needed scores of one" in told.stderr
    assert "--metrics with some of hd95_mm" in told.stderr
    assert "empty.csv: found none of dice" in run("compare", empty, "-o", tmp_path / "out").stderr
    chosen = run("compare", other, "-o", tmp_path / "out", "--metrics", "hd95_mm")
    assert chosen.exit_code == 0
    assert chosen.stderr == ""


def test_cases_without_a_patient_are_counted(run, folders: Path) -> None:
    (folders / "cases.csv").write_text("case,patient\np0,a\np1,a\np2,\n")
    arguments = ("compare", folders / "good", "-t", folders / "truth", "-o", folders / "out")
    result = run(*arguments, "--cases", folders / "cases.csv")
    assert "8 cases of 7 patients" in result.stdout
    note = "6 of 8 cases without a patient in --cases, each its own: p2, p3, p4, p5, p6, ..."
    assert f"note: {note}" in result.stderr
    assert json.loads((folders / "out" / "comparison.json").read_text())["notes"] == [note]
    assert run(*arguments).stderr == ""


def test_subgroups_by_a_number_are_in_its_order(run, tmp_path: Path) -> None:
    sizes = {"1": "123.456789012", "2": "9.5", "3": "88.8888888", "4": ""}
    (tmp_path / "a.csv").write_text("case,dice,size\n" + "".join(f"{k},0.5,{v}\n" for k, v in sizes.items()))
    result = run("compare", tmp_path / "a.csv", "-o", tmp_path / "out", "--by", "size")
    assert result.exit_code == 0, result.output
    values = [row["value"] for row in rows_of(tmp_path / "out" / "groups.csv")]
    assert values == ["9.5", "88.89", "123.5", "(unknown)"]


def test_infinite_scores_of_other_tools_are_undefined(run, tmp_path: Path) -> None:
    """Of an empty mask some write a Hausdorff distance of inf; a mean of it would be none, its p zero."""
    for name, cells in {"a": ["3", "inf", "5", "2"], "b": ["4", "30", "-inf", "2.5"]}.items():
        lines = ["case,hd95_mm", *(f"p{k},{cell}" for k, cell in enumerate(cells))]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines) + "\n")
    given = (tmp_path / "a.csv", tmp_path / "b.csv")
    result = run("compare", *given, "--metrics", "hd95_mm", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [(row["mean"], row["n"], row["undefined"]) for row in answer["means"]] == [
        (pytest.approx(10 / 3), 3, 1),
        (pytest.approx(36.5 / 3), 3, 1),
    ]
    [test] = answer["tests"]
    assert (test["difference"], test["n"], test["p_sign_flip"]) == (0.75, 2, 0.5)
