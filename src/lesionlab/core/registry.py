"""Where recipes by name are found: the literal list of shipped recipes, and their folder.

A bundle or recipe may always be given as a path instead; this only resolves short names.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe, load_recipe

RECIPES = (
    "pet-threshold",
    "pet-threshold-41",
    "pet-radiomics",
    "pet",
    "petct",
    "pet-small",
    "demo",
    "dce-measure",
    "ultrasound-measure",
)


def recipe_folder() -> Path:
    """The folder of shipped recipes: inside an installed package, or at the root of a source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parents[1] / "recipes"


def find_recipe(name: str | Path) -> Recipe:
    """A shipped recipe by name, or any recipe by the path of its TOML file."""
    path = Path(name)
    if str(name) in RECIPES:
        return load_recipe(recipe_folder() / f"{name}.toml")
    if path.suffix == ".toml" or path.is_file():
        return load_recipe(path)
    raise RecipeError(name, "no recipe of that name", f"a .toml file or one of {', '.join(RECIPES)}")
