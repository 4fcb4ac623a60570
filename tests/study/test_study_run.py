"""A whole study on phantoms: interrupted, resumed, nothing twice, failures listed, numbers as by hand."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import networks_phantom
from lesionlab.cli import app
from lesionlab.core.tasks import Task
from lesionlab.core.workspace import open_workspace
from lesionlab.predict import load_bundle, predict
from lesionlab.read import load_mask
from lesionlab.study import load_study, run_study, write_variant
from lesionlab.study.bench import Bench, runs_of
from lesionlab.study.held_out import NO_COST, Cost
from lesionlab.study.run import lock_of

pytestmark = pytest.mark.slow

VARIANTS = """
[[variants]]
name = "SUVbw 4"
recipe = "pet-threshold"

[[variants]]
name = "does not fit"
network = { patch_size = [15, 16, 16] }

[grid.networks.small]

[grid.losses."dice + ce"]
loss = { dice = 1.0, cross_entropy = 1.0 }

[grid.losses.tversky]
loss = { dice = 0.0, cross_entropy = 0.0, tversky = 1.0, fp_weight = 0.3, fn_weight = 0.7 }

[[ensembles]]
name = "both"
members = ["small, dice + ce", "small, tversky"]

[[ensembles]]
name = "lame"
members = ["small, tversky", "does not fit"]
"""
TRAINED = ("small, dice + ce", "small, tversky")
CASES = [f"sphere_{number}" for number in range(6)]


class Said:
    """A progress callback that remembers, and stops the study where it is told to."""

    def __init__(self, stop: str = "") -> None:
        self.messages: list[str] = []
        self.stop = stop

    def __call__(self, message: str, share: float) -> None:
        self.messages.append(message)
        if self.stop and self.stop in message:
            raise KeyboardInterrupt


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    cases = [networks_phantom.sphere_case(number, lesion=number != 5) for number in range(6)]
    networks_phantom.write_study(root, VARIANTS, cases)
    return root


@pytest.fixture(scope="module")
def interrupted(place: Path) -> Said:
    """The study stopped in the second epoch of its second training."""
    said = Said(f"{TRAINED[1]}, fold 0, seed 12345: fold 0, epoch 2/2")
    with pytest.raises(KeyboardInterrupt):
        run_study(load_study(place / "study.toml"), place / "work", device="cpu", progress=said)
    return said


@pytest.fixture(scope="module")
def finished(place: Path, interrupted: Said) -> Result:
    return call("study", "run", place / "study.toml", "-w", place / "work", "--device", "cpu", "--json")


def test_an_interrupted_study_goes_on_also_in_the_middle_of_a_training(
    place: Path, interrupted: Said, finished: Result
) -> None:
    log = (place / "work" / "study.log").read_text(encoding="utf-8")
    assert log.count("stopped: KeyboardInterrupt") == 1
    # what was finished before did not run again
    assert log.count(f": {TRAINED[0]}, fold 0, seed 12345") == 2  # begun and done
    assert log.count(f"done: {TRAINED[1]}, fold 0") == 1
    workspaces = sorted((place / "work" / "trained").glob("small-tversky-*"))
    assert len(workspaces) == 1
    workspace, recipe = open_workspace(workspaces[0])
    assert (recipe.training.epochs, recipe.training.iterations) == (2, 2)
    told = next(workspace.model("3d_fullres").glob("fold_0/training_log_*.txt"))
    epochs = [
        line for file in told.parent.glob("training_log_*.txt") for line in file.read_text().splitlines()
    ]
    assert sum(line.strip() == "Epoch 0" for line in epochs) == 1


def test_a_variant_that_fails_is_listed_and_the_rest_go_on(place: Path, finished: Result) -> None:
    assert finished.exit_code == 1
    reason = "fold 0, seed 12345: study: found patch_size [15, 16, 16]; needed multiples of"
    assert f"error: does not fit: {reason}" in finished.stderr
    answer = json.loads(finished.stdout[finished.stdout.index("{") :])
    assert answer["rows"][0]["variant"] == "SUVbw 4"
    assert {row["variant"] for row in answer["rows"]} == {"SUVbw 4", *TRAINED, "both"}
    assert "error: lame: fold 0: lame, fold 0: found no predictions of does not fit" in finished.stderr
    page = (place / "work" / "table" / "study.html").read_text(encoding="utf-8")
    assert reason in page.replace("&#x27;", "'")
    assert reason in (place / "work" / "table" / "study.md").read_text(encoding="utf-8")


def test_nothing_runs_twice(place: Path, finished: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("ran again")

    table = (place / "work" / "table" / "study.csv").read_bytes()
    for name in ("train_fold", "predict_held_out", "mean_held_out", "prepare"):
        monkeypatch.setattr(f"lesionlab.study.run.{name}", never)
    monkeypatch.setattr("lesionlab.study.scores.score_held_out", never)
    monkeypatch.setattr("lesionlab.study.data.gather_cohort", never)
    # the variant that failed is tried again, and fails at once
    result = call("study", "run", place / "study.toml", "-w", place / "work", "-o", place / "again")
    assert result.exit_code == 1
    assert (place / "again" / "study.csv").read_bytes() == table
    only = call("study", "table", place / "study.toml", "-w", place / "work", "-o", place / "only", "--json")
    assert json.loads(only.stdout)["waiting"] == ["does not fit", "lame"]
    assert (place / "only" / "study.csv").read_bytes() == table


def test_a_renamed_variant_shares_the_runs_and_another_amount_does_not(place: Path, finished: Result) -> None:
    changed = place / "renamed.toml"
    own = (place / "study.toml").read_text()
    own = own.replace("small", "little").replace('"phantom"', '"another"')
    changed.write_text(own)
    bench = Bench(load_study(place / "study.toml"), place / "work")
    other = Bench(load_study(changed), place / "work")
    keys = {bench.key(run) for run in runs_of(bench.study)}
    assert {other.key(run) for run in runs_of(other.study)} == keys
    roots = {one.data(runs_of(one.study)[0].recipe).workspace.root for one in (bench, other)}
    assert len(roots) == 1 and all((root / "raw").glob("*/dataset.json") for root in roots)
    changed.write_text((place / "study.toml").read_text().replace("amount = 8", "amount = 12"))
    longer = Bench(load_study(changed), place / "work")
    trained = [run for run in runs_of(longer.study) if run.recipe.method == "network"]
    assert not {longer.key(run) for run in trained} & keys


def test_variants_that_differ_in_the_sizes_predicted_at_share_their_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = """
[[variants]]
name = "one size"

[[variants]]
name = "two sizes"
prediction = { scales = [1.0, 2.0] }

[[ensembles]]
name = "both"
members = ["one size", "two sizes"]
"""
    cases = [networks_phantom.sphere_case(number) for number in range(4)]
    file = networks_phantom.write_study(tmp_path, variants, cases)
    own = file.read_text(encoding="utf-8")
    file.write_text(own.replace("[common]\n", "[common]\nstandardise = { size = [16, 16] }\n"))
    # nor may two processes train them at once, from the first on, before any is there
    bench = Bench(load_study(file), tmp_path / "work")
    runs = [run for run in runs_of(bench.study) if not run.members]
    locks = [lock_of(bench, run, Task("run", dict, bench.inputs(run))) for run in runs]
    assert [run.fold for run in runs] == [0, 0, 1, 1]
    assert locks[0] == locks[1] != locks[2] == locks[3]
    run_study(load_study(file), tmp_path / "work", device="cpu")
    assert len(list((tmp_path / "work" / "trained").iterdir())) == 1
    bench = Bench(load_study(file), tmp_path / "work")
    one, two, _ = (run for run in runs_of(bench.study) if run.fold == 0)
    assert bench.place(one) == bench.place(two)
    maps = [np.load(next(iter(sorted(bench.predictions(run).glob("*.npz"))))) for run in (one, two)]
    assert any((maps[0][name] != maps[1][name]).any() for name in maps[0].files if name != "seconds")
    costs = [bench.kept(run) for run in runs_of(bench.study) if run.fold == 0]
    assert costs[0]["parameters"] == costs[2]["parameters"] > 0 and costs[0]["patches"] == costs[2]["patches"]
    handed = load_bundle(write_variant(load_study(file), tmp_path / "work", "both", tmp_path / "bundle"))
    assert [one.recipe.prediction.scales for one in handed.members] == [(1.0,), (1.0, 2.0)]
    assert [len(one.checkpoints) for one in handed.members] == [2, 2]
    single = load_bundle(write_variant(load_study(file), tmp_path / "work", "two sizes", tmp_path / "single"))
    assert single.recipe.prediction.scales == (1.0, 2.0)


def test_the_numbers_are_those_of_the_stored_masks(place: Path, finished: Result) -> None:
    """Dice, IoU and lesion-free cases again from masks and truths, by nothing of ours but the file reader."""
    study = load_study(place / "study.toml")
    bench = Bench(study, place / "work")
    with (place / "work" / "table" / "study.csv").open(newline="") as file:
        table = {row["variant"]: row for row in csv.DictReader(file)}
    choices = json.loads((place / "work" / "table" / "study.json").read_text())
    assert choices["facts"]["protocol"] == "the same for every variant: 8 patches in each fold"
    for name in ("SUVbw 4", *TRAINED, "both"):
        dice, iou, free = [], [], []
        for run in (one for one in runs_of(study) if one.variant.name == name):
            for case in bench.data(run.recipe).splits[run.fold].test:
                kept = np.load(bench.predictions(run) / f"{case}.npz")
                mask = kept["mask"] > 0
                truth = load_mask(place / "patients" / case / "truth.nii.gz").array > 0
                if not truth.any():
                    free.append(not mask.any())
                    continue
                dice.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
                iou.append((mask & truth).sum() / (mask | truth).sum())
        assert (len(dice), len(free)) == (5, 1)
        if table[name]["post_processing"] in ("none", "at least 0.5 ml"):
            assert float(table[name]["dice"]) == pytest.approx(np.mean(dice), abs=1e-6)
            assert float(table[name]["iou"]) == pytest.approx(np.mean(iou), abs=1e-6)
        assert int(table[name]["lesion_free"]) == 1
    assert float(table["SUVbw 4"]["dice"]) == 1.0
    assert table["SUVbw 4"]["parameters"] == "0"
    assert all(float(table[name]["patches"]) == 8 for name in TRAINED)
    weights = json.loads((place / "work" / "finished").glob("*.json").__next__().read_text())
    assert set(weights) >= {"minutes", "parameters", "seconds_per_case", "failed"}


def test_an_ensemble_is_the_mean_probability_of_its_members_and_costs_what_they_cost(
    place: Path, finished: Result
) -> None:
    bench = Bench(load_study(place / "study.toml"), place / "work")
    runs = {run.variant.name: run for run in runs_of(bench.study) if run.fold == 1}
    tested = bench.data(runs["both"].recipe).splits[1].test
    assert tested and runs["both"].seed is None
    differ = 0
    for case in tested:
        one, two, mean = (
            np.load(bench.predictions(runs[name]) / f"{case}.npz") for name in (*TRAINED, "both")
        )
        chance = (one["probability"] / 2 + two["probability"] / 2 + 0.5) / 256
        assert np.abs((mean["probability"] + 0.5) / 256 - chance).max() <= 0.5 / 256
        assert np.array_equal(mean["mask"], mean["probability"] >= 128)
        assert float(mean["seconds"]) == float(one["seconds"]) + float(two["seconds"])
        differ += not np.array_equal(one["probability"], two["probability"])
    assert differ
    record = json.loads((place / "work" / "table" / "study.json").read_text())
    rows = {row["variant"]: row for row in record["rows"]}
    for key in ("parameters", "patches", "minutes"):
        assert rows["both"][key] == pytest.approx(sum(rows[name][key] for name in TRAINED))
    assert record["facts"]["ensembles"] == (
        "mean probability of networks, whose costs are added: "
        "'both' of 'small, dice + ce', 'small, tversky'; 'lame' of 'small, tversky', 'does not fit'"
    )
    assert set(record["recipes"]) == {"SUVbw 4", "does not fit", *TRAINED}
    with (place / "work" / "table" / "cases.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["variant"] == "both"]
    assert {row["seed"] for row in rows} == {""}
    patients = bench.data(runs["both"].recipe).patients
    assert {row["case"]: row["patient"] for row in rows} == dict(patients)


def test_a_variant_and_an_ensemble_become_bundles_that_predict_as_the_study_did(
    place: Path, finished: Result, tmp_path: Path
) -> None:
    words = ("-w", place / "work", "--json")
    for name in (TRAINED[0], "both"):
        result = call("study", "bundle", place / "study.toml", name, "-o", tmp_path / name, *words)
        assert result.exit_code == 0, result.output
    single, both = load_bundle(tmp_path / TRAINED[0]), load_bundle(tmp_path / "both")
    assert [len(one.checkpoints) for one in (single, *both.members)] == [2, 2, 2]
    assert single.sha256 in [one.sha256 for one in both.members]
    assert both.recipe.name == "phantom-both" and both.recipe.training.epochs == 2
    card = (tmp_path / "both" / "MODEL_CARD.md").read_text()
    assert "members/2: small, tversky, seed 12345" in card and "- cases: 6" in card
    assert (tmp_path / "both" / "training_lesions.json").is_file()
    # held out in fold 1, so the study asked the other fold's network only
    bench = Bench(load_study(place / "study.toml"), place / "work")
    run = next(one for one in runs_of(bench.study) if one.variant.name == "both" and one.fold == 1)
    name = bench.data(run.recipe).splits[1].test[0]
    members = tuple(
        replace(one, checkpoints=one.checkpoints[1:], folds=one.folds[1:]) for one in both.members
    )
    case = bench.cases(run.recipe).get(name)
    found = predict(case, replace(both, members=members), device="cpu", probability=True)
    kept = np.load(bench.predictions(run) / f"{name}.npz")["probability"]
    assert np.abs(found.probability.array - (kept + 0.5) / 256).max() <= 1.01 / 256


def test_what_cannot_become_a_bundle_is_told(place: Path, finished: Result, tmp_path: Path) -> None:
    for name, told in (
        ("SUVbw 4", "no network named 'SUVbw 4'; needed one of 'does not fit', 'small, dice + ce'"),
        ("does not fit", "no finished fold"),
        ("lame", "no finished fold"),
    ):
        out = tmp_path / "bundle"
        result = call("study", "bundle", place / "study.toml", name, "-w", place / "work", "-o", out)
        assert result.exit_code == 1 and told in result.stderr
        assert not out.exists()
    for words in (("table",), ("bundle", "both", "-o", tmp_path / "out")):
        result = call("study", words[0], place / "study.toml", *words[1:], "-w", tmp_path / "nowhere")
        assert result.exit_code == 1 and "nowhere: found no study.log" in result.stderr
        assert not list(tmp_path.iterdir())


def test_variants_that_preprocess_alike_share_their_cases(place: Path, finished: Result) -> None:
    links = sorted((place / "work" / "trained").glob("small-*/preprocessed/*/*_3d_fullres"))
    assert len(links) == 2
    assert len({link.resolve() for link in links}) == 1
    assert sorted(p.name for p in links[0].glob("*_seg.b2nd")) == [f"{case}_seg.b2nd" for case in CASES]


def test_every_patient_is_predicted_by_a_network_that_had_not_seen_him(place: Path, finished: Result) -> None:
    bench = Bench(load_study(place / "study.toml"), place / "work")
    tested = []
    for run in (one for one in runs_of(bench.study) if one.variant.name == TRAINED[0]):
        split = bench.data(run.recipe).splits[run.fold]
        assert not set(split.train) & set(split.test)
        assert {p.stem for p in bench.predictions(run).glob("*.npz")} == set(split.test)
        tested += split.test
    assert sorted(tested) == CASES


def test_two_networks_cost_what_both_cost() -> None:
    assert Cost(1.0, 2, 30, 400) + Cost(0.5, 3, 20, 100) == Cost(1.5, 5, 50, 500)
    assert NO_COST + Cost(1.0, 2, 30, 400) == Cost(1.0, 2, 30, 400)
