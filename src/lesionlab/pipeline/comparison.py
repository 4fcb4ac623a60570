"""Several models' masks, or tables of their scores, against one truth: reading, comparing, and the files.

The comparison itself is `evaluate/comparison.py`, the scoring of one model `evaluation.py`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lesionlab.core.errors import DatasetError, ReadError, reason
from lesionlab.core.files import write_json, writing
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Outcome, Progress, silent
from lesionlab.evaluate import METRICS, summarise
from lesionlab.evaluate.bootstrap import STANDARD, Bootstrap, Interval
from lesionlab.evaluate.comparison import (
    COMPARED,
    RULE,
    ModelComparison,
    ModelSubgroup,
    comparison,
    comparison_record,
    difference_rows,
    group_rows,
    mean_rows,
    number_of,
)
from lesionlab.evaluate.statistics import UNKNOWN
from lesionlab.pipeline.evaluation import evaluate_files, spacing_of, split
from lesionlab.pipeline.files import filled_rows
from lesionlab.pipeline.pairs import pairs_of, patients_of
from lesionlab.report import ExtraSection, ModelResults, write_evaluation_page
from lesionlab.report.tables import write_csv

CASE_COLUMNS = ("case", "case_id")
PATIENT_COLUMNS = ("patient", "patient_id")
TABLES = ("means.csv", "differences.csv", "groups.csv", "cases.csv")
"""What `write_compared` writes beside its page."""


@dataclass(frozen=True)
class Compared:
    """A comparison with the scores it rests on, and by model the cases that could not be scored.

    `notes` say what was assumed of the cases.
    """

    result: ModelComparison
    scores: Mapping[str, Sequence[Scores]]
    failed: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CaseTable:
    """What a CSV file tells of the cases: case to patient, and every column as case to value."""

    patients: Mapping[str, str]
    columns: Mapping[str, Mapping[str, str]]


NOTHING_KNOWN = CaseTable({}, {})


@dataclass(frozen=True)
class Wanted:
    """Metrics to test (None: the usual), columns to split by, and what is known of the cases."""

    tested: Sequence[str] | None = None
    by: Sequence[str] = ()
    known: CaseTable = NOTHING_KNOWN


USUAL = Wanted()


def compare_files(
    models: Mapping[str, Path],
    truth: Path | None,
    wanted: Wanted = USUAL,
    *,
    settings: Bootstrap = STANDARD,
    progress: Progress = silent,
) -> Compared:
    """Compare models by name: folders of masks, scored against `truth`, or CSV files of scores.

    A CSV file is cases.csv of `evaluate`, or any with a column `case` and numbers. `wanted.by` names
    columns of `wanted.known` or metrics (truth_ml: by the size of the disease) for subgroups. Patients are
    those of `wanted.known`, else what `convert` or `examine` noted beside the masks. Where a
    folder lacks a mask for some truth, that is scored as an empty one; a case that a CSV file
    lacks is named as not scored. Raises DatasetError for unknown columns, a folder without truth, a single
    mask, a model with none of the metrics to test, and what `comparison` refuses.
    """
    scores: dict[str, list[Scores]] = {}
    failed: dict[str, dict[str, str]] = {}
    for number, (name, path) in enumerate(models.items()):
        scores[name], failed[name] = _scored(path, truth, _share(progress, number, len(models), name))
        _require_metrics(path, scores[name], wanted.tested or COMPARED)
    columns = {column: _column(column, wanted.known, scores) for column in wanted.by}
    patients = wanted.known.patients or _noted(models, truth)
    result = comparison(scores, tested=wanted.tested, patients=patients, columns=columns, settings=settings)
    ordered = replace(
        result, groups=tuple(sorted(result.groups, key=lambda one: _place(result, columns, one)))
    )
    notes = _notes(result.cases, wanted.known.patients, next(iter(scores.values()), []))
    return Compared(ordered, scores, failed, notes)


def model_names(given: Sequence[str]) -> dict[str, Path]:
    """Models by name from words NAME=PATH or PATH, whose name is then its last part that tells it apart.

    Raises DatasetError where two have the same name.
    """
    split_words = [word.partition("=") if "=" in word else ("", "", word) for word in given]
    paths = [Path(path) for _, _, path in split_words]
    found: dict[str, Path] = {}
    for (name, _, _), path in zip(split_words, paths, strict=True):
        chosen = name or _short(path, [p for p in paths if p != path])
        if chosen in found:
            raise DatasetError("models", f"{chosen} twice", "a name for each: NAME=PATH")
        found[chosen] = path
    return found


def case_table(path: Path) -> CaseTable:
    """A CSV file with a row per case: column `case` (or case_id), if wished `patient`, and any others.

    Raises ReadError for a file that is no such table, DatasetError for a case twice.
    """
    rows, key = case_rows(path)
    whose = next((name for name in PATIENT_COLUMNS if name in rows[0]), None)
    patients = {row[key]: row[whose] for row in rows if whose is not None and row[whose]}
    columns = {name: {row[key]: row[name] or "" for row in rows} for name in rows[0] if name != key}
    return CaseTable(patients, columns)


def scores_table(path: Path) -> list[Scores]:
    """Scores from a CSV file with a column `case` (or case_id); what is no finite number is undefined.

    Columns without any number (notes, names) are passed over. Raises ReadError for a file that is no such
    table, DatasetError for a case twice.
    """
    rows, key = case_rows(path)
    names = [name for name in rows[0] if name != key]
    values = [{name: number_of(row[name]) for name in names} for row in rows]
    used = [name for name in names if any(not math.isnan(row[name]) for row in values)]
    return [
        Scores(row[key], {name: numbers[name] for name in used})
        for row, numbers in zip(rows, values, strict=True)
    ]


def comparison_of(found: Compared) -> dict[str, Any]:
    """What `write_compared` writes as comparison.json."""
    failed = {name: dict(reasons) for name, reasons in found.failed.items()}
    return {**comparison_record(found.result), "failed": failed, "notes": list(found.notes)}


def write_compared(found: Compared, folder: str | Path) -> Path:
    """Write comparison.json, CSV files of the same, cases.csv and evaluation.html; returns the page."""
    folder, result = Path(folder), found.result
    whose = dict(zip(result.cases, result.patients, strict=True))
    names = list(dict.fromkeys(m for scores in found.scores.values() for s in scores for m in s.values))
    cases = [
        {"case": s.case_id, "patient": whose[s.case_id], "model": model}
        | {name: s.values.get(name, math.nan) for name in names}
        | {"notes": "; ".join(s.notes)}
        for model, scores in found.scores.items()
        for s in scores
    ]
    tables = {
        "means": mean_rows(result),
        "differences": difference_rows(result),
        "groups": group_rows(result),
        "cases": cases,
    }
    for name, rows in tables.items():
        with writing(folder / f"{name}.csv") as temporary:
            head = list(rows[0]) if rows else ["model", "metric"]
            write_csv(temporary, head, [list(row.values()) for row in rows])
    write_json(folder / "comparison.json", comparison_of(found))
    return write_page(found, folder / "evaluation.html")


def write_page(found: Compared, path: Path) -> Path:
    """Write the models beside each other as one page, with the tests and subgroups in it."""
    whose = dict(zip(found.result.cases, found.result.patients, strict=True))
    models = [
        ModelResults(name, scores, summarise(scores, whose), found.failed[name])
        for name, scores in found.scores.items()
    ]
    facts = {"missing and undefined": RULE, "files": "comparison.json and its tables beside this page"}
    facts |= {"assumed": "; ".join(found.notes)} if found.notes else {}
    extras = [_tests_section(found.result), _groups_section(found.result)]
    title = "Comparison of " + ", ".join(found.result.models)
    return write_evaluation_page(
        path, models, METRICS, title=title, facts=facts, extras=[one for one in extras if one.rows]
    )


def _tests_section(result: ModelComparison) -> ExtraSection:
    head = [
        "metric",
        "difference",
        "mean",
        "95 % interval",
        "cases",
        "left out",
        "signed rank p",
        "sign flip p",
    ]
    rows = [
        [
            *(one.metric, f"{one.second} \u2212 {one.first}", *_mean_cells(one.difference)),
            *(p_words(p) for p in (one.p_signed_rank, one.p_sign_flip, one.p_holm)),
        ]
        for one in result.tests
    ]
    words = (
        "Paired by case; patients are drawn and change sign together. Wilcoxon's signed-rank test, the "
        "sign-flip test of the mean, and the latter's p after Holm's correction over these "
        f"{len(rows)} tests."
    )
    return ExtraSection("Differences between models", words, [*head, "Holm p"], rows)


def _groups_section(result: ModelComparison) -> ExtraSection:
    head = ["column", "value", "model", "metric", "mean", "95 % interval", "cases", "left out"]
    rows = [
        [
            *(one.group.column, one.group.value, one.model, one.group.metric),
            *_mean_cells(one.group.mean),
        ]
        for one in result.groups
    ]
    return ExtraSection("Subgroups", "The tested metrics in parts of the cases.", head, rows)


def _mean_cells(one: Interval) -> list[object]:
    bounds = "-" if math.isnan(one.low + one.high) else f"{_figure(one.low)} to {_figure(one.high)}"
    return [_figure(one.estimate), bounds, one.n, one.undefined]


def _figure(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}".replace("-", "\u2212")


def p_words(value: float) -> str:
    """A p value for the eye: three digits, a dash where there is none."""
    return "-" if math.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def failures(found: Compared) -> list[Outcome[Any]]:
    """The cases that could not be scored, each with the model's name, as outcomes to list."""
    return [
        Outcome(case, None, f"{model}: {reason}", 0.0)
        for model, reasons in found.failed.items()
        for case, reason in reasons.items()
    ]


def _scored(path: Path, truth: Path | None, progress: Progress) -> tuple[list[Scores], dict[str, str]]:
    if path.suffix.lower() == ".csv" and not path.is_dir():
        return scores_table(path), {}
    if truth is None:
        raise DatasetError(path, "masks and no truth to compare them with", "a truth, or CSV files of scores")
    if path.is_file():
        raise DatasetError(path, "a single file", "a folder of masks; `evaluate` scores one")
    return split(evaluate_files(path, truth, progress=progress))


def _noted(models: Mapping[str, Path], truth: Path | None) -> dict[str, str]:
    """Case to patient, where masks or truths lie beside a record of it."""
    found: dict[str, str] = {}
    for path in models.values():
        if truth is not None and path.is_dir():
            found |= patients_of(pairs_of(path, truth))
    return found


def _require_metrics(path: Path, scores: Sequence[Scores], tested: Sequence[str]) -> None:
    """Raise DatasetError where scores hold nothing of what is to be tested; no scores at all pass."""
    known = {metric: None for one in scores for metric in one.values}
    if scores and known.keys().isdisjoint(tested):
        own = f", or --metrics with some of {', '.join(known)}" if known else ""
        raise DatasetError(path, f"none of {', '.join(tested)}", f"scores of one at least{own}")


def _notes(cases: Sequence[str], patients: Mapping[str, str], scores: Sequence[Scores]) -> tuple[str, ...]:
    """How many cases a table of patients does not name, and what lengths mean without a pixel spacing."""
    lengths = (words,) if (words := spacing_of(scores)) else ()
    alone = [case for case in cases if case not in patients] if patients else []
    if not alone:
        return lengths
    which = ", ".join(alone[:5]) + (", ..." if len(alone) > 5 else "")
    told = f"{len(alone)} of {len(cases)} cases without a patient in --cases, each its own: {which}"
    return (told, *lengths)


def _place(
    result: ModelComparison, columns: Mapping[str, object], one: ModelSubgroup
) -> tuple[int, int, bool, float, str]:
    """Where a subgroup stands: by model, column and value, numbers by size and what is not known last."""
    value = one.group.value
    number = number_of(value)
    place = math.inf if math.isnan(number) else number
    return (
        result.models.index(one.model),
        list(columns).index(one.group.column),
        value == UNKNOWN,
        place,
        value,
    )


def _share(progress: Progress, number: int, of: int, name: str) -> Progress:
    return lambda message, share: progress(f"{name}: {message}", (number + share) / of)


def _column(name: str, known: CaseTable, scores: Mapping[str, Sequence[Scores]]) -> dict[str, str]:
    """A column of the case table, or a metric that is the truth's and so the same whatever the model."""
    if name in known.columns:
        return dict(known.columns[name])
    rows = [one for model in scores.values() for one in model]
    values = {one.case_id: one.values[name] for one in reversed(rows) if name in one.values}
    found = {case: "" if math.isnan(value) else f"{value:.4g}" for case, value in values.items()}
    if not found:
        metrics = {metric: None for one in rows for metric in one.values}
        raise DatasetError(
            "subgroups", f"no column {name}", f"one of {', '.join([*known.columns, *metrics])}"
        )
    return found


def case_rows(path: Path, *, once: bool = True) -> tuple[list[dict[str, str]], str]:
    """A CSV file's rows, and the name of the column (case or case_id) that names the case.

    Empty rows are passed over. With `once`, every case has one row and there is one at least. Raises
    ReadError for a file that is no such table, DatasetError for a case twice.
    """
    needed = f"a CSV file with a column {CASE_COLUMNS[0]} and a row per case"
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [{k: v or "" for k, v in row.items() if k} for row in filled_rows(reader)]
            head = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(path, reason(error), needed) from None
    key = next((name for name in CASE_COLUMNS if name in head), None)
    if key is None or (once and not rows):
        raise ReadError(path, f"columns {', '.join(head) or 'none'}" if key is None else "no row", needed)
    names = [row[key] for row in rows]
    twins = sorted({name for name in names if names.count(name) > 1}) if once else []
    if twins:
        raise DatasetError(path, f"case {', '.join(twins)} more than once", "a row per case")
    return rows, key


def _short(path: Path, others: Sequence[Path]) -> str:
    """The last part of a path, or as many as it takes to tell it from the others, without .csv."""
    parts = path.with_suffix("").parts if path.suffix.lower() == ".csv" else path.parts
    rest = [p.with_suffix("").parts if p.suffix.lower() == ".csv" else p.parts for p in others]
    count = next(
        (n for n in range(1, len(parts) + 1) if all(other[-n:] != parts[-n:] for other in rest)), len(parts)
    )
    return "/".join(parts[-count:])
