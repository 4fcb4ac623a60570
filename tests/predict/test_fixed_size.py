"""Pictures of all sizes through one network at a fixed size, and masks back on each picture's own grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import RecipeError
from lesionlab.core.fit import fit, fit_volume
from lesionlab.core.inputs import NetworkArrays, network_grid, network_input, network_truth
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.results import Wanted
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.plan import plan_dataset
from lesionlab.predict import Bundle, load_bundle, nnunet, predict, write_bundle
from lesionlab.read import load_volume
from lesionlab.report import save_volume
from lesionlab.train import train_fold

TWO = {"benign": 1, "malignant": 2}


def recipe(**more: object) -> Recipe:
    data = {
        "name": "flat",
        "channels": {"us": {"normalisation": "fixed", "divide_by": 255.0}},
        "reference": "us",
        "standardise": {"size": [32, 32]},
        "network": {"configuration": "2d", "first_features": 4, "max_features": 8, "patch_size": [32, 32]},
        "training": {
            "epochs": 1,
            "iterations": 6,
            "validation_iterations": 1,
            "folds": 3,
            "learning_rate": 0.02,
            "momentum": 0.9,
            "augmentation": "none",
        },
        "prediction": {"mirror": False, "backend": "torch"},
    }
    return parse_recipe({**data, **more}, "flat")


def picture(number: int) -> Case:
    """A bright disc in speckle, in a picture of its own size."""
    random = np.random.default_rng(number)
    shape = (1, 60 + 7 * number, 90 - 5 * number)
    y, x = np.mgrid[: shape[1], : shape[2]]
    centre = np.array(shape[1:]) * random.uniform(0.35, 0.65, 2)
    inside = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= 15**2)[None]
    grey = random.uniform(10, 60, shape) + 170 * inside
    geometry = Geometry(shape, (1.0, 1.0, 1.0))
    image = Volume(np.round(grey).astype(np.uint8), geometry, "{stored}")
    return Case(
        f"p{number}", f"p{number}", {"us": image}, "us", Volume(inside.astype(np.uint8), geometry, ONE)
    )


def test_the_network_sees_one_size_and_the_case_keeps_its_own():
    case = picture(0)
    assert case.truth is not None
    (image,) = network_input(case, recipe())
    assert image.geometry == network_grid(case, recipe())
    assert image.geometry == Geometry((1, 32, 32), (1.0, 1.0, 1.0))
    assert image.array.min() >= 0.0 and image.array.max() <= 1.0
    assert network_truth(case.truth, recipe()).geometry == image.geometry
    arrays = NetworkArrays(case, recipe())
    np.testing.assert_array_equal(arrays[0], image.array)
    labels = arrays.there(case.truth.array)
    back, chance = arrays.back(labels, None)
    assert chance is None and back.shape == case.geometry.shape
    smooth, chance = arrays.back(labels, labels.astype(np.float32)[None])
    assert chance is not None and smooth.shape == chance.shape[1:] == case.geometry.shape
    wider = NetworkArrays(case, recipe(prediction={"threshold": 0.2}))
    np.testing.assert_array_equal(wider.back(labels, labels.astype(np.float32)[None])[0], chance[0] > 0.2)
    two = np.stack([labels * 0.25, labels * 0.75]).astype(np.float32)
    several, both = NetworkArrays(case, recipe(labels=TWO)).back(labels * 2, two)
    assert both is not None and both.shape == (2, *case.geometry.shape)
    np.testing.assert_allclose(both, np.stack([chance[0] * 0.25, chance[0] * 0.75]), atol=1e-6)
    np.testing.assert_array_equal(several, back * 2)
    without = NetworkArrays(case, recipe(standardise={}))
    assert without.grid == case.geometry
    assert without.back(labels, chance) == (labels, chance)


@pytest.mark.parametrize("label", [1, 2])
def test_of_several_labels_the_likeliest_stays_below_one_half_too(label: int):
    arrays = NetworkArrays(picture(0), recipe(labels=TWO))
    labels = np.full(arrays.grid.shape, label, np.uint8)
    chance = np.full((2, *arrays.grid.shape), 0.25, np.float32)
    chance[label - 1] = 0.45  # and background 0.3
    for given in (None, chance[:1], chance):
        assert (arrays.back(labels, given)[0] == label).all()


@pytest.mark.parametrize(
    ("labels", "asked", "needed"),
    [({"lesion": 1}, False, 1), (TWO, False, 0), (TWO, True, 1), (TWO, "every", 2)],
)
def test_a_probability_is_computed_only_where_it_decides_or_is_asked_for(
    labels: dict[str, int], asked: Wanted, needed: int, monkeypatch: pytest.MonkeyPatch
):
    case, seen = picture(0), []
    backend = SimpleNamespace(name="nothing")
    model = SimpleNamespace(cascaded=False, backends=[backend], notes=())

    def run(model: object, job: object, probability: int) -> tuple[Any, Any, tuple[str, ...]]:
        seen.append(probability)
        chance = np.zeros((probability, 1, 32, 32), np.float32) if probability else None
        return np.zeros((1, 32, 32), np.uint8), chance, ()

    monkeypatch.setattr(nnunet, "_load", lambda *_: model)
    monkeypatch.setattr(nnunet, "_run", run)
    bundle = Bundle("flat", recipe(labels=labels), Path("nowhere"), (), "")
    found = predict(case, bundle, device="cpu", probability=asked)
    assert seen == [needed]
    volumes = [one for one in (found.probability, *found.others) if one is not None]
    assert len(volumes) == (len(labels) if asked == "every" else int(asked))
    assert found.mask.geometry == case.geometry


@pytest.mark.slow
def test_plan_train_and_predict_at_a_fixed_size(tmp_path: Path):
    plan_dataset([picture(number) for number in range(6)], recipe(), tmp_path / "w", save_volume)
    workspace, _ = open_workspace(tmp_path / "w")
    raw = [load_volume(file) for file in sorted((workspace.raw / "labelsTr").glob("*.nii.gz"))]
    assert {volume.array.shape for volume in raw} == {(1, 32, 32)}
    train_fold(tmp_path / "w", 0, device="cpu")
    bundle = load_bundle(write_bundle(workspace.model("2d"), recipe(), "# flat\n", tmp_path / "bundle"))
    case = picture(7)
    prediction = predict(case, bundle, device="cpu", probability=True)
    assert prediction.mask.geometry == case.geometry
    # the same picture, resized beforehand: its probability brought back is the answer
    small = fit_volume(case.channels["us"], (32, 32))
    inside = predict(
        replace(case, channels={"us": small}, truth=None), bundle, device="cpu", probability=True
    )
    assert inside.probability is not None and prediction.probability is not None
    expected = fit(inside.probability.array, case.geometry.shape[1:])
    np.testing.assert_allclose(prediction.probability.array, expected, atol=1e-5)
    clear = np.abs(expected - 0.5) > 1e-4
    np.testing.assert_array_equal(prediction.mask.array[clear], (expected > 0.5)[clear])
    assert 0 < np.count_nonzero(prediction.mask.array) < prediction.mask.array.size
    assert predict(case, bundle, device="cpu").probability is None
    at_two_sizes_it_is_the_mean(case, bundle)


def at_two_sizes_it_is_the_mean(case: Case, bundle: Bundle) -> None:
    """Of the probabilities at each size alone, decided once; of an ensemble's member too."""
    sizes = ([16, 16], [32, 32])
    alone = [replace(bundle, recipe=bundle.recipe.changed(standardise={"size": size})) for size in sizes]
    chances = [predict(case, one, device="cpu", probability=True).probability for one in alone]
    assert chances[0] is not None and chances[1] is not None
    assert np.abs(chances[0].array - chances[1].array).max() > 0.01
    mean = (chances[0].array + chances[1].array) / 2
    for threshold in (0.5, 0.3):
        wanted = {"scales": [0.5, 1.0], "threshold": threshold}
        both = replace(bundle, recipe=bundle.recipe.changed(prediction=wanted))
        found = predict(case, both, device="cpu", probability=True)
        assert found.probability is not None
        np.testing.assert_allclose(found.probability.array, mean, atol=1e-6)
        clear = np.abs(mean - threshold) > 1e-4
        np.testing.assert_array_equal(found.mask.array[clear], (mean > threshold)[clear])
        assert found.notes[0] == "mean probability at 16 x 16, 32 x 32 pixels"
        assert predict(case, both, device="cpu").probability is None
    outer = replace(both, members=(both,), recipe=bundle.recipe)
    nested = predict(case, outer, device="cpu", probability=True).probability
    assert nested is not None
    np.testing.assert_allclose(nested.array, mean, atol=1e-6)


@pytest.mark.parametrize("scales", [[], [0.0, 1.0], [-1.0]])
def test_sizes_are_positive_shares(scales: list[float]):
    with pytest.raises(RecipeError, match=r"prediction\.scales"):
        recipe(prediction={"scales": scales})


def test_sizes_are_shares_of_one_that_is_set():
    with pytest.raises(RecipeError, match=r"shares of standardise\.size, which is not set"):
        recipe(standardise={}, prediction={"scales": [0.5, 1.0]})
