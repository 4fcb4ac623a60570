"""From study.toml to the variants that are compared.

What may stand in the file is `settings.py`'s, what is done with a variant `run.py`'s.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.registry import RECIPES, STUDIES, find_recipe, find_study
from lesionlab.core.settings import Settings, explained
from lesionlab.study.settings import (
    Changes,
    EnsembleSettings,
    FoldsBy,
    PostProcessing,
    StudySettings,
    Subgroups,
    VariantSettings,
)

GUIDE = "docs/tutorials/study.md"
"""Where settings that must agree are told."""


@dataclass(frozen=True)
class Variant:
    """A named recipe of a study and how much it is trained, or the ensemble of some of them.

    The `recipe` of an ensemble is that of its first member: what decides its clean-up.
    """

    name: str
    recipe: Recipe
    amount: float
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class Study:
    """A study ready to run: its settings, the folder that its paths are relative to, its variants."""

    settings: StudySettings
    folder: Path
    variants: tuple[Variant, ...]

    @property
    def source(self) -> Path:
        """Where the patients are."""
        return self.folder / self.settings.data

    @property
    def trained(self) -> tuple[Variant, ...]:
        """The variants that are run; the others are ensembles of these."""
        return tuple(variant for variant in self.variants if not variant.members)

    @property
    def test_folds(self) -> tuple[int, ...]:
        """The folds that are tested, in order."""
        chosen = self.settings.test_folds
        return tuple(range(self.settings.folds)) if chosen is None else tuple(sorted(set(chosen)))

    @property
    def learns_inside(self) -> bool:
        """Whether post-processing is chosen on an inner part of the training patients."""
        chosen = self.settings.post_processing
        alone = chosen.learn_on == "auto" and len(self.test_folds) == 1
        return chosen.choose and (chosen.learn_on == "inner" or alone)

    @property
    def inner(self) -> bool:
        """Whether a part of the training patients is kept from training, in every variant.

        For the choice of post-processing where it is learnt there, and for early stopping, which must not
        watch the test fold.
        """
        recipes = [variant.recipe for variant in self.variants if variant.recipe.method == "network"]
        return self.learns_inside or any(recipe.training.stop_after for recipe in recipes)


def load_study(path: str | Path, data: str | Path | None = None) -> Study:
    """Read a study, by name or file, and make its variants; `data` replaces the folder that it names.

    What a file names is looked for beside it, what a shipped study names in the current folder.

    Raises RecipeError for a file that is missing, not TOML or not a study, for a variant that is no recipe
    (naming variant and key), and for two variants of one name.
    """
    file = find_study(path)
    folder = Path.cwd() if str(path) in STUDIES else file.parent
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(file, str(error.strerror or error), "a readable study file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(file, str(error), "a TOML file") from None
    if data is not None:
        content["data"] = str(Path(data).absolute())
    try:
        settings = StudySettings.model_validate(content)
    except ValidationError as error:
        raise RecipeError(file, *explained(error, "study", _known, GUIDE)) from None
    return Study(settings, folder, variants_of(settings, folder))


def variants_of(settings: StudySettings, folder: Path) -> tuple[Variant, ...]:
    """The variants in order: the named ones, the grid's, its last list changing fastest, then the ensembles.

    Raises RecipeError as `load_study` does.
    """
    base = _recipe(settings.recipe, folder)
    found = []
    for one in settings.variants:
        start = base if one.recipe is None else _recipe(one.recipe, folder)
        changes = (settings.common, one) if one.recipe is None else (one,)
        recipe = _changed(one.name, start, changes, folder)
        found.append(Variant(one.name, recipe, one.amount or settings.amount))
    for chosen in itertools.product(*(entries.items() for entries in settings.grid.values())):
        if chosen:
            name = ", ".join(name for name, _ in chosen)
            recipe = _changed(name, base, [settings.common, *(change for _, change in chosen)], folder)
            found.append(Variant(name, recipe, settings.amount))
    found += [_ensemble(one, found) for one in settings.ensembles]
    names = [one.name for one in found]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise RecipeError(settings.name, f"two variants named {', '.join(twins)}", "names that differ")
    return tuple(found)


def _recipe(name: str, folder: Path) -> Recipe:
    return find_recipe(name if name in RECIPES else folder / name)


def _ensemble(one: EnsembleSettings, variants: Sequence[Variant]) -> Variant:
    """An ensemble as a variant; raises RecipeError for members without probabilities or with other labels."""
    usable = {variant.name: variant for variant in variants if variant.recipe.method == "network"}
    for name in one.members:
        if name not in usable:
            needed = f"networks of this study: {', '.join(usable) or 'it has none'}"
            raise RecipeError(f"ensemble {one.name!r}", f"member {name!r}", needed)
    members = [usable[name] for name in one.members]
    if len({tuple(member.recipe.labels.items()) for member in members}) > 1:
        found = "; ".join(f"{member.name}: {', '.join(member.recipe.labels)}" for member in members)
        raise RecipeError(f"ensemble {one.name!r}", f"labels {found}", "members with the same labels")
    return Variant(one.name, members[0].recipe, sum(member.amount for member in members), one.members)


def _changed(name: str, base: Recipe, changes: Sequence[Changes], folder: Path) -> Recipe:
    recipe = base
    try:
        for change in changes:
            if change.labels:
                recipe = parse_recipe(
                    {**recipe.model_dump(mode="json"), "labels": change.labels}, recipe.name
                )
            if change.sections:
                recipe = recipe.changed(**_deep(recipe, change.sections)).beside(folder)
    except RecipeError as error:
        raise RecipeError(f"variant {name!r}", error.found, error.needed) from None
    return recipe


def _deep(recipe: Recipe, sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections, those of single channels completed from the recipe; labels replaced it as a whole."""
    found: dict[str, Any] = {name: value for name, value in sections.items() if name != "labels"}
    if "channels" in found:
        known = {name: channel.model_dump(mode="json") for name, channel in recipe.channels.items()}
        found["channels"] = {n: {**known.get(n, {}), **change} for n, change in found["channels"].items()}
    return found


def _known(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at a place of study.toml."""
    sections: dict[str, type[Settings]] = {
        "common": Changes,
        "variants": VariantSettings,
        "ensembles": EnsembleSettings,
        "grid": Changes,
        "post_processing": PostProcessing,
        "subgroups": Subgroups,
        "folds_by": FoldsBy,
    }
    model = sections.get(str(location[0])) if location else None
    return list((model or StudySettings).model_fields)
