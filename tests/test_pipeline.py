"""The road as functions: stages in order, the record of a run, conversion, names of cases."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import phantoms
from lesionlab import convert_cohort, examine, examine_cohort, find_recipe
from lesionlab.core.errors import BundleError, DatasetError, ReadError, TrainingError, WriteError
from lesionlab.core.files import jsonable, sha256_of, writing
from lesionlab.core.tasks import Task, run_tasks, silent
from lesionlab.pipeline import cohort, findings_again, findings_of_mask, is_one_case, kept
from lesionlab.pipeline import patient as patient_module
from lesionlab.pipeline.cohort import case_name, each_case
from lesionlab.pipeline.datasets import require_labels
from lesionlab.pipeline.files import converted_from, stamp
from lesionlab.pipeline.kept import Examined, from_json, to_json
from lesionlab.pipeline.record import Stopwatch, part
from lesionlab.predict import load_bundle
from lesionlab.report import cohort_entry

BALL = ((40.0, 60.0, 40.0), 12.0, 8.0)


@pytest.fixture
def patient(tmp_path: Path) -> Path:
    return phantoms.write_pet_patient(tmp_path / "anna", [BALL])


def test_findings_hold_every_stage(patient: Path) -> None:
    findings = examine(patient, "pet-threshold")
    assert findings.case.id == findings.case.patient_id == "anna"
    assert findings.prediction.raw_mask is not None
    assert len(findings.lesions.rows) == 1
    assert findings.scores is not None
    # the truth is what the threshold finds, so nothing may differ, biomarkers included
    assert findings.scores.values["dice"] == 1.0
    assert findings.scores.values["TMTV_error"] == 0.0
    record = findings.provenance
    assert list(record.seconds) == ["read", "standardise", "predict", "refine", "measure", "evaluate"]
    assert min(record.seconds.values()) >= 0.0
    assert record.settings == find_recipe("pet-threshold").model_dump(mode="json")
    assert record.bundle_sha256 == record.recipe_sha256 == find_recipe("pet-threshold").sha256


def test_a_loaded_bundle_and_its_name_are_the_same(patient: Path) -> None:
    one, two = examine(patient, load_bundle("pet-threshold")), examine(patient, "pet-threshold")
    assert one.lesions.rows == two.lesions.rows


def test_the_same_input_gives_the_same_result_and_is_left_alone(patient: Path) -> None:
    before = {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in patient.iterdir()}
    one, two = examine(patient, "pet-threshold-41"), examine(patient, "pet-threshold-41")
    assert np.array_equal(one.prediction.mask.array, two.prediction.mask.array)
    assert one.provenance.inputs == two.provenance.inputs
    assert {p.name: (p.stat().st_mtime_ns, p.stat().st_size) for p in patient.iterdir()} == before


def test_without_truth_there_are_no_scores(tmp_path: Path) -> None:
    findings = examine(phantoms.write_pet_patient(tmp_path / "anna", [BALL], truth=False), "pet-threshold")
    assert findings.scores is None
    assert "evaluate" not in findings.provenance.seconds


def test_a_truth_file_is_in_the_record(patient: Path, tmp_path: Path) -> None:
    truth = (patient / "truth.nii.gz").rename(tmp_path / "expert.nii.gz")
    record = examine(patient, "pet-threshold", truth=truth).provenance
    assert set(record.inputs) == {"suv", "truth file"}
    assert record.truth == str(truth)


def test_progress_never_goes_back(patient: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    examine(patient, "pet-threshold", progress=lambda _, share: shares.append(share))
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    shares.clear()
    examine_cohort(
        tmp_path, "pet-threshold", tmp_path / "out", progress=lambda _, share: shares.append(share)
    )
    assert shares == sorted(shares)


def test_a_network_in_place_of_the_threshold(patient: Path, tiny_bundle) -> None:
    findings = examine(patient, tiny_bundle, device="cpu")
    assert findings.provenance.device == "cpu"
    assert findings.provenance.bundle_sha256 == tiny_bundle.sha256
    assert "torch" in findings.provenance.versions
    assert findings.prediction.mask.geometry.matches(findings.case.geometry)


def test_a_mask_in_place_of_a_method(patient: Path) -> None:
    findings = findings_of_mask(patient, patient / "truth.nii.gz", find_recipe("pet-threshold"))
    assert findings.provenance.bundle == "mask file"
    assert findings.lesions.totals["TMTV"] == pytest.approx(phantoms.ball_ml(12.0), rel=0.1)
    assert "mask as given in the file truth.nii.gz" in findings.prediction.notes


def test_a_mask_given_is_in_the_record(patient: Path) -> None:
    mask = patient / "truth.nii.gz"
    record = findings_of_mask(patient, mask, find_recipe("pet-threshold")).provenance
    assert record.inputs["mask file"] == sha256_of([mask])


def test_an_unknown_device_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="device: found tpu; needed one of auto, cpu, cuda, mps"):
        examine(tmp_path / "gone", "pet-threshold", device="tpu")


def test_a_bad_bundle_stops_a_cohort_before_it_starts(patient: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        examine_cohort(patient.parent, "nothing", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_one_patient_is_a_cohort_of_one(patient: Path) -> None:
    assert is_one_case(patient)
    assert is_one_case(patient / "suv.nii.gz")
    assert not is_one_case(patient.parent)
    with pytest.raises(ReadError, match="no such file or folder"):
        is_one_case(patient / "gone")


def test_case_names() -> None:
    root = Path("/data/study")
    assert case_name(root / "p1", root) == "p1"
    assert case_name(root / "p1" / "2024-01-02", root) == "p1-2024-01-02"
    assert case_name(root / "scan one.nii.gz", root) == "scan_one"
    assert case_name(root / "Jose\u0301", root) == case_name(root / "Jos\u00e9", root) == "Jos\u00e9"
    assert case_name(root, root) == "study"
    assert case_name(root / "3.25 T", root) == "3.25_T"
    here = Path.cwd().name
    assert case_name(Path(), Path()) == here
    assert case_name(Path("nothing/.."), Path("nothing/..")) == here
    assert case_name(Path("/"), Path("/")) == case_name(Path("..nii.gz"), Path("..nii.gz")) == "case"


def test_each_case_gives_paths_names_and_reasons(tmp_path: Path) -> None:
    for name in ("a", "b"):
        phantoms.write_pet_patient(tmp_path / name)

    def make(path: Path, name: str, _: object) -> Task[str]:
        def run() -> str:
            if name == "b":
                raise ReadError(path, "this", "that")
            return f"{path.name}={name}"

        return Task(name, run)

    outcomes = run_tasks(each_case(tmp_path, make))
    assert [(o.name, o.value) for o in outcomes] == [("a", "a=a"), ("b", None)]
    assert outcomes[1].error == f"{tmp_path / 'b'}: found this; needed that"


def count_examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The case ids that are really examined from now on."""
    seen: list[str] = []
    real = kept.examine

    def examine_and_note(scan, bundle, **options):
        seen.append(options["case_id"])
        return real(scan, bundle, **options)

    monkeypatch.setattr(kept, "examine", examine_and_note)
    return seen


def test_a_cohort_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name, balls in (("anna", [BALL]), ("berta", []), ("clara", [BALL])):
        phantoms.write_pet_patient(root / name, balls)
    seen = count_examined(monkeypatch)
    examine_cohort(root, "pet-threshold", out)
    first = {name: (out / name).read_bytes() for name in ("patients.csv", "lesions.csv", "cohort.json")}
    page = (out / "report.html").read_text()
    assert seen == ["anna", "berta", "clara"]
    # nothing changed: nothing is done, and the cohort's files come out the same from what was kept
    outcomes = examine_cohort(root, "pet-threshold", out)
    assert seen == ["anna", "berta", "clara"]
    assert [o.reused for o in outcomes] == [True, True, True]
    assert {name: (out / name).read_bytes() for name in first} == first
    assert (out / "report.html").read_text() == page
    # a report that is gone, a scan that changed, another method: only what they touch is done again
    (out / "anna" / "report.html").unlink()
    phantoms.write_pet_patient(root / "clara", [BALL, ((90.0, 60.0, 60.0), 10.0, 5.0)])
    examine_cohort(root, "pet-threshold", out)
    assert seen[3:] == ["anna", "clara"]
    examine_cohort(root, "pet-threshold-41", out)
    assert seen[5:] == ["anna", "berta", "clara"]
    examine_cohort(root, "pet-threshold-41", out, again=True)
    assert seen[8:] == ["anna", "berta", "clara"]


def test_what_is_kept_of_a_patient_is_what_stands_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    phantoms.write_pet_patient(root / "anna", [BALL, ((90.0, 60.0, 60.0), 12.0, 3.0)])
    seen = count_examined(monkeypatch)
    for method, lesions in (("pet-threshold", 1), ("pet-threshold-41", 2), ("pet-threshold", 1)):
        (outcome,) = examine_cohort(root, method, out)
        assert outcome.value is not None and len(outcome.value.entry.rows) == lesions
        record = json.loads((out / "anna" / "patient.json").read_text())
        assert record["lesion_count"] == lesions
    assert seen == ["anna"] * 3
    assert len(list((out / kept.KEPT).iterdir())) == 1


@pytest.mark.parametrize("left", ["", "{}", '{"entry": ', "[1]"])
def test_what_a_power_cut_damaged_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("anna", "berta"):
        phantoms.write_pet_patient(root / name, [BALL])
    examine_cohort(root, "pet-threshold", out)
    seen = count_examined(monkeypatch)
    damaged = next(f for f in (out / kept.KEPT).iterdir() if '"anna"' in f.read_text())
    damaged.write_text(left)
    # a report on another patient leaves it alone
    assert kept.take_up(findings_again(out / "berta"), out / "berta") == out / "report.html"
    outcomes = examine_cohort(root, "pet-threshold", out)
    assert [(o.name, o.error, o.reused) for o in outcomes] == [("anna", None, False), ("berta", None, True)]
    assert seen == ["anna"]


def test_reading_ahead_changes_nothing_and_is_left_when_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "in"
    for name, balls in (("anna", [BALL]), ("berta", []), ("clara", [BALL])):
        phantoms.write_pet_patient(root / name, balls)
    (root / "berta" / "suv.nii.gz").write_bytes(b"no image")
    threads: list[list[str]] = []
    real = patient_module.open_standardised

    def open_and_note(*args, **options):
        threads[-1].append(threading.current_thread().name.split("_")[0])
        return real(*args, **options)

    monkeypatch.setattr(patient_module, "open_standardised", open_and_note)
    found = []
    for free in (1 << 40, 1000):
        monkeypatch.setattr(patient_module, "available_memory", lambda free=free: free)
        threads.append([])
        outcomes = examine_cohort(root, "pet-threshold", tmp_path / str(free))
        assert [o.error is None for o in outcomes] == [True, False, True]
        assert "berta" in (outcomes[1].error or "")
        found.append([o.value.entry.rows if o.value else o.error for o in outcomes])
        assert [o.value.entry.case_id for o in outcomes if o.value] == ["anna", "clara"]
    assert threads == [["MainThread", "ahead", "ahead"], ["MainThread"] * 3]
    assert found[0] == found[1]


def test_an_interrupted_cohort_leaves_whole_masks_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    for name in ("anna", "berta", "clara"):
        phantoms.write_pet_patient(root / name, [BALL])
    real, calls = cohort.save_volume, []

    def interrupted(volume, path):
        calls.append(path)
        if len(calls) == 2:
            with writing(path) as temporary:
                temporary.write_bytes(b"half a mask")
                raise KeyboardInterrupt
        return real(volume, path)

    monkeypatch.setattr(cohort, "save_volume", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cohort.predict_cohort(root, "pet-threshold", out)
    assert [path.name for path in out.iterdir()] == ["anna.nii.gz"]
    outcomes = cohort.predict_cohort(root, "pet-threshold", out)
    assert [o.value.name for o in outcomes] == ["anna.nii.gz", "berta.nii.gz", "clara.nii.gz"]


def test_a_failed_patient_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = tmp_path / "in", tmp_path / "out"
    phantoms.write_pet_patient(root / "anna", [BALL])
    (phantoms.write_pet_patient(root / "berta") / "suv.nii.gz").write_bytes(b"no image")
    seen = count_examined(monkeypatch)
    assert [o.error is None for o in examine_cohort(root, "pet-threshold", out)] == [True, False]
    again = examine_cohort(root, "pet-threshold", out)
    assert [o.error is None for o in again] == [o.reused for o in again] == [True, False]
    assert seen == ["anna"]
    phantoms.write_pet_patient(root / "berta")
    assert [o.error for o in examine_cohort(root, "pet-threshold", out)] == [None, None]
    assert seen == ["anna", "berta"]


def test_what_is_kept_survives_a_file(patient: Path) -> None:
    findings = examine(patient, "pet-threshold")
    examined = Examined(cohort_entry(findings, "anna/report.html"), findings.scores)
    again = from_json(json.loads(json.dumps(jsonable(to_json(examined)))))
    # one lesion has no Dmax: NaN in, NaN out, so compare as text
    assert repr(again.entry) == repr(replace(examined.entry, rows=tuple(map(dict, examined.entry.rows))))
    assert again.entry.thumbnail.startswith(b"\x89PNG")
    assert repr(again.scores) == repr(replace(examined.scores, values=dict(examined.scores.values)))


def test_a_full_disk_while_converting_leaves_no_half_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phantoms.write_pet_patient(tmp_path / "in" / "anna", [BALL])
    phantoms.write_pet_patient(tmp_path / "in" / "berta", [BALL])
    from lesionlab.pipeline import files

    real = files.save_volume

    def full(volume: object, path: Path) -> Path:
        if "berta" in str(path) and path.name == "truth.nii.gz":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(volume, path)  # type: ignore[arg-type]

    monkeypatch.setattr(files, "save_volume", full)
    outcomes = convert_cohort(tmp_path / "in", tmp_path / "out", find_recipe("pet-threshold"))
    assert [o.error is None for o in outcomes] == [True, False]
    assert "No space left on device" in str(outcomes[1].error)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["anna"]


def test_converted_cases_know_their_origin(tmp_path: Path) -> None:
    source = phantoms.write_pet_patient(tmp_path / "in" / "anna", [BALL])
    recipe = find_recipe("pet-threshold")
    convert_cohort(tmp_path / "in", tmp_path / "out", recipe)
    origin = converted_from(tmp_path / "out" / "anna")
    assert origin == {"source": str(source), "stamp": stamp(source), "recipe_sha256": recipe.sha256}
    assert converted_from(source) is None
    (source / "case.json").write_text("not json")
    assert converted_from(source) is None
    # another recipe makes it again
    other = recipe.changed(threshold={"suv": 3.0})
    convert_cohort(tmp_path / "in", tmp_path / "out", other)
    record = json.loads((tmp_path / "out" / "anna" / "case.json").read_text())
    assert record["origin"]["recipe_sha256"] == other.sha256


def test_a_stamp_changes_with_the_files(patient: Path) -> None:
    first = stamp(patient)
    assert stamp(patient) == first
    (patient / "note.txt").write_text("x")
    assert stamp(patient) != first
    assert len(stamp(patient / "suv.nii.gz")) == 16


def test_an_unwritable_place_is_a_write_error(patient: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError):
        examine_cohort(tmp_path, "pet-threshold", tmp_path / "file" / "out")


def test_stopwatch_adds_up_and_counts_failures_too() -> None:
    watch = Stopwatch()
    with watch.stage("read"):
        pass
    first = watch.seconds["read"]
    with pytest.raises(ReadError), watch.stage("read"):
        raise ReadError("a", "b", "c")
    assert watch.seconds["read"] > first


def test_part_maps_shares_and_names() -> None:
    seen: list[tuple[str, float]] = []
    inner = part(lambda message, share: seen.append((message, share)), 0.2, 0.6, "P1")
    for message, share in (("reading", 0.0), ("", 0.5), ("done", 7.0)):
        inner(message, share)
    assert seen == [("P1: reading", 0.2), ("P1", pytest.approx(0.4)), ("P1: done", pytest.approx(0.6))]
    part(silent, 0.0, 1.0)("x", 0.5)


def test_nnunets_own_labels_beside_the_cases_name_the_background_too(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"labels": {"background": 0, "lesion": 1}}))
    require_labels(tmp_path, find_recipe("pet-small"))
    file.write_text(json.dumps({"labels": {"background": 0, "tumour": 1, "node": 2}}))
    with pytest.raises(DatasetError, match="node = 2; needed those of recipe pet-small"):
        require_labels(tmp_path, find_recipe("pet-small"))
