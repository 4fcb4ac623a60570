"""evaluate: what pairs up, which files are written, and what is told about masks that cannot be scored."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import phantoms
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts, write_pet_series
from lesionlab.report import save_volume

GRID = Geometry((24, 32, 32), (4.0, 4.0, 4.0))
BIG = ((40.0, 60.0, 40.0), 12.0)
SMALL = ((90.0, 60.0, 60.0), 8.0)
FAR = ((100.0, 100.0, 60.0), 8.0)


def ball(*balls, grid: Geometry = GRID) -> np.ndarray:
    mask = np.zeros(grid.shape, np.uint8)
    for centre, radius in balls:
        mask[phantoms.ball_mask(grid, centre, radius)] = 1
    return mask


def write(path: Path, array: np.ndarray, grid: Geometry = GRID) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_volume(Volume(array, grid, "1"), path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """p1 perfect; p2 one found, one missed, one false; p3 both empty; p4 without a prediction."""
    pred, truth = tmp_path / "pred", tmp_path / "truth"
    write(pred / "p1.nii.gz", ball(BIG))
    write(truth / "p1.nii.gz", ball(BIG))
    write(pred / "p2.nii.gz", ball(BIG, FAR))
    write(truth / "p2.nii.gz", ball(BIG, SMALL))
    write(pred / "p3.nii.gz", ball())
    write(truth / "p3.nii.gz", ball())
    write(truth / "p4.nii.gz", ball(SMALL))
    return pred, truth


def test_all_files_are_written_and_the_empty_cases_are_told(run, folders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("evaluate", *folders, "-o", out)
    assert result.exit_code == 1
    assert "4 scored: truth empty in 0, prediction empty in 1, both in 1" in result.stdout
    assert "case p4: found no prediction; counted as one in which nothing was found" in result.stderr
    assert {p.name for p in out.iterdir()} >= {"cases.csv", "lesions.csv", "summary.json", "evaluation.html"}
    lesions = [
        (r["case"], r["side"], r["found"], float(r["volume_ml"])) for r in rows_of(out / "lesions.csv")
    ]
    big, small = (int(ball(b).sum()) * GRID.voxel_ml for b in (BIG, SMALL))
    assert lesions == [
        ("p1", "truth", "1", pytest.approx(big)),
        ("p1", "prediction", "1", pytest.approx(big)),
        ("p2", "truth", "1", pytest.approx(big)),
        ("p2", "truth", "0", pytest.approx(small)),
        ("p2", "prediction", "1", pytest.approx(big)),
        ("p2", "prediction", "0", pytest.approx(int(ball(FAR).sum()) * GRID.voxel_ml)),
        ("p4", "truth", "0", pytest.approx(small)),
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert "any overlap" in summary["matching"]
    assert sum(size["lesions"] for size in summary["sensitivity_by_size"]) == 4
    assert sum(size["found"] for size in summary["sensitivity_by_size"]) == 2
    assert [summary[k] for k in ("empty_prediction", "both_empty", "missing_predictions")] == [1, 1, 1]
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert 'id="case-pred-2d-p2"' in page


def test_a_csv_file_names_the_pairs(run, folders, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(
        "case_id,prediction,truth\nanna,pred/p1.nii.gz,truth/p1.nii.gz\nberta,,truth/p4.nii.gz\n"
        "clara,pred/none.nii.gz,truth/p1.nii.gz\n,,\n,,,,\n"
    )
    result = run("evaluate", table, "--json")
    answer = json.loads(result.stdout)
    assert {c["case_id"]: c["scores"]["dice"] for c in answer["cases"]} == {"anna": 1.0, "berta": 0.0}
    assert "none.nii.gz: found no such file" in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("prediction,mask\na,b\n", "found columns prediction, mask; needed a CSV file with columns"),
        ("prediction,truth\n", "found no row"),
        ("prediction,truth\na.nii,b.nii\na.nii,b.nii\n", "case a more than once"),
    ],
)
def test_a_csv_file_that_is_no_list_of_pairs(run, tmp_path: Path, text: str, told: str) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    result = run("evaluate", table)
    assert result.exit_code == 1
    assert told in result.stderr
    assert run("evaluate", tmp_path / "absent.csv").exit_code == 1


def test_arguments_that_do_not_go_together(run, folders, tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("prediction,truth\n")
    for arguments in (
        (folders[0],),
        (table, folders[1]),
        (*folders, "--rule", "best"),
        (*folders, "--label", "0"),
        (*folders, "--label", "some"),
    ):
        assert run("evaluate", *arguments).exit_code == 2


def test_what_cannot_be_scored_is_told_in_a_line_and_the_rest_is_scored(run, folders, tmp_path: Path) -> None:
    pred, truth = folders
    soft = ball(BIG).astype(np.float32) * 0.7
    write(pred / "soft.nii.gz", soft)
    write(truth / "soft.nii.gz", ball(BIG))
    write(pred / "labels.nii.gz", ball(BIG) * 3 + ball(SMALL))
    write(truth / "labels.nii.gz", ball(BIG))
    other = Geometry((24, 32, 30), GRID.spacing)
    write(pred / "grid.nii.gz", ball(BIG, grid=other), other)
    write(truth / "grid.nii.gz", ball(BIG))
    write(pred / "odd.nii.gz", ball(BIG) * np.float32(2.5))
    write(truth / "odd.nii.gz", ball(BIG))
    write(pred / "alone.nii.gz", ball(BIG))
    result = run("evaluate", pred, truth, "-o", tmp_path / "out")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    inside = int(ball(BIG).sum())
    wanted = {
        "soft": f"found a probability map ({inside} voxels between 0 and 1); needed a mask",
        "labels": "found 2 labels (1, 3); needed one, or --label N, or --label all",
        "grid": "found grid 24 x 32 x 30",
        "odd": "found label 2.5",
        "alone": "found a prediction alone; needed a truth of that name",
    }
    for case, told in wanted.items():
        assert sum(case in line and told in line for line in lines) == 1, (case, lines)
    assert any("needed grid 24 x 32 x 32" in line for line in lines)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["cases"] == 4
    assert set(summary["failed"]) == set(wanted)


def test_one_label_or_all(run, tmp_path: Path) -> None:
    pred = write(tmp_path / "a.nii.gz", ball(BIG) * 3 + ball(SMALL))
    truth = write(tmp_path / "b.nii.gz", ball(BIG) * 3)
    dice = {}
    for label in ("3", "1", "all"):
        answer = json.loads(run("evaluate", pred, truth, "--label", label, "--json").stdout)
        dice[label] = answer["cases"][0]["scores"]["dice"]
        assert str(answer["summary"]["label"]) == label
    big, small = int(ball(BIG).sum()), int(ball(SMALL).sum())
    assert dice == {"3": 1.0, "1": None, "all": pytest.approx(2 * big / (2 * big + small))}


def test_a_label_that_no_mask_has_is_refused(run, folders, tmp_path: Path) -> None:
    refused = run("evaluate", *folders, "--label", "9", "-o", tmp_path / "out")
    assert refused.exit_code == 1
    assert (
        refused.stderr == "error: masks: found label 1; needed label 9 in one at least, or another --label\n"
    )
    assert not (tmp_path / "out").exists()
    # Masks without any label are a result.
    empty = run("evaluate", folders[0] / "p3.nii.gz", folders[1] / "p3.nii.gz", "--label", "9")
    assert empty.exit_code == 0, empty.output


def test_rules_change_what_is_found(run, tmp_path: Path) -> None:
    pred = write(tmp_path / "a.nii.gz", ball((BIG[0], 6.0)))
    truth = write(tmp_path / "b.nii.gz", ball(BIG))
    found = {
        rule: json.loads(run("evaluate", pred, truth, "--rule", rule, "--json").stdout)["cases"][0]["scores"]
        for rule in ("any", "iou", "one-to-one")
    }
    assert [found[rule]["lesions_found"] for rule in found] == [1, 0, 0]
    assert [found[rule]["lesions_false"] for rule in found] == [0, 1, 1]
    assert {scores["fp_volume_ml"] for scores in found.values()} == {0.0}
    loose = json.loads(run("evaluate", pred, truth, "--rule", "one-to-one", "--iou", 0.05, "--json").stdout)
    assert loose["cases"][0]["scores"]["lesions_found"] == 1
    assert "IoU 0.05 or more" in loose["summary"]["matching"]


def test_resampling_must_be_asked_for(run, tmp_path: Path) -> None:
    fine = Geometry((48, 64, 64), (2.0, 2.0, 2.0), (-1.0, -1.0, -1.0))
    pred = write(tmp_path / "a.nii.gz", ball(BIG, grid=fine), fine)
    truth = write(tmp_path / "b.nii.gz", ball(BIG))
    assert run("evaluate", pred, truth).exit_code == 1
    answer = json.loads(run("evaluate", pred, truth, "--resample", "--json").stdout)
    assert answer["cases"][0]["scores"]["dice"] > 0.85
    assert "prediction resampled by nearest neighbour" in answer["cases"][0]["notes"][0]
    far = Geometry(fine.shape, fine.spacing, (900.0, 0.0, 0.0))
    away = write(tmp_path / "c.nii.gz", ball(BIG, grid=fine), far)
    result = run("evaluate", away, truth, "--resample")
    assert "found a mask on another place" in result.stderr


def test_contours_on_either_side(run, tmp_path: Path) -> None:
    study = StudyFacts(patient_id="p1", seed=3)
    suv = Volume(np.where(ball(BIG) > 0, 8.0, 1.0).astype(np.float32), GRID, "g/ml{SUVbw}")
    write_pet_series(tmp_path / "pet" / "p1", suv, study)
    contours = tmp_path / "drawn" / "p1.dcm"
    contours.parent.mkdir()
    write_rtstruct(contours, Volume(ball(BIG), GRID, "1"), study)
    plain = write(tmp_path / "plain" / "p1.nii.gz", ball(BIG)).parent
    for sides in ((contours.parent, plain), (plain, contours.parent)):
        answer = json.loads(run("evaluate", *sides, "--json").stdout)
        assert answer["cases"][0]["scores"]["dice"] > 0.95, sides
    alone = run("evaluate", contours.parent, contours.parent)
    assert "found contours without a grid; needed the image that they were drawn on" in alone.stderr
    both = run("evaluate", contours.parent, contours.parent, "--images", tmp_path / "pet", "--json")
    assert json.loads(both.stdout)["cases"][0]["scores"]["dice"] == 1.0


def test_pictures_lie_on_the_scans(run, folders, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for case in ("p1", "p2", "p4"):
        write(tmp_path / "scans" / f"{case}.nii.gz", rng.random(GRID.shape, dtype=np.float32))
    sizes = {}
    for name, more in (("without", ()), ("with", ("--images", tmp_path / "scans"))):
        run("evaluate", *folders, "-o", tmp_path / name, *more)
        sizes[name] = (tmp_path / name / "evaluation.html").read_text(encoding="utf-8")
    assert "no scan was given" in sizes["without"]
    assert "no scan was given" not in sizes["with"]
    (tmp_path / "scans" / "p2.nii.gz").write_bytes(b"no image")
    run("evaluate", *folders, "-o", tmp_path / "broken", "--images", tmp_path / "scans")
    assert "The scan could not be read" in (tmp_path / "broken" / "evaluation.html").read_text()


def test_a_method_gains_nothing_in_froc_by_failing_on_a_case(run, folders, tmp_path: Path) -> None:
    """p4 has no prediction and no map, and its lesion is missed all the same; p2 lacks the map alone."""
    write(tmp_path / "maps" / "p1.nii.gz", ball(BIG).astype(np.float32) * np.float32(0.8))
    run("evaluate", *folders, "-o", tmp_path / "out", "--probabilities", tmp_path / "maps")
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["probabilities"]
    assert (found["cases"], found["froc_cases"]) == (1, 3)
    assert set(found["froc_sensitivity"].values()) == {0.5}
    assert "FROC over 3 cases" in (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")


def test_probabilities_add_calibration_and_curves(run, folders, tmp_path: Path) -> None:
    pred, truth = folders
    (truth / "p4.nii.gz").unlink()
    maps = tmp_path / "maps"
    for case in ("p1", "p2"):
        inside = (
            ball(BIG) if case == "p1" else ball(BIG, FAR) * np.float32(0.5) + ball(BIG) * np.float32(0.25)
        )
        write(maps / f"{case}.nii.gz", inside.astype(np.float32) * np.float32(0.8))
    result = run("evaluate", pred, truth, "-o", tmp_path / "out", "--probabilities", maps)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "out" / "summary.json").read_text())["probabilities"]
    assert found["cases"] == 2
    # p1 is found at 0.8, p2's at 0.6 and its false one at 0.4; p2's second lesion is missed
    assert found["froc_sensitivity"]["0.125"] == pytest.approx(2 / 3)
    assert found["froc_cases"] == 3  # p3, in which nothing was predicted, needs no map
    assert 0 < found["brier_all_voxels"] < found["brier_near"] < 1
    assert "Reliability" in (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    write(maps / "p1.nii.gz", ball(BIG).astype(np.float32))
    small = Geometry((24, 32, 31), GRID.spacing)
    write(maps / "p2.nii.gz", ball(BIG, grid=small) * np.float32(0.5), small)
    wrong = run("evaluate", pred, truth, "--probabilities", maps)
    assert wrong.exit_code == 1
    assert "p1.nii.gz: found a mask of zeros and ones; needed a probability map" in wrong.stderr
    assert "p2.nii.gz: found grid 24 x 32 x 31" in wrong.stderr
