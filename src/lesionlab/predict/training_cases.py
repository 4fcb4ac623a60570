"""What a first network finds in cases of its own training set, left for the training of the second.

Every case is predicted by the fold that has not seen it, from what was preprocessed for the first network,
straight into the second one's space, as nnU-Net does for its cascade. Which fold that is, is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import regions_of
from lesionlab.core.errors import BundleError
from lesionlab.core.learning import LocateSettings
from lesionlab.networks.nnunet import FastConfiguration, load_prepared, save_labels
from lesionlab.predict.bundle import Bundle
from lesionlab.predict.decide import rule_of
from lesionlab.predict.engine import slide
from lesionlab.predict.nnunet import load_model


@dataclass(frozen=True)
class Between:
    """Where preprocessed cases lie for the first network and for the second, and where its masks go.

    `locate` are the settings of a recipe that locates: masks are then those of what was found wrongly.
    """

    first: Path
    second: Path
    masks: Path
    locate: LocateSettings


def predict_training_case(name: str, bundle: Bundle, places: Between, *, device: str) -> Path:
    """Predict one case by a bundle of the first network and write the mask; returns its file.

    For a cascade the mask holds the labels found. Where the recipe locates, it is 1 in the candidates that
    touch no truth. Raises BundleError for a bundle without weights or a case that was not preprocessed.
    """
    if bundle.folder is None:
        raise BundleError(bundle.name, "no model folder", "a bundle with weights")
    try:
        data, _ = load_prepared(places.first, name)
        _, truth = load_prepared(places.second, name)
    except FileNotFoundError as error:
        raise BundleError(name, f"no preprocessed case ({error})", "a case of the plan") from None
    model = load_model(bundle, device)
    slabs = slide(data, model.backends, model.window, subject=name)
    logits = np.concatenate([slab.logits for slab in slabs], axis=1)
    configuration = FastConfiguration(model.configuration.configuration)
    # both spacings are the first network's, as in nnU-Net: they only tell whether slices are thick
    spacing, resample = configuration.spacing, configuration.resampling_fn_probabilities
    logits = np.asarray(resample(logits, truth.shape, spacing, spacing), np.float32)
    rule = model.rule or rule_of(len(logits))
    mask = rule.labels(logits)
    if places.locate.spacing_mm is not None:
        likely = (mask > 0) | (rule.probability(logits).max(axis=0) >= places.locate.minimum_probability)
        mask = found_wrongly(likely, truth > 0)
    save_labels(mask, places.masks / name, model.window.patch)
    return places.masks / f"{name}.b2nd"


def found_wrongly(likely: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """1 in the connected candidates (26 neighbours) that share no voxel with the truth, 0 elsewhere."""
    numbers = regions_of(likely)
    right = np.zeros(int(numbers.max(initial=0)) + 1, bool)
    right[np.unique(numbers[truth])] = True
    right[0] = True
    wrong: NDArray[np.uint8] = (~right[numbers]).astype(np.uint8)
    return wrong
