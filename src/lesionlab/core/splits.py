"""The folds that a data set comes with: `folds.json` beside its converted cases.

Written by `convert`, taken by `plan`. Drawing folds, and checking that these keep patients together, is
`plan/folds.py`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import write_json

FOLDS_FILE: Final = "folds.json"


@dataclass(frozen=True)
class Split:
    """One fold: the cases that are trained on, and those held out, by case id."""

    train: tuple[str, ...]
    val: tuple[str, ...]


@dataclass(frozen=True)
class OfficialFolds:
    """A data set's own folds by case id; `test` cases belong to none and are never trained on.

    Without `splits` only the test cases are official, and folds are drawn of the others.
    """

    name: str
    splits: tuple[Split, ...] = ()
    test: tuple[str, ...] = ()


def folds_by_number(name: str, numbers: dict[str, str]) -> OfficialFolds:
    """Official folds of a partition: case id to the name of the fold that holds it out, in order of names."""
    splits = []
    for fold in sorted(set(numbers.values())):
        held = tuple(case for case, number in numbers.items() if number == fold)
        rest = tuple(case for case, number in numbers.items() if number != fold)
        splits.append(Split(rest, held))
    return OfficialFolds(name, tuple(splits))


def write_folds(folds: OfficialFolds, folder: Path) -> Path:
    """Write `folds.json` into the folder of the cases; returns its path."""
    write_json(folder / FOLDS_FILE, asdict(folds))
    return folder / FOLDS_FILE


def read_folds(folder: Path) -> OfficialFolds | None:
    """The official folds of a folder of cases; None where it has none, DatasetError for a damaged file."""
    file = folder / FOLDS_FILE
    if not file.is_file():
        return None
    try:
        data: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        splits = tuple(Split(tuple(one["train"]), tuple(one["val"])) for one in data["splits"])
        return OfficialFolds(str(data["name"]), splits, tuple(data["test"]))
    except (ValueError, KeyError, TypeError):
        raise DatasetError(file, "no record of folds", "name, splits of train and val, test") from None
