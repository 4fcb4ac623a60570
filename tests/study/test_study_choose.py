"""Post-processing chosen on held-out cases, and that the test fold has no say in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError
from lesionlab.core.recipe import RefineSettings
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.predict.expected_dice import largest_expected_dice, levels
from lesionlab.study import load_study
from lesionlab.study import scores as work
from lesionlab.study.bench import runs_of
from lesionlab.study.choose import Choice, Chooser, HeldOut, case_score, cut, drawn, lowest
from lesionlab.study.data import Split
from lesionlab.study.settings import PostProcessing

PLAIN = RefineSettings()
SHAPE = (1, 24, 24)


def disk(centre: tuple[int, int], radius: float) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[1], : SHAPE[2]]
    return ((y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2)[None]


def held(mask: np.ndarray, truth: np.ndarray, probability: np.ndarray | None = None) -> HeldOut:
    chance = None if probability is None else levels(probability)
    return cut(mask.astype(np.uint8), chance, truth.astype(np.uint8), 0.001, 0.3)


def test_a_case_counts_by_its_dice_and_a_lesion_free_one_by_being_left_empty() -> None:
    truth, none = disk((8, 8), 4), np.zeros(SHAPE, bool)
    half = truth & (np.arange(24) < 8)
    expected = 2 * half.sum() / (half.sum() + truth.sum())
    assert case_score(held(half, truth), Choice(PLAIN)) == pytest.approx(expected)
    assert case_score(held(none, none), Choice(PLAIN)) == 1.0
    assert case_score(held(half, none), Choice(PLAIN)) == 0.0
    two = truth.astype(np.uint8) + disk((18, 18), 3)
    two[disk((18, 18), 3)] = 2
    only = cut(truth.astype(np.uint8), None, two, 0.001, 0.3)
    assert case_score(only, Choice(PLAIN)) == 0.5  # label 1 whole, label 2 missed


def test_each_step_is_found_where_it_helps() -> None:
    truth = disk((8, 8), 5)
    ring, speck = truth & ~disk((8, 8), 2), disk((19, 19), 1.5)
    faint = np.where(truth, 0.45, 0.0)
    cases = {
        "threshold": held(faint > 0.5, truth, faint),
        "holes": held(ring, truth),
        "largest": held(truth | disk((19, 19), 2.5), truth),
        "minimum": held(truth | speck, truth),
    }
    settings = PostProcessing(minimum_shares=(0.2,))
    found = {name: Chooser(cases.__getitem__, settings).choose([name], PLAIN)[0] for name in cases}
    assert found["threshold"].threshold == 0.3
    assert found["holes"].refine.fill_holes
    assert found["largest"].refine.keep == "largest"
    several = {"minimum": cases["minimum"], "two": held(truth | disk((18, 8), 3), truth | disk((18, 8), 3))}
    small = Chooser(several.__getitem__, settings).choose(["minimum", "two"], PLAIN)[0]
    assert small.refine.keep == "all"
    assert 0 < small.refine.minimum_ml < 0.03
    assert small.words == f"at least {small.refine.minimum_ml:.3g} ml"
    good = {"good": held(truth, truth)}
    assert Chooser(good.__getitem__, settings).choose(["good"], PLAIN)[0] == Choice(PLAIN)
    assert Choice(PLAIN).words == "none"
    nothing, score, start = Chooser(good.__getitem__, settings).choose([], PLAIN)
    assert nothing == Choice(PLAIN)
    assert math.isnan(score)
    assert math.isnan(start)


def test_the_threshold_is_that_of_the_stored_steps_and_the_mask_the_networks_own() -> None:
    probability = np.linspace(0.0, 1.0, 576).reshape(SHAPE)
    mask = (probability > 0.5).astype(np.uint8)
    for threshold in (0.25, 0.375, 0.75):
        ours = drawn(mask, levels(probability), Choice(PLAIN, threshold), 0.001)
        assert np.array_equal(ours, probability >= threshold)
    assert np.array_equal(drawn(mask, levels(probability), Choice(PLAIN), 0.001), mask)
    assert levels(np.array([0.0, 1.0])).tolist() == [0, 255]


def test_the_largest_expected_dice_is_chosen_where_doubt_turns_out_to_be_lesion() -> None:
    truth = disk((12, 12), 6)
    chance = np.where(disk((12, 12), 3), 0.9, np.where(truth, 0.45, 0.01))
    thresholds = (0.5, "expected_dice")
    settings = PostProcessing(thresholds=thresholds, largest=False, fill_holes=False, minimum_shares=())
    assert lowest(settings.thresholds) == 1 / 256 and lowest((0.7,)) == 0.5
    case = cut((chance > 0.5).astype(np.uint8), levels(chance), truth.astype(np.uint8), 0.001, 1 / 256)
    choice, score, first = Chooser(lambda name: case, settings).choose(["one"], PLAIN)
    assert choice.threshold == "expected_dice" and choice.words == "largest expected Dice"
    assert score == 1 > first
    drawn_there = drawn(case.mask, case.probability, choice, 0.001)
    # cut to a box or not, the mask is the same
    assert drawn_there.sum() == largest_expected_dice(levels(chance)).sum() == truth.sum()


@dataclass
class FakeData:
    """Four folds of two cases each, of which one is always wrong in its own fold's way."""

    splits: tuple[Split, ...]

    @property
    def patients(self) -> dict[str, str]:
        """Every case is a patient of its own."""
        return {name: name for split in self.splits for name in split.test}


class FakeBench:
    """Predictions on disk and truths in memory; all else is the study's own code."""

    def __init__(self, root: Path, text: str) -> None:
        file = root / "study.toml"
        file.write_text(text)
        self.study, self.root, self.device = load_study(file), root, "cpu"
        names = [f"case{k}" for k in range(8)]
        inner = self.study.inner
        splits = []
        for fold in range(4):
            test = tuple(names[2 * fold : 2 * fold + 2])
            rest = [name for name in names if name not in test]
            splits.append(Split(tuple(rest[2:] if inner else rest), tuple(rest[:2] if inner else ()), test))
        self._data = FakeData(tuple(splits))
        self.truths = {name: disk((8, 8), 4) for name in names}
        for run in runs_of(self.study):
            split = splits[run.fold]
            for name in (*split.test, *split.inner):
                file = self.predictions(run) / f"{name}.npz"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(file, mask=(disk((8, 8), 4) | disk((19, 19), 2)).astype(np.uint8))

    def data(self, recipe: object) -> FakeData:
        return self._data

    def key(self, run: object) -> str:
        return f"fold{run.fold}"  # type: ignore[attr-defined]

    def predictions(self, run: object) -> Path:
        return self.root / "held_out" / self.key(run)

    def get(self, name: str) -> Case:
        grid = Geometry(SHAPE, (1.0, 1.0, 1.0))
        image = Volume(np.zeros(SHAPE, np.float32), grid, SUVBW)
        truth = Volume(self.truths[name].astype(np.uint8), grid, ONE)
        return Case(name, name, {"suv": image}, "suv", truth)

    def cases(self, recipe: object) -> FakeBench:
        return self


TEXT = 'name = "s"\ndata = "d"\namount = 10\nfolds = 4\n{more}\n[[variants]]\nname = "a"\n'


@pytest.mark.parametrize("more", ["", '[post_processing]\nlearn_on = "inner"\n'])
def test_the_truth_of_the_test_fold_has_no_say_in_its_choice(tmp_path: Path, more: str) -> None:
    """Whatever is true in fold 2, its choice stays; the scores of those that learn from it move."""
    bench = FakeBench(tmp_path, TEXT.format(more=more))
    runs = runs_of(bench.study)

    def choices() -> list[str]:
        for file in (tmp_path / "scored").glob("*.json"):
            file.unlink()
        return [outcome.value["choice"] for outcome in work.score_runs(bench, runs)]

    before = choices()
    assert before == ["largest component"] * 4
    # in fold 2's own cases the second component becomes true, and only it
    for name in bench.data(None).splits[2].test:
        bench.truths[name] = disk((19, 19), 2)
    after = choices()
    assert after[2] == before[2]
    if not more:
        # two of six learning cases are now best left as they are, and so a stricter rule helps less
        scores = [o.value["chosen"] for o in work.score_runs(bench, runs)]
        assert scores[2] == 1.0
        assert max(scores[0], scores[1], scores[3]) < 1.0
    for run in runs:
        learnt = set(work.learning_cases(bench, run, runs))
        assert learnt
        assert not learnt & set(bench.data(None).splits[run.fold].test)


def test_an_inner_part_is_that_of_the_fold_itself(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path, TEXT.format(more='[post_processing]\nlearn_on = "inner"\n'))
    for run in runs_of(bench.study):
        found = work.learning_cases(bench, run, runs_of(bench.study))
        assert sorted(found) == sorted(bench.data(None).splits[run.fold].inner)
        assert all(one is run for one in found.values())


def test_without_choice_the_recipe_cleans_up_and_a_missing_prediction_is_an_empty_one(tmp_path: Path) -> None:
    text = TEXT.format(more="[post_processing]\nchoose = false\n") + 'refine = { keep = "largest" }\n'
    bench = FakeBench(tmp_path, text)
    runs = runs_of(bench.study)
    (bench.predictions(runs[0]) / "case1.npz").unlink()
    value = work.score_runs(bench, runs[:1])[0].value
    assert value["choice"] == "largest component"
    assert value["learnt_on"] == 0
    assert value["cases"]["case0"]["all"]["dice"] == 1.0
    assert value["cases"]["case1"]["all"]["dice"] == 0.0
    assert value["cases"]["case1"]["all"]["prediction_missing"] == 1.0


def test_a_case_that_lost_its_truth_is_told(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path, TEXT.format(more=""))
    bare = bench.get("case0")
    with pytest.raises(DatasetError, match="no truth any more"):
        work._truth(Case("x", "x", bare.channels, "suv"))
