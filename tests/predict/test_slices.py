"""A 2D network on stacks: slices lie across z however thin they are, and each is predicted alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.registry import find_recipe
from lesionlab.core.volume import Geometry
from lesionlab.core.workspace import open_workspace
from lesionlab.plan import plan_dataset
from lesionlab.predict import load_bundle, predict, write_bundle
from lesionlab.report import save_volume
from lesionlab.standardise import standardise
from lesionlab.train import train_fold
from recipes_phantom import made_case, shrunk

STACK = Geometry((7, 36, 30), (0.2, 0.1, 0.1))


@pytest.mark.slow
def test_stacks_are_cut_across_z_and_predicted_slice_by_slice(tmp_path: Path) -> None:
    recipe = shrunk(find_recipe("ultrasound-specimen-2d"))
    recipe = recipe.changed(network={"first_features": 8}, training={"iterations": 4, "learning_rate": 0.01})
    # two stacks of each specimen
    cases = [replace(made_case(n, ("us",), STACK), patient_id=f"specimen_{n // 2}") for n in (0, 1, 4, 5)]
    cases = [standardise(case, recipe) for case in cases]
    found = plan_dataset(cases, recipe, tmp_path / "w", save_volume)
    for fold in found.folds:
        sides = [{found.patients[case] for case in fold[side]} for side in ("train", "val")]
        assert sides[0].isdisjoint(sides[1]) and len(fold["train"]) == len(fold["val"]) == 2
    # the resized pixels count as 1 mm, more than the slices' 0.2 mm, and z is the axis of the slices still
    assert found.plans["transpose_forward"] == [0, 1, 2]
    train_fold(tmp_path / "w", 0, device="cpu")
    workspace, _ = open_workspace(tmp_path / "w")
    bundle = load_bundle(write_bundle(workspace.model("2d"), recipe, "# s\n", tmp_path / "bundle"))
    plans = json.loads((bundle.folder / "plans.json").read_text(encoding="utf-8"))
    assert plans["configurations"]["2d"]["patch_size"] == [32, 32]
    stack = made_case(9, ("us",), STACK)
    whole = predict(stack, bundle, device="cpu", probability=True)
    assert whole.mask.geometry == STACK and whole.probability is not None
    assert np.ptp(whole.probability.array) > 0
    alone = Geometry((1, *STACK.shape[1:]), STACK.spacing)
    for z in (0, 3, 6):
        image = stack.channels["us"]
        slice_ = replace(image, array=image.array[z : z + 1], geometry=alone)
        one = predict(
            replace(stack, channels={"us": slice_}, observers={}), bundle, device="cpu", probability=True
        )
        assert one.probability is not None
        np.testing.assert_allclose(one.probability.array[0], whole.probability.array[z], atol=1e-5)
