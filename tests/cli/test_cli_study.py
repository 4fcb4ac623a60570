"""`lesionlab study`: the shipped studies by name."""

from __future__ import annotations

import json
from pathlib import Path

from lesionlab.core.registry import STUDIES
from lesionlab.study import load_study


def test_the_shipped_studies_are_told(run):
    result = run("study", "list", "--json")
    found = json.loads(result.stdout)["studies"]
    assert [study["name"] for study in found] == list(STUDIES)
    assert {study["name"]: study["variants"] for study in found}["imbalance"] == 24
    assert "BreastDM: 2D and 3D networks" in run("study", "list").stdout


def test_a_shipped_study_looks_for_its_data_here(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study = load_study("breastdm")
    assert study.source == tmp_path / "BreaDM"
    assert load_study("breastdm", "elsewhere").settings.data == str(tmp_path / "elsewhere")


def test_a_name_that_is_no_study(run, tmp_path: Path):
    result = run("study", "run", "brestdm", "-w", str(tmp_path / "w"))
    assert result.exit_code == 1
    assert "found no study of that name; needed a .toml file or one of breastdm" in result.stderr
    assert not (tmp_path / "w").exists()
