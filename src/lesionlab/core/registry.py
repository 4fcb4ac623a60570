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
