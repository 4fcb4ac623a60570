"""What a study shares between its runs: data that change, folds of merged patients, preprocessed cases."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import networks_phantom as phantom
from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, MemoryNeedError
from lesionlab.networks.nnunet import load_prepared
from lesionlab.pipeline.files import write_converted
from lesionlab.study import held_out, load_study, report_study, run_study
from lesionlab.study.bench import Bench, Run, runs_of
from lesionlab.study.data import StudyData, prepare
from lesionlab.study.held_out import paced
from lesionlab.study.scores import learning_cases

ONE = '[[variants]]\nname = "a"\n'
BY_SCANNER = '[folds_by]\nfile = "t.csv"\ncolumn = "scanner"\n'


def study_of(root: Path, words: str, cases: list[Case], duplicates: str = "refuse") -> Bench:
    file = phantom.write_study(root, words, cases)
    tiny = (root / "tiny.toml").read_text()
    (root / "tiny.toml").write_text(tiny.replace('duplicates = "refuse"', f'duplicates = "{duplicates}"'))
    rows = [f"{case.id},{'AB'[number % 2]}" for number, case in enumerate(cases)]
    (root / "patients" / "t.csv").write_text("\n".join(["case,scanner", *rows]))
    return Bench(load_study(file), root / "work")


def planned(bench: Bench, run: Run) -> tuple[StudyData, Path]:
    """A run's data, and the folder of its preprocessed cases."""
    data = bench.data(run.recipe)
    workspace = prepare(data, run.recipe, lambda recipe, batch: recipe, bench.place(run))
    plans = json.loads((workspace.preprocessed / f"{workspace.plans_name}.json").read_text())
    return data, workspace.preprocessed / plans["configurations"]["3d_fullres"]["data_identifier"]


@pytest.mark.parametrize("words", [BY_SCANNER, '[post_processing]\nlearn_on = "inner"\ninner_folds = 2\n'])
def test_patients_that_were_put_together_are_on_one_side_of_every_split(tmp_path: Path, words: str) -> None:
    cases = [phantom.sphere_case(number) for number in range(8)]
    for first, second in ((0, 1), (2, 3), (4, 5)):
        # one picture filed under two patients
        cases[second] = replace(cases[first], id=f"sphere_{second}", patient_id=f"patient_{second}")
    bench = study_of(tmp_path, words + ONE, cases, "group")
    data = bench.data(runs_of(bench.study)[0].recipe)
    assert len(set(data.patients.values())) == 5
    for split in data.splits:
        sides = [{data.patients[name] for name in side} for side in (split.train, split.inner, split.test)]
        assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_nothing_is_chosen_on_another_scan_of_a_tested_patient(tmp_path: Path, monkeypatch) -> None:
    cases = [phantom.sphere_case(number) for number in range(6)]
    cases[1] = replace(cases[1], patient_id=cases[0].patient_id)
    bench = study_of(tmp_path, BY_SCANNER + ONE, cases)
    monkeypatch.setattr("lesionlab.study.scores._file", lambda *_: tmp_path / "study.toml")
    runs = runs_of(bench.study)
    chosen = [sorted(learning_cases(bench, run, runs)) for run in runs]
    assert chosen == [["sphere_3", "sphere_5"], ["sphere_2", "sphere_4"]]


def test_folds_by_a_column_are_not_refused_for_folds_that_nobody_wanted(tmp_path: Path) -> None:
    # two patients with a lesion, one of them on two scanners: three drawn folds would leave one without
    cases = [phantom.sphere_case(number, lesion=number < 3) for number in range(5)]
    cases[1] = replace(cases[1], patient_id=cases[0].patient_id)
    file = phantom.write_study(tmp_path, BY_SCANNER + ONE, cases)
    file.write_text(file.read_text().replace("folds = 2", "folds = 3"))
    sites = zip(cases, "ABCAB", strict=True)
    rows = "\n".join(f"{case.id},{site}" for case, site in sites)
    (tmp_path / "patients" / "t.csv").write_text(f"case,scanner\n{rows}\n")
    bench = Bench(load_study(file), tmp_path / "work")
    data = bench.data(runs_of(bench.study)[0].recipe)
    assert [split.test for split in data.splits] == [
        ("sphere_0", "sphere_3"), ("sphere_1", "sphere_4"), ("sphere_2",),
    ]  # fmt: skip
    assert json.loads(data.workspace.cases_file.read_text())["folds"] == "by scanner"


def test_data_that_changed_are_preprocessed_anew(tmp_path: Path) -> None:
    cases = [phantom.sphere_case(number, lesion=number != 5) for number in range(6)]
    bench = study_of(tmp_path, ONE, cases)
    first, old = planned(bench, runs_of(bench.study)[0])
    # a picture without lesion is corrected, and another one comes: the fingerprint stays as it was
    image = cases[5].channels["suv"]
    changed = replace(cases[5], channels={"suv": image.with_array(image.array + np.float32(3.0))})
    shutil.rmtree(tmp_path / "patients" / "sphere_5")
    for case in (changed, phantom.sphere_case(6, lesion=False)):
        write_converted(case, tmp_path / "patients" / case.id, {"source": "phantom"})
    bench = Bench(bench.study, tmp_path / "work")
    second, new = planned(bench, runs_of(bench.study)[0])
    assert first.sha256 != second.sha256
    before, after = (np.asarray(load_prepared(folder, "sphere_5")[0][:]) for folder in (old, new))
    assert after.mean() > before.mean() + 0.1
    assert load_prepared(new, "sphere_6")[0][:].size


def test_planning_a_variant_leaves_the_cases_that_another_trains_on(tmp_path: Path) -> None:
    variants = "".join(
        f'[[variants]]\nname = "locate {margin}"\nlocate = {{ spacing_mm = [8.0, 6.0, 7.0], '
        f"margin_mm = {margin} }}\n"
        for margin in (10, 20)
    )
    bench = study_of(tmp_path, ONE + variants, [phantom.sphere_case(number) for number in range(6)])
    marks = []
    for run in runs_of(bench.study)[:3]:
        data, _ = planned(bench, run)
        files = (data.workspace.root / "preprocessed_by_plan").rglob("*.b2nd")
        marks.append({file: file.stat().st_mtime_ns for file in files})
    assert len(marks[0]) < len(marks[1]) == len(marks[2])
    assert marks[0].items() <= marks[1].items() and marks[1] == marks[2]


def test_too_few_patients_for_an_inner_part_are_told_by_its_setting(tmp_path: Path) -> None:
    words = '[[variants]]\nname = "a"\nrecipe = "pet-threshold"\n[post_processing]\nlearn_on = "inner"\n'
    bench = study_of(tmp_path, words, [phantom.sphere_case(number) for number in range(6)])
    told = r"fold 0: found 3 patients to train on; needed at least 5, .* \(inner_folds\)"
    with pytest.raises(DatasetError, match=told):
        run_study(bench.study, tmp_path / "work", device="cpu")


def test_memory_that_was_short_once_is_no_missed_case_for_ever(tmp_path: Path, monkeypatch) -> None:
    words = '[post_processing]\nchoose = false\n[[variants]]\nname = "a"\nrecipe = "pet-threshold"\n'
    bench = study_of(tmp_path, words, [phantom.sphere_case(number) for number in range(6)])
    real = held_out.predict

    def short(case: Case, *args: object, **options: object) -> object:
        if case.id == "sphere_3":
            raise MemoryNeedError(case.id, "2.1 GB of free memory", "9.0 GB for this scan")
        return real(case, *args, **options)

    monkeypatch.setattr(held_out, "predict", short)
    outcomes = run_study(bench.study, tmp_path / "work", device="cpu")
    assert [outcome.error is None for outcome in outcomes] in ([True, False], [False, True])
    monkeypatch.setattr(held_out, "predict", real)
    assert all(outcome.error is None for outcome in run_study(bench.study, tmp_path / "work", device="cpu"))
    table = report_study(bench.study, tmp_path / "work", tmp_path / "out")
    assert (table.rows[0]["not_predicted"], table.rows[0]["cases"]) == (0, 6)


def test_contours_of_the_scoring_reader_that_changed_are_scored_anew(tmp_path: Path) -> None:
    words = '[post_processing]\nchoose = false\n[[variants]]\nname = "a"\nrecipe = "pet-threshold"\n'
    cases = [phantom.sphere_case(number) for number in range(6)]
    dice = []
    for shift in (3, 0):
        for case in cases:
            shutil.rmtree(tmp_path / "patients" / case.id, ignore_errors=True)
        read = [_read_by_two(case, shift) for case in cases]
        file = phantom.write_study(tmp_path, words, read)
        file.write_text('truth = "second"\n' + file.read_text())
        study = load_study(file)
        run_study(study, tmp_path / "work", device="cpu")
        dice.append(report_study(study, tmp_path / "work", tmp_path / "out").rows[0]["dice"])
    assert dice[0] < 0.7 and dice[1] > dice[0] + 0.2


def _read_by_two(case: Case, shift: int) -> Case:
    second = case.truth.with_array(np.roll(case.truth.array, shift, axis=2))
    return replace(case, observers={"first": case.truth, "second": second})


@pytest.mark.parametrize(
    ("amount", "steps", "warm_up"), [(20, 10, 9), (2, 1, 0), (2000, 1000, 50), (150, 75, 50), (160, 80, 50)]
)
def test_warm_up_adds_no_patches(amount: int, steps: int, warm_up: int) -> None:
    recipe = phantom.tiny_recipe().changed(training={"epochs": 100, "warm_up_epochs": 50, "iterations": 10})
    training = paced(recipe, "patches", amount, 2).training
    assert training.epochs * training.iterations == steps
    assert training.warm_up_epochs == warm_up
