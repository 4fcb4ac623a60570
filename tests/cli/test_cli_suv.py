"""The verb `suv`: the audit on the terminal and as JSON, the volume as a file, refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from dicom_phantoms import edit_all, pet_volume, write_ct, write_pet
from lesionlab.core.suv import SUV_KINDS


def test_the_audit_and_the_volume(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "anna" / "pet")
    write_ct(tmp_path / "anna" / "ct")
    result = run("suv", tmp_path / "anna", "-o", tmp_path / "suv.nii.gz")
    assert result.exit_code == 0, result.output
    for words in (
        "anna: SUVbw, 6 slices",
        "rule: Units BQML, DecayCorrection START",
        "from: PatientWeight, RadionuclideTotalDose",
        "taken",
        "SUVlbm-janmahasatian",
    ):
        assert words in result.stdout
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "suv.nii.gz")))
    np.testing.assert_allclose(written, pet_volume().array, rtol=1e-5, atol=2e-3)


def test_every_kind_is_its_multiple_of_suvbw(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "anna")
    base = json.loads(run("suv", tmp_path / "anna", "--json").stdout)
    assert base["unit"] == "g/ml{SUVbw}"
    assert base["file"] is None
    assert set(base["multiples_of_suvbw"]) == set(SUV_KINDS)
    for kind, multiple in base["multiples_of_suvbw"].items():
        found = json.loads(run("suv", tmp_path / "anna", "--kind", kind, "--json").stdout)
        assert found["unit"] == SUV_KINDS[kind].unit
        assert abs(found["maximum"] / base["maximum"] - multiple) < 1e-5


def test_warnings_and_flags_are_told(run, tmp_path: Path) -> None:
    edit_all(write_pet(tmp_path / "anna"), PatientWeight="70000", PatientSize=None)
    result = run("suv", tmp_path / "anna", "--autopet")
    assert "warning: PatientWeight 70000 taken as g" in result.stderr
    assert "autoPET" in result.stderr
    assert "note: only SUVbw: PatientSize absent" in result.stdout
    refused = run("suv", tmp_path / "anna", "--kind", "SUVbsa")
    assert refused.exit_code == 1
    assert "PatientSize absent; needed PatientWeight and PatientSize for SUVbsa" in refused.stderr


def test_counts_per_second_need_the_option(run, tmp_path: Path) -> None:
    edit_all(write_pet(tmp_path / "anna"), Units="CPS", DoseCalibrationFactor="2")
    refused = run("suv", tmp_path / "anna")
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: anna: found Units CPS")
    assert run("suv", tmp_path / "anna", "--allow-cps").exit_code == 0


def test_what_is_no_pet_series_is_refused_in_one_line(run, tmp_path: Path, patient: Path) -> None:
    write_ct(tmp_path / "ct")
    for source, words in (
        (tmp_path / "ct", "CT series"),
        (patient, "no DICOM images"),
        (tmp_path / "nowhere", "no such file or folder"),
    ):
        result = run("suv", source)
        assert result.exit_code == 1
        assert words in result.stderr
        assert result.stderr.count("\n") == 1
    write_pet(tmp_path / "bert")
    unknown = run("suv", tmp_path / "bert", "--kind", "SUV")
    assert unknown.exit_code == 1
    assert "one of SUVbw, SUVlbm-morgan" in unknown.stderr


def test_a_converted_case_remembers_how_suv_was_computed(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "anna")
    assert run("convert", tmp_path / "anna", "-o", tmp_path / "nifti").exit_code == 0
    case = next((tmp_path / "nifti").glob("*/case.json")).parent
    assert run("examine", case, "-o", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    audit = json.loads(run("suv", tmp_path / "anna", "--json").stdout)
    assert record["suv"]
    assert record["suv"] == {key: audit[key] for key in record["suv"]}
    damaged = json.loads((case / "case.json").read_text())
    del damaged["suv"]["suv"]["factors"]
    (case / "case.json").write_text(json.dumps(damaged))
    refused = run("examine", case, "-o", tmp_path / "again")
    assert refused.exit_code == 1
    assert "incomplete record" in refused.stderr


def test_examine_records_how_suv_was_computed(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "anna")
    assert run("examine", tmp_path / "anna", "-o", tmp_path / "out").exit_code == 0
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    audit = json.loads(run("suv", tmp_path / "anna", "--json").stdout)
    assert record["suv"] == {key: audit[key] for key in record["suv"]}
    assert len(record["suv"]["factors"]) == 6
    assert record["settings"]["suv"] == {"allow_cps": False, "times": "standard"}
    assert "How SUV was computed" in (tmp_path / "out" / "report.html").read_text()


def test_the_help_asks_for_the_dicom_of_one_patient(run) -> None:
    told = " ".join(run("suv", "--help").stdout.replace("\u2502", " ").split())
    assert "The PET of one patient: a folder of DICOM, or a file." in told
    assert "NPY" not in told
