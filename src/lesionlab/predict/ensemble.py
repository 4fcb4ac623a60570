"""The mean of several bundles' probabilities, decided once.

What belongs together in an ensemble is checked where it is opened (`bundle.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.results import Prediction
from lesionlab.core.tasks import Progress
from lesionlab.core.units import ONE
from lesionlab.predict.bundle import Bundle
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from lesionlab.predict.steps import predict_steps


def predict_members(
    case: Case, bundle: Bundle, *, device: str, progress: Progress, probability: bool = False
) -> Prediction:
    """Segment a standardised case by every member of an ensemble, on the reference grid.

    The mask is decided by the ensemble's own `prediction.threshold`. Needs memory for one more probability
    map than a single member. Raises BundleError as `predict_network` does.
    """
    count, notes = len(bundle.members), [f"mean probability of {len(bundle.members)} bundles"]
    total: NDArray[np.float32] | None = None
    for number, member in enumerate(bundle.members):

        def told(message: str, share: float, number: int = number) -> None:
            progress(f"{message} ({number + 1} of {count})", (number + share) / count)

        found = predict_steps(case, member, device=device, progress=told, probability=True)
        if found.probability is None:
            raise BundleError(member.folder, "a model without probabilities", "networks in an ensemble")
        chance = found.probability.array.astype(np.float32) / np.float32(count)
        total = chance if total is None else total + chance
        notes += [f"bundle {number + 1}: {note}" for note in found.notes]
    if total is None:
        raise BundleError(bundle.name, "no members", "two or more")
    reference = case.channels[case.reference]
    settings = bundle.recipe.prediction
    own = settings.threshold == "expected_dice"
    mask = largest_expected_dice(levels(total)) if own else total >= settings.cut
    return Prediction(
        mask=reference.with_array(mask.astype(np.uint8), ONE),
        probability=reference.with_array(total, ONE) if probability else None,
        notes=tuple(notes),
    )
