"""Quality of one mask when no truth is known: flags that say where to look, and why.

Works on masks and on what the training set looked like; making the masks of several folds or flips belongs
to `predict/`. A flag is a reason to look at a case, never a measurement of its Dice: how far flags follow the
true Dice has to be shown on cross-validated data (`spearman` in `correlation.py`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lesionlab.core.components import Box, foreground_box, labels_of
from lesionlab.core.errors import DatasetError
from lesionlab.core.grid import require_same_grid
from lesionlab.core.volume import Volume

FEWEST: Final = 5
"""Training cases with a lesion below which none of their quantities has outliers."""
PLANE: Final = 1_000_000
"""Voxels compared at a time."""
SIDES: Final = ("right to left", "front to back", "foot to head")
"""The axes of LPS in words."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on a flag is raised.

    `outlier` is a modified z-score; 3.5 is the limit of Iglewicz and Hoaglin (How to Detect and Handle
    Outliers, ASQC 1993). The others are ours.
    """

    disagreement: float = 0.2
    doubt: float = 0.2
    outlier: float = 3.5
    border: float = 0.0
    empty: float = 0.5


STANDARD: Final = Limits()


@dataclass(frozen=True, slots=True)
class Flag:
    """One reason to look: raised where `value` is above `threshold`; `value` is NaN where it is not known."""

    name: str
    value: float
    threshold: float
    raised: bool
    sentence: str

    @property
    def strain(self) -> float:
        """The value over its threshold; 1 or 0 (raised or not) where the threshold is 0; NaN if not known."""
        if math.isnan(self.value):
            return math.nan
        return self.value / self.threshold if self.threshold else float(self.raised)


@dataclass(frozen=True, slots=True)
class Quality:
    """All flags of one case."""

    flags: tuple[Flag, ...]

    @property
    def score(self) -> float:
        """The largest strain of a flag: 1 or more as soon as one is raised; NaN where none is known."""
        known = [flag.strain for flag in self.flags if not math.isnan(flag.value)]
        return max(known) if known else math.nan

    @property
    def raised(self) -> tuple[str, ...]:
        """Names of the flags that are raised."""
        return tuple(flag.name for flag in self.flags if flag.raised)

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return {"score": self.score, "raised": self.raised, "flags": [asdict(flag) for flag in self.flags]}


@dataclass(frozen=True, slots=True)
class TrainingLesions:
    """What the truths of a training set looked like.

    Per case with a lesion: its total volume in ml, and where its centroid lies in the image, as shares (0 to
    1) of the image's extent along L, P and S. `empty` counts the cases without any lesion.
    """

    volumes_ml: tuple[float, ...]
    positions: tuple[tuple[float, float, float], ...]
    empty: int = 0

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> TrainingLesions:
        """Back from `record`; DatasetError for anything else."""
        try:
            volumes = tuple(float(value) for value in record["volumes_ml"])
            places = tuple((float(x), float(y), float(z)) for x, y, z in record["positions"])
            empty = int(record["empty"])
        except (KeyError, TypeError, ValueError):
            raise DatasetError(
                "training lesions", "no such record", "volumes_ml, positions and empty"
            ) from None
        return cls(volumes, places, empty)


def training_lesions(truths: Iterable[Volume]) -> TrainingLesions:
    """What `outlier` flags compare with, from the truths of a training set; they are looked at one by one."""
    volumes, places, empty = [], [], 0
    for truth in truths:
        place = position(truth)
        if place is None:
            empty += 1
        else:
            volumes.append(float(np.count_nonzero(truth.array)) * truth.geometry.voxel_ml)
            places.append(place)
    return TrainingLesions(tuple(volumes), tuple(places), empty)


def quality(
    mask: Volume,
    *,
    members: Sequence[Volume] = (),
    probability: Volume | None = None,
    training: TrainingLesions | None = None,
    limits: Limits = STANDARD,
) -> Quality:
    """Flags of one mask: disagreement, doubt, volume, position, border and empty, in that order.

    `members` are the masks (or probabilities) of single folds or flips, at least two; `probability` is that
    of the mask itself; `training` describes the training truths. What is not given, or cannot be said of
    an empty mask, makes a flag that is not known and not raised, with a sentence that says so. Raises
    GeometryError where grids differ and DatasetError for a mask that is not integer.
    """
    for other in (*members, *([] if probability is None else [probability])):
        require_same_grid("quality: mask against fold, flip or probability", mask, other)
    inside = labels_of("quality", mask) != 0
    box = foreground_box(inside)
    flags = (
        _disagreement([member.array for member in members], limits),
        _doubt(inside, None if probability is None else probability.array, limits),
        _volume(float(np.count_nonzero(inside)) * mask.geometry.voxel_ml, training, limits),
        _position(position(mask), training, limits),
        _border(inside, box, limits),
        _empty(box is None, training, limits),
    )
    return Quality(flags)


def disagreement(members: Sequence[NDArray[Any]]) -> float:
    """1 - mean Dice over all pairs of masks of one shape; probabilities count from 0.5 on.

    Two empty masks agree (Dice 1), an empty and another one do not (0). Raises DatasetError below two masks.
    """
    if len(members) < 2:
        raise DatasetError("disagreement", f"{len(members)} masks", "at least two")
    both = np.zeros((len(members), len(members)))
    depth = max(1, PLANE // max(1, members[0][0].size))
    for start in range(0, len(members[0]), depth):
        part = np.stack([_inside(member[start : start + depth]).ravel() for member in members])
        part = part[:, part.any(axis=0)].astype(np.float32)
        both += part @ part.T
    sizes = np.diag(both)
    pairs = list(itertools.combinations(range(len(members)), 2))
    dice = [2.0 * both[a, b] / total if (total := sizes[a] + sizes[b]) else 1.0 for a, b in pairs]
    return 1.0 - float(np.mean(dice))


def position(mask: Volume) -> tuple[float, float, float] | None:
    """Where the centroid of all labels lies in the image: shares of its extent along L, P, S; None if empty.

    The extent runs from the outermost voxels' outer faces, so that 0.5 is the image's centre.
    """
    box = foreground_box(mask.array)
    if box is None:
        return None
    geometry = mask.geometry
    inside = np.argwhere(mask.array[box]).mean(axis=0) + [side.start for side in box]
    ends = [(-0.5, n - 0.5) for n in geometry.shape]
    corners = geometry.to_world(np.array(list(itertools.product(*ends))))
    low, high = corners.min(axis=0), corners.max(axis=0)
    x, y, z = (geometry.to_world(inside) - low) / (high - low)
    return float(x), float(y), float(z)


def modified_z(value: float, sample: ArrayLike) -> float:
    """How far a value is from a sample's median in robust standard deviations (Iglewicz and Hoaglin 1993).

    0.6745 (value - median) / MAD; where the MAD is 0, the mean absolute deviation x 1.2533 stands in; NaN
    where that is 0 too.
    """
    values = np.asarray(sample, dtype=np.float64)
    middle = float(np.median(values))
    away = np.abs(values - middle)
    spread = float(np.median(away)) / 0.6745 or float(away.mean()) * 1.2533
    return (value - middle) / spread if spread else math.nan


def _inside(member: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(member >= 0.5 if np.issubdtype(member.dtype, np.floating) else member != 0)


def _flag(name: str, value: float, threshold: float, sentence: str) -> Flag:
    return Flag(name, value, threshold, value > threshold, sentence)


def _disagreement(members: Sequence[NDArray[Any]], limits: Limits) -> Flag:
    if len(members) < 2:
        return _flag("disagreement", math.nan, limits.disagreement, "not known: needs two masks or more")
    value = disagreement(members)
    said = f"{len(members)} masks of folds or flips agree with a mean pairwise Dice of {1.0 - value:.2f}"
    return _flag("disagreement", value, limits.disagreement, said)


def _doubt(inside: NDArray[np.bool_], probability: NDArray[Any] | None, limits: Limits) -> Flag:
    """1 - the Dice that is to be expected if the probabilities are right."""
    name, limit = "doubt", limits.doubt
    if probability is None or not inside.any():
        why = "needs a probability map" if probability is None else "the mask is empty"
        return _flag(name, math.nan, limit, f"not known: {why}")
    shared = float(probability[inside].sum(dtype=np.float64))
    expected = 2.0 * shared / (float(probability.sum(dtype=np.float64)) + float(np.count_nonzero(inside)))
    return _flag(
        name, 1.0 - expected, limit, f"by its own probabilities the mask has a Dice of {expected:.2f}"
    )


def _comparable(training: TrainingLesions | None, empty: bool) -> str:
    """Why a quantity cannot be compared with the training set's; empty where it can."""
    if empty:
        return "the mask is empty"
    if training is None:
        return "nothing known of the training set"
    few = len(training.volumes_ml)
    return f"only {few} training cases with a lesion" if few < FEWEST else ""


def _volume(volume_ml: float, training: TrainingLesions | None, limits: Limits) -> Flag:
    """Outlier in the logarithm of the total volume."""
    why = _comparable(training, volume_ml == 0.0)
    if training is None or why:
        return _flag("volume", math.nan, limits.outlier, f"not known: {why}")
    value = abs(modified_z(math.log(volume_ml), np.log(training.volumes_ml)))
    middle = float(np.median(training.volumes_ml))
    said = f"{volume_ml:.4g} ml, where the training set's median is {middle:.4g} ml"
    return _flag("volume", value, limits.outlier, said)


def _position(
    place: tuple[float, float, float] | None, training: TrainingLesions | None, limits: Limits
) -> Flag:
    """Outlier in the centroid's place in the image, by the axis on which it is farthest out."""
    why = _comparable(training, place is None)
    if training is None or place is None or why:
        return _flag("position", math.nan, limits.outlier, f"not known: {why}")
    columns = list(zip(*training.positions, strict=True))
    away = [abs(modified_z(at, column)) for at, column in zip(place, columns, strict=True)]
    if all(math.isnan(one) for one in away):
        return _flag("position", math.nan, limits.outlier, "not known: all training lesions lie in one place")
    axis = int(np.nanargmax(away))
    middle = float(np.median(columns[axis]))
    said = (
        f"the centroid is {place[axis]:.0%} of the way {SIDES[axis]} through the image, "
        f"the training set's median {middle:.0%}"
    )
    return _flag("position", away[axis], limits.outlier, said)


def _border(inside: NDArray[np.bool_], box: Box | None, limits: Limits) -> Flag:
    """The share of the mask's voxels in the image's outermost layer (axes of one voxel have none)."""
    if box is None:
        return _flag("border", math.nan, limits.border, "not known: the mask is empty")
    core = tuple(slice(1, -1) if n > 1 else slice(None) for n in inside.shape)
    total = int(np.count_nonzero(inside))
    outer = total - int(np.count_nonzero(inside[core]))
    said = f"{outer} of {total} voxels of the mask lie on the image's border"
    return _flag("border", outer / total, limits.border, said)


def _empty(empty: bool, training: TrainingLesions | None, limits: Limits) -> Flag:
    """For an empty mask the share of training cases with a lesion (1 where they are not known); else 0."""
    if not empty:
        return _flag("empty", 0.0, limits.empty, "something was found")
    if training is None or not training.empty + len(training.volumes_ml):
        return _flag("empty", 1.0, limits.empty, "nothing was found")
    having, cases = len(training.volumes_ml), training.empty + len(training.volumes_ml)
    said = f"nothing was found; {having} of {cases} training cases had a lesion"
    return _flag("empty", having / cases, limits.empty, said)
