"""The studies beside the recipes load, and compare what they say; whose contours a study scores against."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dataset_phantoms
from lesionlab.study import load_study
from lesionlab.study.bench import Bench
from recipes_phantom import THIN, made_case, write_cases

STUDIES = Path(__file__).resolve().parents[1] / "studies"
VARIANTS = {"imbalance": 24, "petct": 15, "breastdm": 11, "ultrasound-specimen": 10}


def test_every_study_is_known() -> None:
    assert {file.stem for file in STUDIES.glob("*.toml")} == set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_study_loads_and_its_variants_differ(name: str) -> None:
    study = load_study(STUDIES / f"{name}.toml")
    assert study.settings.name == name
    assert len({variant.recipe.sha256 for variant in study.variants}) == VARIANTS[name]
    assert {variant.recipe.method for variant in study.variants} == {"network"}


def test_the_named_comparisons_are_there() -> None:
    imbalance = load_study(STUDIES / "imbalance.toml").variants
    compound = next(v for v in imbalance if v.name == "transunet, bce + weighted focal tversky + dice").recipe
    loss = compound.loss
    assert (loss.binary_cross_entropy, loss.focal_tversky, loss.dice) == (0.6, 0.4, 0.6)
    assert loss.positive_weight == "batch" and loss.weighted_terms == ("focal_tversky",)
    petct = load_study(STUDIES / "petct.toml").variants
    assert {v.recipe.network.architecture for v in petct} == {"plain", "unet", "unetr"}
    assert {v.recipe.training.lesion_free for v in petct} == {"include", "exclude"}
    assert sum(len(v.recipe.steps) == 2 for v in petct) == 2
    readers = load_study(STUDIES / "ultrasound-specimen.toml")
    truths = {v.recipe.standardise.truth for v in readers.variants}
    assert truths == {"first", "second", "union", "intersection", "staple"}


def test_variants_of_other_contours_are_scored_against_the_studys(tmp_path: Path) -> None:
    write_cases(tmp_path / "specimens", ("us",), THIN, cases=2)
    text = (STUDIES / "ultrasound-specimen.toml").read_text(encoding="utf-8")
    for truth, wanted in (('truth = "second"', 1), ("", 0)):
        changed = text.replace('truth = "staple"\nfolds = 5', f"{truth}\nfolds = 2")
        (tmp_path / "study.toml").write_text(changed.replace('dataset = "stacks"\n', ""))
        study = load_study(tmp_path / "study.toml")
        first = next(v.recipe for v in study.variants if v.recipe.standardise.truth == "first")
        bench = Bench(study, tmp_path / "work", "cpu")
        scored = bench.cases(first).get("case_0").truth
        drawn = list(made_case(0, ("us",), THIN).observers.values())
        assert scored is not None and drawn[0].array.sum() > drawn[1].array.sum()
        np.testing.assert_array_equal(scored.array, drawn[wanted].array)


def test_a_data_set_with_one_fold_of_its_own_can_be_studied(tmp_path: Path) -> None:
    dataset_phantoms.breastdm(tmp_path / "BreaDM")
    text = (STUDIES / "breastdm.toml").read_text(encoding="utf-8")
    one = text.replace("folds = 5", "folds = 1").replace("official_folds = false", "official_folds = true")
    (tmp_path / "study.toml").write_text(one + "\n[post_processing]\nchoose = false\n")
    study = load_study(tmp_path / "study.toml")
    split = Bench(study, tmp_path / "work", "cpu").data(study.variants[0].recipe).splits
    assert [one.test for one in split] == [("BreaDM-Ma-1803",)]
