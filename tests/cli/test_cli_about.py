"""`lesionlab info` fits a screen, and tells everything when asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lesionlab.cli.about import NOTES, SCREEN, Told, _screen
from lesionlab.core.registry import RECIPES, find_recipe


@pytest.mark.parametrize("name", [*RECIPES, None])
def test_a_recipe_fits_a_screen_and_what_it_sets_is_there(run, name):
    told = run("info", *([] if name is None else [name])).stdout.splitlines()
    assert len(told) <= SCREEN
    if name is not None:
        recipe = find_recipe(name)
        assert f"sha256: {recipe.sha256}" in told
        assert told[-1] == "--all or --json: the settings left at their defaults too"
        line = next(line for line in told if line.startswith("  channels: "))
        assert all(f"{channel} = {{" in line for channel in recipe.channels)


def test_everything_is_told_when_asked(run):
    short, whole = run("info", "pet").stdout, run("info", "pet", "--all").stdout
    assert len(whole.splitlines()) > 100 > len(short.splitlines())
    assert "learning_rate: " in whole and "learning_rate" not in short
    assert json.loads(run("info", "pet", "--json").stdout)["settings"]["training"]["learning_rate"] == 0.01


def test_a_scan_has_a_line_for_each_channel(run, patient: Path):
    told = run("info", patient).stdout.splitlines()
    assert len(told) <= SCREEN and any(line.startswith("  suv: 1 to 8 ") and "grid" in line for line in told)
    assert any(line.startswith("truth: ") and " ml; grid" in line for line in told)
    assert "files: " in run("info", patient, "--all").stdout


def test_a_bundle_fits_too(run, tiny_bundle):
    told = run("info", tiny_bundle.folder).stdout.splitlines()
    assert len(told) <= SCREEN and told[0].startswith("bundle: ") and "settings:" in told


def test_what_does_not_fit_is_cut_and_counted():
    told = _screen(Told({}, [f"line {number}" for number in range(60)]))
    assert len(told) == SCREEN and told[21] == "line 21"
    assert told[-2:] == ["and 38 more lines", "--all or --json: the rest"]
    assert _screen(Told({}, ["one"])) == ["one"]
    assert NOTES < SCREEN
