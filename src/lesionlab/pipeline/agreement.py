"""Two sets of measured patients on file: pairing them, comparing, and the files.

The numbers are `evaluate/agreement.py`'s, the pictures `report/agreement_plots.py`'s.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import write_json, writing
from lesionlab.evaluate.agreement import Agreement, agreement_record, agreement_table
from lesionlab.evaluate.comparison import number_of
from lesionlab.pipeline.cohort import plain_id
from lesionlab.pipeline.comparison import case_rows
from lesionlab.report.agreement_plots import Limits, Paired, bland_altman_png, identity_png
from lesionlab.report.tables import write_csv

PATIENTS, LESIONS, COLUMNS = "patients.csv", "lesions.csv", "columns.csv"
HIGHEST: Final = ("SUVpeak",)
"""Taken from lesions.csv as the highest of a patient's lesions, as patients.csv has no such total."""


@dataclass(frozen=True)
class Measured:
    """Biomarkers by case and name, and the units known of them."""

    cases: Mapping[str, Mapping[str, float]]
    units: Mapping[str, str]


@dataclass(frozen=True)
class Agreed:
    """Agreement by biomarker; `alone` names the cases that only one of the two tables holds."""

    table: tuple[Agreement, ...]
    units: Mapping[str, str]
    cases: int
    alone: tuple[str, ...]


def measured(path: str | Path) -> Measured:
    """Patient totals from patients.csv, or from a folder of `measure` or `examine` that holds one.

    lesions.csv beside it adds the highest SUVpeak of each patient's lesions (undefined where it is for one of
    them), columns.csv the units. Any CSV file with a column case_id (or case) and numbers will do, for what
    is in it alone; patients that failed are left out. Raises ReadError for what is no such table and
    DatasetError for a case twice.
    """
    given = Path(path)
    file = given / PATIENTS if given.is_dir() else given
    rows, key = case_rows(file)
    cases = {
        row[key]: {name: number_of(cell) for name, cell in row.items() if name != key}
        for row in rows
        if not row.get("error")
    }
    if file.name != PATIENTS:
        # what lies beside a table of another name may be of other measurements
        return Measured(cases, {})
    _add_highest(cases, file.with_name(LESIONS))
    return Measured(cases, _units(file.with_name(COLUMNS)))


def agree_files(one: str | Path, reference: str | Path, names: Sequence[str] | None = None) -> Agreed:
    """Agreement of two measurements of the same patients; `names` as for `agreement_table`.

    Raises what `measured` does, and DatasetError where no case, or no biomarker asked for, is in both.
    """
    left, right = measured(one), measured(reference)
    shared = sorted(set(left.cases) & set(right.cases))
    if not shared:
        raise DatasetError(f"{one} and {reference}", "no case in both", "measurements of the same cases")
    table = agreement_table({case: (left.cases[case], right.cases[case]) for case in shared}, names)
    empty = [row.name for row in table if row.n == 0]
    if not table or (names is not None and empty):
        raise DatasetError(
            f"{one} and {reference}", f"no values of {', '.join(empty) or 'a biomarker'}", "columns in both"
        )
    alone = tuple(sorted(set(left.cases) ^ set(right.cases)))
    return Agreed(table, {**right.units, **left.units}, len(shared), alone)


def agreement_of(found: Agreed) -> dict[str, Any]:
    """What `write_agreement` writes as agreement.json."""
    units = {row.name: found.units.get(row.name, "") for row in found.table}
    rows = agreement_record(found.table)
    return {"cases": found.cases, "alone": list(found.alone), "units": units, "biomarkers": rows}


def write_agreement(found: Agreed, folder: str | Path) -> Path:
    """Write agreement.json, agreement.csv and two pictures per biomarker; returns the first.

    In the pictures' names, a column's spaces and signs (`SUVmax (g/ml)`) are underscores.
    """
    folder, record = Path(folder), agreement_of(found)
    for row in found.table:
        for name, png in pictures(row, found.units.get(row.name, "")).items():
            with writing(folder / f"{plain_id(row.name)}_{name}.png") as temporary:
                temporary.write_bytes(png)
    rows = record["biomarkers"]
    with writing(folder / "agreement.csv") as temporary:
        write_csv(temporary, list(rows[0]), [list(row.values()) for row in rows])
    write_json(folder / "agreement.json", record)
    return folder / "agreement.json"


def pictures(row: Agreement, unit: str) -> dict[str, bytes]:
    """The Bland-Altman plot and the plot against identity of one biomarker, as PNG."""
    pairs = Paired(row.name, unit, row.reference, row.measured, row.cases)
    found = row.bland_altman
    limits = Limits(
        (found.bias, *found.bias_interval),
        (found.lower, *found.lower_interval),
        (found.upper, *found.upper_interval),
    )
    words = "\n".join(
        f"{name} {_three(one.value)} [{_three(one.low)}, {_three(one.high)}]"
        for name, one in (("ICC(2,1)", row.icc), ("CCC", row.concordance))
    )
    return {"bland_altman": bland_altman_png(pairs, limits), "identity": identity_png(pairs, words)}


def _three(value: float) -> str:
    return "\u2013" if math.isnan(value) else f"{value:z.3f}".replace("-", "\u2212")


def _add_highest(cases: Mapping[str, dict[str, float]], path: Path) -> None:
    if not path.is_file():
        return
    rows, key = case_rows(path, once=False)
    for name in HIGHEST:
        for row in rows:
            values = cases.get(row[key])
            if values is not None and name in row:
                # NaN must win over every number: what one lesion lacks may have been the highest
                one, others = number_of(row[name]), values.get(name, -math.inf)
                values[name] = math.nan if math.isnan(one + others) else max(one, others)


def _units(path: Path) -> dict[str, str]:
    """Units by column name; the same name has the same unit for lesions and patients."""
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {row["name"]: row.get("unit") or "" for row in csv.DictReader(file) if row.get("name")}
