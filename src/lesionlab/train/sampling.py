"""Which cases a training draws its patches from, and where in a case a forced patch lies.

Numbers only; nnU-Net's loader, which cuts the patches, is driven in `nnunet.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import components
from lesionlab.core.errors import DatasetError
from lesionlab.core.learning import TrainingSettings

VOXELS_PER_LESION = 1000
"""A forced patch is centred on one of so many voxels of a lesion, evenly spread over it."""

Locations = dict[int, list[NDArray[np.int64]]]
"""By class, for each of its lesions, voxels (n, 4) in nnU-Net's order: channel, then array axes."""


def training_cases(
    names: Sequence[str], with_lesion: Mapping[str, bool], settings: TrainingSettings, subject: str
) -> list[str]:
    """The cases of a training set that patches are drawn from; those not in the plan (any more) are not.

    `lesion_free = "exclude"` leaves out those without a lesion. Raises DatasetError when none has one.
    """
    planned = [name for name in names if name in with_lesion]
    lesions = [name for name in planned if with_lesion[name]]
    if not lesions:
        raise DatasetError(subject, f"no lesion in its {len(planned)} training cases", "at least one")
    return lesions if settings.lesion_free == "exclude" else planned


def case_shares(
    names: Sequence[str], with_lesion: Mapping[str, bool], share: float | None, subject: str
) -> NDArray[np.float64] | None:
    """The share of patches drawn from each case so that lesion-free ones give `share` of them all.

    None where no share is wanted: every case equally often. Raises DatasetError, about `subject`, where a
    share is wanted and no case is lesion-free, or less than all and every case is.
    """
    free = np.array([not with_lesion[name] for name in names])
    if share is None or (share == 0 and not free.any()):
        return None
    if not free.any() or (free.all() and share < 1):
        raise DatasetError(
            subject,
            f"{int(free.sum())} of {len(free)} training cases lesion-free, for lesion_free_share = {share:g}",
            "cases of both kinds, or no training.lesion_free_share",
        )
    if free.all():
        return None
    shares: NDArray[np.float64] = np.where(free, share / free.sum(), (1 - share) / (~free).sum())
    return shares


def lesion_locations(
    labels: NDArray[Any], classes: Sequence[int], most: int = VOXELS_PER_LESION
) -> Locations:
    """Voxels of every lesion, the connected components (26 neighbours) of each class in labels (z, y, x).

    Of a lesion with more than `most` voxels, that many are kept at equal steps through it. A class without
    a voxel has no entry.
    """
    kept = np.where(np.isin(labels, classes), labels, 0).astype(np.uint8)
    numbers, boxes = components(kept)
    found: Locations = {}
    for number, box in enumerate(boxes, start=1):
        voxels = np.argwhere(numbers[box] == number) + [edge.start for edge in box]
        if len(voxels) > most:
            voxels = voxels[np.linspace(0, len(voxels) - 1, most).astype(int)]
        cls = int(kept[tuple(voxels[0])])
        found.setdefault(cls, []).append(np.pad(voxels, ((0, 0), (1, 0))))
    return found


class EvenLesions:
    """nnU-Net's data set, telling its loader lesions in place of classes as places for forced patches.

    The loader picks one entry of a case's `class_locations`, each equally often, then a voxel of it. Here,
    one class is picked first, then each of its lesions is an entry, found when the case is first drawn.
    """

    def __init__(self, data: Any, classes: Sequence[int]) -> None:
        self.data, self.classes = data, classes
        self.identifiers: list[str] = data.identifiers
        self.found: dict[str, Locations] = {}

    def load_case(self, identifier: str) -> tuple[Any, Any, Any, dict[str, Any]]:
        """What nnU-Net's own data set gives, with the locations changed."""
        image, labels, previous, properties = self.data.load_case(identifier)
        if identifier not in self.found:
            self.found[identifier] = lesion_locations(np.asarray(labels[:])[0], self.classes)
        lesions = self.found[identifier]
        if lesions:
            # nnU-Net's loader draws from numpy's global state too.
            cls = list(lesions)[np.random.randint(len(lesions))]  # noqa: NPY002
            # Keys that are tuples are nnU-Net's: all annotated voxels, where some are to be ignored.
            places = {k: v for k, v in properties["class_locations"].items() if isinstance(k, tuple)}
            properties = {**properties, "class_locations": {**places, **dict(enumerate(lesions[cls]))}}
        return image, labels, previous, properties
