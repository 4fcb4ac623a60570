"""The verbs that work on files of one stage: convert, predict, refine, measure, evaluate, report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import phantoms
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts, write_ct_series, write_pet_series
from lesionlab.read import load_mask, open_case
from lesionlab.report import save_volume

GRID = Geometry((24, 32, 32), (4.0, 4.0, 4.0))


def write_dicom_patient(folder: Path, name: str) -> Path:
    """PET and CT series and contours of one ball of SUVbw 8, radius 12 mm."""
    inside = phantoms.ball_mask(GRID, (40.0, 60.0, 40.0), 12.0)
    study = StudyFacts(patient_id=name, seed=sum(map(ord, name)))
    write_pet_series(
        folder / "pet", Volume(np.where(inside, 8.0, 1.0).astype(np.float32), GRID, SUVBW), study
    )
    coarse = Geometry((24, 16, 16), (4.0, 8.0, 8.0))
    write_ct_series(folder / "ct", Volume(np.full(coarse.shape, 40.0, np.float32), coarse, "[hnsf'U]"), study)
    write_rtstruct(folder / "contours.dcm", Volume(inside.astype(np.uint8), GRID, "1"), study)
    return folder


def write_mask(path: Path, *balls: tuple[tuple[float, float, float], float], grid: Geometry = GRID) -> Path:
    mask = np.zeros(grid.shape, np.uint8)
    for centre, radius in balls:
        mask[phantoms.ball_mask(grid, centre, radius)] = 1
    save_volume(Volume(mask, grid, "1"), path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


BIG = ((40.0, 60.0, 40.0), 12.0)
SMALL = ((90.0, 60.0, 60.0), 5.0)


# convert


def test_convert_makes_suv_and_keeps_the_patient(run, tmp_path: Path) -> None:
    write_dicom_patient(tmp_path / "in" / "p1", "HOSPITAL-7")
    write_dicom_patient(tmp_path / "in" / "p2", "HOSPITAL-8")
    result = run("convert", tmp_path / "in", "-r", "petct", "-o", tmp_path / "nifti")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "nifti" / "p1"
    assert result.stdout.split() == [str(folder), str(folder.with_name("p2"))]
    assert {p.name for p in folder.iterdir()} == {"suv.nii.gz", "ct.nii.gz", "truth.nii.gz", "case.json"}
    record = json.loads((folder / "case.json").read_text())
    assert record["patient_id"] == "HOSPITAL-7"
    assert record["channels"]["suv"]["unit"] == SUVBW
    case = open_case(folder)
    # one unit of a 16-bit slope is the coarsest step of a slice whose highest value is 8
    assert case.channels["suv"].array.max() == pytest.approx(8.0, abs=8 / 32767)
    assert case.channels["ct"].geometry.matches(case.geometry)
    assert case.truth is not None


def test_examine_gives_the_same_from_dicom_and_from_converted(run, tmp_path: Path) -> None:
    source = write_dicom_patient(tmp_path / "in" / "p1", "HOSPITAL-7")
    run("convert", source, "-r", "petct", "-o", tmp_path / "nifti")
    first = run("examine", source, "-m", "pet-threshold", "-o", tmp_path / "a", "--json")
    second = run("examine", tmp_path / "nifti" / "p1", "-m", "pet-threshold", "-o", tmp_path / "b", "--json")
    one, two = json.loads(first.stdout), json.loads(second.stdout)
    assert one["patient_id"] == two["patient_id"] == "HOSPITAL-7"
    for undefined in ("Dmax", "Dmax_edge"):
        assert two["totals"].pop(undefined) is one["totals"].pop(undefined) is None
    assert two["totals"] == pytest.approx(one["totals"], rel=1e-6)
    assert one["scores"]["dice"] == pytest.approx(two["scores"]["dice"], abs=1e-6)
    assert one["scores"]["dice"] > 0.95


def test_convert_goes_on_where_it_stopped(run, tmp_path: Path) -> None:
    phantoms.write_pet_patient(tmp_path / "in" / "anna")
    phantoms.write_pet_patient(tmp_path / "in" / "berta")
    out = tmp_path / "nifti"
    assert run("convert", tmp_path / "in", "-o", out).exit_code == 0
    before = {name: (out / name / "case.json").stat().st_mtime_ns for name in ("anna", "berta")}
    phantoms.write_pet_patient(tmp_path / "in" / "berta", [(*BIG, 8.0)])
    assert run("convert", tmp_path / "in", "-o", out).exit_code == 0
    after = {name: (out / name / "case.json").stat().st_mtime_ns for name in ("anna", "berta")}
    assert after["anna"] == before["anna"]
    assert after["berta"] > before["berta"]
    assert load_mask(out / "berta" / "truth.nii.gz").array.any()


def test_convert_lists_a_failing_case(run, cohort: Path, tmp_path: Path) -> None:
    result = run("convert", cohort, "-o", tmp_path / "nifti", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert [Path(path).name for path in answer["written"]] == ["berta", "clara"]
    assert [case["case_id"] for case in answer["failed"]] == ["dora"]
    assert result.stderr.startswith("error: ")
    assert {p.name for p in (tmp_path / "nifti").iterdir()} == {"berta", "clara"}


def test_a_damaged_case_json_is_told(run, tmp_path: Path) -> None:
    phantoms.write_pet_patient(tmp_path / "in" / "anna")
    run("convert", tmp_path / "in", "-o", tmp_path / "nifti")
    file = tmp_path / "nifti" / "anna" / "case.json"
    record = json.loads(file.read_text())
    del record["patient_id"]
    file.write_text(json.dumps(record))
    result = run("examine", file.parent, "-m", "pet-threshold", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "case.json: found an incomplete record" in result.stderr


@pytest.mark.parametrize("verb", ["convert", "examine", "predict"])
def test_a_folder_without_scans_is_told(run, tmp_path: Path, verb: str) -> None:
    (tmp_path / "none").mkdir()
    result = run(verb, tmp_path / "none", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "none: found no scan in it; needed a patient, or a folder of patients" in result.stderr


def test_two_cases_of_one_name_are_told_apart_or_refused(run, tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("a b", "a_b"):
        phantoms.write_pet_patient(root / name)
    result = run("convert", root, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "2 cases called 'a_b': a b, a_b" in result.stderr


# predict, refine


def test_predict_writes_the_raw_mask(run, patient: Path, tmp_path: Path) -> None:
    result = run("predict", patient, "-m", "pet-threshold", "-o", tmp_path / "mask.nii.gz")
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(tmp_path / "mask.nii.gz")
    truth = load_mask(patient / "truth.nii.gz")
    assert np.array_equal(load_mask(tmp_path / "mask.nii.gz").array > 0, truth.array > 0)


def test_predict_into_a_folder_and_for_many(run, cohort: Path, patient: Path, tmp_path: Path) -> None:
    run("predict", patient, "-o", tmp_path / "one")
    assert [p.name for p in (tmp_path / "one").iterdir()] == ["mask.nii.gz"]
    result = run("predict", cohort, "-o", tmp_path / "many")
    assert result.exit_code == 1
    assert sorted(p.name for p in (tmp_path / "many").iterdir()) == ["berta.nii.gz", "clara.nii.gz"]
    assert "dora" in result.stderr


def test_refine_drops_what_is_too_small(run, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", BIG, SMALL)
    result = run("refine", mask, "--minimum-ml", 2, "-o", tmp_path / "clean.nii.gz", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["mask"] == str(tmp_path / "clean.nii.gz")
    assert "removed 1 of 2 components" in answer["notes"][0]
    expected = load_mask(write_mask(tmp_path / "big.nii.gz", BIG)).array
    assert np.array_equal(load_mask(tmp_path / "clean.nii.gz").array, expected)


def test_refine_by_the_options_only_when_they_are_given(run, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", BIG, SMALL)
    result = run("refine", mask, "--minimum-ml", 0, "-o", tmp_path / "a.nii.gz")
    assert result.stdout.splitlines() == ["refine: nothing to change", str(tmp_path / "a.nii.gz")]
    run("refine", mask, "--keep", "largest", "--minimum-ml", 0, "-o", tmp_path / "b.nii.gz")
    sizes = [int((load_mask(tmp_path / f"{name}.nii.gz").array > 0).sum()) for name in "ab"]
    assert sizes[1] < sizes[0]


@pytest.mark.parametrize("verb", ["refine", "suv", "predict"])
def test_a_volume_that_cannot_be_written_is_refused_before_anything_is_done(
    run, patient: Path, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("suv.suv_of", "marks.load_mask", "cohort.open_standardised"):
        monkeypatch.delattr(f"lesionlab.pipeline.{work}")
    source = patient / "truth.nii.gz" if verb == "refine" else patient
    result = run(verb, source, "-o", tmp_path / "x.foo")
    assert result.exit_code == 1
    assert "x.foo: found the suffix .foo; needed a file name ending in .nii.gz" in result.stderr
    assert ".part" not in result.stderr


def test_the_help_of_refine_says_that_the_largest_is_one_of_each_label(run) -> None:
    told = " ".join(run("refine", "--help").stdout.replace("\u2502", " ").split())
    assert "the largest component of each label" in told


def test_refine_refuses_an_impossible_rule(run, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", BIG)
    result = run("refine", mask, "--keep", "biggest", "-o", tmp_path / "out.nii.gz")
    assert result.exit_code == 1
    assert "refine.keep = 'biggest'" in result.stderr
    assert not (tmp_path / "out.nii.gz").exists()


# measure


def test_measure_prints_and_writes_the_table(run, patient: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.nii.gz", BIG)
    result = run("measure", patient, mask, "-o", tmp_path / "lesions.csv")
    assert result.exit_code == 0, result.output
    assert "anna: 1 lesion" in result.stdout
    assert "SUVmax [g/ml]" in result.stdout
    (row,) = rows_of(tmp_path / "lesions.csv")
    assert float(row["SUVmax"]) == 8.0
    voxels = int(phantoms.ball_mask(GRID, *BIG).sum())
    assert float(row["MTV"]) == pytest.approx(voxels * 0.064)
    answer = json.loads(run("measure", patient, mask, "--json").stdout)
    assert answer["totals"]["TMTV"] == pytest.approx(voxels * 0.064)


def test_measure_refuses_a_mask_on_another_grid_and_names_both(run, patient: Path, tmp_path: Path) -> None:
    other = Geometry((24, 32, 32), (4.0, 4.0, 4.0), (1.0, 0.0, 0.0))
    result = run("measure", patient, write_mask(tmp_path / "mask.nii.gz", BIG, grid=other))
    assert result.exit_code == 1
    assert "mask.nii.gz: found grid 24 x 32 x 32" in result.stderr
    assert "origin (1.0, 0.0, 0.0) mm; needed grid" in result.stderr
    assert "origin (0.0, 0.0, 0.0) mm" in result.stderr


def test_measure_takes_contours(run, tmp_path: Path) -> None:
    source = write_dicom_patient(tmp_path / "p1", "HOSPITAL-7")
    contours = tmp_path / "contours.dcm"
    (source / "contours.dcm").rename(contours)
    answer = json.loads(run("measure", source, contours, "--json").stdout)
    assert answer["lesion_count"] == 1
    assert answer["totals"]["TMTV"] == pytest.approx(phantoms.ball_ml(12.0), rel=0.1)


# evaluate


def test_evaluate_two_files(run, tmp_path: Path) -> None:
    first = write_mask(tmp_path / "a.nii.gz", BIG, SMALL)
    second = write_mask(tmp_path / "b.nii.gz", BIG)
    answer = json.loads(run("evaluate", first, second, "--json").stdout)
    big, small = (int(phantoms.ball_mask(GRID, *ball).sum()) for ball in (BIG, SMALL))
    assert answer["cases"][0]["scores"]["dice"] == pytest.approx(2 * big / (2 * big + small))
    assert answer["cases"][0]["scores"]["lesions_false"] == 1


def test_evaluate_pairs_folders_by_case(run, tmp_path: Path) -> None:
    # as `examine` writes predictions and `convert` writes truths, and plain files
    for case in ("p1", "p2"):
        write_mask(tmp_path / "pred" / case / "mask.nii.gz", BIG)
    write_mask(tmp_path / "pred" / "p3.nii.gz", BIG)
    write_mask(tmp_path / "truth" / "p1" / "truth.nii.gz", BIG)
    write_mask(tmp_path / "truth" / "p2.nii.gz", SMALL)
    write_mask(tmp_path / "truth" / "p3" / "truth.nii.gz", BIG, SMALL)
    result = run("evaluate", tmp_path / "pred", tmp_path / "truth", "-o", tmp_path / "scores")
    assert result.exit_code == 0, result.output
    rows = {row["case"]: row for row in rows_of(tmp_path / "scores" / "cases.csv")}
    assert float(rows["p1"]["dice"]) == 1.0
    assert float(rows["p2"]["dice"]) == 0.0
    assert 0.5 < float(rows["p3"]["dice"]) < 1.0
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    assert summary["cases"] == 3
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(
        np.mean([float(row["dice"]) for row in rows.values()])
    )
    assert "mean" in result.stdout


def test_evaluate_counts_a_missing_prediction_and_lists_a_missing_truth(run, tmp_path: Path) -> None:
    write_mask(tmp_path / "pred" / "p1.nii.gz", BIG)
    write_mask(tmp_path / "pred" / "p9.nii.gz", BIG)
    write_mask(tmp_path / "truth" / "p1.nii.gz", BIG)
    write_mask(tmp_path / "truth" / "p2.nii.gz", BIG)
    result = run("evaluate", tmp_path / "pred", tmp_path / "truth", "-o", tmp_path / "scores", "--json")
    assert result.exit_code == 1
    assert "case p9: found a prediction alone; needed a truth of that name" in result.stderr
    answer = json.loads(result.stdout)
    assert {case["case_id"]: case["scores"]["dice"] for case in answer["cases"]} == {"p1": 1.0, "p2": 0.0}
    assert answer["summary"]["missing_predictions"] == 1
    assert list(answer["summary"]["failed"]) == ["p9"]


def test_evaluate_refuses_two_grids_and_names_both(run, tmp_path: Path) -> None:
    other = Geometry((24, 32, 31), (4.0, 4.0, 4.0))
    first = write_mask(tmp_path / "a.nii.gz", BIG, grid=other)
    second = write_mask(tmp_path / "b.nii.gz", BIG)
    result = run("evaluate", first, second, "-o", tmp_path / "scores")
    assert result.exit_code == 1
    assert "a.nii.gz: found grid 24 x 32 x 31" in result.stderr
    assert "needed grid 24 x 32 x 32" in result.stderr


def test_evaluate_takes_the_contours_of_scans_as_truth(run, tmp_path: Path) -> None:
    for name in ("p1", "p2"):
        write_dicom_patient(tmp_path / "in" / name, f"HOSPITAL-{name}")
    (tmp_path / "in" / "p2" / "contours.dcm").unlink()
    run("predict", tmp_path / "in", "-m", "pet-threshold", "-o", tmp_path / "pred")
    result = run("evaluate", tmp_path / "pred", tmp_path / "in", "--json")
    answer = json.loads(result.stdout)
    assert [case["case_id"] for case in answer["cases"]] == ["p1"]
    assert answer["cases"][0]["scores"]["dice"] > 0.95
    assert "p2: found a scan without contours" in result.stderr


@pytest.mark.parametrize("which", ["absent", "empty"])
def test_evaluate_without_masks_is_told(run, tmp_path: Path, which: str) -> None:
    (tmp_path / "empty").mkdir()
    truth = write_mask(tmp_path / "truth" / "p1.nii.gz", BIG)
    result = run("evaluate", tmp_path / which, truth.parent)
    assert result.exit_code == 1
    assert f"{which}: found no " in result.stderr


# report


def test_report_is_made_again_after_the_mask_was_corrected(run, patient: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("examine", patient, "-m", "pet-threshold", "-o", out)
    write_mask(out / "mask.nii.gz", BIG)
    result = run("report", out)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"report: {out / 'report.html'}\n"
    record = json.loads((out / "patient.json").read_text())
    assert record["lesion_count"] == 1
    assert "mask as given in the file mask.nii.gz" in record["notes"]
    # and once more: the folder still knows its scan
    assert run("report", out, "-o", tmp_path / "copy").exit_code == 0


def test_report_on_a_scan_and_a_mask(run, patient: Path, tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "drawn.nii.gz", BIG)
    result = run("report", patient, "--mask", mask, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    assert Path(json.loads(result.stdout)["report"]).is_file()
    assert run("report", patient, "--mask", mask).exit_code == 2


def test_report_on_a_folder_that_is_none_of_ours(run, patient: Path, tmp_path: Path) -> None:
    result = run("report", patient)
    assert result.exit_code == 1
    assert "anna: found no run.json" in result.stderr
    assert "needed a folder that `examine` wrote, or a mask for the scan (--mask)" in result.stderr
    (patient / "run.json").write_text("{}")
    assert "run.json: found no record of a run" in run("report", patient).stderr


def test_report_when_the_scan_is_gone(run, patient: Path, tmp_path: Path) -> None:
    run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out")
    patient.rename(tmp_path / "moved")
    result = run("report", tmp_path / "out")
    assert result.exit_code == 1
    assert "its scan gone from" in result.stderr


def test_masks_written_here_are_read_by_others(run, patient: Path, tmp_path: Path) -> None:
    run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out")
    image = sitk.ReadImage(str(tmp_path / "out" / "mask.nii.gz"))
    assert image.GetSize() == (32, 32, 24)
    assert image.GetSpacing() == pytest.approx((4.0, 4.0, 4.0))


# measure, many


def test_measure_takes_a_list_and_names_who_failed(run, tmp_path: Path) -> None:
    phantoms.write_pet_patient(tmp_path / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    table = tmp_path / "cases.csv"
    table.write_text("case_id,image,mask\nanna,anna,anna/truth.nii.gz\nbert,anna,bert.nii.gz\n")
    result = run("measure", table, "-o", tmp_path / "out", "--long")
    assert result.exit_code == 1
    assert "1 of 2 measured" in result.stdout and "bert.nii.gz" in result.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "cohort.json",
        "columns.csv",
        "lesions.csv",
        "long.csv",
        "patients.csv",
    }
    assert "earlier run" not in result.stderr
    again = run("measure", table, "-o", tmp_path / "out")
    assert f"note: of an earlier run, not written anew: {tmp_path / 'out' / 'long.csv'}" in again.stderr
    assert run("measure", table, "mask.nii.gz", "-o", tmp_path / "out").exit_code == 2
    assert run("measure", table).exit_code == 2
    assert run("measure", tmp_path / "anna").exit_code == 2


def test_measure_gives_radiomics_under_pyradiomics_names(run, tmp_path: Path) -> None:
    phantoms.write_pet_patient(tmp_path / "anna", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    table = tmp_path / "lesions.csv"
    pair = (tmp_path / "anna", tmp_path / "anna" / "truth.nii.gz", "-o", table)
    assert run("measure", *pair, "-r", "pet-radiomics", "--names", "pyradiomics").exit_code == 0
    (row,) = rows_of(table)
    assert float(row["original_firstorder_Mean"]) == 8.0
    assert "stat_mean" not in row and "SUVmax" in row
    refused = run("measure", *pair, "--names", "pyradiomics")
    assert refused.exit_code == 1 and "names pyradiomics without radiomics" in refused.stderr
    unknown = run("measure", *pair, "-r", "pet-radiomics", "--names", "mirp")
    assert unknown.exit_code == 1 and "'mirp'" in unknown.stderr
