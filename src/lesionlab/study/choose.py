"""Post-processing chosen on held-out predictions: threshold, holes, largest component, smallest volume.

Each step is tried in that order and taken where it raises the mean score; the score of a case is its Dice,
and for a case without lesion 1 where nothing is found and 0 otherwise. Which cases a choice may see is
decided in `scores.py`: never those of the test fold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box, regions_of
from lesionlab.core.recipe import RefineSettings
from lesionlab.core.settings import Threshold
from lesionlab.predict.expected_dice import LEVELS, largest_expected_dice
from lesionlab.refine import cleaned
from lesionlab.study.settings import PostProcessing

OWN = 0.5
"""The threshold that stands for the network's own decision."""


@dataclass(frozen=True)
class Choice:
    """A mask is the voxels of at least `threshold` (0.5: as the network decides), cleaned by `refine`.

    "expected_dice" draws the mask with the largest expected Dice instead.
    """

    refine: RefineSettings
    threshold: Threshold = OWN

    @property
    def words(self) -> str:
        """In a few words, for a table."""
        parts = [_threshold_words(self.threshold)] if self.threshold != OWN else []
        parts += ["holes filled"] if self.refine.fill_holes else []
        parts += ["largest component"] if self.refine.keep == "largest" else []
        parts += [f"at least {self.refine.minimum_ml:.3g} ml"] if self.refine.minimum_ml else []
        return ", ".join(parts) or "none"


@dataclass(frozen=True)
class HeldOut:
    """A held-out case, cut to the box that holds all that any choice could draw, and the truth.

    `counted` is False where voxels are not scored; None where all are.
    """

    mask: NDArray[np.uint8]
    probability: NDArray[np.uint8] | None
    truth: NDArray[Any]
    voxel_ml: float
    counted: NDArray[np.bool_] | None = None

    def lesions_ml(self) -> list[float]:
        """Volumes of the true lesions."""
        sizes = np.bincount(regions_of(self.truth).ravel())[1:]
        return [float(size * self.voxel_ml) for size in sizes]


def cut(
    mask: NDArray[np.uint8],
    probability: NDArray[np.uint8] | None,
    truth: NDArray[Any],
    voxel_ml: float,
    lowest: float,
    counted: NDArray[np.bool_] | None = None,
) -> HeldOut:
    """A case cut to its mask, truth and every voxel of a probability of at least `lowest`."""
    truth = truth if counted is None else np.where(counted, truth, 0)
    wide = (mask > 0) | (truth > 0)
    if probability is not None:
        wide |= probability >= lowest * LEVELS
    box = foreground_box(wide, margin=1) or (slice(0, 1),) * 3
    kept = None if probability is None else probability[box].copy()
    scored = None if counted is None else counted[box].copy()
    return HeldOut(mask[box].copy(), kept, truth[box].copy(), voxel_ml, scored)


def drawn(mask: Any, probability: Any, choice: Choice, voxel_ml: float) -> Any:
    """The labels that a choice makes of a prediction; without probabilities the mask is what it is."""
    if choice.threshold != OWN and probability is not None:
        mask = _decided(probability, choice.threshold).astype(np.uint8)
    return cleaned(mask, choice.refine, voxel_ml)[0]


def case_score(case: HeldOut, choice: Choice) -> float:
    """Dice of the foreground; without lesion 1 where nothing is drawn and 0 otherwise.

    With several labels, the mean over those that are in the truth or drawn.
    """
    labels = drawn(case.mask, case.probability, choice, case.voxel_ml)
    labels = labels if case.counted is None else np.where(case.counted, labels, 0)
    present = sorted(set(np.unique(labels).tolist()) | set(np.unique(case.truth).tolist()) - {0})
    dice = []
    for label in (number for number in present if number):
        ours, true = labels == label, case.truth == label
        dice.append(2 * np.count_nonzero(ours & true) / (np.count_nonzero(ours) + np.count_nonzero(true)))
    return float(np.mean(dice)) if dice else 1.0


class Chooser:
    """Chooses on sets of cases that overlap (the other folds of each fold), scoring no case twice alike."""

    def __init__(self, load: Callable[[str], HeldOut], settings: PostProcessing, labels: int = 1) -> None:
        self.load, self.settings, self.labels = load, settings, labels
        self.known: dict[tuple[str, Choice], float] = {}

    def mean(self, names: Sequence[str], choice: Choice) -> float:
        """Mean score of the cases under a choice."""
        for name in names:
            if (name, choice) not in self.known:
                self.known[name, choice] = case_score(self.load(name), choice)
        return float(np.mean([self.known[name, choice] for name in names]))

    def choose(self, names: Sequence[str], start: RefineSettings) -> tuple[Choice, float, float]:
        """The choice for patients who are not among these cases, its mean score on them and that of `start`.

        No case leaves `start` as it is, with NaN scores.
        """
        best = Choice(start)
        if not names:
            return best, float("nan"), float("nan")
        first = score = self.mean(names, best)
        for step in self._steps(names):
            tried = [(self.mean(names, changed), changed) for changed in step(best)]
            top = max(tried, key=lambda pair: pair[0], default=(score, best))
            if top[0] > score + self.settings.improvement:
                score, best = top
        return best, score, first

    def _steps(self, names: Sequence[str]) -> Iterator[Callable[[Choice], list[Choice]]]:
        settings = self.settings
        if self.labels == 1 and self.load(names[0]).probability is not None:
            yield lambda now: [replace(now, threshold=t) for t in settings.thresholds if t != now.threshold]
        if settings.fill_holes:
            yield lambda now: [_refined(now, fill_holes=not now.refine.fill_holes)]
        if settings.largest:
            other = {"all": "largest", "largest": "all"}
            yield lambda now: [_refined(now, keep=other[now.refine.keep])]
        volumes = (
            [ml for name in names for ml in self.load(name).lesions_ml()] if settings.minimum_shares else []
        )
        if volumes:
            # Two digits, so that folds whose medians hardly differ share their scores.
            sizes = {float(f"{share * np.median(volumes):.2g}") for share in settings.minimum_shares}
            yield lambda now: [_refined(now, minimum_ml=ml) for ml in sorted(sizes)]


def _threshold_words(threshold: Threshold) -> str:
    return "largest expected Dice" if threshold == "expected_dice" else f"threshold {threshold:g}"


def _decided(probability: NDArray[np.uint8], threshold: Threshold) -> NDArray[np.bool_]:
    if threshold == "expected_dice":
        return largest_expected_dice(probability)
    return np.asarray(probability >= threshold * LEVELS)


def lowest(thresholds: Sequence[Threshold]) -> float:
    """The smallest probability that decides anything under these thresholds or the network's own."""
    return min([OWN, *(1 / LEVELS if one == "expected_dice" else one for one in thresholds)])


def _refined(choice: Choice, **changes: Any) -> Choice:
    return replace(choice, refine=choice.refine.model_copy(update=changes))
