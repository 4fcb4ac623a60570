"""A study as written down: study.toml, strict, and the variants that follow from it.

Which recipes are compared, on which data, by which folds and under which protocol. What is done with it is
`run.py`'s.
"""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.registry import RECIPES, STUDIES, find_recipe, find_study
from lesionlab.core.settings import Positive, Settings, Share, Threshold, needed_words

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class Changes(Settings):
    """Part of a recipe: sections with only the keys that change."""

    channels: dict[str, Any] = Field(default_factory=dict)
    labels: dict[str, int] = Field(default_factory=dict)
    standardise: dict[str, Any] = Field(default_factory=dict)
    method: Literal["network", "threshold"] | None = None
    network: dict[str, Any] = Field(default_factory=dict)
    locate: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)
    prediction: dict[str, Any] = Field(default_factory=dict)
    refine: dict[str, Any] = Field(default_factory=dict)
    threshold: dict[str, Any] = Field(default_factory=dict)

    @property
    def sections(self) -> dict[str, Any]:
        """The sections that change anything."""
        return {name: value for name in Changes.model_fields if (value := getattr(self, name))}


class VariantSettings(Changes):
    """One named variant: the study's recipe, or another, with changes."""

    name: Annotated[str, Field(min_length=1)]
    recipe: str | None = None
    """Another recipe than the study's, by name or file; the study's `common` changes are then left out."""


class PostProcessing(Settings):
    """How a mask is made of probabilities and cleaned up: as the recipe says, or chosen by cross-validation.

    The choice for a test fold is made on patients of other folds only (`other_folds`: each predicted by the
    network that had not seen him) or on an inner part of the training patients, which is then kept from
    training (`inner`). `auto` is `other_folds` where more than one fold is tested, `inner` otherwise.
    """

    choose: bool = True
    learn_on: Literal["auto", "other_folds", "inner"] = "auto"
    thresholds: tuple[Threshold, ...] = (0.3, 0.4, 0.5, 0.6, 0.7)
    """Probabilities tried, for recipes with one label; 0.5 is the network's own decision. `expected_dice` may
    be among them: the mask with the largest expected Dice (`predict/expected_dice.py`)."""
    largest: bool = True
    """Whether keeping the largest component only is tried."""
    fill_holes: bool = True
    """Whether filling holes is tried."""
    minimum_shares: tuple[Share, ...] = (0.02, 0.05, 0.1)
    """Smallest component tried, as shares of the median true lesion's volume of the patients learnt from."""
    improvement: Annotated[float, Field(ge=0)] = 0.002
    """A step is taken only where it raises the mean score by more than this."""
    inner_folds: Annotated[int, Field(ge=2)] = 5
    """The inner part is one of so many of the training patients."""


class Subgroups(Settings):
    """A table of the cases whose columns are subgroups of interest."""

    file: str
    """A CSV file in the folder of the data."""
    case: str = "case"
    """The column that names the case."""
    columns: Annotated[tuple[str, ...], Field(min_length=1)]


class FoldsBy(Settings):
    """A column of a table of the cases: each of its values is a fold, held out in turn."""

    file: str
    """A CSV file in the folder of the data."""
    case: str = "case"
    """The column that names the case."""
    column: str


class StudySettings(Settings):
    """study.toml. The variants are those named and every combination of the `grid`."""

    name: Annotated[str, Field(pattern=NAME)]
    description: str = ""
    data: str
    """Patients with truth, as `lesionlab plan` takes them; relative to the study's file."""
    dataset: str | None = None
    """The name of the public data set that `data` holds, as `lesionlab convert` knows it."""
    recipe: str = "pet-small"
    common: Changes = Changes()
    """Changes of the recipe that all variants share."""
    variants: tuple[VariantSettings, ...] = ()
    grid: dict[str, dict[str, Changes]] = Field(default_factory=dict)
    """Lists of named changes, such as grid.networks and grid.losses; every combination is a variant."""
    truth: str | None = None
    """Whose contours every variant is scored against, and its post-processing chosen on, where several
    readers drew: as `standardise.truth` of a recipe. None = each variant's own."""
    folds: Annotated[int, Field(ge=1)] = 5
    """Folds by patient; a data set that comes with folds of its own keeps those."""
    folds_by: FoldsBy | None = None
    """Folds by scanner, hospital or whatever else a column tells, instead of drawn or official ones."""
    fold_seed: int = 12345
    """Of the draw of the folds."""
    test_folds: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """The folds that are tested; None = all."""
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (12345,)
    """Each trains every variant anew; the folds stay the same."""
    protocol: Literal["patches", "minutes"] = "patches"
    """What every variant gets alike: patches seen in training, or minutes of training."""
    amount: Positive
    """So many patches, or minutes, for each training."""
    post_processing: PostProcessing = PostProcessing()
    subgroups: Subgroups | None = None

    @model_validator(mode="after")
    def _consistent(self) -> StudySettings:
        if not self.variants and not self.grid:
            raise ValueError("a study needs [[variants]] or a [grid]")
        if any(not entries for entries in self.grid.values()):
            raise ValueError("every list of the grid needs an entry")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds that differ are needed, found {list(self.seeds)}")
        if self.test_folds is not None and (not self.test_folds or max(self.test_folds) >= self.folds):
            raise ValueError(f"test_folds are some of 0 to {self.folds - 1}, found {list(self.test_folds)}")
        chosen, tested = self.post_processing, self.test_folds
        if (
            chosen.choose
            and chosen.learn_on == "other_folds"
            and tested is not None
            and len(set(tested)) == 1
        ):
            raise ValueError("post_processing.learn_on 'other_folds' needs two test_folds or more")
        return self


@dataclass(frozen=True)
class Variant:
    """A named recipe of a study."""

    name: str
    recipe: Recipe


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
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(file, str(error.strerror or error), "a readable study file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(file, str(error), "a TOML file") from None
    if data is not None:
        content["data"] = str(Path(data).absolute())
    try:
        settings = StudySettings.model_validate(content)
    except ValidationError as error:
        raise RecipeError(file, *_explained(error)) from None
    return Study(settings, folder, variants_of(settings, folder))


def variants_of(settings: StudySettings, folder: Path) -> tuple[Variant, ...]:
    """The variants in order: the named ones, then the grid's, its last list changing fastest."""
    base = _recipe(settings.recipe, folder)
    found = [
        _variant(one.name, base, (settings.common, one), folder)
        if one.recipe is None
        else _variant(one.name, _recipe(one.recipe, folder), (one,), folder)
        for one in settings.variants
    ]
    for chosen in itertools.product(*(entries.items() for entries in settings.grid.values())):
        if chosen:
            changes = [settings.common, *(change for _, change in chosen)]
            found.append(_variant(", ".join(name for name, _ in chosen), base, changes, folder))
    names = [one.name for one in found]
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise RecipeError(settings.name, f"two variants named {', '.join(twins)}", "names that differ")
    return tuple(found)


def _recipe(name: str, folder: Path) -> Recipe:
    return find_recipe(name if name in RECIPES else folder / name)


def _variant(name: str, base: Recipe, changes: Sequence[Changes], folder: Path) -> Variant:
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
    return Variant(name, recipe)


def _deep(recipe: Recipe, sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections, those of single channels completed from the recipe; labels replaced it as a whole."""
    found: dict[str, Any] = {name: value for name, value in sections.items() if name != "labels"}
    if "channels" in found:
        known = {name: channel.model_dump(mode="json") for name, channel in recipe.channels.items()}
        found["channels"] = {n: {**known.get(n, {}), **change} for n, change in found["channels"].items()}
    return found


def _explained(error: ValidationError) -> tuple[str, str]:
    found, needed = [], []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "study"
        if item["type"] == "extra_forbidden":
            found.append(f"unknown key {where!r}")
            needed.append(f"one of {', '.join(_known(item['loc'][:-1]))}")
        else:
            value = "" if item["type"] == "missing" or not item["loc"] else f" = {str(item['input'])[:60]!r}"
            found.append(f"{where}{value}")
            needed.append(needed_words(item["msg"]))
    return "; ".join(found), "; ".join(dict.fromkeys(needed))


def _known(location: tuple[int | str, ...]) -> list[str]:
    """The keys that are known at a place of study.toml."""
    sections: dict[str, type[Settings]] = {
        "common": Changes,
        "variants": VariantSettings,
        "grid": Changes,
        "post_processing": PostProcessing,
        "subgroups": Subgroups,
        "folds_by": FoldsBy,
    }
    model = sections.get(str(location[0])) if location else None
    return list((model or StudySettings).model_fields)
