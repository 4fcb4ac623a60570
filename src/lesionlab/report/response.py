"""The page of a comparison of two timepoints, and the files beside it: response.json and changes.csv.

Nothing is compared here; numbers come from the comparison. Pictures of the changes are `response_figures.py`.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lesionlab.core.files import write_json
from lesionlab.core.response import CATEGORY_WORDS, Change, Check, Comparison
from lesionlab.core.results import Column, Findings
from lesionlab.core.units import SUVBW
from lesionlab.report import display, tables
from lesionlab.report import figures as drawing
from lesionlab.report.canvas import png, width_px
from lesionlab.report.folder import filled
from lesionlab.report.html import (
    MISSING,
    Html,
    document,
    join,
    listing,
    number,
    picture,
    table,
    tag,
    unit_words,
)
from lesionlab.report.page import PURPOSE, definitions, moment, plain_words
from lesionlab.report.response_figures import changes_figure, peak_name

CHANGES_LISTED = 60
HEAD = ("baseline_lesions", "followup_lesions", "kind", "overlap_ml", "distance_mm")
KINDS = {
    "matched": "",
    "split": "split",
    "merged": "merged",
    "regrouped": "regrouped",
    "vanished": "vanished",
    "new": "new",
}
HOLDS = {True: "yes", False: "no", None: "not known"}


def write_comparison(comparison: Comparison, folder: Path) -> Path:
    """Write report.html, changes.csv, columns.csv and response.json into a folder; returns the page's path.

    All files appear together or, on WriteError, none. Two timepoints without lesions give a page that says
    so and an empty table.
    """
    folder = Path(folder)
    response = comparison.response
    with filled(folder) as inside:
        names = [column.name for column in response.columns]
        rows = [[*_identity(change), *(row_of(change)[n] for n in names)] for change in response.changes]
        tables.write_csv(inside / "changes.csv", [*HEAD, *names], rows)
        columns = [["changes", c.name, c.unit, c.meaning, c.code] for c in response.columns]
        tables.write_csv(inside / "columns.csv", tables.COLUMNS_HEAD, columns)
        write_json(inside / "response.json", response_record(comparison))
        (inside / "report.html").write_text(comparison_page(comparison), encoding="utf-8")
    return folder / "report.html"


def row_of(change: Change) -> dict[str, float]:
    """The values of a table of changes for one change, by column name."""
    row: dict[str, float] = {}
    for name in change.percent:
        row[f"{name}_baseline"] = change.baseline[name]
        row[f"{name}_followup"] = change.followup[name]
        row[f"{name}_change"] = change.percent[name]
    return row


def _identity(change: Change) -> list[object]:
    match = change.match
    sides = ["+".join(map(str, side)) for side in (match.baseline, match.followup)]
    return [*sides, match.kind, match.overlap_ml, match.distance_mm]


def response_record(comparison: Comparison) -> dict[str, Any]:
    """What response.json holds: category, criteria, changes, totals, and by which rules."""
    response, motion = comparison.response, comparison.motion
    verdict = response.percist
    return {
        "category": verdict.category or None,
        "reason": verdict.reason,
        "assessable": verdict.assessable,
        "checks": [asdict(check) for check in verdict.checks],
        "totals": row_of(response.totals),
        "changes": [
            dict(zip(HEAD, _identity(change), strict=True)) | row_of(change) for change in response.changes
        ],
        "units": {column.name: column.unit for column in response.columns},
        "settings": dict(comparison.settings),
        "motion": {"rotation": motion.rotation, "translation_lps_mm": motion.translation},
        "likeness": dict(zip(("before", "after"), comparison.likeness, strict=True)),
        "notes": _notes(comparison),
        "baseline": tables.run_record(comparison.baseline),
        "followup": tables.run_record(comparison.followup),
        "purpose": "research software, not a medical device",
    }


def comparison_page(comparison: Comparison) -> Html:
    """The page as text."""
    return document(
        f"{comparison.baseline.case.patient_id}: response report",
        _head(comparison),
        _noted(comparison),
        _criteria(comparison),
        _changes(comparison),
        _pictures(comparison),
        _origin(comparison),
        tag("footer", f"LesionLab. {PURPOSE}"),
    )


def _notes(comparison: Comparison) -> list[str]:
    """All notes once, warnings first."""
    sides = (("baseline", comparison.baseline), ("follow-up", comparison.followup))
    notes = [*comparison.notes]
    for when, findings in sides:
        notes += [f"{when}: {note}" for note in tables.all_notes(findings)]
    unique = list(dict.fromkeys(notes))
    warnings = [note for note in unique if "warning:" in note]
    rest = [note for note in unique if "warning:" not in note]
    return [_warning_first(note) for note in warnings] + rest


def _warning_first(note: str) -> str:
    return "warning: " + note.replace("warning: ", "", 1)


def _head(comparison: Comparison) -> Html:
    response = comparison.response
    verdict = response.percist
    first, second = comparison.baseline, comparison.followup
    words = CATEGORY_WORDS[verdict.category]
    if verdict.category and not verdict.assessable:
        words += ", scans not comparable"
    cards = [
        tag("li", tag("b", verdict.category or "–"), tag("span", f"PERCIST 1.0: {words}"), class_="main")
    ]
    for name in (peak_name(response), "SUVmax", "MTV", "TLG"):
        total = response.totals
        unit = response.quantities[name]
        label = {"MTV": "TMTV", "TLG": "total TLG"}.get(name, f"highest {name}")
        values = _pair(total, name, unit)
        cards.append(
            tag("li", tag("b", percent_words(total.percent[name])), tag("span", f"{label} ({values})"))
        )
    kinds = [change.match.kind for change in response.changes]
    counts = f"{len(first.lesions.rows)} → {len(second.lesions.rows)}"
    fate = f"lesions ({kinds.count('new')} new, {kinds.count('vanished')} vanished)"
    cards.append(tag("li", tag("b", counts), tag("span", fate)))
    names = f"baseline {first.case.id} · follow-up {second.case.id}"
    when = moment(second.provenance.started)
    return tag(
        "header",
        tag("h1", f"Response: {first.case.patient_id}"),
        tag("p", f"{names} · compared {when}", class_="sub"),
        tag("ul", *cards, class_="answer"),
        tag("p", f"{words.capitalize()}: {verdict.reason.replace('-', '−')}."),
    )


def percent_words(value: float) -> str:
    """A change in percent with its sign; a dash where it is unknown."""
    return MISSING if math.isnan(value) else f"{value:+.0f} %".replace("-", "−")


def _noted(comparison: Comparison) -> Html:
    notes = list(comparison.notes)
    warnings = [note for note in _notes(comparison) if note.startswith("warning:")]
    shown = list(dict.fromkeys([*warnings, *(n for n in notes if "warning:" not in n)]))
    if not shown:
        return Html("")
    return tag("section", tag("h2", "Notes"), tag("div", listing(shown), class_="notes"))


def _criteria(comparison: Comparison) -> Html:
    verdict = comparison.response.percist
    heading = tag("h2", "PERCIST 1.0, criterion by criterion")
    if not verdict.checks:
        return tag("section", heading, tag("p", f"No category: {verdict.reason}."))
    rows = [[c.name, c.needed, c.found.replace("-", "−"), _mark(c), c.source] for c in verdict.checks]
    head = ["Criterion", "What it asks", "Found", "Holds", "Source"]
    return tag("section", heading, tag("div", table(head, rows), class_="small"))


def _mark(check: Check) -> Html:
    return tag("b", HOLDS[check.holds])


def _changes(comparison: Comparison) -> Html:
    response = comparison.response
    heading = tag("h2", "Every lesion")
    if not response.changes:
        return tag(
            "section", heading, tag("p", "No lesion at either timepoint: there is nothing to compare.")
        )
    known = [n for n in response.quantities if any(_seen(change, n) for change in response.changes)]
    head = ["Lesion", "", *(_quantity_head(n, response.quantities[n]) for n in known)]
    body = [
        [
            change.match.words,
            KINDS[change.match.kind],
            *(_cell(change, n, response.quantities[n]) for n in known),
        ]
        for change in response.changes[:CHANGES_LISTED]
    ]
    body.append(["All", "", *(_cell(response.totals, n, response.quantities[n]) for n in known)])
    words = (
        "Numbers of the lesion at baseline → at follow-up; values likewise, the change below. Of lesions "
        "that vanished, uptake at follow-up is measured where they were. The last row takes all lesions of a "
        "timepoint as one: highest uptake and diameter, sum of volumes."
    )
    hidden = len(response.changes) - CHANGES_LISTED
    more = tag("p", f"{hidden} more are in changes.csv.") if hidden > 0 else Html("")
    figure = changes_figure(response)
    name = peak_name(response)
    return tag(
        "section",
        heading,
        picture(
            png(figure), f"{name} of every lesion at both timepoints and its change", "", width_px(figure)
        ),
        table(head, body, class_="numbers"),
        tag("p", words, class_="quiet"),
        more,
    )


def _seen(change: Change, name: str) -> bool:
    return not (math.isnan(change.baseline[name]) and math.isnan(change.followup[name]))


def _quantity_head(name: str, unit: str) -> Html:
    words = unit.replace("{", " (").replace("}", ")") if unit.startswith("g/ml") else unit_words(unit)
    return join([plain_words(name), tag("span", words, class_="unit")])


def _cell(change: Change, name: str, unit: str) -> Html:
    values = _pair(change, name, unit)
    return join([values, tag("span", percent_words(change.percent[name]), class_="unit")])


def _pair(change: Change, name: str, unit: str) -> str:
    # every kind of SUV is a g/ml with the same number of decimals
    plain = SUVBW if unit.startswith("g/ml") else unit
    return f"{number(change.baseline[name], plain)} → {number(change.followup[name], plain)}"


def _pictures(comparison: Comparison) -> Html:
    parts = [
        tag("h3", f"{when}: {findings.case.id}") + _projections(findings)
        for when, findings in (("Baseline", comparison.baseline), ("Follow-up", comparison.followup))
    ]
    words = "Each timepoint on its own grid, its lesions with the numbers of the table above."
    return tag("section", tag("h2", "Images"), tag("p", words), *(Html(part) for part in parts))


def _projections(findings: Findings) -> Html:
    figure = drawing.projections(findings)
    flat = display.orientation(findings.case.geometry).flat
    kind = "The image" if flat else "Coronal and sagittal maximum-intensity projections"
    return picture(png(figure), f"{kind} of {findings.case.id}", "", width_px(figure))


def _origin(comparison: Comparison) -> Html:
    rules = [
        [key.capitalize() if key.islower() else key, value] for key, value in comparison.settings.items()
    ]
    facts = []
    for when, findings in (("Baseline", comparison.baseline), ("Follow-up", comparison.followup)):
        run = findings.provenance
        facts += [[f"{when}: scan", tag("code", run.source)], [f"{when}: lesions by", run.bundle]]
        facts += [[f"{when}: {n} SHA-256", tag("code", digest)] for n, digest in run.inputs.items()]
    versions = comparison.followup.provenance.versions
    facts.append(["Versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
    columns: tuple[Column, ...] = comparison.response.columns
    return tag(
        "section",
        tag("h2", "Where every number comes from"),
        table(["Rule", "In this comparison"], rules, class_="facts"),
        table(["What", "Value"], facts, class_="facts"),
        tag("h3", "All notes"),
        listing(_notes(comparison)),
        tag("h3", "What the columns of changes.csv mean"),
        definitions({"change": columns}),
        tag("p", f"The same, for programs: response.json. {PURPOSE}"),
    )
