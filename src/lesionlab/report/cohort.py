"""The report of many patients: one page, beside the tables of `cohort_tables`.

Scores are summarised elsewhere and handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lesionlab.report.cohort_tables import LESIONS, CohortEntry, by_unit, write_cohort_tables
from lesionlab.report.folder import filled
from lesionlab.report.html import (
    MISSING,
    Html,
    document,
    escaped,
    join,
    listing,
    number,
    picture,
    table,
    tag,
    unit_words,
)
from lesionlab.report.page import (
    COUNT_NAMES,
    PURPOSE,
    counted,
    definitions,
    extra_figures,
    metric_value,
    metric_words,
)

PICTURED = 120
"""So many thumbnails at most: each is 10 to 30 kB in the page."""
SCORES_SHOWN = (
    "dice",
    "iou",
    "ppv",
    "sensitivity",
    "volume_error_ml",
    "lesion_sensitivity",
    "lesions_false",
)
COUNTED_TWICE = (
    "Lesions found are regions whose voxels touch by a face, an edge or a corner (26 neighbours, unless the "
    "recipe says otherwise); scores of lesions join by faces and edges only (18, as in the autoPET "
    "challenge), so that they can count more."
)
COUNTED = ("n", "undefined")
"""Statistics that are numbers of cases."""


def write_cohort(
    entries: Sequence[CohortEntry],
    folder: Path,
    *,
    title: str = "Cohort",
    summary: Mapping[str, Any] | None = None,
    figures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a cohort's results into a folder and return the path of its report.html.

    Beside the page: lesions.csv (every lesion), patients.csv (a row per patient, failed ones with their
    reason), columns.csv and cohort.json. `summary` holds scores over cases: `metrics` maps a name to
    its statistics, `pooled` a name to the value over all voxels, other keys are values of their own.
    `figures` are further pictures (PNG) by caption. Other files in the folder, the patients' own
    among them, stay. No entry gives empty tables. All files appear or, on WriteError, none.
    """
    folder = Path(folder)
    with filled(folder) as inside:
        write_cohort_tables(entries, inside, title, summary)
        page = _page(entries, title, summary or {}, figures or {})
        (inside / "report.html").write_text(page, encoding="utf-8")
    return folder / "report.html"


def _page(
    entries: Sequence[CohortEntry], title: str, summary: Mapping[str, Any], extra: Mapping[str, bytes]
) -> Html:
    done = [entry for entry in entries if entry.error is None]
    failed = [entry for entry in entries if entry.error is not None]
    return document(
        title,
        _head(done, failed, title),
        _failures(failed),
        _shared_notes(done),
        _summary(summary),
        _patients(done),
        _grid(done),
        extra_figures(extra),
        _origin(done),
        tag("footer", f"LesionLab. {PURPOSE}"),
    )


def _head(done: Sequence[CohortEntry], failed: Sequence[CohortEntry], title: str) -> Html:
    lesions = sum(len(entry.rows) for entry in done)
    without = sum(not entry.rows for entry in done)
    people = len({entry.patient_id or entry.case_id for entry in done})
    words = ("patient", "patients") if people == len(done) else ("case", "cases")
    cards = [
        ("main", len(done), f"{words[len(done) != 1]} examined"),
        *([(None, people, "patient" if people == 1 else "patients")] if people != len(done) else []),
        (None, len(failed), "failed"),
        (None, lesions, "lesion found" if lesions == 1 else "lesions found"),
        (None, without, "without any lesion"),
    ]
    methods = sorted({entry.method for entry in done if entry.method})
    return tag(
        "header",
        tag("h1", title),
        tag("p", "method " + "; ".join(methods) if methods else "no patient could be examined", class_="sub"),
        tag("ul", *(tag("li", tag("b", n), tag("span", w), class_=c) for c, n, w in cards), class_="answer"),
    )


def _failures(failed: Sequence[CohortEntry]) -> Html:
    if not failed:
        return Html("")
    items = [join([tag("b", entry.case_id), f": {entry.error}"]) for entry in failed]
    return tag("section", tag("h2", f"Failed ({len(failed)})"), tag("div", listing(items), class_="failed"))


def _shared_notes(done: Sequence[CohortEntry]) -> Html:
    """What is noted of every case alike, such as lengths that mean pixels."""
    shared = [note for note in done[0].notes if all(note in entry.notes for entry in done)] if done else []
    if not shared:
        return Html("")
    return tag("section", tag("h2", "Notes on every case"), tag("div", listing(shared), class_="notes"))


def _summary(summary: Mapping[str, Any]) -> Html:
    """Scores over cases: a table with a row per measure, what is not a measure in a list above it."""
    if not summary:
        return Html("")
    metrics: Mapping[str, Any] = summary.get("metrics") or {}
    pooled: Mapping[str, Any] = summary.get("pooled") or {}
    others = {name: value for name, value in summary.items() if name not in ("metrics", "pooled")}
    statistics = list(dict.fromkeys(key for values in metrics.values() for key in values))
    head = ["Measure", *map(_words, statistics), *(["pooled over all voxels"] if pooled else [])]
    rows = [
        [
            metric_words(name),
            *(_statistic(name, key, values.get(key)) for key in statistics),
            *([_statistic(name, "pooled", pooled.get(name))] if pooled else []),
        ]
        for name, values in metrics.items()
    ]
    return tag(
        "section",
        tag("h2", "Agreement with the truth, over patients"),
        tag("p", " · ".join(f"{_words(name)}: {_value(value)}" for name, value in others.items())),
        table(head, rows, class_="numbers") if rows else "",
    )


def _words(name: str) -> str:
    return name.replace("_", " ")


def _statistic(name: str, key: str, value: Any) -> str:
    if not isinstance(value, int | float):
        return _value(value)
    return number(value) if key in COUNTED else metric_value(name, value)


def _value(value: Any) -> str:
    if value is None:
        return MISSING
    if isinstance(value, int | float) and not isinstance(value, bool):
        return number(value)
    if isinstance(value, list | tuple):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(key))} {_value(item)}" for key, item in value.items())
    return str(value)


def _patients(done: Sequence[CohortEntry]) -> Html:
    if not done:
        return tag("section", tag("h2", "Patients"), tag("p", "None examined."))
    totals = by_unit([column for column, _ in entry.headline] for entry in done)
    totals = tuple(column for column in totals if column.name.lower() not in COUNT_NAMES)
    known = list(dict.fromkeys(name for entry in done for name in entry.scores))
    metrics = [name for name in SCORES_SHOWN if name in known] or known[: len(SCORES_SHOWN)]
    head: list[object] = ["Patient", "Lesions"]
    head += [join([c.name, tag("span", unit_words(c.unit), class_="unit")]) for c in totals]
    head += [metric_words(name) for name in metrics]
    rows = []
    for entry in done:
        values = {(column.name, column.unit): value for column, value in entry.headline}
        cells: list[object] = [_link(entry), len(entry.rows)]
        cells += [number(values.get((c.name, c.unit), math.nan), c.unit) for c in totals]
        cells += [metric_value(name, entry.scores.get(name, math.nan)) for name in metrics]
        rows.append(cells)
    hidden = len(known) - len(metrics)
    more = f" {hidden} more measures per patient are in patients.csv." if hidden > 0 else ""
    words = f"– is a value that could not be computed or is undefined.{more}"
    if any(name.startswith("lesion") for name in known):
        words += f" {COUNTED_TWICE}"
    return tag(
        "section", tag("h2", "Patients"), table(head, rows, class_="numbers"), tag("p", words, class_="quiet")
    )


def _link(entry: CohortEntry) -> Html:
    return tag("a", entry.case_id, href=quote(entry.page)) if entry.page else escaped(entry.case_id)


def _grid(done: Sequence[CohortEntry]) -> Html:
    pictured = [entry for entry in done if entry.thumbnail]
    if not pictured:
        return Html("")
    items = (
        tag(
            "li",
            picture(entry.thumbnail, f"Projection of {entry.case_id}: {counted(len(entry.rows)).lower()}"),
            _link(entry),
            tag("br"),
            counted(len(entry.rows)),
        )
        for entry in pictured[:PICTURED]
    )
    rest = len(pictured) - PICTURED
    more = tag("p", f"The first {PICTURED} of {len(pictured)} patients.") if rest > 0 else ""
    words = "Coronal projections (or the image itself): refined mask red, truth blue where known."
    return tag("section", tag("h2", "Pictures"), tag("p", words), more, tag("ul", *items, class_="grid"))


def _origin(done: Sequence[CohortEntry]) -> Html:
    columns = {
        "patient": (LESIONS, *by_unit([column for column, _ in entry.headline] for entry in done)),
        "lesion": by_unit(entry.columns for entry in done),
    }
    words = (
        "Each patient's page and run.json name versions, hashes, timings and conversions. All numbers are in "
        f"patients.csv, lesions.csv and cohort.json. {PURPOSE}"
    )
    return tag("section", tag("h2", "Where every number comes from"), tag("p", words), definitions(columns))
