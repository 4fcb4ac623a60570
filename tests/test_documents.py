"""The documents are true: their links lead somewhere, their commands and recipes are ones we have."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import phantoms
from lesionlab.cli import app
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.registry import RECIPES
from lesionlab.serve.settings import parse_settings
from lesionlab.study.load import variants_of
from lesionlab.study.settings import StudySettings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)


@pages
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pages
def test_every_command_is_one_that_the_command_line_takes(page: Path) -> None:
    for line in "\n".join(blocks(page, "sh")).splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] != ["lesionlab"] or words[1].isupper():
            continue
        verb = words[1 : 3 if words[1] == "study" else 2]
        result = CliRunner().invoke(app, [*verb, "--help"])
        assert result.exit_code == 0, line
        shown = result.stdout
        for option in (word for word in words if word.startswith("-")):
            assert re.search(rf"(^|[\s│]){option}\b", shown), f"{option} in: {line}"


@pages
def test_every_recipe_in_a_page_is_a_recipe(page: Path) -> None:
    for text in blocks(page, "toml"):
        data = tomllib.loads(text)
        if "protocol" in data:
            variants_of(StudySettings.model_validate(data), page.parent)
        elif {"routes", "sources"} & set(data):
            parse_settings(data, page.name)
        else:
            parse_recipe(data, page.name)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.name)
def test_python_in_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    examples = blocks(page, "python")
    phantoms.write_pet_patient(tmp_path / "dicom" / "patient7", [((40.0, 60.0, 40.0), 12.0, 8.0)])
    monkeypatch.chdir(tmp_path)
    for text in examples:
        exec(compile(text.replace('"models/mine"', '"pet-threshold"'), page.name, "exec"), {})  # noqa: S102
    assert (tmp_path / "out" / "patient7" / "report.html").is_file()


def test_the_changelog_names_every_shipped_recipe() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name in RECIPES:
        assert f"`{name}`" in text
