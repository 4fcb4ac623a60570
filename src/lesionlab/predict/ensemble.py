"""The mean of several probabilities, decided once: of a bundle's members, or of one network at several sizes.

What belongs together in an ensemble is checked where it is opened (`bundle.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
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


def parts_of(bundle: Bundle) -> tuple[Bundle, ...]:
    """What a bundle's probability is the mean of: members, or itself at several sizes; nothing if neither."""
    size, scales = bundle.recipe.standardise.size, bundle.recipe.prediction.scales
    if bundle.members or size is None or scales == (1.0,):
        return bundle.members
    sizes = [[max(1, round(edge * scale)) for edge in size] for scale in scales]
    alone = {"scales": [1.0], "threshold": 0.5}
    recipes = [bundle.recipe.changed(standardise={"size": one}, prediction=alone) for one in sizes]
    return tuple(replace(bundle, recipe=recipe) for recipe in recipes)


def predict_parts(
    case: Case, bundle: Bundle, *, device: str, progress: Progress, probability: Wanted = False
) -> Prediction:
    """Segment a standardised case by every part of a bundle (`parts_of`), on the reference grid.

    A bundle without parts is asked itself.

    One label is decided by the bundle's own `prediction.threshold`; of several and background, the
    likeliest is taken. Needs memory for the probabilities of one more member. Raises BundleError as
    `predict_network` does.
    """
    parts = parts_of(bundle)
    if not parts:
        return predict_steps(case, bundle, device=device, progress=progress, probability=probability)
    count, notes = len(parts), list[Sequence[str]]()
    mean = np.zeros((len(bundle.recipe.predicted_labels), *case.geometry.shape), np.float32)
    for number, part in enumerate(parts):

        def told(message: str, share: float, number: int = number) -> None:
            progress(f"{message} ({number + 1} of {count})", (number + share) / count)

        found = predict_parts(case, part, device=device, progress=told, probability="every")
        if found.probability is None:
            raise BundleError(part.folder or bundle.name, "no probabilities", "networks in an ensemble")
        for total, chance in zip(mean, (found.probability, *found.others), strict=True):
            total += chance.array / np.float32(count)
        notes.append(found.notes)
    reference = case.channels[case.reference]
    wanted = len(mean) if probability == "every" else int(probability)
    volumes = [reference.with_array(one, ONE) for one in mean[:wanted]]
    return Prediction(
        mask=reference.with_array(likeliest(mean, bundle.recipe.prediction), ONE),
        probability=volumes[0] if volumes else None,
        notes=(_words(bundle, parts), *_told("bundle" if bundle.members else "size", notes)),
        others=tuple(volumes[1:]),
    )


def _told(kind: str, notes: Sequence[Sequence[str]]) -> list[str]:
    """The notes of all parts, each once: `each size: NOTE` where all have it, else `size 2: NOTE`."""
    told = []
    for note in dict.fromkeys(note for one in notes for note in one):
        numbers = [str(number) for number, one in enumerate(notes, start=1) if note in one]
        which = f"each {kind}" if len(numbers) == len(notes) else f"{kind} {', '.join(numbers)}"
        told.append(f"{which}: {note}")
    return told


def _words(bundle: Bundle, parts: Sequence[Bundle]) -> str:
    if bundle.members:
        return f"mean probability of {len(parts)} bundles"
    sizes = (" x ".join(map(str, part.recipe.standardise.size or ())) for part in parts)
    return f"mean probability at {', '.join(sizes)} pixels"


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
