"""A workspace that is refused leaves nothing, one that is interrupted everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from lesionlab.core.errors import RecipeError
from lesionlab.core.workspace import nothing_left


def fill(root: Path) -> None:
    (root / "raw").mkdir(parents=True)
    (root / "raw" / "case.txt").write_text("half a plan")


def test_what_was_written_into_a_new_folder_is_taken_back(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with pytest.raises(RecipeError), nothing_left(tmp_path / name):
            fill(tmp_path / name)
            raise RecipeError("r", "patch_size [42]", "multiples of 8")
    assert list(tmp_path.iterdir()) == [tmp_path / "empty"] and not list((tmp_path / "empty").iterdir())


def test_the_folder_that_is_worked_in_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError), nothing_left(Path()):
        fill(Path())
        (tmp_path / "cases.json").write_text("{}")
        raise RecipeError("r", "this", "that")
    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError), nothing_left(tmp_path):
        fill(tmp_path)
        raise RecipeError("r", "this", "that")
    assert (tmp_path / "notes.txt").is_file() and (tmp_path / "raw" / "case.txt").is_file()


def test_an_interruption_leaves_everything_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), nothing_left(tmp_path / "new"):
        fill(tmp_path / "new")
        raise KeyboardInterrupt
    assert (tmp_path / "new" / "raw" / "case.txt").is_file()
    with nothing_left(tmp_path / "good"):
        fill(tmp_path / "good")
    assert (tmp_path / "good" / "raw" / "case.txt").is_file()
