"""Two or more readers of the same lesions: how far they agree, on what, and where a model stands among them.

Masks here are boolean arrays (z, y, x) of one case on one grid, by reader. Agreement of numbers (volumes,
SUV) is `agreement.py`, a model against one truth `overlap.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lesionlab.core.consensus import BoolArray, cut_masks
from lesionlab.core.errors import DatasetError
from lesionlab.evaluate.bootstrap import STANDARD, Bootstrap, Interval, intervals, ratio_interval

Score = Callable[[BoolArray, BoolArray], float]
"""Agreement of two masks, the higher the better, the same whichever comes first."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Agreement of two readers on one case."""

    first: str
    second: str
    value: float


@dataclass(frozen=True)
class CaseAgreement:
    """One case: the model's agreement with every reader, and that of every pair of readers."""

    case_id: str
    model: Mapping[str, float]
    readers: tuple[Pair, ...]


@dataclass(frozen=True)
class AgainstObservers:
    """Where a model stands among readers, over cases; every interval draws patients.

    `model` is its mean agreement with the readers, `readers` that of the readers with each other,
    `difference` the first minus the second, `williams` their ratio (Williams' index): above 1 the model
    agrees with the readers better than they do with each other. `model_by_reader` is the model's mean with
    each reader, `by_reader` each reader's mean with the other readers, `by_pair` that of each pair of
    readers, from `lowest` to `highest`.
    `undefined` cases lacked a value and count nowhere.
    """

    model: Interval
    readers: Interval
    difference: Interval
    williams: Interval
    model_by_reader: Mapping[str, float]
    by_reader: Mapping[str, float]
    by_pair: tuple[Pair, ...]
    lowest: float
    highest: float
    cases: int
    undefined: int

    @property
    def standing(self) -> str:
        """The model against the readers: "below" or "above" where the difference's interval leaves out 0.

        Else "level", which only says that no difference was shown; "unknown" without an interval.
        """
        if math.isnan(self.difference.low + self.difference.high):
            return "unknown"
        if self.difference.high < 0.0:
            return "below"
        return "above" if self.difference.low > 0.0 else "level"


def dice(first: BoolArray, second: BoolArray) -> float:
    """2 |A and B| / (|A| + |B|); NaN where both are empty, as the rule for empty masks has it."""
    whole = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / whole if whole else math.nan


def pairwise(masks: Mapping[str, BoolArray], score: Score = dice) -> tuple[Pair, ...]:
    """The agreement of every two readers, in the readers' order.

    `score` takes two masks cut to the box of all readers' foreground; it may be any symmetric agreement, a
    surface Dice with the spacing bound to it. Raises GeometryError where shapes differ, and DatasetError
    below two readers.
    """
    cut, _ = cut_masks(masks)
    return tuple(Pair(a, b, float(score(cut[a], cut[b]))) for a, b in itertools.combinations(cut, 2))


def case_agreement(
    case_id: str, model: BoolArray, readers: Mapping[str, BoolArray], score: Score = dice
) -> CaseAgreement:
    """One case for `against_observers`: the model with every reader, and every two readers.

    Raises as `pairwise` does.
    """
    among = pairwise(readers, score)
    # a reader may be called "model"
    with_model = {
        name: pairwise({"model": model, f"reader {name}": mask}, score) for name, mask in readers.items()
    }
    return CaseAgreement(case_id, {name: pairs[0].value for name, pairs in with_model.items()}, among)


def against_observers(
    cases: Sequence[CaseAgreement],
    patients: Sequence[str] | None = None,
    *,
    settings: Bootstrap = STANDARD,
) -> AgainstObservers:
    """Whether a model agrees with readers as well as they agree with each other.

    Within a case all pairs count the same; every case counts once; intervals draw whole patients. Williams'
    index (Biometrics 1976, 32:619-627; for contours Chalana and Kim, IEEE Trans Med Imaging 1997, doi
    10.1109/42.640755) is taken of the means over cases. A case with an undefined agreement (two empty
    masks) is left out and counted. Raises DatasetError where the cases' readers differ or fewer than two
    read.
    """
    names, pairs = _readers_of(cases)
    model = np.array([[one.model[name] for name in names] for one in cases]).reshape(-1, len(names))
    among = np.array([[pair.value for pair in one.readers] for one in cases]).reshape(-1, len(pairs))
    known = ~(np.isnan(model).any(axis=1) | np.isnan(among).any(axis=1))
    undefined = int(np.count_nonzero(~known))
    mean_model, mean_among = (np.where(known, table.mean(axis=1), math.nan) for table in (model, among))
    columns = np.column_stack([mean_model, mean_among, mean_model - mean_among])
    of_model, of_readers, difference = intervals(columns, patients, settings=settings)
    williams = ratio_interval(mean_model, mean_among, patients, settings=settings)
    model, among = model[known], among[known]
    by_pair = tuple(
        Pair(a, b, float(among[:, k].mean()) if len(among) else math.nan) for k, (a, b) in enumerate(pairs)
    )
    values = [pair.value for pair in by_pair]
    own = {n: float(np.mean([p.value for p in by_pair if n in (p.first, p.second)])) for n in names}
    with_model = {n: float(model[:, k].mean()) if len(model) else math.nan for k, n in enumerate(names)}
    return AgainstObservers(
        of_model,
        of_readers,
        difference,
        williams,
        with_model,
        own,
        by_pair,
        min(values),
        max(values),
        len(model),
        undefined,
    )


def _readers_of(cases: Sequence[CaseAgreement]) -> tuple[list[str], list[tuple[str, str]]]:
    if not cases or len(cases[0].model) < 2:
        raise DatasetError(
            "model against readers",
            f"{len(cases)} cases" if not cases else "one reader",
            "cases that two or more readers drew",
        )
    names, pairs = list(cases[0].model), [(p.first, p.second) for p in cases[0].readers]
    for one in cases:
        if list(one.model) != names or [(p.first, p.second) for p in one.readers] != pairs:
            raise DatasetError(f"case {one.case_id}", f"readers {', '.join(one.model)}", ", ".join(names))
    return names, pairs
