"""`lesionlab plan` and `train`: from patients with contours to a cross-validated bundle that examines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import networks_phantom
import phantoms
from lesionlab.cli import app
from lesionlab.core.recipe import dump_recipe
from lesionlab.pipeline.files import write_converted

pytestmark = pytest.mark.slow


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six patients with contours, one without, one that is damaged, and a tiny recipe of three folds."""
    root = tmp_path_factory.mktemp("study")
    for number in range(6):
        case = networks_phantom.sphere_case(number, lesion=number != 5)
        write_converted(case, root / "patients" / case.id, {"source": "phantom"})
    phantoms.write_pet_patient(root / "patients" / "without", truth=False)
    damaged = phantoms.write_pet_patient(root / "patients" / "zz_damaged")
    (damaged / "suv.nii.gz").write_bytes(b"no image")
    (root / "tiny.toml").write_text(dump_recipe(networks_phantom.tiny_recipe()))
    return root


@pytest.fixture(scope="module")
def planned(study: Path) -> tuple[Path, Result]:
    workspace = study / "work"
    return workspace, call("plan", study / "patients", "-r", study / "tiny.toml", "-w", workspace, "--json")


@pytest.fixture(scope="module")
def trained(study: Path, planned: tuple[Path, Result]) -> tuple[Path, Result]:
    bundle = study / "bundle"
    return bundle, call("train", planned[0], "-o", bundle, "--device", "cpu", "--json")


def test_plan_lists_what_it_cannot_use_and_plans_the_rest(planned: tuple[Path, Result]) -> None:
    workspace, result = planned
    assert result.exit_code == 1
    assert "without: found no truth" in result.stderr
    assert "zz_damaged" in result.stderr
    answer = json.loads(result.stdout)
    assert sorted(answer["failed"]) == ["without", "zz_damaged"]
    # the patient's name comes from case.json, not from the folder
    assert answer["patients"] == {f"sphere_{n}": f"patient_{n}" for n in range(6)}
    held_out = [case for fold in answer["folds"] for case in fold["val"]]
    assert sorted(held_out) == [f"sphere_{n}" for n in range(6)]
    assert (workspace / "recipe.toml").is_file()


def test_train_makes_a_cross_validated_bundle(study: Path, trained: tuple[Path, Result]) -> None:
    bundle, result = trained
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [Path(fold).name for fold in answer["folds"]] == ["fold_0", "fold_1", "fold_2"]
    assert sorted(answer["scores"]) == [f"sphere_{n}" for n in range(6)]
    assert all(0.0 <= s["dice"] <= 1.0 for s in answer["scores"].values() if s["dice"] is not None)
    assert {p.name for p in bundle.iterdir()} >= {"recipe.toml", "MODEL_CARD.md", "plans.json", "fold_2"}
    kept = json.loads((bundle / "training_lesions.json").read_text(encoding="utf-8"))
    assert (len(kept["volumes_ml"]), kept["empty"]) == (5, 1)
    claim = (study / "work" / "crossvalidation" / "claim_checklist.csv").read_text(encoding="utf-8")
    assert "6 cases of 6 patients in 3 folds" in claim
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "6 cases of 6 patients; folds by patient: 0, 1, 2" in card
    assert "not a medical device" in card
    summary = json.loads((study / "work" / "crossvalidation" / "summary.json").read_text())
    dice = summary["metrics"]["dice"]
    assert f"| dice | {dice['mean']:.4g} |" in card
    assert "bootstrap over 6 patients" in card
    validation = study / "work" / "crossvalidation"
    assert (validation / "sphere_3" / "report.html").is_file()
    assert "Training of fold 1" in (validation / "report.html").read_text()
    assert len((validation / "cases.csv").read_text().splitlines()) == 7
    curves = sorted((study / "work" / "results").rglob("curves.png"))
    assert [path.parent.name for path in curves] == ["fold_0", "fold_1", "fold_2"]


def test_each_case_is_examined_by_the_fold_that_has_not_seen_it(
    study: Path, planned: tuple[Path, Result], trained: tuple[Path, Result]
) -> None:
    folds = json.loads(planned[1].stdout)["folds"]
    for number, fold in enumerate(folds):
        for case in fold["val"]:
            run = json.loads((study / "work" / "crossvalidation" / case / "run.json").read_text())
            assert run["bundle"] == f"tiny fold {number}"


def test_train_again_keeps_what_is_finished(study: Path, trained: tuple[Path, Result]) -> None:
    files = sorted((study / "work" / "results").rglob("checkpoint_final.pth"))
    before = [file.stat().st_mtime_ns for file in files]
    result = call("train", study / "work", "--fold", 0, "--no-validate")
    assert result.exit_code == 0, result.output
    assert "not cross-validated" in result.stdout
    assert "no bundle written" in result.stdout
    assert [file.stat().st_mtime_ns for file in files] == before


def test_the_bundle_examines_a_new_patient(study: Path, trained: tuple[Path, Result]) -> None:
    patient = phantoms.write_pet_patient(study / "new", [((40.0, 60.0, 40.0), 14.0, 8.0)])
    result = call("examine", patient, "-m", trained[0], "-o", study / "new_out", "--device", "cpu", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads((study / "new_out" / "run.json").read_text())["recipe_name"] == "tiny"


def test_a_device_that_is_not_there_is_told(study: Path, trained: tuple[Path, Result]) -> None:
    patient = study / "patients" / "sphere_0"
    result = call("examine", patient, "-m", trained[0], "-o", study / "none", "--device", "abacus")
    assert result.exit_code == 1
    assert "device: found abacus; needed one of auto" in result.stderr
    assert not (study / "none").exists()


def test_train_refuses_what_is_no_workspace_or_fold(tmp_path: Path, planned: tuple[Path, Result]) -> None:
    result = call("train", tmp_path)
    assert result.exit_code == 1
    assert "found no recipe.toml; needed a workspace made by `lesionlab plan`" in result.stderr
    assert call("train", planned[0], "--fold", "first").exit_code == 2
    assert "found fold 7; needed 0 to 2, or all" in call("train", planned[0], "--fold", 7).stderr


def test_cross_validation_before_training_is_told(study: Path, tmp_path: Path) -> None:
    from lesionlab.core.errors import TrainingError
    from lesionlab.pipeline.training import cross_validate

    workspace = networks_phantom.plan_tiny(tmp_path / "work")
    with pytest.raises(TrainingError, match="found no finished fold; needed at least one"):
        cross_validate(workspace, tmp_path / "out")


def test_too_few_patients_for_the_folds(study: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    for number in range(2):
        case = networks_phantom.sphere_case(number)
        write_converted(case, few / case.id, {"source": "phantom"})
    result = call("plan", few, "-r", study / "tiny.toml", "-w", tmp_path / "work")
    assert result.exit_code == 1
    assert "found 2 patients; needed at least as many patients as folds (3)" in result.stderr
    assert not (tmp_path / "work" / "recipe.toml").exists()
