"""Lesions of a mask against lesions of the truth: which is which, and how many were found.

A lesion is a connected component. Three written rules say when two belong together (`MatchRule`). What is
counted over many cases (sensitivity by size, FROC) is here too; voxels and surfaces are elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box, Connectivity, components, foreground_box
from lesionlab.core.errors import DatasetError

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer[Any]]

CONNECTIVITY: Final = 18
"""What makes voxels one lesion here, as in the autoPET challenge, so that its FP and FN volumes compare."""

CELLS_MOST: Final = 25_000_000
"""Largest table of true x predicted lesions that hang together for which an assignment is sought (200 MB)."""

TABLE_MOST: Final = 1 << 22
"""Largest joint histogram counted in one piece; beyond it only the pairs that occur are kept."""

SIZE_EDGES_ML: Final = (0.0, 0.5, 2.0, 10.0, 50.0, math.inf)
"""Lesion sizes told apart, in ml; each bin holds its lower edge and not its upper one."""

FALSE_PER_SCAN: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""False positives per scan at which FROC's sensitivity is stated."""


@dataclass(frozen=True, slots=True)
class MatchRule:
    """When a true and a predicted lesion belong together.

    `any`: they share a voxel; one lesion may so belong to several. `iou`: their IoU is at least `iou`, and
    several can share a partner where that is 0.5 or less. `one-to-one`: of the pairs with at least that IoU,
    those that pair every lesion at most once with the greatest sum of IoU.
    """

    kind: Literal["any", "iou", "one-to-one"] = "any"
    iou: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("any", "iou", "one-to-one"):
            raise DatasetError("lesion matching", f"the rule {self.kind!r}", "any, iou or one-to-one")
        if self.kind != "any" and not 0.0 < self.iou <= 1.0:
            raise DatasetError("lesion matching", f"an IoU of {self.iou:g}", "one above 0 and up to 1")

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        if self.kind == "any":
            return "a lesion is found when at least one of its voxels is covered (any overlap)"
        if self.kind == "iou":
            return f"a lesion is found by every lesion of IoU {self.iou:g} or more with it"
        return (
            f"lesions pair up one to one with the greatest sum of IoU, each pair of IoU {self.iou:g} or more"
        )


ANY_OVERLAP: Final = MatchRule("any")
"""autoPET's rule: a single shared voxel is enough (github.com/lab-midas/autoPET)."""
ONE_TO_ONE: Final = MatchRule("one-to-one", 0.5)
"""The rule of panoptic quality."""


@dataclass(frozen=True, slots=True, eq=False)
class Overlaps:
    """Every pair of a true and a predicted lesion that share voxels, before any rule.

    `true_labels` and `predicted_labels` (int32, the shape of `box`) number the lesions from 1, the largest
    first; `box` is their place in the whole array. `true_voxels` and `predicted_voxels` are sizes,
    index 0 = lesion 1. `pairs` (k, 2) are lesion numbers (true, predicted) and `shared` (k) their common
    voxels, in the order of the pairs.
    """

    box: Box
    true_labels: IntArray
    predicted_labels: IntArray
    true_voxels: IntArray
    predicted_voxels: IntArray
    pairs: IntArray
    shared: IntArray
    voxel_ml: float

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU of each pair."""
        union = self.true_voxels[self.pairs[:, 0] - 1] + self.predicted_voxels[self.pairs[:, 1] - 1]
        return np.asarray(self.shared / (union - self.shared), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """Overlaps with a rule applied: `matched` (k) tells which of the pairs belong together.

    `found` is True for each true lesion with a partner, `false` for each predicted one without.
    """

    overlaps: Overlaps
    rule: MatchRule
    matched: BoolArray
    found: BoolArray
    false: BoolArray


def match_lesions(
    mask: BoolArray, truth: BoolArray, voxel_ml: float, *, rule: MatchRule = ANY_OVERLAP
) -> Matching:
    """Match the lesions of two boolean masks of one shape (z, y, x) by a rule; empty ones have no lesions.

    Raises DatasetError where a one-to-one pairing would need more than `CELLS_MOST` table cells.
    """
    return apply(overlaps_of(mask, truth, voxel_ml), rule)


def overlaps_of(
    mask: BoolArray, truth: BoolArray, voxel_ml: float, connectivity: Connectivity = CONNECTIVITY
) -> Overlaps:
    """The lesions of both masks and what they share, from one pass over the box around both."""
    box = foreground_box(mask | truth) or (slice(0, 1),) * 3
    true, _ = components(truth[box], connectivity)
    predicted, _ = components(mask[box], connectivity)
    sizes = [np.bincount(numbers[numbers > 0], minlength=1)[1:] for numbers in (true, predicted)]
    pairs, shared = _shared(true, predicted, len(sizes[0]), len(sizes[1]))
    return Overlaps(box, true, predicted, sizes[0], sizes[1], pairs, shared, voxel_ml)


def apply(overlaps: Overlaps, rule: MatchRule) -> Matching:
    """The pairs that belong together under a rule."""
    iou = overlaps.iou
    if rule.kind == "any":
        matched = np.ones(len(iou), dtype=bool)
    else:
        matched = iou >= rule.iou
        if rule.kind == "one-to-one":
            matched = _one_to_one(overlaps.pairs, iou, matched)
    found = np.zeros(len(overlaps.true_voxels), dtype=bool)
    false = np.ones(len(overlaps.predicted_voxels), dtype=bool)
    found[overlaps.pairs[matched, 0] - 1] = True
    false[overlaps.pairs[matched, 1] - 1] = False
    return Matching(overlaps, rule, matched, found, false)


def detection_scores(matching: Matching) -> dict[str, float]:
    """Lesions true, predicted, found, missed and false, with sensitivity, PPV and F1 (lesion-wise).

    F1 is the harmonic mean of the two, which for one-to-one pairs is 2 TP / (2 TP + FP + FN). A share of
    nothing is NaN: sensitivity without a true lesion, PPV without a predicted one, F1 without either.
    """
    true, predicted = len(matching.found), len(matching.false)
    found, false = int(matching.found.sum()), int(matching.false.sum())
    sensitivity, ppv = _share(found, true), _share(predicted - false, predicted)
    if true and predicted:
        f1 = _share(2 * sensitivity * ppv, sensitivity + ppv) if found else 0.0
    else:
        f1 = 0.0 if true or predicted else math.nan
    return {
        "lesions_true": float(true),
        "lesions_predicted": float(predicted),
        "lesions_found": float(found),
        "lesions_missed": float(true - found),
        "lesions_false": float(false),
        "lesion_sensitivity": sensitivity,
        "lesion_ppv": ppv,
        "lesion_f1": f1,
    }


def panoptic_scores(overlaps: Overlaps, iou: float = 0.5) -> dict[str, float]:
    """Panoptic quality and its two factors for one class, lesions paired one to one at IoU >= `iou`.

    Segmentation quality is the mean IoU of the pairs (NaN without any), recognition quality
    2 TP / (2 TP + FP + FN), panoptic quality their product, 0 without pairs. All NaN without lesions.
    Source: Kirillov et al., Panoptic Segmentation, CVPR 2019, eq. 1 and 2, with >= where the paper has >.
    """
    matching = apply(overlaps, MatchRule("one-to-one", iou))
    pairs = int(matching.matched.sum())
    both = len(matching.found) + len(matching.false)
    total = float(overlaps.iou[matching.matched].sum())
    return {
        "panoptic_quality": _share(2 * total, both),
        "segmentation_quality": _share(total, pairs),
        "recognition_quality": _share(2 * pairs, both),
    }


def missed_and_false_ml(matching: Matching) -> tuple[float, float]:
    """Volume in ml of the true lesions that were missed, and of the predicted ones that are false."""
    sides = matching.overlaps
    missed = int(sides.true_voxels[~matching.found].sum())
    false = int(sides.predicted_voxels[matching.false].sum())
    return missed * sides.voxel_ml, false * sides.voxel_ml


@dataclass(frozen=True, slots=True)
class SizeBin:
    """The true lesions of at least `low_ml` and less than `high_ml`: how many, how many found."""

    low_ml: float
    high_ml: float
    lesions: int
    found: int

    @property
    def sensitivity(self) -> float:
        """Share found; NaN without lesions."""
        return _share(self.found, self.lesions)


def sensitivity_by_size(
    sizes_ml: Sequence[float], found: Sequence[bool], edges_ml: Sequence[float] = SIZE_EDGES_ML
) -> tuple[SizeBin, ...]:
    """The true lesions of all cases by size; every lesion counts once, whichever case it is of.

    Raises DatasetError unless the edges ascend. A lesion outside all edges is in no bin.
    """
    edges = np.asarray(edges_ml, dtype=np.float64)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        raise DatasetError("lesion sizes", f"edges {list(edges_ml)} ml", "two or more ascending edges")
    size, hit = np.asarray(sizes_ml, dtype=np.float64), np.asarray(found, dtype=bool)
    inside = [(size >= low) & (size < high) for low, high in pairwise(edges)]
    return tuple(
        SizeBin(float(low), float(high), int(held.sum()), int(hit[held].sum()))
        for low, high, held in zip(edges[:-1], edges[1:], inside, strict=True)
    )


@dataclass(frozen=True, slots=True)
class FrocCase:
    """One scan for FROC: a score for every true lesion (-inf: missed) and for every false predicted one."""

    true_scores: tuple[float, ...]
    false_scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Froc:
    """The free-response curve: lesions scored at or above each `thresholds` (descending) are called.

    `false_per_scan` and `sensitivity` belong to the thresholds. `at` maps false positives per scan to the
    highest sensitivity with no more than those (0 where even the strictest call has more); no
    interpolation. `mean` is the mean of `at`. NaN throughout without true lesions.
    """

    thresholds: NDArray[np.float64]
    false_per_scan: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    at: dict[float, float]
    mean: float


def froc_case(matching: Matching, probability: NDArray[Any], how: Literal["max", "mean"] = "max") -> FrocCase:
    """The scores of one scan: a predicted lesion's is the maximum (or mean) of the probability in it.

    A true lesion's score is the highest of its partners under the matching's rule. `probability` has the
    shape of the masks.
    """
    sides = matching.overlaps
    inside = sides.predicted_labels > 0
    numbers, values = sides.predicted_labels[inside], probability[sides.box][inside]
    scores = np.zeros(len(sides.predicted_voxels))
    if how == "mean":
        totals = np.bincount(numbers, values.astype(np.float64), minlength=len(scores) + 1)[1:]
        scores = totals / np.maximum(sides.predicted_voxels, 1)
    else:
        np.maximum.at(scores, numbers - 1, values)
    true = np.full(len(sides.true_voxels), -np.inf)
    pairs = sides.pairs[matching.matched]
    np.maximum.at(true, pairs[:, 0] - 1, scores[pairs[:, 1] - 1])
    return FrocCase(tuple(true.tolist()), tuple(scores[matching.false].tolist()))


def froc(cases: Iterable[FrocCase], at: Sequence[float] = FALSE_PER_SCAN) -> Froc:
    """The FROC curve over scans, those without any lesion included. Raises DatasetError for no scan."""
    scans = list(cases)
    if not scans:
        raise DatasetError("FROC", "no scan", "at least one")
    true = np.array([score for scan in scans for score in scan.true_scores])
    false = np.array([score for scan in scans for score in scan.false_scores])
    called = np.unique(np.concatenate([true[np.isfinite(true)], false]))[::-1]
    hits = len(true) - np.searchsorted(np.sort(true), called, side="left")
    wrong = len(false) - np.searchsorted(np.sort(false), called, side="left")
    sensitivity = hits / len(true) if len(true) else np.full(len(called), math.nan)
    per_scan = wrong / len(scans)
    stated = {}
    for allowed in at:
        within = sensitivity[per_scan <= allowed]
        stated[float(allowed)] = math.nan if not len(true) else float(within.max(initial=0.0))
    mean = float(np.mean(list(stated.values()))) if stated else math.nan
    return Froc(called, per_scan, sensitivity, stated, mean)


def _shared(true: IntArray, predicted: IntArray, n: int, m: int) -> tuple[IntArray, IntArray]:
    """The pairs of lesions that share voxels and how many, by one count of joint labels."""
    both = (true > 0) & (predicted > 0)
    joint = true[both].astype(np.int64) * (m + 1) + predicted[both]
    if (n + 1) * (m + 1) <= TABLE_MOST:
        counts = np.bincount(joint)
        kept = np.flatnonzero(counts)
        counts = counts[kept]
    else:
        kept, counts = np.unique(joint, return_counts=True)
    return np.stack([kept // (m + 1), kept % (m + 1)], axis=1), counts


def _one_to_one(pairs: IntArray, iou: NDArray[np.float64], allowed: BoolArray) -> BoolArray:
    """The assignment of greatest total IoU, sought in each group of lesions that hang together."""
    # only this rule needs them, and they are slow to import
    from scipy.optimize import linear_sum_assignment
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    chosen = np.zeros(len(pairs), dtype=bool)
    at = np.flatnonzero(allowed)
    if not at.size:
        return chosen
    rows, columns = (np.unique(pairs[at, side], return_inverse=True)[1] for side in (0, 1))
    n, m = int(rows.max()) + 1, int(columns.max()) + 1
    links = coo_array((np.ones(len(at)), (rows, columns + n)), shape=(n + m, n + m))
    group = connected_components(links, directed=False)[1][rows]
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        left, i = np.unique(rows[members], return_inverse=True)
        right, j = np.unique(columns[members], return_inverse=True)
        if len(left) * len(right) > CELLS_MOST:
            found = f"{len(left)} true and {len(right)} predicted lesions that hang together"
            raise DatasetError("lesion matching", found, "fewer: clean the masks up, or match by any overlap")
        gain = np.zeros((len(left), len(right)))
        gain[i, j] = iou[at[members]]
        best = linear_sum_assignment(gain, maximize=True)
        taken = np.zeros(gain.shape, dtype=bool)
        taken[best] = True
        chosen[at[members[taken[i, j]]]] = True
    return chosen


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan
