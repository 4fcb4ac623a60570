"""Preprocessing of a real scan for training: our resampling and nnU-Net's give the same arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

from lesionlab.networks.nnunet import FastConfiguration
from lesionlab.read import load_mask, load_volume

pytestmark = pytest.mark.real

KEYWORDS = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
DATASET = {"labels": {"background": 0, "tumour": 1}}
PLANS: dict[str, Any] = {
    "transpose_forward": [0, 1, 2],
    "foreground_intensity_properties_per_channel": {"0": {}},
    "label_manager": "LabelManager",
}


def settings(spacing: tuple[float, ...]) -> dict[str, Any]:
    default = "resample_data_or_seg_to_shape"
    return {
        "architecture": {},
        "spacing": list(spacing),
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": default,
        "resampling_fn_seg": default,
        "resampling_fn_data_kwargs": KEYWORDS,
        "resampling_fn_seg_kwargs": KEYWORDS | {"is_seg": True, "order": 1},
    }


@pytest.mark.parametrize("spacing", [(4.0, 4.0, 4.0), (2.5, 3.0, 3.0), (12.0, 3.0, 3.0)])
def test_a_sarcoma_scan_is_preprocessed_as_nnunet_does(shared_data: Path, spacing: tuple[float, ...]) -> None:
    folder = shared_data / "sts" / "STS_010"
    pet = load_volume(folder / "pet.nii.gz")
    mask = load_mask(folder / "pet_mask.nii.gz", pet.geometry)
    (stock, stock_labels, stock_facts), (ours, labels, facts) = [
        DefaultPreprocessor(verbose=False).run_case_npy(
            pet.array[None].copy(),
            np.asarray(mask.array, np.int8)[None].copy(),
            {"spacing": list(pet.geometry.spacing)},
            PlansManager(PLANS),
            kind(settings(spacing)),
            DATASET,
        )
        for kind in (ConfigurationManager, FastConfiguration)
    ]
    assert np.abs(ours - stock).max() <= 1e-6 * np.ptp(stock)
    assert np.array_equal(labels, stock_labels)
    assert np.array_equal(facts["class_locations"][1], stock_facts["class_locations"][1])
    assert stock.shape[1:] != pet.array.shape
