"""An ensemble of bundles: the mean of what they say, decided once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import two_step_phantom
from lesionlab.cli import app
from lesionlab.core.errors import BundleError
from lesionlab.core.learning import PredictionSettings
from lesionlab.core.recipe import Recipe, dump_recipe
from lesionlab.pipeline.files import write_converted
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.predict.bundle import MEMBERS, write_ensemble
from lesionlab.predict.ensemble import likeliest
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from networks_phantom import sphere_case
from two_step_phantom import PLAIN, REGIONS


def weights_turned(bundle: Bundle, folder: Path) -> Path:
    """A copy of the bundle whose weights differ a little."""
    shutil.copytree(bundle.folder, folder)
    file = next(folder.glob("fold_*/checkpoint_final.pth"))
    state = torch.load(file, weights_only=False)
    generator = torch.Generator().manual_seed(1)
    for tensor in state["network_weights"].values():
        if tensor.is_floating_point():
            tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
    torch.save(state, file)
    return folder


def written(bundle: Bundle, target: Path, recipe: Recipe | None = None) -> Path:
    """An ensemble of the bundle and its turned copy."""
    writers = [partial(shutil.copytree, bundle.folder), partial(weights_turned, bundle)]
    return write_ensemble(writers, recipe or bundle.recipe, "# Two\n", target)


@pytest.fixture(scope="module")
def ensemble(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(written(tiny_bundle, tmp_path_factory.mktemp("ensemble") / "both"))


def test_the_mean_of_its_members_is_decided_once(ensemble: Bundle) -> None:
    case, said = sphere_case(40), []

    def progress(message: str, share: float) -> None:
        said.append(share)

    found = predict(case, ensemble, device="cpu", probability=True, progress=progress)
    one, two = (predict(case, member, device="cpu", probability=True) for member in ensemble.members)
    assert not np.allclose(one.probability.array, two.probability.array, atol=0.01)
    mean = (one.probability.array + two.probability.array) / 2
    np.testing.assert_allclose(found.probability.array, mean, atol=1e-6)
    np.testing.assert_array_equal(found.mask.array, found.probability.array >= 0.5)
    assert found.mask.array.dtype == np.uint8 and found.mask.geometry.matches(case.geometry)
    assert found.notes[0] == "mean probability of 2 bundles"
    assert sum(note.startswith("each bundle: predicted with 1 fold(s)") for note in found.notes) == 1
    assert not any(note.startswith("bundle ") for note in found.notes)
    assert said == sorted(said) and said[-1] == 1.0
    assert predict(case, ensemble, device="cpu").probability is None


def test_the_threshold_is_the_ensembles_own(ensemble: Bundle) -> None:
    case = sphere_case(40)
    usual = predict(case, ensemble, device="cpu", probability=True)
    for threshold, wanted in (
        (0.3, usual.probability.array >= np.float32(0.3)),
        ("expected_dice", largest_expected_dice(levels(usual.probability.array))),
    ):
        recipe = ensemble.recipe.changed(prediction={"threshold": threshold})
        found = predict(case, replace(ensemble, recipe=recipe), device="cpu")
        np.testing.assert_array_equal(found.mask.array > 0, wanted)
    assert np.count_nonzero(usual.mask.array) != np.count_nonzero(usual.probability.array >= 0.3)


def test_its_hash_is_that_of_its_members_in_any_order(ensemble: Bundle, tmp_path: Path) -> None:
    assert ensemble.sha256 not in [member.sha256 for member in ensemble.members]
    turned = tmp_path / "turned"
    shutil.copytree(ensemble.folder, turned)
    (turned / MEMBERS / "1").rename(turned / MEMBERS / "3")
    assert load_bundle(turned).sha256 == ensemble.sha256
    shutil.rmtree(turned / MEMBERS / "3")
    assert load_bundle(turned).sha256 != ensemble.sha256


def test_all_of_it_computes_in_the_precision_asked_for(ensemble: Bundle) -> None:
    changed = replace(ensemble, earlier=ensemble.members[0]).predicting(precision="bf16")
    parts = (changed, changed.earlier, *changed.members)
    assert [part.recipe.prediction.precision for part in parts] == ["bf16"] * 4
    assert changed.sha256 == ensemble.sha256


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"labels": {"node": 1}}, "labels lesion; needed those of recipe.toml: node"),
        ({"labels": {"lesion": 1, "node": 2}}, "needed those of recipe.toml: lesion, node"),
        ({"channels": {"ct": {"normalisation": "ct"}}, "reference": "ct"}, "channels suv; needed some of ct"),
        (
            {"channels": {"suv": {}, "ct": {"normalisation": "ct"}}, "reference": "ct"},
            "reference suv; needed ct",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_and_nothing_is_left(
    tiny_bundle: Bundle, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    recipe = Recipe.model_validate({**tiny_bundle.recipe.model_dump(mode="json"), **change})
    with pytest.raises(BundleError, match=told):
        written(tiny_bundle, tmp_path / "both", recipe)
    assert not list(tmp_path.iterdir())


def several(root: Path, dataset: dict[str, object]) -> list[Path]:
    """Two model folders whose networks differ, for an ensemble of several labels."""
    whole = two_step_phantom.model_folder(root / "whole", "3d_fullres", dataset, folds=2)
    for number in (0, 1):
        part = root / "both" / MEMBERS / str(number)
        shutil.copytree(whole, part, ignore=lambda _, names: [n for n in names if n.startswith("fold_")])
        shutil.copytree(whole / f"fold_{number}", part / "fold_0")
    (root / "both" / "recipe.toml").write_text(dump_recipe(load_bundle(whole).recipe))
    return sorted((root / "both" / MEMBERS).iterdir())


def test_of_several_labels_the_likeliest_wins_as_in_nnunets_ensembles(tmp_path: Path) -> None:
    case = two_step_phantom.two_channel_case()
    stock = [two_step_phantom.stock_prediction(part, case) for part in several(tmp_path, PLAIN)]
    ensemble = load_bundle(tmp_path / "both")
    members = [
        replace(one, recipe=one.recipe.changed(prediction={"backend": "torch"})) for one in ensemble.members
    ]
    ensemble = replace(ensemble, members=tuple(members))
    found = predict(case, ensemble, device="cpu", probability="every")
    mean = (stock[0][1] + stock[1][1]) / 2
    ours = np.stack([one.array for one in (found.probability, *found.others)])
    np.testing.assert_allclose(ours, mean[1:], atol=1e-5)
    surest = np.sort(mean, axis=0)
    clear = surest[-1] - surest[-2] > 1e-4
    np.testing.assert_array_equal(found.mask.array[clear], mean.argmax(axis=0)[clear])
    assert clear.mean() > 0.99 and set(np.unique(found.mask.array)) == {0, 1, 2}
    assert not np.array_equal(found.mask.array, stock[0][0])
    first = predict(case, ensemble, device="cpu", probability=True)
    assert first.others == () and np.array_equal(first.probability.array, ours[0])


@pytest.mark.parametrize("labels", [1, 2])
def test_background_wins_where_it_is_level(labels: int) -> None:
    """Two members that are sure of opposite things, and one that is a little less so."""
    chances = np.zeros((labels, 1, 1, 2), np.float32)
    chances[0, 0, 0] = 0.5, 0.501
    assert likeliest(chances, PredictionSettings()).tolist() == [[[0, 1]]]


def test_regions_are_refused_because_they_overlap(tmp_path: Path) -> None:
    several(tmp_path, REGIONS)
    with pytest.raises(BundleError, match="regions, which may overlap"):
        load_bundle(tmp_path / "both")


def test_a_folder_without_members_is_named(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / MEMBERS).mkdir()
    (tmp_path / "recipe.toml").write_text(dump_recipe(tiny_bundle.recipe))
    with pytest.raises(BundleError, match="no bundle in members/"):
        load_bundle(tmp_path)


def test_an_ensemble_examines_and_is_told_like_any_bundle(ensemble: Bundle, tmp_path: Path) -> None:
    write_converted(sphere_case(40), tmp_path / "patient", {"source": "phantom"})
    words = ["examine", str(tmp_path / "patient"), "-m", str(ensemble.folder), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*words, "--device", "cpu", "--precision", "fp32"])
    assert result.exit_code == 0, result.stderr
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["bundle_sha256"] == ensemble.sha256
    assert record["settings"]["prediction"]["precision"] == "fp32"
    told = json.loads(CliRunner().invoke(app, ["info", str(ensemble.folder), "--json"]).stdout)
    members = {f"members/{n}": f"tiny {one.sha256}" for n, one in zip((1, 2), ensemble.members, strict=True)}
    assert told["mean of"] == members and "folds" not in told
