"""The networks of a bundle one after another: a cascade, or one that locates and one that refines.

What the second makes of the first one's result is in `cascade.py` and `crops.py`.
"""

from __future__ import annotations

from dataclasses import replace

from lesionlab.core.case import Case
from lesionlab.core.results import Prediction, Wanted
from lesionlab.core.tasks import Progress
from lesionlab.predict.bundle import Bundle
from lesionlab.predict.nnunet import predict_network

FIRST_SHARE = 0.3
"""Share of the progress bar that the first of two steps is given."""


def predict_steps(
    case: Case, bundle: Bundle, *, device: str, progress: Progress, probability: Wanted = False
) -> Prediction:
    """Segment a standardised case by every step of a bundle; the last one's prediction, with notes of all.

    Raises BundleError as `predict_network` does.
    """
    if bundle.earlier is None:
        return predict_network(case, bundle, device=device, progress=progress, probability=probability)
    locating = bundle.recipe.locate.spacing_mm is not None

    def first(message: str, share: float) -> None:
        progress(f"{message} (first step)", share * FIRST_SHARE)

    def second(message: str, share: float) -> None:
        progress(message, FIRST_SHARE + share * (1 - FIRST_SHARE))

    every: Wanted = "every" if locating else False
    found = predict_network(case, bundle.earlier, device=device, progress=first, probability=every)
    last = predict_network(
        case, bundle, device=device, progress=second, probability=probability, before=found
    )
    return replace(last, notes=(*(f"first step: {note}" for note in found.notes), *last.notes))
