"""Probabilities against the truth: calibration error, Brier score, reliability, Dice by threshold.

Sums over voxels are kept, so that cases can be pooled exactly. Thresholds chosen on an image (SUV) are
`thresholds.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box, foreground_box
from lesionlab.core.errors import DatasetError
from lesionlab.core.volume import Volume

BoolArray = NDArray[np.bool_]
Floats = NDArray[np.float64]

BINS: Final = 15
"""Bins of equal width over [0, 1]; the last one holds 1."""
THRESHOLDS: Final = 1000
"""Dice is given at the thresholds 1/1000, 2/1000, ... 1."""
SLAB: Final = 16
"""Slices worked on at a time, which bounds the memory."""
NEAR_PROBABILITY: Final = 0.1
NEAR_VOXELS: Final = 5
"""Near a lesion: inside the box around the truth and all probabilities of 0.1 and above, 5 voxels wider."""


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """How probabilities and the truth agree over a set of voxels: sums by bin of probability.

    `voxels`, `positives` (voxels of the truth) and `probability_sum` have an entry per bin; `squared_error`
    is the sum of (p - t)^2. Every quotient is NaN without voxels.
    """

    voxels: NDArray[np.int64]
    positives: NDArray[np.int64]
    probability_sum: Floats
    squared_error: float

    @property
    def ece(self) -> float:
        """Expected calibration error: mean over voxels of |observed share - mean probability| of their bin.

        Source: Naeini et al., AAAI 2015, doi 10.1609/aaai.v29i1.9602, for the foreground's probability.
        """
        total = int(self.voxels.sum())
        gap = np.abs(self.positives - self.probability_sum).sum()
        return float(gap) / total if total else math.nan

    @property
    def brier(self) -> float:
        """Mean of (p - t)^2 over voxels; 0 is best (Brier, Mon Weather Rev 1950)."""
        total = int(self.voxels.sum())
        return self.squared_error / total if total else math.nan

    @property
    def reliability(self) -> tuple[Floats, Floats]:
        """Mean probability and observed share of each bin; NaN for bins without voxels."""
        filled = np.where(self.voxels, self.voxels, 1)
        empty = np.where(self.voxels, 0.0, math.nan)
        return self.probability_sum / filled + empty, self.positives / filled + empty


@dataclass(frozen=True, slots=True, eq=False)
class DiceCurve:
    """Voxel-wise Dice of the masks `probability >= threshold`; NaN throughout for an empty truth."""

    thresholds: Floats
    dice: Floats

    @property
    def best(self) -> tuple[float, float]:
        """The lowest threshold of the highest Dice, and that Dice; both NaN where Dice is undefined."""
        if np.isnan(self.dice).all():
            return math.nan, math.nan
        at = int(np.nanargmax(self.dice))
        return float(self.thresholds[at]), float(self.dice[at])


def probabilities_of(subject: str, volume: Volume) -> NDArray[Any]:
    """The array of a probability map, as it is: floating point in [0, 1], no mask.

    Raises DatasetError for values outside, and for what holds zeros and ones alone with both of them there:
    that is a mask, which says nothing about calibration.
    """
    array = volume.array
    low, high = (float(array.min()), float(array.max())) if array.size else (0.0, 0.0)
    needed = "a probability map: values from 0 to 1"
    if not (low >= 0.0 and high <= 1.0):
        raise DatasetError(subject, f"values from {low:.4g} to {high:.4g}", needed)
    if low == 0.0 and high == 1.0 and np.isin(array.ravel()[array.ravel() > 0], 1.0).all():
        raise DatasetError(subject, "a mask of zeros and ones", needed)
    return array


def refuse_probabilities(subject: str, volume: Volume) -> None:
    """Raise DatasetError where an image is a probability map and a mask is needed: fractions in [0, 1]."""
    array = volume.array
    if array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer):
        return
    between = int(np.count_nonzero((array > 0) & (array < 1)))
    if between and float(array.min()) >= 0.0 and float(array.max()) <= 1.0:
        found = f"a probability map ({between} voxels between 0 and 1)"
        raise DatasetError(subject, found, "a mask: integer labels, 0 outside")


def calibration(
    probability: NDArray[Any], truth: BoolArray, *, bins: int = BINS, box: Box | None = None
) -> Calibration:
    """Calibration over all voxels, or over those of a box (see `near_box`).

    `probability` in [0, 1] and `truth` have one shape (z, y, x); bins have equal widths. Background far from
    any lesion is easy and plentiful, so over a whole body the errors are small whatever the method: state
    which voxels were counted. Raises DatasetError where shapes differ or there is no bin.
    """
    if probability.shape != truth.shape:
        raise DatasetError("calibration", f"shape {probability.shape}", f"that of the truth, {truth.shape}")
    if bins < 1:
        raise DatasetError("calibration", f"{bins} bins", "at least one")
    if box is not None:
        probability, truth = probability[box], truth[box]
    parts = [_slab(probability[z : z + SLAB], truth[z : z + SLAB], bins) for z in range(0, len(truth), SLAB)]
    return pooled(parts)


def _slab(probability: NDArray[Any], truth: BoolArray, bins: int) -> Calibration:
    values = probability.ravel().astype(np.float64)
    true = truth.ravel()
    number = np.minimum((values * bins).astype(np.int64), bins - 1)
    return Calibration(
        voxels=np.bincount(number, minlength=bins),
        positives=np.bincount(number[true], minlength=bins),
        probability_sum=np.bincount(number, weights=values, minlength=bins).astype(np.float64),
        squared_error=float(np.square(values - true).sum()),
    )


def near_box(probability: NDArray[Any], truth: BoolArray) -> Box | None:
    """The box of `NEAR_VOXELS` around the truth and all noteworthy probabilities; None without either."""
    return foreground_box(truth | (probability >= NEAR_PROBABILITY), NEAR_VOXELS)


def pooled(parts: Iterable[Calibration]) -> Calibration:
    """The calibration of all voxels of all parts (of one number of bins). Raises DatasetError for none."""
    parts = list(parts)
    if not parts:
        raise DatasetError("calibration", "no case", "at least one")
    return Calibration(
        voxels=np.sum([part.voxels for part in parts], axis=0),
        positives=np.sum([part.positives for part in parts], axis=0),
        probability_sum=np.sum([part.probability_sum for part in parts], axis=0),
        squared_error=math.fsum(part.squared_error for part in parts),
    )


def dice_by_threshold(
    probability: NDArray[Any], truth: BoolArray, *, thresholds: Sequence[float] | None = None
) -> DiceCurve:
    """Dice of `probability >= threshold` for every threshold, by default the 1,000 of `THRESHOLDS`; exact.

    Every voxel is put into its place among the thresholds once (a histogram), so the cost does not grow with
    their number. Raises DatasetError unless they ascend and lie above 0.
    """
    given = np.arange(1, THRESHOLDS + 1) / THRESHOLDS if thresholds is None else thresholds
    steps = np.asarray(given, dtype=np.float64)
    if not len(steps) or steps[0] <= 0 or not (np.diff(steps) > 0).all():
        raise DatasetError("Dice by threshold", f"thresholds {steps[:3]}", "ascending thresholds above 0")
    # Nearly all voxels lie below the first threshold; only the others are sorted in.
    called = probability >= steps[0]
    values = probability[called].astype(np.float64)
    place = _place(values, steps) if thresholds is None else np.searchsorted(steps, values, side="right")
    true = truth[called]
    n = len(steps) + 1
    predicted = np.bincount(place, minlength=n)[::-1].cumsum()[::-1][1:]
    hits = np.bincount(place[true], minlength=n)[::-1].cumsum()[::-1][1:]
    n_true = int(np.count_nonzero(truth))
    dice = 2.0 * hits / (predicted + n_true) if n_true else np.full(len(steps), math.nan)
    return DiceCurve(steps, dice)


def _place(values: Floats, steps: Floats) -> NDArray[np.int64]:
    """How many of the steps 1/n, 2/n ... 1 each value (at most 1) reaches: by division, then made exact."""
    n = len(steps)
    place = np.minimum((values * n).astype(np.int64), n)
    place -= values < steps[np.maximum(place - 1, 0)]
    place += (place < n) & (values >= steps[np.minimum(place, n - 1)])
    return place


def mean_curve(curves: Sequence[DiceCurve]) -> DiceCurve:
    """The mean Dice over cases at each threshold, cases with an empty truth left out.

    Raises DatasetError for no curve or curves of different thresholds.
    """
    if not curves or any(not np.array_equal(c.thresholds, curves[0].thresholds) for c in curves):
        raise DatasetError("Dice by threshold", f"{len(curves)} curves", "one or more of the same thresholds")
    known = [curve.dice for curve in curves if not np.isnan(curve.dice).all()]
    dice = np.mean(known, axis=0) if known else np.full(len(curves[0].thresholds), math.nan)
    return DiceCurve(curves[0].thresholds, dice)
