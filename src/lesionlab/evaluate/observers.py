"""Two or more readers of the same lesions: how far they agree, on what, and where a model stands among them.

Masks here are boolean arrays (z, y, x) of one case on one grid, by reader. Agreement of numbers (volumes,
SUV) is `agreement.py`, a model against one truth `overlap.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.evaluate.bootstrap import STANDARD, Bootstrap, Floats, Interval, intervals, ratio_interval

BoolArray = NDArray[np.bool_]
Score = Callable[[BoolArray, BoolArray], float]
"""Agreement of two masks, the higher the better, the same whichever comes first."""
MAX_READERS: Final = 62
"""Readers' votes on a voxel are the bits of one 64-bit number."""
SMALLEST: Final = 1e-10
MARGIN: Final = 5
"""Voxels around all foreground that STAPLE counts as background."""
STILL: Final = 1e-7
"""EM has arrived when no reader's sensitivity or specificity moves by more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Agreement of two readers on one case."""

    first: str
    second: str
    value: float


@dataclass(frozen=True, eq=False)
class Consensus:
    """STAPLE's answer: `probability` (z, y, x; float32) and how each reader performed against it.

    `sensitivity` and `specificity` are by reader; `prior` is the share of foreground assumed before looking;
    `converged` is False where the iterations ended first.
    """

    probability: NDArray[np.float32]
    sensitivity: Mapping[str, float]
    specificity: Mapping[str, float]
    prior: float
    iterations: int
    converged: bool

    @property
    def mask(self) -> BoolArray:
        """Where the probability is at least one half."""
        return self.probability >= 0.5


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
    cut, _ = _cut(masks)
    return tuple(Pair(a, b, float(score(cut[a], cut[b]))) for a, b in itertools.combinations(cut, 2))


def majority(masks: Mapping[str, BoolArray]) -> BoolArray:
    """Voxels that more than half of the readers marked; a tie of an even number of readers is background.

    Two readers so give what both marked. Raises as `pairwise` does.
    """
    arrays = list(masks.values())
    _check(masks)
    votes = np.zeros(arrays[0].shape, dtype=np.uint8)
    for array in arrays:
        votes += array
    return votes > len(arrays) / 2


def staple(
    masks: Mapping[str, BoolArray],
    *,
    margin: int = MARGIN,
    prior: float | None = None,
    max_iterations: int = 500,
) -> Consensus:
    """STAPLE: the hidden truth and each reader's sensitivity and specificity, by expectation maximisation.

    Warfield, Zou and Wells (IEEE Trans Med Imaging 2004, doi 10.1109/TMI.2004.828354), without their Markov
    random field. Everything happens in the box of all readers' foreground, widened by `margin` voxels;
    outside it the probability is 0. This matters: specificity and the prior depend on how much background
    counts, and with a whole body of it every reader is nearly perfectly specific and every mark is
    believed. `prior` is the share of foreground, by default the readers' mean. Voxels with the same votes
    share one computation, so the cost hardly depends on the image. Empty masks give an empty
    consensus with NaN for each sensitivity. Raises as `pairwise` does, and DatasetError above 62
    readers or for a prior outside (0, 1).
    """
    _check(masks)
    if len(masks) > MAX_READERS:
        raise DatasetError("STAPLE", f"{len(masks)} readers", f"at most {MAX_READERS}")
    if prior is not None and not 0.0 < prior < 1.0:
        raise DatasetError("STAPLE", f"a prior of {prior:g}", "a share above 0 and below 1")
    cut, box = _cut(masks, margin)
    whole = np.zeros(next(iter(masks.values())).shape, dtype=np.float32)
    if box is None:
        nothing, all_right = dict.fromkeys(masks, math.nan), dict.fromkeys(masks, 1.0)
        return Consensus(whole, nothing, all_right, 0.0, 0, True)
    votes = np.zeros(next(iter(cut.values())).shape, dtype=np.int64)
    for bit, array in enumerate(cut.values()):
        votes |= array.astype(np.int64) << bit
    patterns, which, counts = np.unique(votes, return_inverse=True, return_counts=True)
    marked = ((patterns[:, None] >> np.arange(len(masks))) & 1).astype(np.float64)
    share = float(counts @ marked.mean(axis=1)) / votes.size if prior is None else prior
    share = min(share, 1.0 - SMALLEST)  # 1 where every reader marked the whole box
    truth, p, q, done, converged = _expect_maximise(marked, counts.astype(np.float64), share, max_iterations)
    whole[box] = truth[which].reshape(votes.shape)
    names = list(masks)
    return Consensus(
        whole,
        dict(zip(names, p.tolist(), strict=True)),
        dict(zip(names, q.tolist(), strict=True)),
        share,
        done,
        converged,
    )


def case_agreement(
    case_id: str, model: BoolArray, readers: Mapping[str, BoolArray], score: Score = dice
) -> CaseAgreement:
    """One case for `against_observers`: the model with every reader, and every two readers.

    Raises as `pairwise` does.
    """
    among = pairwise(readers, score)
    with_model = {name: pairwise({"model": model, name: mask}, score) for name, mask in readers.items()}
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


def _check(masks: Mapping[str, BoolArray]) -> None:
    if len(masks) < 2:
        raise DatasetError("readers", f"{len(masks)} of them", "two or more masks of one case")
    shapes = {name: array.shape for name, array in masks.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise GeometryError("readers", f"masks of {told}", "one grid for all")


def _cut(masks: Mapping[str, BoolArray], margin: int = 0) -> tuple[dict[str, BoolArray], Any]:
    """The masks in the box of their union, and the box; None with single voxels where all are empty."""
    _check(masks)
    union = np.logical_or.reduce(list(masks.values()))
    box = foreground_box(union, margin)
    inside = box or (slice(0, 1),) * 3
    return {name: np.asarray(array[inside], dtype=np.bool_) for name, array in masks.items()}, box


def _expect_maximise(
    marked: Floats, counts: Floats, prior: float, max_iterations: int
) -> tuple[Floats, Floats, Floats, int, bool]:
    """EM over vote patterns (patterns, readers), each `counts` times; truth, p, q, iterations, arrived."""
    p = q = np.zeros(marked.shape[1])
    truth = marked.mean(axis=1)
    for iteration in range(1, max_iterations + 1):
        yes, no = counts * truth, counts * (1.0 - truth)
        before = np.concatenate([p, q])
        p = (yes @ marked) / max(float(yes.sum()), SMALLEST)
        q = (no @ (1.0 - marked)) / max(float(no.sum()), SMALLEST)
        with np.errstate(divide="ignore"):
            for_it = np.where(marked > 0, np.log(p), np.log1p(-np.minimum(p, 1.0))).sum(axis=1)
            against = np.where(marked > 0, np.log1p(-np.minimum(q, 1.0)), np.log(q)).sum(axis=1)
        truth = _posterior(for_it + math.log(prior), against + math.log1p(-prior), truth)
        if float(np.abs(np.concatenate([p, q]) - before).max()) <= STILL:
            return truth, p, q, iteration, True
    return truth, p, q, max_iterations, False


def _posterior(for_it: Floats, against: Floats, before: Floats) -> Floats:
    """e**for / (e**for + e**against); as before where the readers' records rule out both."""
    neither = np.isneginf(for_it) & np.isneginf(against)
    with np.errstate(over="ignore", invalid="ignore"):
        found = 1.0 / (1.0 + np.exp(against - for_it))
    return np.where(neither, before, found)


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
