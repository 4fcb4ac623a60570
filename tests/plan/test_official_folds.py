"""The folds that a data set comes with, and folds without a lesion."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.splits import OfficialFolds, Split, folds_by_number, read_folds, write_folds
from lesionlab.core.workspace import Workspace
from lesionlab.plan import gather_dataset
from lesionlab.plan.folds import official_splits, patient_folds, require_lesion_free, require_lesions
from lesionlab.report import save_volume
from networks_phantom import sphere_case, tiny_recipe


def test_folds_go_through_their_file(tmp_path):
    folds = folds_by_number("by hand", {"a": "1", "b": "2", "c": "1"})
    assert folds.splits == (Split(("b",), ("a", "c")), Split(("a", "c"), ("b",)))
    write_folds(replace(folds, test=("t",)), tmp_path)
    assert read_folds(tmp_path) == replace(folds, test=("t",))
    assert read_folds(tmp_path / "none") is None
    (tmp_path / "folds.json").write_text('{"name": "x"}')
    with pytest.raises(DatasetError, match="no record of folds; needed name, splits"):
        read_folds(tmp_path)


def test_official_folds_keep_patients_together_and_hold_every_case():
    patients = {"a": "p", "b": "p", "c": "q"}
    folds = folds_by_number("official", {"a": "1", "b": "1", "c": "2", "gone": "2"})
    assert official_splits(folds, patients) == [
        {"train": ["c"], "val": ["a", "b"]},
        {"train": ["a", "b"], "val": ["c"]},
    ]
    torn = folds_by_number("official", {"a": "1", "b": "2", "c": "2"})
    with pytest.raises(
        DatasetError, match=r"official, fold 0: found 1 patients in training and validation \(p\)"
    ):
        official_splits(torn, patients)
    with pytest.raises(
        DatasetError, match=r"1 cases in no official fold \(new\); needed training.official_folds"
    ):
        official_splits(folds, {**patients, "new": "r"})


def test_a_fold_without_a_lesion_is_named():
    folds = [{"train": ["a"], "val": ["b"]}]
    with pytest.raises(DatasetError, match="fold 0: found 1 validation cases, none with a lesion"):
        require_lesions(folds, {"a": True, "b": False})
    with pytest.raises(DatasetError, match="fold 0: found 1 training cases, none with a lesion"):
        require_lesions(folds, {"a": False, "b": True})


def test_a_share_of_lesion_free_patches_needs_lesion_free_cases_in_every_fold():
    folds = [{"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]}]
    known = {"a": True, "b": False, "c": True}
    require_lesion_free(folds, known, None)
    require_lesion_free(folds, known, 0.0)
    with pytest.raises(
        DatasetError, match=r"fold 1: found 2 training cases, all with a lesion, .* = 0.25; needed"
    ):
        require_lesion_free(folds, known, 0.25)


def test_one_fold_is_none():
    with pytest.raises(DatasetError, match=r"training\.folds = 1; needed at least 2"):
        patient_folds({"a": "p", "b": "q"}, 1, 0)


def cases(*sick: bool):
    return [sphere_case(number, lesion=one) for number, one in enumerate(sick)]


def test_the_workspace_takes_official_folds_whatever_the_recipe_counts(tmp_path):
    folds = folds_by_number("official", {"sphere_0": "a", "sphere_1": "a", "sphere_2": "b", "sphere_3": "b"})
    recipe = tiny_recipe()
    found = gather_dataset(cases(True, True, True, True), recipe, tmp_path, save_volume, official=folds)
    assert [fold["val"] for fold in found.folds] == [["sphere_0", "sphere_1"], ["sphere_2", "sphere_3"]]
    workspace = Workspace(tmp_path, recipe.name)
    assert workspace.folds == 2 != recipe.training.folds
    assert json.loads(workspace.cases_file.read_text())["folds"] == "official"


def test_test_cases_alone_leave_the_folds_to_be_drawn(tmp_path):
    found = gather_dataset(
        cases(True, True, True), tiny_recipe(), tmp_path, save_volume, official=OfficialFolds("t", (), ("x",))
    )
    assert len(found.folds) == 3


def test_data_that_cannot_be_split_or_learnt_from(tmp_path):
    recipe = tiny_recipe()
    with pytest.raises(DatasetError, match="fold 0: found 2 training cases, none with a lesion"):
        gather_dataset(cases(True, False, False), recipe, tmp_path / "a", save_volume)
    two = recipe.changed(labels={"malignant": 2})
    with pytest.raises(
        DatasetError, match=r"label 'malignant' \(2\) in none of 3 cases; needed a case with each"
    ):
        gather_dataset(cases(True, True, True), two, tmp_path / "b", save_volume)
    with pytest.raises(DatasetError, match="3 cases without any lesion; needed at least one"):
        gather_dataset(cases(False, False, False), recipe, tmp_path / "c", save_volume)


def test_copies_are_dropped_or_grouped_as_the_recipe_says(tmp_path):
    copy = replace(sphere_case(0), id="copy", patient_id="other")
    everyone = [*cases(True, True, True, True), copy]
    recipe = tiny_recipe()
    with pytest.raises(DatasetError, match=r"sphere_0 = copy \(two patients\)"):
        gather_dataset(everyone, recipe, tmp_path / "a", save_volume)
    dropping = recipe.changed(training={"duplicates": "drop"})
    found = gather_dataset(everyone, dropping, tmp_path / "b", save_volume)
    assert found.dropped == ("copy",) and "copy" not in found.patients
    assert not list((tmp_path / "b").rglob("copy*.nii.gz"))
    grouping = recipe.changed(training={"duplicates": "group"})
    found = gather_dataset(everyone, grouping, tmp_path / "c", save_volume)
    assert found.patients["copy"] == "other"
    for fold in found.folds:
        assert ("copy" in fold["val"]) == ("sphere_0" in fold["val"])
    kept = json.loads(Workspace(tmp_path / "c", "tiny").cases_file.read_text())
    assert kept["joined"] and kept["look_the_same"][0]["second"] == "copy"
