"""The report of one patient: one self-contained HTML page with the answer first, and the files beside it.

Nothing is measured here; numbers come from the findings. Several patients together are `cohort.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from lesionlab.core.case import SPACING_UNKNOWN
from lesionlab.core.files import jsonable
from lesionlab.core.results import Column, Findings, LesionTable
from lesionlab.report import display, ibsi_checklist, tables
from lesionlab.report import figures as drawing
from lesionlab.report.canvas import png, width_px
from lesionlab.report.corrected import MASK, keep_corrected
from lesionlab.report.folder import filled
from lesionlab.report.html import (
    MISSING,
    Html,
    beside,
    document,
    join,
    listing,
    number,
    picture,
    quantity,
    table,
    tag,
    unit_words,
)
from lesionlab.report.suv import suv_section
from lesionlab.report.volumes import save_volume

LESIONS_PICTURED = 12
LESIONS_LISTED = 60
MISSED_PICTURED = 6
NOTES_ON_TOP = 8
ROWS_PER_TABLE = 7
ERROR_UNITS = {"TMTV_error": "ml", "TLG_error": "g", "SUVmax_error": "g/ml", "Dmax_error": "mm"}
ABBREVIATIONS = {"dice": "Dice", "iou": "IoU", "ppv": "PPV", "fp": "FP", "fn": "FN", "f1": "F1"}
ABBREVIATIONS |= {"hd": "HD", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD", "2mm": "2 mm", "3d": "3D"}
COUNT_NAMES = ("lesions", "lesion_count", "lesioncount", "count")
PURPOSE = "Research software, not a medical device: no diagnosis or treatment may rest on this page."


def write_findings(findings: Findings, folder: Path, *, figures: Mapping[str, bytes] | None = None) -> Path:
    """Write one patient's results into a folder and return the path of its report.html.

    Beside the page: lesions.csv, columns.csv, patient.json, run.json, mask.nii.gz (the refined mask with the
    recipe's labels) and lesions.nii.gz (lesion numbers), both on the reference grid; with radiomics in the
    recipe also ibsi_checklist.csv and .html. `figures` are further pictures (PNG) by caption, such as
    training curves. No lesion gives a page that says so, an empty lesions.csv and all-zero masks. All
    files appear together or, on WriteError, none. A corrected mask that stood there stays as
    mask_corrected.nii.gz.
    """
    folder = Path(folder)
    keep_corrected(findings, folder)
    with filled(folder) as inside:
        save_volume(findings.prediction.mask, inside / MASK)
        tables.write_tables(findings, inside)
        tables.write_run(findings, inside)
        if ibsi_checklist.wanted(findings):
            answers = ibsi_checklist.checklist(findings)
            ibsi_checklist.write_checklist(answers, inside, findings.case.id)
        save_volume(findings.lesions.labels, inside / "lesions.nii.gz")
        (inside / "report.html").write_text(patient_page(findings, figures or {}), encoding="utf-8")
    return folder / "report.html"


def patient_page(findings: Findings, extra: Mapping[str, bytes]) -> Html:
    """The page as text."""
    return document(
        f"{findings.case.id}: lesion report",
        _head(findings),
        _notes(findings),
        _overview(findings),
        _lesion_table(findings),
        _lesion_pictures(findings),
        _missed_pictures(findings),
        _agreement(findings),
        extra_figures(extra),
        suv_section(findings.case),
        _origin(findings),
        tag("footer", f"LesionLab. {PURPOSE}"),
    )


def moment(text: str) -> str:
    """An ISO time stamp to the minute, with its zone; anything else as it is."""
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M %Z").strip()
    except ValueError:
        return text


def counted(count: int) -> str:
    """The number of lesions in words."""
    return "No lesion found" if count == 0 else "1 lesion" if count == 1 else f"{count} lesions"


def headline(findings: Findings) -> list[tuple[Column, float]]:
    """Patient totals for the head of the page, and the highest SUVmax of any lesion behind them."""
    lesions = findings.lesions
    shown = [
        (column, float(lesions.totals.get(column.name, math.nan)))
        for column in lesions.total_columns
        if column.name.lower() not in COUNT_NAMES
    ]
    highest = next((column for column in lesions.columns if column.name == "SUVmax"), None)
    if highest is not None and lesions.rows and "SUVmax" not in lesions.totals:
        values = (float(row.get("SUVmax", math.nan)) for row in lesions.rows)
        shown.append((highest, max((value for value in values if not math.isnan(value)), default=math.nan)))
    return shown


def _head(findings: Findings) -> Html:
    case, run = findings.case, findings.provenance
    patient = "" if case.patient_id == case.id else f"patient {case.patient_id} · "
    cards = [tag("li", tag("b", counted(len(findings.lesions.rows))), tag("span", "found"), class_="main")]
    if not findings.lesions.rows:
        cards = [tag("li", tag("b", counted(0)), tag("span", "the mask is empty"), class_="main")]
    for column, value in headline(findings):
        unit = unit_words(column.unit)
        shown = number(value, column.unit)
        text = tag("b", shown, tag("small", f" {unit}") if unit and shown != MISSING else "")
        cards.append(tag("li", text, tag("span", column.name), title=column.meaning))
    return tag(
        "header",
        tag("h1", case.id),
        tag("p", f"{patient}method {run.bundle} · examined {moment(run.started)}", class_="sub"),
        tag("ul", join(cards), class_="answer"),
    )


def _notes(findings: Findings) -> Html:
    """Notes of the run, warnings and unknown units first, single lesions last, as many as fit above."""
    scored = () if findings.scores is None else findings.scores.notes
    weighty = (*findings.prediction.notes, *findings.case.notes, *scored, *findings.lesions.notes)
    notes = sorted(dict.fromkeys(weighty), key=lambda note: not _weighty(note))
    if not notes:
        return Html("")
    shown = notes[:NOTES_ON_TOP]
    rest = len(notes) - len(shown)
    more = tag("p", f"{rest} more under “Where every number comes from”.") if rest else Html("")
    return tag("section", tag("h2", "Notes"), tag("div", listing(shown), more, class_="notes"))


def _weighty(note: str) -> bool:
    return "warning" in note.lower() or SPACING_UNKNOWN in note


def _overview(findings: Findings) -> Html:
    case = findings.case
    figure = drawing.projections(findings)
    turn = display.orientation(case.geometry)
    flat = turn.flat
    kind = "The image" if flat else "Coronal and sagittal maximum-intensity projections"
    alt = f"{kind} of {drawing.channel_words(case.reference)}: {counted(len(findings.lesions.rows)).lower()}"
    caption = (
        "Shown as stored."
        if flat
        else "Head up; in the coronal view the patient's right (R) is at the left, as seen from the front."
    )
    if turn.oblique_degrees > 1.0:
        caption += f" The grid is oblique by {turn.oblique_degrees:.0f}°; pictures follow its nearest axes."
    return tag(
        "section",
        tag("h2", "Image" if flat else "Overview"),
        picture(png(figure), alt, caption, width_px(figure)),
        class_="overview",
    )


def _lesion_table(findings: Findings) -> Html:
    lesions = findings.lesions
    heading = tag("h2", "Lesions")
    if not lesions.rows:
        return tag("section", heading, tag("p", "No lesion found: there is nothing to measure."))
    columns = [c for c in lesions.columns if c.name != tables.LESION and not tables.is_radiomics(c)]
    head = ["Lesion", *(_column_head(column) for column in columns)]
    rows = [
        [
            tables.lesion_number(row, position),
            *(_cell(lesions, column, row) for column in columns),
        ]
        for position, row in enumerate(lesions.rows[:LESIONS_LISTED])
    ]
    hidden = len(lesions.rows) - len(rows)
    more = tag("p", f"{hidden} more lesions are in lesions.csv.") if hidden else Html("")
    words = "What each column means stands at the end of the page; – is a value that could not be computed."
    features = sum(map(tables.is_radiomics, lesions.columns))
    if features:
        words += f" {features} radiomics features of each lesion are in lesions.csv, defined in columns.csv."
    return tag("section", heading, table(head, rows, class_="numbers"), tag("p", words, class_="quiet"), more)


def _cell(lesions: LesionTable, column: Column, row: Mapping[str, float]) -> str | Html:
    """A value of a lesion; its label by name where there are several."""
    value = row.get(column.name, math.nan)
    if column.name == "label" and value in lesions.label_names:
        return lesions.label_names[int(value)]
    return number(value, column.unit)


def _column_head(column: Column) -> Html:
    return join([plain_words(column.name), tag("span", unit_words(column.unit), class_="unit")])


def _lesion_pictures(findings: Findings) -> Html:
    labels = findings.lesions.labels.array
    numbers = list(drawing.lesion_boxes(labels))
    if not numbers:
        return Html("")
    names = tables.lesion_names(findings.lesions)
    by_number = {
        tables.lesion_number(row, position): row for position, row in enumerate(findings.lesions.rows)
    }
    parts = [
        _slices(findings, names.get(n, f"Lesion {n}"), _facts(findings, by_number.get(n, {})), labels == n)
        for n in numbers[:LESIONS_PICTURED]
    ]
    rest = len(numbers) - LESIONS_PICTURED
    more = f" These are the {LESIONS_PICTURED} largest; all are in lesions.csv." if rest > 0 else ""
    intro = (
        "Slices through the centre of each lesion, in the plane of the images. The first panel carries the "
        "scale bar and the orientation; all panels of a row show the same field." + more
    )
    return tag("section", tag("h2", "Each lesion"), tag("p", intro, class_="lead"), join(parts))


def _facts(findings: Findings, row: Mapping[str, float]) -> str:
    units = {column.name: column.unit for column in findings.lesions.columns}
    wanted = [name for name in ("SUVmax", "SUVpeak", "MTV", "TLG", "volume") if name in units and name in row]
    return " · ".join(f"{name} {quantity(row[name], units[name])}" for name in wanted)


def _slices(findings: Findings, title: str, facts: str, region: display.Array) -> Html:
    figure = drawing.region_slices(findings, region)
    alt = f"{title}: slices of each channel and masks side by side" + (f". {facts}" if facts else "")
    heading = tag("h3", title, tag("small", f" {facts}") if facts else "")
    return tag("div", heading, picture(png(figure), alt, "", width_px(figure)), class_="lesion")


def _missed_pictures(findings: Findings) -> Html:
    parts, missed = drawing.missed(findings)
    if not missed:
        return Html("")
    voxel_ml = findings.case.geometry.voxel_ml
    rows = []
    for position, n in enumerate(missed[:MISSED_PICTURED], start=1):
        region = parts == n
        facts = f"{region.sum() * voxel_ml:.2f} ml in the truth"
        rows.append(_slices(findings, f"Not found {position}", facts, region))
    words = f"{len(missed)} connected part(s) of the truth that the refined mask does not touch"
    rest = len(missed) - MISSED_PICTURED
    words += f"; the {MISSED_PICTURED} largest are shown." if rest > 0 else "."
    return tag("section", tag("h2", "In the truth, not found"), tag("p", words), join(rows))


def _agreement(findings: Findings) -> Html:
    scores = findings.scores
    if scores is None:
        return Html("")
    rows = [[metric_words(name), metric_value(name, value)] for name, value in scores.values.items()]
    return tag(
        "section",
        tag("h2", "Agreement with the truth"),
        beside(["Measure", "Value"], rows, min(4, -(-len(rows) // ROWS_PER_TABLE)), class_="numbers"),
        listing(scores.notes) if scores.notes else Html(""),
    )


def metric_words(name: str) -> str:
    """A score's name as people write it, its unit in brackets."""
    if name in ERROR_UNITS:
        return f"{plain_words(name)} ({ERROR_UNITS[name]})"
    for suffix, unit in (("_ml", "ml"), ("_mm", "mm"), ("_percent", "%")):
        if name.endswith(suffix):
            return f"{plain_words(name.removesuffix(suffix))} ({unit})"
    return plain_words(name)


def plain_words(name: str) -> str:
    """An identifier as words: underscores as spaces, abbreviations as they are written."""
    return " ".join(ABBREVIATIONS.get(word, word) for word in name.split("_"))


def metric_value(name: str, value: float) -> str:
    """A score for reading: volumes and percentages short, shares with three decimals, counts without any."""
    counts = name.startswith(("lesions", "prediction_missing")) and not name.endswith("_percent")
    if math.isfinite(value) and not counts:
        digits = 1 if name.endswith("_percent") else 2 if name.endswith(("_ml", "_mm", "_error")) else 3
        return f"{value:z.{digits}f}".replace("-", "−")
    return number(value)


def extra_figures(extra: Mapping[str, bytes]) -> Html:
    """Further pictures by caption, each full width."""
    if not extra:
        return Html("")
    parts = (picture(data, caption, caption, round(drawing.WIDTH * 96)) for caption, data in extra.items())
    return tag("section", tag("h2", "Further figures"), join(parts))


def _origin(findings: Findings) -> Html:
    run, case = findings.provenance, findings.case
    facts = [
        ["Method", f"{run.bundle}, recipe {run.recipe_name}"],
        ["Recipe SHA-256", tag("code", run.recipe_sha256)],
        ["Bundle SHA-256", tag("code", run.bundle_sha256)],
        *([f"Input {name} SHA-256", tag("code", digest)] for name, digest in run.inputs.items()),
        *([["Scan", tag("code", run.source)]] if run.source else []),
        *([["Truth", tag("code", run.truth)]] if run.truth else []),
        ["Device", run.device],
        ["Started", moment(run.started)],
        ["Time", ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in run.seconds.items())],
        ["Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())],
        ["Reference grid", f"{case.reference}: {case.geometry.describe()}"],
    ]
    settings = [[key, tag("code", value)] for key, value in _flat(jsonable(run.settings))]
    return tag(
        "section",
        tag("h2", "Where every number comes from"),
        table(["What", "Value"], facts, class_="facts"),
        *_listed("How the data were read, converted and measured", tables.all_notes(findings)),
        tag("h3", "What the columns mean"),
        tag(
            "div",
            definitions({"lesion": findings.lesions.columns, "patient": findings.lesions.total_columns}),
        ),
        tag("h3", "All settings"),
        tag("div", beside(["Setting", "Value"], settings, 2), class_="small"),
        _checklist_link(findings),
        tag("p", f"The same, for programs: run.json. {PURPOSE}"),
    )


def _checklist_link(findings: Findings) -> Html:
    if not ibsi_checklist.wanted(findings):
        return Html("")
    link = tag("a", "ibsi_checklist.html", href="ibsi_checklist.html")
    return tag("p", "What a paper should report of these features, filled in: ", link, ".")


def _listed(title: str, items: list[str]) -> tuple[Html, ...]:
    return (tag("h3", title), listing(items)) if items else ()


def definitions(columns: Mapping[str, tuple[Column, ...]]) -> Html:
    """A table of columns: name, unit in words and as UCUM code, meaning, code; radiomics stay in files."""
    rows = [
        [column.name, of, tag("code", column.unit), column.meaning, column.code or "–"]
        for of, group in columns.items()
        for column in group
        if not tables.is_radiomics(column)
    ]
    return tag("div", table(["Column", "Of", "Unit (UCUM)", "Meaning", "Code"], rows), class_="small defs")


def _flat(value: object, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif prefix:
        yield prefix, "not set" if value is None else str(value)
