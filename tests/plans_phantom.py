"""nnU-Net plans with a channel for each of its schemes of normalisation, and scans to go with them."""

import numpy as np
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager

SCHEMES = [
    "ZScoreNormalization",
    "CTNormalization",
    "NoNormalization",
    "RescaleTo01Normalization",
    "RGBTo01Normalization",
]
STATED = {"mean": 30.0, "std": 20.0, "percentile_00_5": 2.0, "percentile_99_5": 90.0}


def plan_of(spacing, *, transpose=(0, 1, 2), masked=True, **changes):
    """Plans and a configuration of five channels, one for each scheme."""
    resampling = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    configuration = {
        "architecture": {},
        "preprocessor_name": "DefaultPreprocessor",
        "spacing": list(spacing),
        "normalization_schemes": SCHEMES,
        "use_mask_for_norm": [masked] * 5,
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1},
        **changes,
    }
    plans = {
        "plans_name": "p",
        "transpose_forward": list(transpose),
        "transpose_backward": [int(axis) for axis in np.argsort(transpose)],
        "foreground_intensity_properties_per_channel": {str(number): STATED for number in range(5)},
        "configurations": {"any": configuration},
    }
    return PlansManager(plans), ConfigurationManager(configuration)


def scan(shape, seed=0):
    """Five channels of 8-bit values with empty rows around and a hole inside."""
    random = np.random.default_rng(seed)
    data = random.uniform(1, 255, (5, *shape)).astype(np.float32)
    data[:, :2] = data[:, :, -3:] = data[:, :, :, :1] = 0
    data[:, 5:7, 5:7, 5:7] = 0
    return data
