"""The nouns of a comparison of two timepoints: what matched, what changed, what it amounts to.

How they come about is decided in `measure/matching.py`, `response.py` and `percist.py`; pages and tables only
read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from lesionlab.core.results import Column, Findings
from lesionlab.core.rigid import Rigid

Kind = Literal["matched", "split", "merged", "regrouped", "vanished", "new"]
Category = Literal["CMR", "PMR", "SMD", "PMD", ""]
CATEGORY_WORDS: Final[Mapping[Category, str]] = {
    "CMR": "complete metabolic response",
    "PMR": "partial metabolic response",
    "SMD": "stable metabolic disease",
    "PMD": "progressive metabolic disease",
    "": "no category",
}


@dataclass(frozen=True, slots=True)
class Match:
    """Lesions that are the same: their numbers at baseline and at follow-up, and how they were matched.

    `overlap_ml` is the common volume, 0 where they were matched by centroid; `distance_mm` lies between the
    centroids (of all lesions of a side together), NaN for a side that is empty.
    """

    kind: Kind
    baseline: tuple[int, ...]
    followup: tuple[int, ...]
    overlap_ml: float
    distance_mm: float

    @property
    def words(self) -> str:
        """The numbers, as "1 -> 2 + 3"; a dash stands for no lesion."""
        sides = (" + ".join(map(str, side)) or "–" for side in (self.baseline, self.followup))
        return " → ".join(sides)


@dataclass(frozen=True, slots=True)
class Change:
    """One match with its quantities at both timepoints (NaN where there is none) and their change in %.

    For a vanished lesion the uptake at follow-up is measured where it was; its volume and diameter are 0.
    """

    match: Match
    baseline: Mapping[str, float]
    followup: Mapping[str, float]
    percent: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """One criterion: what it asks, what was found, whether it holds (None: cannot be told), its source."""

    name: str
    needed: str
    found: str
    holds: bool | None
    source: str


@dataclass(frozen=True, slots=True)
class Percist:
    """The category ("" where there is none), why, every criterion tried, and what to keep in mind.

    `assessable` is False where the two scans' livers differ by more than PERCIST allows: the category is then
    given for information only.
    """

    category: Category
    reason: str
    checks: tuple[Check, ...]
    assessable: bool
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Response:
    """Everything that changed: per match, in total over all lesions, and by PERCIST 1.0.

    `quantities` holds name and unit of what is compared, `columns` those of a table of changes, `rule` how
    lesions were matched.
    """

    changes: tuple[Change, ...]
    totals: Change
    percist: Percist
    quantities: Mapping[str, str]
    columns: tuple[Column, ...]
    rule: str
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Comparison:
    """One patient's two timepoints, measured, and their comparison: everything that its page reads.

    `motion` carries the follow-up into the baseline's space; `likeness` is the correlation of the images
    before and after it (NaN where unknown). `settings` say in words by which rules, for the record.
    """

    baseline: Findings
    followup: Findings
    response: Response
    motion: Rigid
    likeness: tuple[float, float]
    settings: Mapping[str, str]
    notes: tuple[str, ...]
