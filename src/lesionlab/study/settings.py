"""A study as written down: study.toml, strict.

Which recipes are compared, on which data, by which folds and under which protocol. The variants that follow
from it are made in `load.py`, and run in `run.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lesionlab.core.settings import Positive, Settings, Share, Threshold

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
    amount: Positive | None = None
    """Another amount of training than the study's; the table says so."""


class EnsembleSettings(Settings):
    """The mean of what several networks say: those of the variants named, with every seed of the study."""

    name: Annotated[str, Field(min_length=1)]
    members: Annotated[tuple[str, ...], Field(min_length=1)]
    """Variants of the study: networks that draw the same labels."""


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
    """Smallest component tried, as shares of the median volume of the true lesions learnt from."""
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
    ensembles: tuple[EnsembleSettings, ...] = ()
    """Rows of the table of their own, made of the held-out predictions of variants; nothing is trained."""
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
        for one in self.ensembles:
            if len(set(one.members)) * len(self.seeds) < 2 or len(set(one.members)) < len(one.members):
                words = f"ensemble {one.name!r}: members that differ, two or more where there is one seed"
                raise ValueError(f"{words}; found {', '.join(one.members)}")
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
