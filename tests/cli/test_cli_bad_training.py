"""What cannot be planned or trained is told in one line, by the command that meets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import Result

from lesionlab.core.recipe import dump_recipe, parse_recipe
from lesionlab.core.splits import OfficialFolds, Split, write_folds
from lesionlab.core.volume import Volume
from lesionlab.report import save_volume
from networks_phantom import tiny_recipe
from recipes_phantom import GRID, write_cases

Run = Callable[..., Result]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """Four patients, the last without a lesion."""
    return write_cases(tmp_path / "cases", ("suv",), GRID)


def recipe_file(tmp_path: Path, labels: dict[str, int] | None = None, **changes: Any) -> Path:
    recipe = tiny_recipe().changed(**changes)
    data = recipe.model_dump(mode="json") | ({"labels": labels} if labels else {})
    path = tmp_path / "recipe.toml"
    path.write_text(dump_recipe(parse_recipe(data, "test")))
    return path


def told(result: Result) -> str:
    """The one line of error; there is no traceback and no second line."""
    lines = [line for line in result.stderr.splitlines() if "error:" in line]
    assert result.exit_code == 1 and len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return lines[0]


def test_an_unknown_key(run: Run, cases: Path, tmp_path: Path) -> None:
    file = recipe_file(tmp_path)
    file.write_text(file.read_text().replace("first_features", "first_featurs"))
    line = told(run("plan", cases, "-r", file, "-w", tmp_path / "w"))
    assert "unknown key 'network.first_featurs'" in line and "first_features, max_features" in line


def test_a_network_that_does_not_fit_the_patch(run: Run, cases: Path, tmp_path: Path) -> None:
    network = {"architecture": "unext", "configuration": "2d", "patch_size": [40, 32], "max_features": None}
    line = told(run("plan", cases, "-r", recipe_file(tmp_path, network=network), "-w", tmp_path / "w"))
    assert "[40, 32] for unext; needed 2 multiples of 32, such as [32, 32]" in line


def test_a_data_set_with_one_class_only(run: Run, cases: Path, tmp_path: Path) -> None:
    file = recipe_file(tmp_path, {"benign": 1, "malignant": 2})
    line = told(run("plan", cases, "-r", file, "-w", tmp_path / "w"))
    assert "malignant" in line and "needed" in line


def test_a_folder_without_a_scan(run: Run, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    line = told(run("plan", tmp_path / "nothing", "-r", recipe_file(tmp_path), "-w", tmp_path / "w"))
    assert f"{tmp_path / 'nothing'}: found no scan in it; needed a folder of patients" in line
    assert not (tmp_path / "w").exists()


def test_no_lesion_at_all(run: Run, tmp_path: Path) -> None:
    cases = write_cases(tmp_path / "empty", ("suv",), GRID, labels=())
    line = told(run("plan", cases, "-r", recipe_file(tmp_path), "-w", tmp_path / "w"))
    assert "lesion" in line


def test_a_fold_without_a_lesion(run: Run, cases: Path, tmp_path: Path) -> None:
    names = [f"case_{number}" for number in range(4)]
    splits = (Split(tuple(names[:3]), ("case_3",)), Split(("case_3",), tuple(names[:3])))
    write_folds(OfficialFolds("mine", splits, ()), cases)
    line = told(run("plan", cases, "-r", recipe_file(tmp_path), "-w", tmp_path / "w"))
    assert "fold" in line and "lesion" in line


def test_a_label_that_the_recipe_does_not_name(run: Run, cases: Path, tmp_path: Path) -> None:
    strange = np.zeros(GRID.shape, np.uint8)
    strange[3:6, 3:6, 3:6] = 7
    save_volume(Volume(strange, GRID, "1"), cases / "case_1" / "truth.nii.gz")
    file = recipe_file(tmp_path, training={"folds": 2})
    line = told(run("plan", cases, "-r", file, "-w", tmp_path / "w"))
    assert "case_1: found labels [7]; needed labels of the recipe {'lesion': 1}" in line
    # where too few are left without it, the reason stands in the same line
    line = told(run("plan", cases, "-r", recipe_file(tmp_path), "-w", tmp_path / "w3"))
    assert "none with a lesion (1 left out, such as case_1: found labels [7]" in line


@pytest.mark.slow
def test_a_loss_that_turns_nan(run: Run, cases: Path, tmp_path: Path) -> None:
    training = {"learning_rate": 1e30, "clip_gradients": 0.0, "folds": 2, "precision": "fp32"}
    run("plan", cases, "-r", recipe_file(tmp_path, training=training), "-w", tmp_path / "w")
    line = told(run("train", tmp_path / "w", "--fold", 0, "--device", "cpu"))
    assert "epoch 0" in line and "case_" in line and "finite" in line


def test_a_recipe_without_a_network_is_neither_planned_nor_trained(
    run: Run, cases: Path, tmp_path: Path
) -> None:
    line = told(run("plan", cases, "-r", "pet-threshold", "-w", tmp_path / "w"))
    assert "pet-threshold: found method = 'threshold'; needed a recipe with a network to train" in line
    assert not (tmp_path / "w").exists()


def test_why_no_case_can_be_used_is_told(run: Run, cases: Path, tmp_path: Path) -> None:
    file = tmp_path / "petct.toml"
    recipe = tiny_recipe().model_dump(mode="json")
    recipe["channels"]["ct"] = {"normalisation": "none"}
    file.write_text(dump_recipe(parse_recipe(recipe, "test")))
    line = told(run("plan", cases, "-r", file, "-w", tmp_path / "w"))
    assert "found no case (4 left out, such as " in line and "needed channel ct" in line
    assert line.endswith("needed cases with a truth")


def test_a_workspace_that_is_a_file(run: Run, cases: Path, tmp_path: Path) -> None:
    (tmp_path / "w").write_text("precious")
    line = told(run("plan", cases, "-r", recipe_file(tmp_path), "-w", tmp_path / "w"))
    assert "w: found a file; needed a folder" in line
    assert (tmp_path / "w").read_text() == "precious"


def test_a_bundle_is_not_to_replace_other_files_and_that_is_told_before_training(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "models" / "other").mkdir(parents=True)
    line = told(run("train", tmp_path, "-o", tmp_path / "models"))
    assert "models: found a folder with other files; needed a new folder, or a bundle to replace" in line
