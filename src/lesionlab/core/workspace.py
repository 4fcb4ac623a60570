"""The folder that planning and training work in, in place of nnU-Net's three environment variables."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lesionlab.core.errors import DatasetError, LesionLabError

if TYPE_CHECKING:
    from lesionlab.core.recipe import Recipe


def persons_of(cases: Mapping[str, Any]) -> dict[str, str]:
    """Case to patient of what `cases_file` holds; patients joined for cases that look the same are one."""
    return {**cases["patients"], **cases.get("joined", {})}


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths of one planned data set: nnU-Net's raw, preprocessed and results folders and our notes."""

    root: Path
    name: str

    @property
    def dataset(self) -> str:
        """nnU-Net's name of the data set; one workspace holds one."""
        return f"Dataset001_{re.sub(r'[^A-Za-z0-9]', '', self.name) or 'lesions'}"

    @property
    def raw(self) -> Path:
        """imagesTr, labelsTr and dataset.json."""
        return self.root / "raw" / self.dataset

    @property
    def preprocessed(self) -> Path:
        """Plans, fingerprint, folds and preprocessed cases."""
        return self.root / "preprocessed" / self.dataset

    @property
    def plans_name(self) -> str:
        """Name of the plans, which carries the recipe's."""
        return f"LesionLab_{self.name}"

    @property
    def recipe_file(self) -> Path:
        """The recipe that the workspace was planned with."""
        return self.root / "recipe.toml"

    @property
    def cases_file(self) -> Path:
        """Case ids, patients, and the cases that could not be used with their reasons."""
        return self.root / "cases.json"

    @property
    def folds(self) -> int:
        """How many folds were planned: the recipe's number, or that of a data set's own folds."""
        return len(json.loads((self.preprocessed / "splits_final.json").read_text(encoding="utf-8")))

    def model(self, configuration: str) -> Path:
        """nnU-Net's model folder: becomes the bundle."""
        return self.root / "results" / self.dataset / f"nnUNetTrainer__{self.plans_name}__{configuration}"

    @contextmanager
    def environment(self, loaders: int = 0) -> Iterator[None]:
        """Point nnU-Net at this workspace for this process, and put the variables back afterwards.

        `loaders` is the number of processes that load training data; 0 keeps it in this process (none
        that outlive an interruption). nnU-Net's planner needs at least 1, and starts none.
        """
        wanted = {
            "nnUNet_raw": str(self.root / "raw"),
            "nnUNet_preprocessed": str(self.root / "preprocessed"),
            "nnUNet_results": str(self.root / "results"),
            "nnUNet_n_proc_DA": str(loaders),
            "nnUNet_def_n_proc": str(max(1, min(8, os.cpu_count() or 1))),
        }
        before = {key: os.environ.get(key) for key in wanted}
        os.environ.update(wanted)
        try:
            yield
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value


@contextmanager
def nothing_left(root: Path) -> Iterator[None]:
    """Within it, a LesionLabError takes back all that was written into a folder that was new or empty.

    An interruption leaves everything, to go on from.
    """
    there = root.exists()
    new = not there or (root.is_dir() and next(root.iterdir(), None) is None)
    try:
        yield
    except LesionLabError:
        if new and root.is_dir():
            # a folder that was there stays: it may be the one worked in, or a disk of its own
            for path in root.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not there:
                root.rmdir()
        raise


def open_workspace(root: Path) -> tuple[Workspace, Recipe]:
    """A planned workspace and its recipe; DatasetError when the folder was never planned."""
    file = root / "recipe.toml"
    if not file.is_file():
        raise DatasetError(root, "no recipe.toml", "a workspace made by `lesionlab plan`")
    from lesionlab.core.recipe import load_recipe  # paths alone need no recipes

    recipe = load_recipe(file)
    return Workspace(root, recipe.name), recipe
