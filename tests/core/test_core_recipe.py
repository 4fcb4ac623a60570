"""Recipes: strict keys, plain errors, and TOML that reads back to the same recipe."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.core.errors import RecipeError
from lesionlab.core.files import jsonable
from lesionlab.core.learning import NetworkSettings, TrainingSettings
from lesionlab.core.recipe import (
    ChannelSettings,
    RadiomicsSettings,
    Recipe,
    RefineSettings,
    ThresholdSettings,
    dump_recipe,
    load_recipe,
    parse_recipe,
)

SMALL: dict[str, Any] = {"name": "small", "channels": {"suv": {}}, "reference": "suv"}

positive = st.floats(0.001, 1000, allow_nan=False)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=30)
recipes = st.builds(
    Recipe,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,10}", fullmatch=True),
    description=texts,
    channels=st.fixed_dictionaries(
        {"suv": st.builds(ChannelSettings, normalisation=st.just("fixed"), divide_by=positive)},
        optional={
            "ct": st.one_of(
                st.builds(ChannelSettings, normalisation=st.sampled_from(["ct", "none", "zscore"])),
                st.builds(
                    ChannelSettings,
                    normalisation=st.just("fixed"),
                    clip=st.one_of(st.none(), st.tuples(positive, positive.map(lambda v: v + 1001))),
                ),
            )
        },
    ),
    optional_channels=st.sampled_from([(), ("mr",)]),
    reference=st.just("suv"),
    labels=st.sampled_from([{"lesion": 1}, {"tumour": 1, "node": 2}]),
    method=st.sampled_from(["network", "threshold"]),
    threshold=st.builds(ThresholdSettings, suv=positive, body_mask=st.booleans()),
    network=st.builds(
        NetworkSettings,
        patch_size=st.one_of(st.none(), st.tuples(*[st.integers(1, 256)] * 3)),
        spacing_mm=st.one_of(st.none(), st.tuples(positive, positive, positive)),
    ),
    training=st.builds(
        TrainingSettings, epochs=st.integers(1, 5000), stop_after=st.one_of(st.none(), st.integers(1, 99))
    ),
    radiomics=st.builds(
        RadiomicsSettings,
        families=st.just(("statistics", "glcm")),
        keep_range=st.sampled_from([None, (-500.0, 400.0), (0.0, math.inf)]),
        bin_size=positive,
    ),
    refine=st.builds(RefineSettings, minimum_ml=st.floats(0, 10), fill_holes=st.booleans()),
)


@given(recipes)
def test_toml_reads_back_to_the_same_recipe(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> None:
    file = tmp_path_factory.mktemp("recipes") / "recipe.toml"
    file.write_text(dump_recipe(recipe), encoding="utf-8")
    again = load_recipe(file)
    assert again == recipe
    assert again.sha256 == recipe.sha256


@pytest.mark.parametrize("name", ["breast tumour", "läsion", "a.b", 'in "quotes"', "t1\x7f"])
def test_any_name_of_a_label_or_channel_is_written_as_toml(tmp_path: Path, name: str) -> None:
    recipe = parse_recipe(
        {"name": "r", "channels": {name: {}}, "reference": name, "labels": {name: 1}, "description": name},
        "r",
    )
    (tmp_path / "r.toml").write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(tmp_path / "r.toml") == recipe


def test_an_unknown_key_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALL, "epochs": 5}, "small.toml")
    assert "small.toml: found unknown key 'epochs'" in str(caught.value)
    for known in Recipe.model_fields:
        assert known in caught.value.needed


@pytest.mark.parametrize(
    ("section", "known"),
    [
        ("training", "stop_after"),
        ("network", "patch_size"),
        ("refine", "minimum_ml"),
        ("threshold", "fraction"),
    ],
)
def test_an_unknown_key_of_a_section_lists_that_sections_keys(section: str, known: str) -> None:
    with pytest.raises(RecipeError, match=rf"unknown key '{section}\.epoch'; needed one of .*{known}"):
        parse_recipe({**SMALL, section: {"epoch": 5}}, "small.toml")


def test_an_unknown_key_of_a_channel_lists_the_channel_keys() -> None:
    with pytest.raises(
        RecipeError, match=r"unknown key 'channels\.suv\.scale'; needed one of normalisation, clip"
    ):
        parse_recipe({**SMALL, "channels": {"suv": {"scale": 5}}}, "small.toml")


def test_several_mistakes_are_told_at_once() -> None:
    with pytest.raises(RecipeError, match=r"training\.epochs = '0'.*unknown key 'colour'"):
        parse_recipe({**SMALL, "training": {"epochs": 0}, "colour": "red"}, "small.toml")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"reference": "ct"}, "reference 'ct' is not among the channels"),
        ({"labels": {"lesion": 2}}, "labels must be numbered 1, 2"),
        ({"labels": {"a": 1, "b": 2}, "prediction": {"threshold": 0.3}}, "threshold needs a single label"),
        ({"prediction": {"threshold": 1.0}}, "threshold"),
        ({"labels": {"a": 1, "b": 1}}, "labels must be numbered 1, 2"),
        ({"optional_channels": ["suv"]}, "repeats a channel"),
        ({"channels": {}}, "channels"),
        ({"channels": {"suv": {"curve": "log"}}}, "curve need normalisation 'fixed': 'zscore'"),
        ({"channels": {"suv": {"clip": [0, 50]}}}, "curve need normalisation 'fixed': 'zscore'"),
        (
            {"channels": {"suv": {"normalisation": "none", "divide_by": 5}}},
            "curve need normalisation 'fixed': 'none'",
        ),
        (
            {"channels": {"suv": {"curve": "log", "normalisation": "fixed", "clip": [-2, 9]}}},
            "lower end is above -divide_by",
        ),
        ({"channels": {"suv": {"clip": [50, 0]}}}, "lower end below its upper end"),
        ({"channels": {"suv": {"clip": [0, math.nan]}}}, "lower end below its upper end"),
        ({"radiomics": {"families": ["glcm"]}}, "needs either bin_size or bin_number"),
        (
            {"radiomics": {"volume_histogram_bins": 9, "volume_histogram_bin_size": 1}},
            "either volume_histogram_bin_size or volume_histogram_bins",
        ),
        ({"radiomics": {"names": "pyradiomics", "aggregations": ["3D_comb"]}}, "needs aggregation 3D_avg"),
        ({"radiomics": {"keep_range": [4, 4]}}, "lower end below its upper end"),
        ({"name": "a b"}, "name = 'a b'"),
        ({"name": ""}, "name = ''"),
        ({"threshold": {"fraction": 1.0}}, "threshold.fraction = '1.0'"),
        ({"training": {"folds": 0}}, "training.folds = '0'"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**SMALL, **change}, "small.toml")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (
            {"channels": {"suv": {}}, "reference": "suv"},
            "small.toml: found no name; needed a value for every",
        ),
        ({**SMALL, "channels": {"suv": "none"}}, "channels.suv = 'none'; needed a table of settings"),
        ({**SMALL, "training": 3}, "training = '3'; needed a table of settings"),
        (
            {**SMALL, "reference": "pet"},
            "small.toml: found reference 'pet' is not among the channels ['suv']; ",
        ),
        (
            {**SMALL, "kinetics": {"early": 3, "late": 1}},
            "found kinetics: late = 1 must come after early = 3; needed settings that agree",
        ),
    ],
)
def test_what_was_found_and_needed_is_told_in_words(data: dict[str, Any], says: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe(data, "small.toml")
    assert says in str(caught.value)
    assert "{" not in str(caught.value)


def test_changed_replaces_single_keys_of_a_section() -> None:
    recipe = parse_recipe(SMALL, "small")
    longer = recipe.changed(training={"epochs": 250}, name="longer")
    assert (longer.training.epochs, longer.training.iterations) == (250, recipe.training.iterations)
    assert longer.name == "longer"
    assert recipe.training.epochs == 1000
    assert longer.sha256 != recipe.sha256
    with pytest.raises(RecipeError, match=r"unknown key 'training\.epoch'"):
        recipe.changed(training={"epoch": 250})


def test_a_recipe_is_frozen() -> None:
    recipe = parse_recipe(SMALL, "small")
    with pytest.raises(ValueError, match="frozen"):
        recipe.training.epochs = 3  # type: ignore[misc]


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    file = tmp_path / "small.toml"
    file.write_bytes(b"\xef\xbb\xbf" + dump_recipe(Recipe.model_validate(SMALL)).encode())
    assert load_recipe(file).name == "small"


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml: found No such file.*needed a readable recipe file"):
        load_recipe(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [")
    with pytest.raises(RecipeError, match=r"broken\.toml: found .*needed a TOML file"):
        load_recipe(broken)
    broken.write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(RecipeError, match="needed a TOML file"):
        load_recipe(broken)


def test_an_open_end_survives_json() -> None:
    settings = {"families": ["statistics"], "bin_size": 1, "keep_range": [0.0, math.inf]}
    channels = {"suv": {"normalisation": "fixed", "clip": [0.0, math.inf]}}
    recipe = parse_recipe({**SMALL, "channels": channels, "radiomics": settings}, "small.toml")
    written = json.loads(json.dumps(jsonable(recipe.model_dump(mode="json")), allow_nan=False))
    assert written["radiomics"]["keep_range"] == written["channels"]["suv"]["clip"] == [0.0, None]
    assert parse_recipe(written, "run.json").sha256 == recipe.sha256
