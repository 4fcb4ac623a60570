"""Recipes and studies by name: each shipped one loads under its own name, and the package holds its file."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from lesionlab.core import registry
from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import dump_recipe
from lesionlab.core.registry import (
    RECIPES,
    STUDIES,
    find_recipe,
    find_study,
    recipe_folder,
    study_folder,
)


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


def test_studies_are_found_by_name_or_path(tmp_path: Path) -> None:
    assert {path.stem for path in study_folder().glob("*.toml")} == set(STUDIES)
    for name in STUDIES:
        assert tomllib.loads(find_study(name).read_text(encoding="utf-8"))["name"] == name
    assert find_study(tmp_path / "mine.toml") == tmp_path / "mine.toml"
    with pytest.raises(
        RecipeError, match=r"found no study of that name; needed a \.toml file or one of breastdm"
    ):
        find_study("brestdm")


def test_an_installed_package_holds_recipes_and_studies(tmp_path: Path, monkeypatch) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    included = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"recipes": "lesionlab/recipes", "studies": "lesionlab/studies"}
    package = tmp_path / "site-packages" / "lesionlab"
    (package / "core").mkdir(parents=True)
    for name in ("recipes", "studies"):
        (package / name).mkdir()
    monkeypatch.setattr(registry, "__file__", str(package / "core" / "registry.py"))
    assert (recipe_folder(), study_folder()) == (package / "recipes", package / "studies")
