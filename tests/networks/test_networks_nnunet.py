"""nnU-Net's configuration with our resampling: the same numbers, and its own function where we have none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape
from nnunetv2.preprocessing.resampling.resample_torch import resample_torch_fornnunet
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

from lesionlab.networks.nnunet import FastConfiguration, resample_to_shape

IMAGE = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
LABELS = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
LOGITS = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}


def settings(**changes: Any) -> dict[str, Any]:
    named = {"resampling_fn_data": IMAGE, "resampling_fn_seg": LABELS, "resampling_fn_probabilities": LOGITS}
    keywords = {f"{name}_kwargs": how for name, how in named.items()}
    return {"architecture": {}} | dict.fromkeys(named, "resample_data_or_seg_to_shape") | keywords | changes


@pytest.mark.parametrize(
    "how",
    [
        IMAGE,
        LABELS,
        LOGITS,
        IMAGE | {"force_separate_z": True},
        IMAGE | {"force_separate_z": False},
        IMAGE | {"separate_z_anisotropy_threshold": 1.2},
        IMAGE | {"order_z": 1, "force_separate_z": True},
        LABELS | {"order": 0},
        LABELS | {"order": 3},
        {"order": 2},
    ],
)
@pytest.mark.parametrize("spacing", [(5.0, 1.0, 1.0), (2.0, 1.5, 1.0)])
def test_every_keyword_of_the_default_function_means_the_same(
    how: dict[str, Any], spacing: tuple[float, float, float]
) -> None:
    random = np.random.default_rng(0)
    data = random.normal(size=(2, 9, 15, 18)).astype(np.float32)
    if how.get("is_seg"):
        data = (data > 0.3).astype(np.int8)
    wanted = resample_data_or_seg_to_shape(data, (14, 20, 12), spacing, (2.5, 1.0, 1.5), **how)
    result = resample_to_shape(data, (14, 20, 12), spacing, (2.5, 1.0, 1.5), **how)
    assert result.dtype == wanted.dtype
    assert np.allclose(result, wanted, rtol=0, atol=0 if how.get("is_seg") else 1e-6 * np.ptp(data))


def test_a_configuration_takes_ours_only_for_the_default() -> None:
    fast = FastConfiguration(settings())
    tensor = torch.randn(1, 6, 7, 8)
    spacing = (1.0, 1.0, 1.0)
    stock = ConfigurationManager(settings())
    for name in ("resampling_fn_data", "resampling_fn_probabilities"):
        ours, theirs = getattr(fast, name), getattr(stock, name)
        assert ours.func is resample_to_shape
        arguments = (tensor, (9, 5, 8), spacing, spacing)
        assert np.allclose(ours(*arguments), theirs(*arguments), atol=1e-5)
    assert fast.resampling_fn_seg.func is resample_to_shape
    other = FastConfiguration(settings(resampling_fn_data="resample_torch_fornnunet"))
    assert other.resampling_fn_data.func is resample_torch_fornnunet
