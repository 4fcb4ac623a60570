"""Sections of a recipe that concern one kind of image."""

from __future__ import annotations

import pytest

from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe, dump_recipe, load_recipe
from lesionlab.core.registry import find_recipe


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"early": 2, "late": 2}, "late = 2 must come after early = 2"),
        ({"times_s": [0.0]}, "two or more growing times"),
        ({"times_s": [-10.0, 60.0, 60.0]}, "two or more growing times"),
        ({"times_s": [-10.0, 0.0]}, "above 0 s, found 0"),
        ({"neighbours": 27}, "kinetics.neighbours"),
        ({"early": 0}, "kinetics.early"),
    ],
)
def test_impossible_kinetics_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        find_recipe("dce-measure").changed(kinetics=changes)


def test_an_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"'kinetics\.threshold'; needed one of early, late"):
        find_recipe("dce-measure").changed(kinetics={"threshold": 70})


def test_the_sections_survive_a_file(tmp_path) -> None:
    recipe: Recipe = find_recipe("dce-measure").changed(
        kinetics={"times_s": (-30.0, 60.0, 180.0)}, margin={"close_mm": (0.5, 1.0)}, ultrasound={"ring_px": 5}
    )
    (tmp_path / "r.toml").write_text(dump_recipe(recipe))
    assert load_recipe(tmp_path / "r.toml") == recipe


def test_a_bad_value_is_told_in_our_words() -> None:
    with pytest.raises(RecipeError, match=r"found method = 'magic'; needed 'network', 'threshold' or"):
        find_recipe("pet").changed(method="magic")
