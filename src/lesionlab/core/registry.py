"""Where recipes and studies by name are found: the literal lists of shipped ones, and their folders.

A bundle, recipe or study may always be given as a path instead; this only resolves short names.
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
    "dce-mri",
    "ultrasound-2d",
    "ultrasound-3d",
    "pet-focal-tversky",
    "ultrasound-specimen-2d",
    "ultrasound-specimen-3d",
    "petct-unet",
    "petct-nnunet",
    "petct-unetr",
    "petct-two-step",
    "petct-locate",
    "imbalance-transunet",
    "breastdm-2d",
    "breastdm-3d",
    "breastdm-cascade",
    "demo",
    "dce-measure",
    "ultrasound-measure",
)
"""docs/reference/recipes.md says what each is for."""

STUDIES = ("breastdm", "imbalance", "petct", "ultrasound-specimen")
"""The comparisons of the published systems; docs/reference/recipes.md tells what each compares."""


def recipe_folder() -> Path:
    """The folder of shipped recipes: inside an installed package, or at the root of a source tree."""
    return _shipped("recipes")


def study_folder() -> Path:
    """The folder of shipped studies, likewise."""
    return _shipped("studies")


def _shipped(name: str) -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parents[1] / name


def find_study(name: str | Path) -> Path:
    """The file of a shipped study by name, or a path of one's own; RecipeError for a name that is neither."""
    path = Path(name)
    if str(name) in STUDIES:
        return study_folder() / f"{name}.toml"
    if path.suffix == ".toml" or path.is_file():
        return path
    raise RecipeError(name, "no study of that name", f"a .toml file or one of {', '.join(STUDIES)}")


def find_recipe(name: str | Path) -> Recipe:
    """A shipped recipe by name, or any recipe by the path of its TOML file."""
    path = Path(name)
    if str(name) in RECIPES:
        return load_recipe(recipe_folder() / f"{name}.toml")
    if path.suffix == ".toml" or path.is_file():
        return load_recipe(path).beside(path.parent)
    raise RecipeError(name, "no recipe of that name", f"a .toml file or one of {', '.join(RECIPES)}")
