"""The whole demo in small, and what it says of itself."""

from __future__ import annotations

import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lesionlab.core.errors import DatasetError, WriteError
from lesionlab.core.registry import find_recipe
from lesionlab.core.tasks import silent
from lesionlab.demo import run
from lesionlab.demo.cohort import Answer, read_known, write_cohort
from lesionlab.demo.compare import LesionMatch, PatientMatch, summarise_method
from lesionlab.demo.figure import COLOURS, found_against_known
from lesionlab.demo.run import DemoSize, Steps, examine_unseen, prepare, run_demo, train_on
from lesionlab.demo.words import lesion_table, method_table, result_text
from lesionlab.predict import load_bundle

SMALLEST = {
    "network": {"patch_size": [32, 32, 32], "first_features": 4, "max_features": 8, "stages": 3},
    "training": {"epochs": 1, "iterations": 1, "validation_iterations": 1, "folds": 2},
    "prediction": {"step": 1.0},
}


def match(patient: str, *, found: bool = True) -> PatientMatch:
    known = Answer(1, "lung", 8.0, 10.0, (0.0, 0.0, 0.0), 5.0)
    lesion = LesionMatch(patient, known, found, *((12.0, 6.0) if found else (math.nan, math.nan)))
    return PatientMatch(patient, (lesion,), 2, 30.5, 0.75 if found else 0.0, 10.0, 42.5 if found else 30.5)


def test_whole_demo_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    asked: list[object] = []
    real = run.examine

    def examine(*args: Any, **options: Any) -> Any:
        asked.append(options.get("device"))
        return real(*args, **options)

    monkeypatch.setattr(run, "examine", examine)
    folder = tmp_path / "demo"
    result = run_demo(
        folder,
        recipe=find_recipe("demo").changed(**SMALLEST),
        size=DemoSize(training=2, unseen=1),
        device="cpu",
        progress=lambda message, share: seen.append(share),
    )
    assert asked == ["cpu", "cpu"]
    assert [summary.method for summary in result.summaries] == ["network", "pet-threshold"]
    network, threshold = result.summaries
    assert network.patients == threshold.patients == 1
    assert network.known == threshold.known == 0  # patient 3 is healthy
    assert threshold.false_positives >= 3  # bladder and kidneys at least
    assert result.report == folder / "unseen" / "network" / "report.html"
    assert result.report.is_file() and (folder / "unseen" / "pet-threshold" / "report.html").is_file()
    assert (folder / "unseen" / "network" / "P03" / "report.html").is_file()
    assert (folder / "bundle" / "recipe.toml").is_file()
    assert result.text.splitlines()[-1] == f"Report: {result.report}"
    record = json.loads((folder / "demo.json").read_text())
    assert record["report"] == str(result.report)
    assert [summary["method"] for summary in record["summaries"]] == ["network", "pet-threshold"]
    assert list(record["seconds"]) == list(result.seconds)
    assert seen == sorted(seen) and seen[-1] == 1.0


def test_threshold_on_a_known_cohort_measures_what_was_put_in(tmp_path: Path) -> None:
    write_cohort(tmp_path / "cohort", 1, 7)
    bundle = load_bundle("pet-threshold")
    examined = examine_unseen(tmp_path / "cohort", bundle, tmp_path / "out", silent)
    assert (tmp_path / "out" / "P01" / "report.html").is_file()
    (patient,), (entry,) = examined.matches, examined.entries
    assert entry.page == "P01/report.html" and entry.error is None
    assert examined.summary["cases"] == 1
    known = read_known(tmp_path / "cohort")["P01"]
    hot = [lesion for lesion in patient.lesions if lesion.known.suv > 6.0 and lesion.known.volume_ml > 2.0]
    assert len(patient.lesions) == len(known) and hot
    for lesion in hot:
        assert lesion.found
        assert abs(lesion.suvmax_error_percent) < 40.0
        assert abs(lesion.mtv_error_percent) < 60.0
    assert patient.false_positives >= 3
    assert patient.found_ml > patient.known_ml


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "work" / "thesis.txt"
    precious.parent.mkdir()
    precious.write_text("years")
    with pytest.raises(WriteError, match="files that no demo made"):
        run_demo(tmp_path)
    assert precious.read_text() == "years"
    with pytest.raises(WriteError, match="files that no demo made"):
        run_demo(precious)


def test_an_earlier_demo_is_emptied_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo.json").write_text("{}")
    (tmp_path / "work").mkdir()
    (tmp_path / "notes.txt").write_text("kept")
    prepare(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.json", "notes.txt"]

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "work").mkdir()
    monkeypatch.setattr("lesionlab.demo.run.shutil.rmtree", refuse)
    with pytest.raises(WriteError, match="Permission denied; needed a folder that may be emptied"):
        prepare(tmp_path)


def test_a_patient_that_cannot_be_planned_ends_the_demo(tmp_path: Path) -> None:
    damaged = write_cohort(tmp_path / "cohort", 5, 7)[0] / "pet" / "pt_0040.dcm"
    damaged.write_bytes(damaged.read_bytes()[:2000])
    recipe = find_recipe("demo").changed(**SMALLEST)
    with pytest.raises(DatasetError, match=r"P01.*a cohort that reads without fault"):
        train_on(tmp_path / "cohort" / "patients", tmp_path, recipe, "cpu", Steps(silent))


def test_methods_stand_side_by_side() -> None:
    good, bad = (
        summarise_method(name, [match("P01", found=found)])
        for name, found in (("network", True), ("pet-threshold", False))
    )
    lines = method_table([good, bad]).splitlines()
    assert lines[0].split() == ["network", "pet-threshold"]
    assert lines[1].split("  ")[1] == "lesions found"
    assert "1 of 1 (100 %)" in lines[1] and "0 of 1 (0 %)" in lines[1]
    assert [line.split()[-1] for line in lines[2:4]] == ["2.00", "0.00"]
    assert lines[4].split()[-3:] == ["20", "%", "-"]
    assert "32.5 ml" in lines[6] and "20.5 ml" in lines[6]


def test_every_lesion_has_a_row_and_so_have_misses_and_false_positives() -> None:
    healthy = PatientMatch("P03", (), 0, 0.0, math.nan, 0.0, 0.0)
    lines = lesion_table([match("P01"), match("P02", found=False), healthy]).splitlines()
    assert lines[1].split() == ["P01", "lung", "8.0", "6.0", "-25", "%", "10.0", "12.0", "+20", "%"]
    assert lines[2].split() == ["P01", "2", "false", "30.5"]
    assert lines[3].split() == ["P02", "lung", "8.0", "missed", "10.0"]
    assert lines[5].split() == ["P03", "no", "lesion"]


def test_the_figure_is_a_picture_of_every_lesion() -> None:
    both = {"network": (match("P01"), match("P02", found=False)), "pet-threshold": (match("P01"),)}
    picture = Image.open(io.BytesIO(found_against_known(both)))
    colours = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    assert picture.width > 800
    for wanted in COLOURS:
        near = np.abs(colours - [int(wanted[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=1) < 50
        assert near.sum() > 50
    assert found_against_known({})[1:4] == b"PNG"


def test_the_text_ends_with_the_report() -> None:
    found = (match("P01"),)
    text = result_text(
        [summarise_method("network", found)], found, {"training": 61.0}, Path("out/report.html")
    )
    assert text.splitlines()[-1] == "Report: out/report.html"
    assert "training 61 s" in text
