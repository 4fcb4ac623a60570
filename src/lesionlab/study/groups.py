"""The study's own table of its cases: subgroups, and folds by what a column says (scanner, hospital).

Reading it and splitting by it belong here; scores by subgroup are `table.py`'s.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionlab.core.errors import DatasetError
from lesionlab.plan import nnunet_id
from lesionlab.plan.folds import Folds
from lesionlab.study.settings import FoldsBy

Rows = Mapping[str, Mapping[str, str]]


def case_table(file: Path, case: str, columns: Sequence[str]) -> Rows:
    """The rows of a CSV file by the case that its column `case` names, as the workspace writes its name.

    A row that ends early has nothing in the columns that follow. Raises DatasetError for a file that is
    missing or not UTF-8, and for a column that it lacks.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            known = list(reader.fieldnames or ())
            missing = [name for name in (case, *columns) if name not in known]
            if missing:
                raise DatasetError(
                    file, f"no column {', '.join(missing)}", "the columns that the study names"
                )
            return {nnunet_id(row[case]): row for row in reader}
    except OSError:
        raise DatasetError(file, "no such table", f"a CSV file with a column {case}") from None
    except UnicodeDecodeError:
        raise DatasetError(file, "letters that are not UTF-8", "a CSV file saved as UTF-8") from None


def folds_by_column(source: Path, wanted: FoldsBy, patients: Mapping[str, str]) -> Folds:
    """A fold for each value of a column, in order of the values: its cases are held out, all others train.

    What a network then shows is how it does on a scanner or in a hospital that it has never seen. A patient
    with cases of several values is never trained on where one of them is held out. `patients` maps case to
    patient. Raises DatasetError for cases without a value, and for a column with one value only.
    """
    file = source / wanted.file
    rows = case_table(file, wanted.case, (wanted.column,))
    values = {name: rows.get(name, {}).get(wanted.column, "").strip() for name in patients}
    without = sorted(name for name, value in values.items() if not value)
    if without:
        told = f"{len(without)} cases without a {wanted.column} ({', '.join(without[:3])})"
        raise DatasetError(file, told, "a value for every case")
    if len(set(values.values())) < 2:
        raise DatasetError(file, f"one value of {wanted.column}", "two or more, one is held out at a time")
    folds = []
    for value in sorted(set(values.values())):
        held = [name for name in patients if values[name] == value]
        whose = {patients[name] for name in held}
        folds.append({"train": [name for name in patients if patients[name] not in whose], "val": held})
    return folds
