"""Running an nnU-Net v2 model folder in this process, with nnU-Net's own preprocessing and sliding window.

Checkpoints are read without executing pickled code; the trainer class they name is never looked up, because
the plans tell the architecture.
"""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from nnunetv2.inference.export_prediction import (
    convert_predicted_logits_to_segmentation_with_correct_shape,
)
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lesionlab.core.case import Case
from lesionlab.core.errors import BundleError
from lesionlab.core.inputs import network_input
from lesionlab.core.recipe import PredictionSettings
from lesionlab.core.results import Prediction
from lesionlab.core.tasks import Progress
from lesionlab.core.units import ONE
from lesionlab.networks.device import autocast_dtype, pick_device
from lesionlab.predict.bundle import Bundle

NUMPY_SCALARS: list[Any] = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),  # type: ignore[attr-defined]
    np._core.multiarray.scalar,  # type: ignore[attr-defined]
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
]
"""Stock checkpoints keep their curves as numpy scalars; these harmless types are all that is allowed."""


@dataclass(frozen=True)
class Model:
    """A network with the weights of each fold, and nnU-Net's plan for it."""

    predictor: nnUNetPredictor
    preprocessor: Any
    dtype: torch.dtype | None


def predict_network(case: Case, bundle: Bundle, *, device: str, progress: Progress) -> Prediction:
    """Segment a standardised case with every fold of a bundle, averaged.

    The mask has the recipe's labels and the probability is that of the first label, both on the reference
    grid. The last used model stays loaded. Raises BundleError when the case does not fit.
    """
    progress(f"{case.id}: loading the network", 0.0)
    if bundle.folder is None:
        raise BundleError(bundle.name, "no model folder", "a bundle with weights")
    inputs = network_input(case, bundle.recipe)
    with _quiet():
        model = _load(bundle.folder, bundle.checkpoints, bundle.sha256, bundle.recipe.prediction, device)
        progress(f"{case.id}: network", 0.1)
        mask, probability = _run(model, np.stack([v.array for v in inputs]), case)
    progress(f"{case.id}: network", 1.0)
    return Prediction(
        mask=case.channels[case.reference].with_array(mask, ONE),
        probability=case.channels[case.reference].with_array(probability, ONE),
        notes=(f"predicted on {model.predictor.device} with {len(bundle.checkpoints)} fold(s)",),
    )


def _run(model: Model, data: np.ndarray[Any, Any], case: Case) -> tuple[Any, Any]:
    predictor = model.predictor
    plans, configuration = predictor.plans_manager, predictor.configuration_manager
    properties = {"spacing": list(case.geometry.spacing)}
    prepared, _, properties = model.preprocessor.run_case_npy(
        data, None, properties, plans, configuration, predictor.dataset_json
    )
    context = (
        contextlib.nullcontext()
        if model.dtype is None
        else torch.autocast(predictor.device.type, dtype=model.dtype)
    )
    with context:
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(prepared)).float()
    if not bool(torch.isfinite(logits).all()):
        raise BundleError(case.id, "network output that is not finite", "finite logits; check the input")
    mask, probabilities = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits,
        plans,
        configuration,
        predictor.label_manager,
        properties,
        return_probabilities=True,
        num_threads_torch=torch.get_num_threads(),
    )
    return mask.astype(np.uint8), probabilities[1].astype(np.float32)


@lru_cache(maxsize=1)
def _load(
    folder: Path, checkpoints: tuple[Path, ...], sha256: str, settings: PredictionSettings, device_name: str
) -> Model:
    """The model of a bundle; its hash is part of the key, so that new weights in old files are read again."""
    device = pick_device(device_name)
    states = [safe_load(file) for file in checkpoints]
    plans = PlansManager(str(folder / "plans.json"))
    dataset = json.loads((folder / "dataset.json").read_text())
    configuration = plans.get_configuration(states[0]["init_args"]["configuration"])
    labels = plans.get_label_manager(dataset)
    if labels.has_regions or configuration.previous_stage_name is not None:
        raise BundleError(folder, "regions or a cascade", "one-stage models with plain labels (not yet)")
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        determine_num_input_channels(plans, configuration, dataset),
        labels.num_segmentation_heads,
        allow_init=False,
        deep_supervision=False,
    )
    weights = [state["network_weights"] for state in states]
    try:
        network.load_state_dict(weights[0])
    except RuntimeError as error:
        raise BundleError(
            folder, f"weights that do not fit: {str(error)[:200]}", "plans.json's network"
        ) from None
    predictor = nnUNetPredictor(
        tile_step_size=settings.step,
        use_mirroring=settings.mirror,
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        network,
        plans,
        configuration,
        weights,
        dataset,
        "nnUNetTrainer",
        states[0].get("inference_allowed_mirroring_axes"),
    )
    preprocessor = configuration.preprocessor_class(verbose=False)
    return Model(predictor, preprocessor, autocast_dtype(settings.precision, device))


def safe_load(file: Path) -> dict[str, Any]:
    """A checkpoint's tensors and plain values; BundleError when it is damaged or would execute code."""
    try:
        with torch.serialization.safe_globals(NUMPY_SCALARS):
            state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise BundleError(
            file, f"{type(error).__name__}", "a checkpoint of tensors and plain values"
        ) from error
    if not isinstance(state, dict) or "network_weights" not in state or "init_args" not in state:
        raise BundleError(file, "no network_weights", "an nnU-Net v2 checkpoint")
    return state


@contextlib.contextmanager
def _quiet() -> Any:
    """nnU-Net prints while it predicts and warns of its own libraries; neither is for our user."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
