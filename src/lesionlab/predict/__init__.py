"""From a case to a mask and, where there is one, a probability."""

from __future__ import annotations

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.results import Prediction, Wanted
from lesionlab.core.tasks import Progress, silent
from lesionlab.predict.bundle import Bundle, load_bundle, write_bundle

__all__ = ["Bundle", "load_bundle", "predict", "write_bundle"]


def predict(
    case: Case,
    bundle: Bundle,
    *,
    device: str = "auto",
    probability: Wanted = False,
    progress: Progress = silent,
) -> Prediction:
    """Segment a standardised case on its reference grid.

    `device` is auto, cpu, cuda or mps; weight-free recipes ignore it, and have no `probability`, which a
    network's prediction holds only where it is asked for: that of the first label, or of "every" label. An
    empty mask is a valid result. Raises
    BundleError when the case lacks a channel that the bundle needs, or when the recipe only measures.
    """
    if bundle.recipe.method == "none":
        raise BundleError(
            bundle.name, "a recipe that only measures (method 'none')", "a mask: lesionlab measure IMAGE MASK"
        )
    if bundle.recipe.method == "threshold":
        from lesionlab.predict.threshold import threshold_mask

        return threshold_mask(case, bundle.recipe)
    from lesionlab.predict.ensemble import predict_parts

    return predict_parts(case, bundle, device=device, progress=progress, probability=probability)
