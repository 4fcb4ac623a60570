"""Voxels that nobody judged, under the label `ignore`: not trained on, not drawn, not scored, on any road."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import networks_phantom
from lesionlab.cli import app
from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe, RefineSettings, parse_recipe
from lesionlab.core.volume import Volume
from lesionlab.evaluate import without_ignored
from lesionlab.pipeline import examine
from lesionlab.pipeline.training import cross_validate, finish, plan_cohort, train_folds
from lesionlab.predict import load_bundle
from lesionlab.read import load_mask
from lesionlab.report import save_volume
from lesionlab.study import load_study, run_and_report
from lesionlab.study.choose import Choice, case_score, cut
from networks_phantom import tiny_recipe
from recipes_phantom import GRID, made_case, write_cases

LABELS = {"lesion": 1, "ignore": 2}


def recipe_with_ignored() -> Recipe:
    short = {"epochs": 1, "iterations": 12, "validation_iterations": 1, "folds": 2, "learning_rate": 0.02}
    recipe = tiny_recipe().changed(training=short, prediction={"backend": "torch", "mirror": False})
    return parse_recipe({**recipe.model_dump(mode="json"), "labels": LABELS}, "ignored")


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Of label 1, where the truth is not 2."""
    ours, true = (mask > 0) & (truth != 2), truth == 1
    return float(2 * (ours & true).sum() / (ours.sum() + true.sum()))


def test_what_is_ignored_counts_on_neither_side() -> None:
    truth = made_case(0, ("suv",), GRID, (1, 2)).truth
    assert truth is not None
    everywhere = truth.with_array(np.ones_like(truth.array))
    mask, judged = without_ignored(everywhere, truth, 2)
    np.testing.assert_array_equal(mask.array == 0, truth.array == 2)
    np.testing.assert_array_equal(judged.array, truth.array == 1)
    assert mask.array.dtype == judged.array.dtype == np.uint8
    assert without_ignored(everywhere, truth, None) == (everywhere, truth)
    assert without_ignored(truth, everywhere, 2) == (truth, everywhere)


def test_the_ignored_label_is_the_last_one_and_no_class() -> None:
    recipe = recipe_with_ignored()
    assert (recipe.ignored, recipe.predicted_labels) == (2, {"lesion": 1})
    assert tiny_recipe().ignored is None
    recipe.changed(prediction={"threshold": 0.3})  # a single label, as far as thresholds go
    swapped = {**recipe.model_dump(mode="json"), "labels": {"ignore": 1, "lesion": 2}}
    with pytest.raises(RecipeError, match="'ignore' needs the highest number"):
        parse_recipe(swapped, "ignored")


def test_post_processing_is_chosen_by_what_is_judged() -> None:
    truth = np.zeros((1, 12, 12), np.uint8)
    truth[0, 2:6, 2:6], truth[0, 8:, 8:] = 1, 2
    mask = (truth > 0).astype(np.uint8)
    plain, judged = (cut(mask, None, truth, 0.001, 0.3, counted) for counted in (None, truth != 2))
    assert case_score(plain, Choice(RefineSettings())) == pytest.approx(1 / 3)  # 2/3, and label 2 missed
    assert case_score(judged, Choice(RefineSettings())) == 1.0
    assert judged.lesions_ml() == [pytest.approx(0.016)]
    # the component is the largest before anything is left out, as it will be in use
    mask[0, 8:, 8:], mask[0, 2:4, 2:6] = 1, 0
    lost = cut(mask, None, truth, 0.001, 0.3, truth != 2)
    assert case_score(lost, Choice(RefineSettings(keep="largest"))) == 0.0


@pytest.mark.parametrize("missing", [False, True])
def test_evaluate_leaves_out_a_label_of_the_truth(tmp_path: Path, missing: bool) -> None:
    case = made_case(1, ("suv",), GRID, (1, 2))
    assert case.truth is not None
    truth, mask = tmp_path / "truth", tmp_path / "mask"
    save_volume(case.truth, truth / "a.nii.gz")
    chance = np.where(case.truth.array > 0, 0.9, 0.1).astype(np.float32)
    for folder, array in ((mask, (chance > 0.5).astype(np.uint8)), (tmp_path / "p", chance)):
        save_volume(Volume(array, GRID, "1"), folder / "a.nii.gz")
    table = tmp_path / "pairs.csv"
    drawn = "" if missing else mask / "a.nii.gz"
    rows = f"a,{drawn},{truth / 'a.nii.gz'},{tmp_path / 'p' / 'a.nii.gz'}\n"
    table.write_text(f"case_id,prediction,truth,probability\n{rows}")
    out = tmp_path / "out"
    command = ["evaluate", str(table), "--json"]
    result = CliRunner().invoke(app, [*command, "--ignore", "2", "-o", str(out)])
    assert result.exit_code == int(missing), result.output
    (scored,) = json.loads(result.stdout)["cases"]
    assert scored["scores"]["dice"] == (0.0 if missing else 1.0)
    assert scored["scores"]["truth_ml"] == pytest.approx((case.truth.array == 1).sum() * GRID.voxel_ml)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["ignored"] == "where the truth has label 2"
    assert "where the truth has label 2" in (out / "evaluation.html").read_text()
    assert "found 2 labels (1, 2)" in CliRunner().invoke(app, command).stderr


@pytest.mark.slow
def test_from_plan_to_scores(tmp_path: Path) -> None:
    recipe = recipe_with_ignored()
    cases = write_cases(tmp_path / "c", ("suv",), GRID, cases=4, labels=(1, 2))
    plan_cohort(cases, recipe, tmp_path / "w")
    train_folds(tmp_path / "w", device="cpu")
    outcomes = cross_validate(tmp_path / "w", tmp_path / "cv", device="cpu")
    for outcome in outcomes:
        assert outcome.value is not None and "ignore_dice" not in outcome.value.values
        truth = load_mask(cases / outcome.name / "truth.nii.gz").array
        mask = load_mask(tmp_path / "cv" / outcome.name / "mask.nii.gz").array
        assert set(np.unique(mask)) <= {0, 1}
        if outcome.name != "case_3":
            assert outcome.value.values["dice"] == pytest.approx(dice(mask, truth))
    bundle = load_bundle(finish(tmp_path / "w", tmp_path / "bundle"))
    assert bundle.recipe.labels == LABELS
    findings = examine(cases / "case_1", bundle, device="cpu")
    assert findings.case.truth is not None and set(np.unique(findings.case.truth.array)) == {0, 1}


@pytest.mark.slow
def test_a_study_scores_what_is_judged(tmp_path: Path) -> None:
    cases = [made_case(number, ("suv",), GRID, (1, 2)) for number in range(4)]
    file = networks_phantom.write_study(tmp_path, '[[variants]]\nname = "one"\n', cases)
    head, rest = file.read_text().split("[common]\n")
    file.write_text(
        f"{head}[post_processing]\nchoose = false\n\n[common]\nlabels = {{ lesion = 1, ignore = 2 }}\n{rest}"
    )
    table = run_and_report(load_study(file), tmp_path / "work", tmp_path / "table", device="cpu")
    assert not table.failed and not table.classes
    (kept,) = (tmp_path / "work" / "held_out").glob("*/case_0.npz")
    truth = cases[0].truth
    assert truth is not None
    expected = dice(np.load(kept)["mask"], truth.array)
    with (tmp_path / "table" / "cases.csv").open(encoding="utf-8") as opened:
        (row,) = [one for one in csv.DictReader(opened) if one["case"] == "case_0"]
    assert float(row["dice"]) == pytest.approx(expected)
