"""Our sliding window beside nnU-Net's on a real scan, with a network that was trained for seconds."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lesionlab.core.inputs import network_input
from lesionlab.pipeline import open_standardised
from lesionlab.predict import predict
from lesionlab.predict.checkpoints import safe_load
from lesionlab.predict.space import Space

pytestmark = pytest.mark.real


@pytest.mark.slow
def test_the_mask_of_a_sarcoma_patient_is_that_of_the_stock_predictor(shared_data, tiny_bundle):
    recipe = tiny_bundle.recipe.changed(prediction={"mirror": False})
    case = open_standardised(shared_data / "sts" / "STS_014", recipe)
    ours = predict(case, replace(tiny_bundle, recipe=recipe), device="cpu")
    assert "in fp32" in ours.notes[0]

    state = safe_load(tiny_bundle.checkpoints[0])
    plans = PlansManager(str(tiny_bundle.folder / "plans.json"))
    configuration = plans.get_configuration("3d_fullres")
    predictor = nnUNetPredictor(0.5, True, False, False, torch.device("cpu"), allow_tqdm=False)
    predictor.network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        1,
        2,
        allow_init=False,
        deep_supervision=False,
    )
    predictor.list_of_parameters = [state["network_weights"]]
    predictor.configuration_manager = configuration
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=2)
    space = Space(plans, configuration, case.id, case.geometry.spacing)
    data = np.stack([volume.array for volume in network_input(case, recipe)])
    prepared = torch.from_numpy(space.enter(data))
    logits = predictor.predict_logits_from_preprocessed_data(prepared).float().numpy()
    stock, _ = space.leave([logits[1:] - logits[:1]])
    found = ours.mask.array
    assert found.any() and 2 * (found & stock).sum() / (found.sum() + stock.sum()) >= 0.999
