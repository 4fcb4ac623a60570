"""`lesionlab examine`: one patient, a cohort with a failing one, and everything that can be wrong."""

from __future__ import annotations

import csv
import errno
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import Result

import phantoms
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report import save_volume

WRITTEN = {
    "report.html",
    "lesions.csv",
    "columns.csv",
    "patient.json",
    "run.json",
    "mask.nii.gz",
    "lesions.nii.gz",
}


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(path.read_text().splitlines()))


def one_line_error(result: Result) -> str:
    """The single line that a failed verb must leave on stderr."""
    assert result.exit_code == 1, result.output
    errors = [line for line in result.stderr.splitlines() if not line.startswith("note:")]
    assert len(errors) == 1, result.stderr
    assert errors[0].startswith("error: ")
    assert "Traceback" not in result.output
    return errors[0]


def test_one_patient(run, patient: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("examine", patient, "-m", "pet-threshold", "-o", out)
    assert result.exit_code == 0, result.output
    assert {p.name for p in out.iterdir()} == WRITTEN
    assert "anna: 2 lesions" in result.stdout
    assert str(out / "report.html") in result.stdout
    rows = rows_of(out / "lesions.csv")
    assert [float(row["SUVmax"]) for row in rows] == [8.0, 5.0]
    # the truth lies beside the scan and is exactly what the threshold finds
    assert json.loads((out / "patient.json").read_text())["scores"]["dice"] == 1.0


def test_of_many_lesions_a_screenful_is_listed(
    run, patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lesionlab.cli.scans.LISTED", 1)
    told = run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out").stdout
    rows = rows_of(tmp_path / "out" / "lesions.csv")
    assert len(rows) > 1
    assert f"and {len(rows) - 1} more in lesions.csv" in told
    assert sum(line.split()[:1] in (["1"], ["2"]) for line in told.splitlines()) == 1


def test_the_default_method_says_what_it_is(run, patient: Path, tmp_path: Path) -> None:
    result = run("examine", patient, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr.startswith("note: no model given (-m), so the weight-free recipe pet-threshold")
    assert "note" not in result.stdout


def test_json_is_all_there_is_on_stdout(run, patient: Path, tmp_path: Path) -> None:
    result = run("examine", patient, "-o", tmp_path / "out", "--json")
    answer = json.loads(result.stdout)
    assert answer["case_id"] == "anna"
    assert answer["totals"]["lesions"] == 2
    assert answer["units"]["TMTV"] == "ml"
    assert Path(answer["report"]).is_file()


def test_run_json_names_where_numbers_come_from(run, patient: Path, tmp_path: Path) -> None:
    run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out")
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["recipe_name"] == "pet-threshold"
    assert len(record["recipe_sha256"]) == len(record["inputs"]["suv"]) == 64
    assert {"read", "standardise", "predict", "refine", "measure", "evaluate"} == set(record["seconds"])
    assert record["device"] == "cpu"
    assert {"lesionlab", "numpy", "python"} <= set(record["versions"])
    assert record["source"] == str(patient)
    assert record["started"].endswith("+00:00")


def test_a_truth_given_separately(run, patient: Path, tmp_path: Path) -> None:
    truth = tmp_path / "expert.nii.gz"
    (patient / "truth.nii.gz").rename(truth)
    run("examine", patient, "-o", tmp_path / "without", "--json")
    result = run("examine", patient, "--truth", truth, "-o", tmp_path / "with", "--json")
    assert json.loads(result.stdout)["scores"]["dice"] == 1.0
    assert json.loads((tmp_path / "without" / "patient.json").read_text())["scores"] is None
    assert json.loads((tmp_path / "with" / "run.json").read_text())["truth"] == str(truth)


def test_no_lesion_is_a_result(run, tmp_path: Path) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "clara")
    result = run("examine", patient, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "clara: 0 lesions" in result.stdout
    assert (tmp_path / "out" / "lesions.csv").read_text().count("\n") == 1


def test_a_failing_patient_does_not_stop_the_others(run, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("examine", cohort, "-m", "pet-threshold", "-o", out)
    assert "dora" in one_line_error(result)
    assert "2 of 3 examined" in result.stdout
    assert {p.name for p in (out / "berta").iterdir()} == WRITTEN
    assert not (out / "dora").exists()
    patients = {row["case_id"]: row for row in rows_of(out / "patients.csv")}
    assert list(patients) == ["berta", "clara", "dora"]
    assert "dora" in patients["dora"]["error"]
    assert [row["case_id"] for row in rows_of(out / "lesions.csv")] == ["berta"]
    assert "dora" in (out / "report.html").read_text()


def test_a_cohort_in_json(run, cohort: Path, tmp_path: Path) -> None:
    result = run("examine", cohort, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert [case["case_id"] for case in answer["cases"]] == ["berta", "clara"]
    assert [case["lesion_count"] for case in answer["cases"]] == [1, 0]
    assert [case["case_id"] for case in answer["failed"]] == ["dora"]
    assert all(Path(case["report"]).is_file() for case in [*answer["cases"], answer])


def test_a_truth_for_many_patients_is_a_bad_argument(
    run, cohort: Path, patient: Path, tmp_path: Path
) -> None:
    result = run("examine", cohort, "--truth", patient / "truth.nii.gz", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert not (tmp_path / "out").exists()


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def no_image(folder: Path) -> None:
    empty(folder)
    (folder / "letter.txt").write_text("Dear colleague")


def truncated(folder: Path) -> None:
    file = folder / "suv.nii.gz"
    file.write_bytes(file.read_bytes()[:200])


def gone(folder: Path) -> None:
    shutil.rmtree(folder)


def not_a_number(folder: Path) -> None:
    array = np.ones((24, 32, 32), np.float32)
    array[3, 3, 3] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / "suv.nii.gz"))


def truth_elsewhere(folder: Path) -> None:
    away = Geometry((4, 4, 4), (4.0, 4.0, 4.0), (900.0, 0.0, 0.0))
    save_volume(Volume(np.ones((4, 4, 4), np.uint8), away, "1"), folder / "truth.nii.gz")


def half_label(folder: Path) -> None:
    grid = Geometry((24, 32, 32), (4.0, 4.0, 4.0))
    save_volume(Volume(np.full(grid.shape, 0.5, np.float32), grid, "1"), folder / "truth.nii.gz")


@pytest.mark.parametrize(
    "spoil", [empty, no_image, truncated, gone, not_a_number, truth_elsewhere, half_label]
)
def test_bad_input_gives_one_line_and_no_result(run, patient: Path, tmp_path: Path, spoil) -> None:
    spoil(patient)
    line = one_line_error(run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out"))
    assert "anna" in line
    assert "found" in line
    assert "needed" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("model", ["no-such-model", "pet", "anna"])
def test_a_bad_model_gives_one_line(run, patient: Path, tmp_path: Path, model: str) -> None:
    name = patient if model == "anna" else model
    line = one_line_error(run("examine", patient, "-m", name, "-o", tmp_path / "out"))
    assert model in line
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_another_channel_count(run, patient: Path, tmp_path: Path, tiny_bundle) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle.folder, bundle)
    dataset = json.loads((bundle / "dataset.json").read_text())
    dataset["channel_names"] = {"0": "noNorm", "1": "CT"}
    (bundle / "dataset.json").write_text(json.dumps(dataset))
    line = one_line_error(run("examine", patient, "-m", bundle, "-o", tmp_path / "out"))
    assert "bundle: found a model of 2 channels; needed 1" in line
    assert not (tmp_path / "out").exists()


def test_a_stock_model_folder_is_told_its_channels(run, patient: Path, tmp_path: Path, tiny_bundle) -> None:
    bundle = tmp_path / "stock"
    shutil.copytree(tiny_bundle.folder, bundle)
    (bundle / "recipe.toml").unlink()
    arguments = ("examine", patient, "-m", bundle, "-o", tmp_path / "out", "--device", "cpu")
    assert "--channels suv,ct" in one_line_error(run(*arguments))
    assert run(*arguments, "--channels", "suv").exit_code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["settings"]["channels"] == {
        "suv": {"normalisation": "none", "clip": None, "divide_by": 1.0, "curve": "linear"}
    }


def test_a_model_that_wants_a_channel_the_patient_lacks(run, patient: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "both.toml"
    text = 'name = "both"\nreference = "suv"\nmethod = "threshold"\n[channels.suv]\n[channels.ct]\n'
    recipe.write_text(text)
    line = one_line_error(run("examine", patient, "-m", recipe, "-o", tmp_path / "out"))
    assert "ct" in line
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing_behind(
    run, patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.write_text

    def full(self: Path, *args, **kwargs):
        if self.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    line = one_line_error(run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out"))
    assert "No space left on device" in line
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anna"]


def test_an_earlier_result_survives_a_failing_run(
    run, patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run("examine", patient, "-m", "pet-threshold", "-o", out)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    real = Path.write_text

    def full(self: Path, *args, **kwargs):
        if self.name == "report.html":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    assert run("examine", patient, "-m", "pet-threshold-41", "-o", out).exit_code == 1
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


def test_an_interruption_leaves_nothing_and_exits_130(
    run, patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lesionlab.report import page

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(page, "patient_page", interrupt)
    assert run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out").exit_code == 130
    assert sorted(p.name for p in tmp_path.iterdir()) == ["anna"]


def test_debug_shows_the_traceback(run, patient: Path, tmp_path: Path) -> None:
    truncated(patient)
    result = run("examine", patient, "-o", tmp_path / "out", "--debug")
    assert result.exit_code == 1
    assert type(result.exception).__name__ == "ReadError"


def test_an_unexpected_fault_is_one_line_too(
    run, patient: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lesionlab.pipeline import patient as road

    def fault(*_: object) -> None:
        raise ZeroDivisionError("by\nnought")

    monkeypatch.setattr(road, "refine", fault)
    line = one_line_error(run("examine", patient, "-m", "pet-threshold", "-o", tmp_path / "out"))
    assert line == "error: ZeroDivisionError: by nought (unexpected; --debug shows where)"


@pytest.mark.parametrize("arguments", [[], ["x"], ["x", "-o"], ["x", "-o", "y", "--what"]])
def test_bad_arguments_exit_2(run, arguments: list[str]) -> None:
    assert run("examine", *arguments).exit_code == 2
