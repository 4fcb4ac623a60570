"""Recipes by name: every shipped one loads, and its file is the one it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.registry import RECIPES, find_recipe, recipe_folder


@pytest.mark.parametrize("name", RECIPES)
def test_every_shipped_recipe_loads_under_its_own_name(name: str) -> None:
    assert find_recipe(name).name == name


def test_the_list_names_every_file_in_the_folder() -> None:
    assert {path.stem for path in recipe_folder().glob("*.toml")} == set(RECIPES)


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("pet")])
def test_no_pet_recipe_keeps_only_the_largest_component(name: str) -> None:
    assert find_recipe(name).refine.keep == "all"


def test_a_recipe_by_path(tmp_path: Path) -> None:
    mine = find_recipe("pet-threshold").changed(name="mine", threshold={"suv": 3.0})
    (tmp_path / "mine.toml").write_text(dump_recipe(mine))
    assert find_recipe(tmp_path / "mine.toml") == mine
    assert find_recipe(str(tmp_path / "mine.toml")) == mine


def test_a_name_that_is_none_lists_the_names() -> None:
    with pytest.raises(
        RecipeError, match=r"found no recipe of that name; needed a \.toml file or one of pet-thr"
    ):
        find_recipe("pet-treshold")
