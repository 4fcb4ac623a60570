from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from lesionlab.predict.plans import read_plain

PLAIN = {"background": 0, "lesion": 1, "node": 2}


@pytest.fixture(scope="module")
def plans(tiny_workspace: Path) -> dict[str, Any]:
    file = next(tiny_workspace.glob("results/*/*/plans.json"))
    found: dict[str, Any] = json.loads(file.read_text())
    configurations = found["configurations"]
    configurations["child"] = {"inherits_from": "3d_fullres", "batch_size": 7}
    configurations["second"] = {"inherits_from": "child", "previous_stage": "3d_fullres"}
    return found


@pytest.mark.parametrize("name", ["3d_fullres", "child", "second"])
@pytest.mark.parametrize("labels", [PLAIN, {**PLAIN, "ignore": 3}])
def test_what_is_read_is_what_nnunet_reads(plans: dict[str, Any], name: str, labels: dict[str, int]) -> None:
    dataset = {"channel_names": {"0": "suv", "1": "ct"}, "labels": labels}
    reading = read_plain(plans, dataset, name)
    manager = PlansManager(copy.deepcopy(plans))
    configuration, known = manager.get_configuration(name), manager.get_label_manager(dataset)
    assert reading is not None
    assert reading.channels == determine_num_input_channels(manager, configuration, dataset)
    for key in ("transpose_forward", "foreground_intensity_properties_per_channel"):
        assert getattr(reading.plans, key) == getattr(manager, key)
    for key in (
        *("configuration", "preprocessor_name", "spacing", "patch_size", "normalization_schemes"),
        *("use_mask_for_norm", "previous_stage_name"),
    ):
        assert getattr(reading.configuration, key) == getattr(configuration, key)
    for key in ("num_segmentation_heads", "has_regions", "regions_class_order"):
        assert getattr(reading.labels, key) == getattr(known, key)
    assert list(reading.labels.foreground_labels) == list(known.foreground_labels)


def test_a_resampling_that_a_plan_names_can_be_called(plans: dict[str, Any]) -> None:
    changed = copy.deepcopy(plans)
    named = changed["configurations"]["3d_fullres"]
    for kind in ("data", "seg", "probabilities"):
        named[f"resampling_fn_{kind}"] = "no_resampling_hack"
        named[f"resampling_fn_{kind}_kwargs"] = {}
    reading = read_plain(changed, {"channel_names": {"0": "suv"}, "labels": PLAIN}, "3d_fullres")
    assert reading is not None
    for kind in ("data", "seg", "probabilities"):
        name = getattr(reading.configuration, f"resampling_fn_{kind}").func.__name__
        assert name == "no_resampling_hack"


@pytest.mark.parametrize(
    ("dataset", "change"),
    [
        ({"labels": {**PLAIN, "both": [1, 2]}}, {}),
        ({"labels": {"lesion": 1}}, {}),
        ({"labels": {**PLAIN, "ignore": 1}}, {}),
        ({"labels": PLAIN}, {"label_manager": "Other"}),
        ({"labels": PLAIN}, {"configurations": {}}),
        ({"labels": PLAIN}, {"configurations": {"child": {"inherits_from": "child"}}}),
        ({"labels": PLAIN}, {"configurations": {"child": {"UNet_class_name": "PlainConvUNet"}}}),
    ],
)
def test_the_unusual_is_left_to_nnunet(
    plans: dict[str, Any], dataset: dict[str, Any], change: dict[str, Any]
) -> None:
    named = {"channel_names": {"0": "suv"}, **dataset}
    assert read_plain({**plans, **change}, named, "child") is None


def test_predicting_starts_without_nnunets_library() -> None:
    code = "import sys, lesionlab.predict.nnunet; print({'nnunetv2', 'pandas', 'blosc2'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
