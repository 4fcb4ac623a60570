"""The mean of several bundles' probabilities, decided once.

What belongs together in an ensemble is checked where it is opened (`bundle.py`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.learning import PredictionSettings
from lesionlab.core.results import Prediction, Wanted
from lesionlab.core.tasks import Progress
from lesionlab.core.units import ONE
from lesionlab.predict.bundle import Bundle
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from lesionlab.predict.steps import predict_steps


def predict_members(
    case: Case, bundle: Bundle, *, device: str, progress: Progress, probability: Wanted = False
) -> Prediction:
    """Segment a standardised case by every member of an ensemble, on the reference grid.

    One label is decided by the ensemble's own `prediction.threshold`; of several and background, the
    likeliest is taken. Needs memory for the probabilities of one more member. Raises BundleError as
    `predict_network` does.
    """
    count, notes = len(bundle.members), [f"mean probability of {len(bundle.members)} bundles"]
    mean = np.zeros((len(bundle.recipe.labels), *case.geometry.shape), np.float32)
    for number, member in enumerate(bundle.members):

        def told(message: str, share: float, number: int = number) -> None:
            progress(f"{message} ({number + 1} of {count})", (number + share) / count)

        found = predict_steps(case, member, device=device, progress=told, probability="every")
        if found.probability is None:
            raise BundleError(member.folder or bundle.name, "no probabilities", "networks in an ensemble")
        for total, chance in zip(mean, (found.probability, *found.others), strict=True):
            total += chance.array / np.float32(count)
        notes += [f"bundle {number + 1}: {note}" for note in found.notes]
    reference = case.channels[case.reference]
    wanted = len(mean) if probability == "every" else int(probability)
    volumes = [reference.with_array(one, ONE) for one in mean[:wanted]]
    return Prediction(
        mask=reference.with_array(likeliest(mean, bundle.recipe.prediction), ONE),
        probability=volumes[0] if volumes else None,
        notes=tuple(notes),
        others=tuple(volumes[1:]),
    )


def likeliest(chances: NDArray[np.floating[Any]], settings: PredictionSettings) -> NDArray[np.uint8]:
    """Labels (z, y, x) of probabilities (label, z, y, x): one is cut, of several the largest wins.

    Background has what is left of 1, and wins where it is level.
    """
    if len(chances) == 1 and settings.threshold == "expected_dice":
        drawn = largest_expected_dice(levels(chances[0]))
    elif len(chances) == 1:
        drawn = np.asarray(chances[0] > settings.cut)
    else:
        drawn = np.asarray(chances.max(axis=0) > 1 - chances.sum(axis=0))
    labels: NDArray[np.uint8] = np.where(drawn, chances.argmax(axis=0) + 1, 0).astype(np.uint8)
    return labels
