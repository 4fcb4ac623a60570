"""Benign and malignant all the way: planned, trained, examined, measured, scored by class, reported."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import networks_phantom
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.volume import Volume
from lesionlab.evaluate.labels import OF_EACH, score_labels
from lesionlab.pipeline import examine, findings_of_mask
from lesionlab.pipeline.training import cross_validate, finish, plan_cohort, train_folds
from lesionlab.predict import load_bundle, predict
from lesionlab.report import save_volume, tables, write_findings
from lesionlab.report.research import write_segmentation
from lesionlab.study import load_study, run_and_report, write_variant
from lesionlab.study.bench import Bench, runs_of
from networks_phantom import tiny_recipe
from recipes_phantom import GRID, made_case, write_cases

KINDS = {"benign": 1, "malignant": 2}


def recipe_of_two() -> Recipe:
    """The tiny recipe with two labels, of which the largest component each is kept."""
    short = {"epochs": 2, "iterations": 12, "validation_iterations": 1, "folds": 2, "learning_rate": 0.02}
    recipe = tiny_recipe().changed(
        network={"first_features": 8, "max_features": 16},
        loss={"activation": "sigmoid", "focal_tversky": 0.5, "fn_weight": 0.7, "fp_weight": 0.3},
        training={**short, "sampling": "lesion_size"},
        prediction={"backend": "torch", "mirror": False},
        refine={"keep": "largest"},
    )
    return parse_recipe({**recipe.model_dump(mode="json"), "labels": KINDS}, "kinds")


def test_each_label_is_scored_by_itself() -> None:
    case = made_case(0, ("suv",), GRID, (1, 2))
    assert case.truth is not None
    swapped = case.truth.with_array(np.choose(case.truth.array, [0, 2, 1]).astype(np.uint8))
    same = score_labels("c", case.truth, case.truth, KINDS).values
    assert (same["benign_dice"], same["malignant_dice"]) == (1.0, 1.0)
    wrong = score_labels("c", swapped, case.truth, KINDS)
    assert (wrong.values["benign_dice"], wrong.values["malignant_dice"]) == (0.0, 0.0)
    assert set(wrong.values) == {f"{kind}_{metric}" for kind in KINDS for metric in OF_EACH}
    half = case.truth.with_array(np.where(case.truth.array == 2, 0, case.truth.array))
    missed = score_labels("c", half, case.truth, KINDS)
    assert (missed.values["benign_dice"], missed.values["malignant_lesion_sensitivity"]) == (1.0, 0.0)
    assert any(note.startswith("malignant: ") for note in missed.notes)
    assert score_labels("c", half, half, {"lesion": 1}).values == {}


def test_the_lesion_table_tells_which_lesion_is_what(tmp_path: Path) -> None:
    write_cases(tmp_path / "cases", ("suv",), GRID, cases=1, labels=(1, 2))
    truth = made_case(0, ("suv",), GRID, (1, 2)).truth
    assert truth is not None
    bigger = truth.array.copy()
    bigger[:2] = 1  # a second benign part
    mask = save_volume(Volume(bigger, GRID, "1"), tmp_path / "mask.nii.gz")
    findings = findings_of_mask(tmp_path / "cases" / "case_0", mask, recipe_of_two())
    assert sorted(row["label"] for row in findings.lesions.rows) == [1.0, 1.0, 2.0]
    assert findings.lesions.label_names == {1: "benign", 2: "malignant"}
    assert findings.scores is not None
    assert findings.scores.values["malignant_dice"] == 1.0
    assert 0.3 < findings.scores.values["benign_dice"] < 1.0
    page = write_findings(findings, tmp_path / "out").read_text(encoding="utf-8")
    assert page.count(">malignant<") == 1 and page.count(">benign<") == 2
    assert "malignant Dice" in page
    titles = [tables.lesion_names(findings.lesions)[number] for number in (1, 2, 3)]
    assert sorted(title[8:] for title in titles) == [" (benign)", " (benign)", " (malignant)"]
    assert all(title in page for title in titles)
    segments = write_segmentation(findings, tmp_path / "lesions.seg.nrrd").read_bytes()
    assert all(title.encode() in segments for title in titles)
    columns = (tmp_path / "out" / "columns.csv").read_text(encoding="utf-8")
    assert "1 = benign, 2 = malignant" in columns


@pytest.mark.slow
def test_two_classes_from_plan_to_report(tmp_path: Path) -> None:
    recipe, cases = recipe_of_two(), write_cases(tmp_path / "c", ("suv",), GRID, cases=4, labels=(1, 2))
    plan_cohort(cases, recipe, tmp_path / "w")
    train_folds(tmp_path / "w", device="cpu")
    outcomes = cross_validate(tmp_path / "w", tmp_path / "cv", device="cpu")
    assert [outcome.error for outcome in outcomes] == [None] * 4
    with (tmp_path / "cv" / "cases.csv").open(encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert all(rows[name]["malignant_dice"] for name in ("case_0", "case_1", "case_2"))
    assert rows["case_3"]["malignant_dice"] == "" or float(rows["case_3"]["malignant_dice"]) == 0
    summary = json.loads((tmp_path / "cv" / "summary.json").read_text(encoding="utf-8"))
    assert {"dice", "benign_dice", "malignant_dice"} <= set(summary["metrics"])
    bundle = load_bundle(finish(tmp_path / "w", tmp_path / "bundle"))
    assert json.loads((bundle.folder / "dataset.json").read_text())["labels"] == {"background": 0, **KINDS}
    findings = examine(cases / "case_1", bundle, device="cpu")
    labels = [row["label"] for row in findings.lesions.rows]
    # of each label only the largest component is kept
    assert labels and len(labels) == len(set(labels)) and set(labels) <= {1.0, 2.0}
    assert write_findings(findings, tmp_path / "out").is_file()


@pytest.mark.slow
def test_an_ensemble_of_two_classes_in_a_study_and_as_a_bundle(tmp_path: Path) -> None:
    cases = [made_case(number, ("suv",), GRID, (1, 2)) for number in range(4)]
    text = '[[variants]]\nname = "one"\n\n[[ensembles]]\nname = "all"\nmembers = ["one"]\n'
    file = networks_phantom.write_study(tmp_path, text, cases)
    head, rest = file.read_text().split("[common]\n")
    file.write_text(f"{head}seeds = [1, 2]\n[common]\nlabels = {{ benign = 1, malignant = 2 }}\n{rest}")
    study = load_study(file)
    table = run_and_report(study, tmp_path / "work", tmp_path / "table", device="cpu")
    assert {row["variant"] for row in table.rows} == {"one", "all"} and not table.failed
    assert {(row["variant"], row["label"]) for row in table.classes} >= {("all", kind) for kind in KINDS}
    bench = Bench(study, tmp_path / "work")
    run = next(one for one in runs_of(study) if one.members)
    name = bench.data(run.recipe).splits[0].test[0]
    kept = [np.load(bench.predictions(one) / f"{name}.npz") for one in (*run.members, run)]
    chances = [(one["probabilities"].astype(float) + 0.5) / 256 for one in kept]
    assert chances[2].shape[0] == 2
    assert np.abs(chances[2] - (chances[0] + chances[1]) / 2).max() <= 0.5 / 256
    both = np.concatenate([1 - chances[2].sum(axis=0, keepdims=True), chances[2]])
    np.testing.assert_array_equal(kept[2]["mask"], both.argmax(axis=0))
    bundle = load_bundle(write_variant(study, tmp_path / "work", "all", tmp_path / "all"))
    assert bundle.recipe.labels == KINDS and len(bundle.members) == 2
    assert set(np.unique(predict(cases[0], bundle, device="cpu").mask.array)) <= {0, 1, 2}
