"""What every section of a recipe is built from, and the sections of one kind of image alone.

The recipe itself, and the sections that concern every scan, are in `recipe.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Threshold = Annotated[float, Field(gt=0, lt=1)] | Literal["expected_dice"]
"""Of a probability: a number, or each scan's own, that of the mask with the largest expected Dice."""


class Settings(BaseModel):
    """Base of all recipe sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def needed_words(message: str) -> str:
    """What pydantic says of a bad value, as it fits after `needed`: without its fixed first words."""
    text = message.removeprefix("Input should be ").removeprefix("Value error, ")
    if text.startswith("a valid dictionary"):
        return "a table of settings"
    return "a value" if text == "Field required" else text


def explained(
    error: ValidationError, whole: str, known: Callable[[tuple[int | str, ...]], list[str]], guide: str
) -> tuple[str, str]:
    """What was found and what is needed instead, of pydantic's errors in a `whole` ("recipe").

    `known` gives the keys that may stand at a place; `guide` is where settings that must agree are told.
    """
    problems = [_explained(item, whole, known, guide) for item in error.errors()]
    needed = dict.fromkeys(words for _, words in problems)
    return "; ".join(found for found, _ in problems), "; ".join(needed)


def _explained(
    item: Mapping[str, Any], whole: str, known: Callable[[tuple[int | str, ...]], list[str]], guide: str
) -> tuple[str, str]:
    where = ".".join(str(part) for part in item["loc"]) or whole
    if item["type"] == "extra_forbidden":
        return f"unknown key {where!r}", f"one of {', '.join(known(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"no {where}", "a value for every required key"
    if item["type"] == "value_error":
        told = str(item["msg"]).removeprefix("Value error, ")
        return f"{where}: {told}" if item["loc"] else told, f"settings that agree ({guide})"
    if item["type"] == "too_short":
        return f"{where} = {str(item['input'])[:60]}", f"at least {item['ctx']['min_length']} of them"
    value = f" = {str(item.get('input'))[:60]!r}" if item["loc"] else ""
    return f"{where}{value}", needed_words(item["msg"])


class StandardiseSettings(Settings):
    """What every case is brought to: the size that a network sees, and whose contours count.

    `size` (y, x) resizes every slice to so many pixels for the network, and its mask back to the case's own
    grid; for pictures without pixel spacing, which come in all sizes (docs/how-to/datasets.md). Where
    several readers drew, `truth` says which mask is trained on and compared with: `first`, `second`, a
    reader's name, or `union`, `intersection`, `majority` or `staple` of all.
    """

    size: tuple[Count, Count] | None = None
    truth: str = "first"


class KineticsSettings(Settings):
    """Enhancement over the phases of a DCE series (docs/how-to/dce.md); `biomarkers.kinetics` turns it on.

    Phases count from 0, the one before contrast. `times_s` (one per phase, seconds from injection to the
    middle of the phase) replaces what the headers say.
    """

    early: Count = 1
    late: Count | None = None
    """The last phase when None."""
    times_s: tuple[float, ...] | None = None
    background: NonNegative | None = None
    """Voxels with less signal than this before contrast are not analysed; None = by `background_share`."""
    background_share: Share = 0.6
    """The background limit as a share of the 95th percentile of S0 in the box around the mask."""
    enhancing: NonNegative = 70.0
    """A voxel enhances, and counts for the functional tumour volume, from this percentage on."""
    neighbours: Annotated[int, Field(ge=0, le=26)] = 0
    """An enhancing voxel counts only with this many enhancing ones among its 26 neighbours."""
    plateau: NonNegative = 10.0
    """Percent that the signal may change from early to late and still be a plateau."""
    auc_s: Positive = 90.0
    """The initial area under the curve runs from the injection to this time."""

    @model_validator(mode="after")
    def _consistent(self) -> KineticsSettings:
        if self.late is not None and self.late <= self.early:
            raise ValueError(f"late = {self.late} must come after early = {self.early}")
        times = self.times_s
        if times is not None and (len(times) < 2 or any(b <= a for a, b in pairwise(times))):
            raise ValueError(f"times_s needs two or more growing times, found {list(times)}")
        if times is not None and times[1] <= 0:
            raise ValueError(f"times_s needs the phases after the first above 0 s, found {times[1]:g}")
        return self


class UltrasoundSettings(Settings):
    """Bands around a lesion on ultrasound (docs/how-to/ultrasound.md); `biomarkers.ultrasound` turns it on.

    Each width is given twice: in mm, and in pixels for images whose pixel spacing is not known.
    """

    margin_mm: Positive = 1.0
    margin_px: Positive = 10.0
    """How far apart, across the boundary, the two points of a gradient lie."""
    ring_mm: Positive = 3.0
    ring_px: Positive = 30.0
    """Width of the ring of surrounding tissue."""
    posterior_mm: Positive = 5.0
    posterior_px: Positive = 50.0
    """Depth of the band beneath the lesion, and width of the tissue on either side of it."""


class MarginSettings(Settings):
    """Resection margin of a specimen (docs/how-to/margins.md); a specimen mask turns it on."""

    close_mm: Annotated[tuple[Positive, ...], Field(min_length=1)] = (1.0, 2.0)
    """Thresholds: the specimen's surface nearer to the lesion than each is reported in mm2."""
