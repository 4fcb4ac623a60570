"""`response` and `robustness` from the command line, and reference places of `measure`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

import phantoms

BALLS = [((40.0, 60.0, 40.0), 14.0, 8.0), ((90.0, 60.0, 60.0), 11.0, 5.0)]
LATER = [((40.0, 60.0, 40.0), 12.0, 4.0), ((90.0, 60.0, 60.0), 11.0, 4.8)]


@pytest.fixture
def timepoints(tmp_path):
    return (
        phantoms.write_pet_patient(tmp_path / "before", BALLS),
        phantoms.write_pet_patient(tmp_path / "after", LATER),
    )


def test_two_timepoints_on_the_command_line(run, timepoints, tmp_path):
    out = tmp_path / "out"
    result = run("response", *timepoints, "-o", out, "--align", "none", "--body", "70,175,M")
    assert result.exit_code == 0, result.output
    assert "1 → 1" in result.stdout
    assert "8 → 4 (-50 %)" in result.stdout
    assert "PERCIST 1.0: PMR, partial metabolic response" in result.stdout
    assert "whether the lesion was measurable is open" in result.stdout
    assert (out / "report.html").is_file()


def test_the_answer_for_programs(run, timepoints, tmp_path):
    masks = [folder / "truth.nii.gz" for folder in timepoints]
    places = ["--liver=20,20,20", "--liver=20,24,20", "--blood", "100,100,20"]
    result = run("response", *timepoints, "-o", tmp_path / "out", "--masks", *masks, *places, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["category"] is None
    assert record["totals"]["SUVmax_change"] == pytest.approx(-40.0)
    assert any("liver SUVmean 1.00 is outside 1.3 to 3" in note for note in record["notes"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lean-body-mass", "boer"], "'boer' is no formula"),
        (["--liver", "1,2,3", "--liver", "1,2,3", "--liver", "1,2,3"], "at most two"),
        (["--liver", "nowhere"], "needed x,y,z in mm (LPS), or label:N of the mask"),
        (["--body", "tall"], "needed weight_kg,height_cm,sex"),
    ],
)
def test_arguments_that_cannot_be(run, timepoints, tmp_path, options, words):
    result = run("response", *timepoints, "-o", tmp_path / "out", "--align", "none", *options)
    assert result.exit_code in (1, 2)
    assert words in " ".join(result.output.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_a_comparison_replaces_no_patients_report_and_is_no_part_of_a_scan(run, timepoints, tmp_path):
    out = tmp_path / "out"
    for folder in timepoints:
        assert run("examine", folder, "-o", out / folder.name).exit_code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    examined = [out / folder.name for folder in timepoints]
    for pair, place, words in (
        (examined, examined[0], "found run.json of other results; needed a folder of its own"),
        (timepoints, timepoints[1], f"found a place in the scan {timepoints[1]}"),
    ):
        result = run("response", *pair, "-o", place, "--align", "none")
        assert result.exit_code == 1
        assert words in result.stderr
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert run("response", *examined, "-o", examined[1] / "response", "--align", "none").exit_code == 0


def test_measure_takes_reference_places(run, timepoints):
    mask = timepoints[0] / "truth.nii.gz"
    places = ["--liver=20,20,20", "--blood=100,100,20"]
    result = run("measure", timepoints[0], mask, *places, "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["totals"]["liver_SUVmean"] == 1.0
    assert record["lesions"][0]["SUVmax_to_blood"] == 8.0
    assert any("outside 1.3 to 3" in note for note in record["notes"])
    many = run("measure", timepoints[0].parent, timepoints[0].parent, "-o", "x", "--liver", "0,0,0")
    assert many.exit_code == 2


def test_which_features_hold(run, timepoints, tmp_path):
    out = tmp_path / "robust"
    result = run("robustness", tmp_path, "-o", out, "--seed", "3")
    assert result.exit_code == 0, result.output
    assert "tried: volume -10%" in result.stdout
    rows = list(csv.DictReader((out / "robustness.csv").read_text().splitlines()))
    assert {"SUVmax", "SUVpeak", "MTV", "TLG", "diameter_3d"} <= {row["feature"] for row in rows}
    assert all(row["lesions"] == "4" for row in rows)
    assert all(float(row["icc_low"]) <= float(row["icc"]) <= float(row["icc_high"]) for row in rows)
    lesions = list(csv.DictReader((out / "variation.csv").read_text().splitlines()))
    assert len(lesions) == 4 * len(rows)
    assert all(np.isfinite(float(row["cv"])) for row in lesions)
    # the same seed gives the same tables, another one does not
    first = (out / "variation.csv").read_bytes()
    run("robustness", tmp_path, "-o", out, "--seed", "3")
    assert (out / "variation.csv").read_bytes() == first
    run("robustness", tmp_path, "-o", out, "--seed", "4")
    assert (out / "variation.csv").read_bytes() != first


def test_a_scan_without_lesions_drawn_fails_and_the_rest_goes_on(run, timepoints, tmp_path):
    phantoms.write_pet_patient(tmp_path / "clara", BALLS, truth=False)
    result = run("robustness", tmp_path, "-o", tmp_path / "robust", "--json")
    assert result.exit_code == 1
    record = json.loads(result.stdout)
    assert [item["case_id"] for item in record["failed"]] == ["clara"]
    assert record["features"][0]["lesions"] == 4
