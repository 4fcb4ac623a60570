"""Where results may go: never over a scan, into its folder, or over other files; names that stay apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import SimpleITK as sitk

import phantoms

BALL = ((40.0, 60.0, 40.0), 12.0, 8.0)


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("inside", ["", "results"])
def test_results_are_not_written_into_a_scan(run, patient: Path, tmp_path: Path, inside: str) -> None:
    before, place = files_in(patient), patient / inside
    mask = tmp_path / "drawn.nii.gz"
    mask.write_bytes((patient / "truth.nii.gz").read_bytes())
    for words in (
        ("examine", patient, "-o", place),
        ("report", patient, "--mask", mask, "-o", place),
        ("predict", patient, "-o", place / "mask.nii.gz"),
        ("measure", patient, mask, "--maps", place),
        ("suv", patient, "-o", place / "pet.nii.gz"),
    ):
        result = run(*words)
        assert result.exit_code == 1, words
        assert f"found a place in the scan {patient}; needed" in result.stderr
        assert files_in(patient) == before


def test_a_table_replaces_no_mask_and_no_scan(run, patient: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    mask, pet = masks / "drawn.nii.gz", patient / "suv.nii.gz"
    mask.write_bytes((patient / "truth.nii.gz").read_bytes())
    before = files_in(tmp_path)
    for words in (
        ("measure", patient, mask, "-o", mask),
        ("measure", patient, mask, "-o", pet),
        ("measure", pet, mask, "-o", pet),
        ("quality", mask, "-o", mask),
        ("quality", masks, "-o", mask),
    ):
        result = run(*words)
        assert result.exit_code == 1, words
        assert "found a file that was given; needed another place for the result (-o)" in result.stderr
        assert files_in(tmp_path) == before
    assert run("quality", masks, "-o", masks / "quality.csv").exit_code == 0


def test_a_cohort_is_not_examined_or_converted_into_itself(run, tmp_path: Path) -> None:
    root = tmp_path / "in"
    patient = phantoms.write_pet_patient(root / "anna", [BALL])
    (patient / "letter.txt").write_text("keep me")
    before = files_in(patient)
    for verb in ("examine", "convert"):
        result = run(verb, root, "-o", root)
        assert result.exit_code == 1
        assert f"{patient}: found a place in the scan {patient}" in result.stderr
        assert files_in(patient) == before


def test_predictions_do_not_replace_the_scans(run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = phantoms.write_pet_patient(tmp_path / name, [BALL], truth=False)
        (tmp_path / "in").mkdir(exist_ok=True)
        (folder / "suv.nii.gz").rename(tmp_path / "in" / f"{name}_suv.nii.gz")
    before = files_in(tmp_path / "in")
    result = run("predict", tmp_path / "in", "-o", tmp_path / "in")
    assert result.exit_code == 1
    assert result.stderr.count("found a place in the scan") == 2
    assert files_in(tmp_path / "in") == before


def test_conversion_replaces_nothing_but_a_conversion(run, tmp_path: Path) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    phantoms.write_pet_patient(root / "anna", [BALL])
    (out / "anna").mkdir(parents=True)
    (out / "anna" / "thesis.txt").write_text("keep me")
    result = run("convert", root, "-o", out)
    assert result.exit_code == 1
    assert f"{out / 'anna'}: found thesis.txt in it; needed a new or empty folder" in result.stderr
    assert files_in(out) == {"anna/thesis.txt": b"keep me"}
    (out / "anna" / "thesis.txt").unlink()
    assert run("convert", root, "-o", out).exit_code == 0
    # a mask drawn beside a converted scan is nobody's to delete
    (out / "anna" / "drawn.nii.gz").write_bytes(b"by hand")
    phantoms.write_pet_patient(root / "anna")
    result = run("convert", root, "-o", out)
    assert result.exit_code == 1 and "found drawn.nii.gz in it" in result.stderr
    (out / "anna" / "drawn.nii.gz").unlink()
    assert run("convert", root, "-o", out).exit_code == 0


@pytest.mark.parametrize("given", [".", ".."])
def test_a_scan_given_as_dots_has_its_own_name(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "anna", [BALL])
    out, work = tmp_path / "out", patient / "notes"
    out.mkdir()
    work.mkdir()
    (out / "keep.txt").write_text("keep me")
    (work / "keep.txt").write_text("keep me")
    monkeypatch.chdir(patient if given == "." else work)
    result = run("convert", given, "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == str(out / "anna")
    assert {"keep.txt", "anna/case.json"} <= set(files_in(out))
    assert (work / "keep.txt").is_file()


def test_scans_or_masks_of_one_name_are_refused(run, tmp_path: Path) -> None:
    made = phantoms.write_pet_patient(tmp_path / "made", [BALL])
    image, mask = (sitk.ReadImage(str(made / f"{name}.nii.gz")) for name in ("suv", "truth"))
    for folder, content in (("scans", image), ("masks", mask)):
        (tmp_path / folder).mkdir()
        for name in ("p1_suv", "p2_suv"):
            sitk.WriteImage(content, str(tmp_path / folder / f"{name}.nii.gz"))
    good = ("measure", tmp_path / "scans", tmp_path / "masks", "-o", tmp_path / "out")
    assert run(*good).exit_code == 0
    sitk.WriteImage(mask * 0, str(tmp_path / "masks" / "p1_suv.mha"))
    told = "found 2 cases called 'p1_suv': p1_suv.mha, p1_suv.nii.gz; needed names that differ"
    for words in (
        good,
        ("evaluate", tmp_path / "masks", tmp_path / "masks"),
        ("quality", tmp_path / "masks"),
    ):
        result = run(*words)
        assert result.exit_code == 1 and f"{tmp_path / 'masks'}: {told}" in result.stderr, words
    (tmp_path / "masks" / "p1_suv.mha").unlink()
    sitk.WriteImage(image * 2, str(tmp_path / "scans" / "p1_suv.mha"))
    pictured = ("evaluate", tmp_path / "masks", tmp_path / "masks", "--images", tmp_path / "scans")
    for words in (good, pictured, ("robustness", tmp_path / "scans", "-o", tmp_path / "stable")):
        result = run(*words)
        assert result.exit_code == 1 and f"{tmp_path / 'scans'}: {told}" in result.stderr, words


def test_scores_do_not_replace_the_lesions_of_examined_patients(run, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("examine", cohort, "-o", out)
    for folder, record in ((out, "cohort.json"), (out / "berta", "run.json")):
        before = files_in(out)
        result = run("evaluate", out, cohort, "-o", folder)
        assert result.exit_code == 1
        assert f"{folder}: found {record} of other results; needed a folder of its own" in result.stderr
        assert files_in(out) == before


def test_measuring_many_does_not_replace_the_tables_of_examined_patients(
    run, cohort: Path, tmp_path: Path
) -> None:
    out, own = tmp_path / "out", tmp_path / "own"
    run("examine", cohort, "-o", out)
    table = tmp_path / "cases.csv"
    table.write_text(f"image,mask\n{cohort / 'berta'},{out / 'berta' / 'mask.nii.gz'}\n")
    for folder, record in ((out, "report.html"), (out / "berta", "run.json")):
        before = files_in(out)
        result = run("measure", table, "-o", folder)
        assert result.exit_code == 1
        assert f"{folder}: found {record} of other results; needed a folder of its own" in result.stderr
        assert files_in(out) == before
    for _ in range(2):  # its own tables are written anew
        result = run("measure", table, "-o", own)
        assert result.exit_code == 0, result.output


def test_scores_do_not_replace_the_summary_of_another_program(run, patient: Path, tmp_path: Path) -> None:
    sides, out = (patient / "truth.nii.gz", patient / "truth.nii.gz"), tmp_path / "validation"
    out.mkdir()
    for text in ('{"foreground_mean": {"Dice": 0.7}}', "not finished {", "[]"):
        (out / "summary.json").write_text(text)
        result = run("evaluate", *sides, "-o", out)
        assert result.exit_code == 1
        assert "found a summary of another program; needed another folder (-o)" in result.stderr
        assert [path.name for path in out.iterdir()] == ["summary.json"]
        assert (out / "summary.json").read_text() == text
    (out / "summary.json").unlink()
    for _ in range(2):
        assert run("evaluate", *sides, "-o", out).exit_code == 0


def test_what_an_earlier_run_exported_is_named_when_it_is_not_written_anew(
    run, patient: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert run("examine", patient, "-o", out, "--also", "nrrd").exit_code == 0
    result = run("examine", patient, "-m", "pet-threshold-41", "-o", out)
    assert result.exit_code == 0
    assert f"not written anew: {out / 'lesions.seg.nrrd'}" in result.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("examine", "{scan}", "-o", "{out}", "--finding", "primary"), "--finding without --dicom"),
        (("examine", "{scan}", "-o", "{out}", "--channels", "ct"), "the model's own are suv"),
        (("examine", "{scan}", "-o", "{out}", "--precision", "bf16"), "the recipe computes no network"),
        (("predict", "{scan}", "-o", "{out}", "--over-body"), "the recipe computes no network"),
        (("measure", "{scan}", "{scan}/truth.nii.gz", "-o", "{out}", "--long"), "this is a single scan"),
        (("convert", "{scan}", "-o", "{out}", "--check"), "--check belongs to a data set"),
        (("convert", "{scan}", "-o", "{out}", "--classes"), "--classes belongs to a data set"),
        (("convert", "{scan}", "-o", "{out}", "--incomplete"), "--incomplete belongs to a data set"),
        (("report", "{scan}", "--truth", "{scan}/truth.nii.gz", "-o", "{out}"), "--truth goes with --mask"),
        (("report", "{scan}", "-r", "pet-radiomics", "-o", "{out}"), "--recipe goes with --mask"),
        (
            ("response", "{scan}", "{scan}", "-m", "pet-threshold", "-r", "pet-radiomics", "-o", "{out}"),
            "a model says itself what is measured",
        ),
        (("evaluate", "{scan}", "{scan}", "-o", "{out}", "--iou", "0.3"), "the rule any asks for none"),
        (("convert", "busi", "{scan}", "-o", "{out}", "-r", "petct"), "a data set's channels are its own"),
    ],
)
def test_options_that_would_change_nothing_are_refused(
    run, patient: Path, tmp_path: Path, words: tuple[str, ...], told: str
) -> None:
    result = run(*(word.format(scan=patient, out=tmp_path / "out") for word in words))
    assert result.exit_code == 2
    assert told in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("verb", ["examine", "predict"])
@pytest.mark.parametrize("device", ["tpu", "cuda:x", ""])
def test_an_unknown_device_is_refused_whatever_the_method(
    run, patient: Path, tmp_path: Path, verb: str, device: str
) -> None:
    result = run(verb, patient, "-o", tmp_path / "out", "--device", device)
    assert result.exit_code == 1
    assert f"device: found {device or 'no name'}; needed one of auto, cpu, cuda, mps" in result.stderr
    assert not (tmp_path / "out").exists()


def test_a_given_truth_counts_before_readers(run, patient: Path, tmp_path: Path) -> None:
    truth = (patient / "truth.nii.gz").rename(tmp_path / "expert.nii.gz")
    (patient / "observers").mkdir()
    for name in ("one", "two"):
        empty = sitk.ReadImage(str(truth)) * 0
        sitk.WriteImage(empty, str(patient / "observers" / f"{name}.nii.gz"))
    result = run("examine", patient, "-o", tmp_path / "out", "--truth", truth)
    assert result.exit_code == 0
    record = json.loads((tmp_path / "out" / "patient.json").read_text())
    assert record["scores"]["dice"] == 1.0
    assert "truth from expert.nii.gz" in record["notes"]
    assert not any("readers" in note for note in record["notes"])


def test_a_table_that_was_given_is_not_replaced_by_a_result_of_its_name(run, tmp_path: Path) -> None:
    patient = phantoms.write_pet_patient(tmp_path / "p1", [BALL])
    files = f"{patient / 'suv.nii.gz'},{patient / 'truth.nii.gz'}"
    tables = {
        "patients.csv": (f"image,mask\n{files}\n", ("measure",)),
        "lesions.csv": (f"prediction,truth\n{files.replace('suv', 'truth')}\n", ("evaluate",)),
        "cases.csv": ("case,dice\na,0.5\nb,0.6\n", ("compare",)),
        "groups.csv": ("case,patient\na,1\nb,1\n", ("compare", tmp_path / "cases.csv", "--cases")),
    }
    for name, (text, _) in tables.items():
        (tmp_path / name).write_text(text)
    for name, (text, words) in tables.items():
        result = run(*words, tmp_path / name, "-o", tmp_path / "p1" / "..")
        assert result.exit_code == 1, name
        assert "found a file that was given" in result.stderr
        assert (tmp_path / name).read_text() == text
        assert run(*words, tmp_path / name, "-o", tmp_path / "out" / name).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*tables, "out", "p1"])
