"""study.toml: which variants follow from it, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.core.errors import RecipeError
from lesionlab.core.registry import find_recipe
from lesionlab.study import load_study
from lesionlab.study.bench import runs_of, trained_recipe
from lesionlab.study.held_out import paced

BASE = 'name = "s"\ndata = "d"\namount = 100\n'
ONE = '[[variants]]\nname = "a"\n'
THRESHOLD = '[[variants]]\nname = "b"\nrecipe = "pet-threshold"\n'
BOTH = "[[ensembles]]\nname = 'e'\nmembers = {}\n"


def study(tmp_path: Path, text: str):
    file = tmp_path / "study.toml"
    file.write_text(text)
    return load_study(file)


def test_the_grid_multiplies_its_lists_behind_the_named_variants(tmp_path: Path) -> None:
    found = study(
        tmp_path,
        BASE
        + '[common.training]\niterations = 7\n[[variants]]\nname = "threshold"\nrecipe = "pet-threshold"\n'
        + "[grid.networks.plain]\n[grid.networks.residual]\nnetwork = { architecture = 'residual' }\n"
        + "[grid.losses.ce]\nloss = { dice = 0.0 }\n[grid.losses.both]\n",
    )
    names = ["threshold", "plain, ce", "plain, both", "residual, ce", "residual, both"]
    assert [v.name for v in found.variants] == names
    recipes = [v.recipe for v in found.variants]
    assert recipes[0] == find_recipe("pet-threshold")
    assert [r.network.architecture for r in recipes[1:]] == ["plain", "plain", "residual", "residual"]
    assert [r.loss.dice for r in recipes[1:]] == [0.0, 1.0, 0.0, 1.0]
    assert {r.training.iterations for r in recipes[1:]} == {7}
    assert recipes[1].loss.cross_entropy == find_recipe("pet-small").loss.cross_entropy


def test_labels_of_a_study_replace_those_of_its_recipe(tmp_path: Path) -> None:
    text = BASE + "[common]\nlabels = { benign = 1, malignant = 2 }\nrefine = { minimum_ml = 1.0 }\n" + ONE
    recipe = study(tmp_path, text).variants[0].recipe
    assert recipe.labels == {"benign": 1, "malignant": 2} and recipe.refine.minimum_ml == 1.0
    with pytest.raises(RecipeError, match=r"variant 'a': .*labels must be numbered"):
        study(tmp_path, text.replace("malignant = 2", "malignant = 3"))


def test_runs_go_fold_by_fold_and_clean_up_is_no_reason_to_train_again(tmp_path: Path) -> None:
    found = study(
        tmp_path,
        BASE
        + "folds = 3\ntest_folds = [2, 0]\nseeds = [1, 2]\n"
        + ONE
        + '[[variants]]\nname = "b"\nrefine = { minimum_ml = 3.0 }\n',
    )
    runs = runs_of(found)
    assert [(r.seed, r.fold, r.variant.name) for r in runs][:5] == [
        (1, 0, "a"), (1, 0, "b"), (1, 2, "a"), (1, 2, "b"), (2, 0, "a"),
    ]  # fmt: skip
    assert runs[0].recipe == runs[1].recipe
    assert runs[0].recipe.sha256 != runs[4].recipe.sha256
    threshold = find_recipe("pet-threshold")
    assert trained_recipe(found, threshold, 1) == trained_recipe(found, threshold, 2)


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (BASE, "a study needs"),
        (BASE + ONE + "[grid.networks]\n", "every list of the grid needs an entry"),
        (BASE + ONE + 'colour = "red"\n', "unknown key 'variants.0.colour'.*one of .*loss"),
        (BASE + "patience = 3\n" + ONE, "unknown key 'patience'.*one of name, description"),
        (BASE + "[common]\nopacity = 1\n" + ONE, "unknown key 'common.opacity'"),
        (BASE + ONE + "loss = { dise = 1.0 }\n", "variant 'a': found unknown key 'loss.dise'.*dice"),
        (BASE + ONE + 'recipe = "nothing"\n', "nothing: found no recipe of that name"),
        (BASE + ONE + ONE, "two variants named a"),
        (BASE + "seeds = [1, 1]\n" + ONE, "seeds that differ"),
        (BASE + "folds = 3\ntest_folds = [3]\n" + ONE, "test_folds are some of 0 to 2"),
        (BASE + "test_folds = [0]\n[post_processing]\nlearn_on = 'other_folds'\n" + ONE, "two test_folds"),
        (BASE.replace("100", "0") + ONE, "amount = '0'.*greater than 0"),
        (BASE + ONE + BOTH.format("['a']"), "ensemble 'e': members that differ, two or more"),
        (BASE + ONE + BOTH.format("['a', 'a']"), "members that differ"),
        (
            BASE + ONE + BOTH.format("['a', 'b']"),
            "found member 'b'; needed networks of this study: a$",
        ),
        (BASE + ONE + THRESHOLD + BOTH.format("['a', 'b']"), "found member 'b'; needed networks"),
        (
            BASE
            + "[common]\nlabels = { l = 1, m = 2 }\n"
            + ONE
            + "[[variants]]\nname = 'b'\nlabels = { l = 1 }\n"
            + BOTH.format("['a', 'b']"),
            "found labels a: l, m; b: l; needed members with the same labels",
        ),
        (
            BASE + "seeds = [1, 2]\n" + ONE + BOTH.format("['a']").replace("'e'", "'a'"),
            "two variants named a",
        ),
        ('name = "s"\n' + ONE, "found no data; no amount; needed a value for every required key$"),
        (BASE + "seeds = []\n" + ONE, r"found seeds = \[\]; needed at least 1 of them"),
        (
            BASE + "seeds = [1, 1]\n" + ONE,
            r"found seeds that differ are needed, found \[1, 1\]; needed settings",
        ),
        ("name = \n", "a TOML file"),
    ],
)
def test_what_is_no_study_is_refused_with_the_reason(tmp_path: Path, text: str, needed: str) -> None:
    with pytest.raises(RecipeError, match=needed):
        study(tmp_path, text)


def test_an_ensemble_follows_with_the_runs_of_its_members_and_all_seeds(tmp_path: Path) -> None:
    two = ONE + "amount = 30\n[[variants]]\nname = 'b'\n"
    found = study(tmp_path, BASE + "folds = 2\nseeds = [1, 2]\n" + two + BOTH.format("['b', 'a']"))
    assert [v.name for v in found.variants] == ["a", "b", "e"]
    assert [v.name for v in found.trained] == ["a", "b"]
    assert [v.amount for v in found.variants] == [30, 100, 130]
    runs = runs_of(found)
    assert len(runs) == 10 and all(not run.members for run in runs[:8])
    for fold, run in enumerate(runs[8:]):
        assert (run.fold, run.seed, run.title) == (fold, None, f"e, fold {fold}")
        assert sorted((one.seed, one.variant.name) for one in run.members) == [
            (1, "a"), (1, "b"), (2, "a"), (2, "b"),
        ]  # fmt: skip
        assert {one.fold for one in run.members} == {fold}


def test_a_study_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a readable study file"):
        load_study(tmp_path / "none.toml")


def test_an_inner_part_is_kept_for_one_fold_and_for_early_stopping(tmp_path: Path) -> None:
    assert not study(tmp_path, BASE + ONE).inner
    single = study(tmp_path, BASE + "test_folds = [1]\n" + ONE)
    assert (single.learns_inside, single.inner) == (True, True)
    stopping = study(tmp_path, BASE + ONE + "training = { stop_after = 5 }\n")
    assert (stopping.learns_inside, stopping.inner) == (False, True)
    as_is = study(tmp_path, BASE + "test_folds = [1]\n[post_processing]\nchoose = false\n" + ONE)
    assert not as_is.inner


def test_every_variant_sees_as_many_patches_whatever_its_batch() -> None:
    recipe = find_recipe("pet-small").changed(training={"iterations": 50})
    for batch in (2, 3, 8, 7000):
        training = paced(recipe, "patches", 6000, batch).training
        assert training.epochs * training.iterations * batch == pytest.approx(6000, rel=0.2)
    assert paced(recipe, "patches", 6000, 2).training.epochs == 60
    warm = recipe.changed(training={"warm_up_epochs": 3})
    assert (
        paced(warm, "patches", 100, 2).training.epochs == 4
    )  # the schedule needs an epoch after the warm-up
    timed = paced(recipe, "minutes", 1.5, 2).training
    assert (timed.minutes, timed.epochs) == (1.5, recipe.training.epochs)
