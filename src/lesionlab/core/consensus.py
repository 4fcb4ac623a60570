"""One mask out of several readers' masks of one case: union, intersection, majority and STAPLE.

Masks are boolean arrays (z, y, x) on one grid, by reader. How far readers agree is `evaluate/observers.py`;
which consensus a recipe trains on is chosen in `standardise/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import DatasetError, GeometryError

BoolArray = NDArray[np.bool_]
Floats = NDArray[np.float64]
MAX_READERS: Final = 62
"""Readers' votes on a voxel are the bits of one 64-bit number."""
SMALLEST: Final = 1e-10
MARGIN: Final = 5
"""Voxels around all foreground that STAPLE counts as background."""
PLACES: Final = ("first", "second")
RULES: Final = ("union", "intersection", "majority", "staple")
STILL: Final = 1e-7
"""EM has arrived when no reader's sensitivity or specificity moves by more."""


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


def consensus(masks: Mapping[str, BoolArray], rule: str) -> BoolArray:
    """One mask of several by a rule: a reader's name, union, intersection, majority or staple.

    `first` and `second` are the readers in the mapping's order. One reader alone is his own consensus,
    whatever the rule, unless it names another. Empty masks give an empty one. Raises DatasetError for a
    rule that is none and no reader's name, and as `check_masks` does.
    """
    names = list(masks)
    if rule in masks or (rule in PLACES and PLACES.index(rule) < len(names)):
        return masks[rule if rule in masks else names[PLACES.index(rule)]]
    if rule not in RULES:
        known = ", ".join((*names, *PLACES[: len(names)], *RULES))
        raise DatasetError("readers", f"truth = {rule!r}", f"one of {known}")
    if len(masks) == 1:
        return masks[names[0]]
    check_masks(masks)
    arrays = list(masks.values())
    if rule in ("union", "intersection"):
        join = np.logical_or if rule == "union" else np.logical_and
        joined: BoolArray = join.reduce(arrays)
        return joined
    return majority(masks) if rule == "majority" else staple(masks).mask


def majority(masks: Mapping[str, BoolArray]) -> BoolArray:
    """Voxels that more than half of the readers marked; a tie of an even number of readers is background.

    Two readers so give what both marked. Raises as `check_masks` does.
    """
    arrays = list(masks.values())
    check_masks(masks)
    votes = np.zeros(arrays[0].shape, dtype=np.min_scalar_type(len(arrays)))
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
    consensus with NaN for each sensitivity. Raises as `check_masks` does, and DatasetError above
    62 readers or for a prior outside (0, 1).
    """
    check_masks(masks)
    if len(masks) > MAX_READERS:
        raise DatasetError("STAPLE", f"{len(masks)} readers", f"at most {MAX_READERS}")
    if prior is not None and not 0.0 < prior < 1.0:
        raise DatasetError("STAPLE", f"a prior of {prior:g}", "a share above 0 and below 1")
    cut, box = cut_masks(masks, margin)
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


def check_masks(masks: Mapping[str, BoolArray]) -> None:
    """Raise DatasetError below two readers and GeometryError where their masks differ in shape."""
    if len(masks) < 2:
        raise DatasetError("readers", f"{len(masks)} of them", "two or more masks of one case")
    shapes = {name: array.shape for name, array in masks.items()}
    if len(set(shapes.values())) > 1:
        told = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise GeometryError("readers", f"masks of {told}", "one grid for all")


def cut_masks(masks: Mapping[str, BoolArray], margin: int = 0) -> tuple[dict[str, BoolArray], Any]:
    """The masks in the box of their union, and the box; None with single voxels where all are empty."""
    check_masks(masks)
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
