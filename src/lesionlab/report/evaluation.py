"""evaluation.html: how one model, or several side by side, agree with the truth over many cases.

Scores, summaries and tests come from `evaluate/`; here they only become a page. One file, no script.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.files import write_text
from lesionlab.report import evaluation_figures as drawing
from lesionlab.report.canvas import DPI
from lesionlab.report.evaluation_tables import (
    MetricLike,
    ModelResults,
    anchor,
    cases_of_all,
    cases_table,
    column,
    interval,
    mean,
    names_of,
    shown,
    side_by_side,
    summary_tables,
    total,
)
from lesionlab.report.figures import WIDTH
from lesionlab.report.html import (
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
from lesionlab.report.page import PURPOSE, metric_value, metric_words

COMPARED = ("dice", "sensitivity", "ppv", "nsd_2mm", "lesion_sensitivity", "lesion_ppv", "panoptic_quality")
HISTOGRAMS = ("dice", "hd95_mm", "volume_error_ml", "fp_volume_ml")
PX = round(WIDTH * 96)


@dataclass(frozen=True)
class ExtraSection:
    """A further part of the page: words, a table, pictures (PNG, alternative text, caption)."""

    title: str
    words: str = ""
    head: Sequence[object] = ()
    rows: Sequence[Sequence[object]] = ()
    pictures: Sequence[tuple[bytes, str, str]] = ()


def write_evaluation_page(
    path: Path,
    models: Sequence[ModelResults],
    metrics: Sequence[MetricLike],
    *,
    title: str = "Evaluation",
    facts: Mapping[str, str] | None = None,
    extras: Iterable[ExtraSection] = (),
) -> Path:
    """Write the page and return its path. Raises WriteError. See `evaluation_page`."""
    write_text(path, evaluation_page(models, metrics, title=title, facts=facts or {}, extras=extras))
    return path


def evaluation_page(
    models: Sequence[ModelResults],
    metrics: Sequence[MetricLike],
    *,
    title: str,
    facts: Mapping[str, str],
    extras: Iterable[ExtraSection] = (),
) -> Html:
    """The page of one model, or of several beside each other; a model without any scored case says so.

    `metrics` gives the order and the meanings, `facts` what else belongs beside the numbers (the matching
    rule, where the files are), `extras` further sections, such as tests between the models.
    """
    one = models[0] if len(models) == 1 else None
    return document(
        f"{title}: evaluation",
        _head(title, models),
        _failures(models),
        _empties(models),
        summary_tables(one, metrics) if one else side_by_side(models, metrics),
        *(_section(extra) for extra in extras),
        _distributions(models),
        *(_curves(model, one is None) for model in models),
        *(_gallery(model, one is None) for model in models),
        cases_table(one) if one else cases_of_all(models),
        _definitions(models, metrics, facts),
        tag("footer", f"LesionLab. {PURPOSE}"),
    )


def _head(title: str, models: Sequence[ModelResults]) -> Html:
    cards: list[tuple[str | None, object, str]] = []
    for model in models:
        found = model.summary.get("metrics") or {}
        words = "mean Dice" if len(models) == 1 else f"mean Dice, {model.name}"
        cards.append(("main", mean(found, "dice"), words + interval(found, "dice", " (95% {})")))
    if len(models) == 1:
        scores = models[0].scores
        true, hit = total(scores, "lesions_true"), total(scores, "lesions_found")
        false = total(scores, "lesions_false")
        cards.append((None, len(scores), "case" if len(scores) == 1 else "cases"))
        cards.append((None, f"{number(hit)} of {number(true)}", "true lesions found"))
        per_case = false / len(scores) if scores else math.nan
        cards.append((None, number(false), f"false lesions ({number(per_case)} per case)"))
        if "hd95_mm" in (models[0].summary.get("metrics") or {}):
            median = models[0].summary["metrics"]["hd95_mm"].get("median")
            cards.append((None, shown("hd95_mm", median), "median HD95, mm"))
    return tag(
        "header",
        tag("h1", title),
        tag("p", "Agreement of predicted lesions with the truth", class_="sub"),
        tag("ul", *(tag("li", tag("b", n), tag("span", w), class_=c) for c, n, w in cards), class_="answer"),
    )


def _failures(models: Sequence[ModelResults]) -> Html:
    lists = []
    for model in models:
        items: list[object] = [join([tag("b", case), f": {why}"]) for case, why in model.failed.items()]
        items += [
            join([tag("b", one.case_id), ": no prediction; counted as one in which nothing was found"])
            for one in model.scores
            if one.values.get("prediction_missing") == 1.0
        ]
        if items:
            title = "Not scored, or without a prediction"
            words = title if len(models) == 1 else f"{title}: {model.name}"
            lists.append(tag("section", tag("h2", words), tag("div", listing(items), class_="failed")))
    return join(lists)


def _empties(models: Sequence[ModelResults]) -> Html:
    """How many masks were empty: always there, as an undefined Dice is easily overlooked."""
    keys = ("cases", "empty_truth", "empty_prediction", "both_empty", "missing_predictions")
    head = ["", "cases", "truth empty", "prediction empty", "both empty", "no prediction", "not scored"]
    rows = [
        [model.name, *(number(model.summary.get(key, 0)) for key in keys), len(model.failed)]
        for model in models
    ]
    words = (
        "A metric that an empty mask leaves undefined is counted as undefined and is in no mean; the rule "
        "for every metric is in the documentation. A missing prediction counts as an empty one."
    )
    return tag(
        "section", tag("h2", "Cases"), table(head, rows, class_="numbers"), tag("p", words, class_="quiet")
    )


def _section(extra: ExtraSection) -> Html:
    return tag(
        "section",
        tag("h2", extra.title),
        tag("p", extra.words) if extra.words else "",
        table(extra.head, extra.rows, class_="numbers") if extra.rows else "",
        *(picture(png, alt, caption) for png, alt, caption in extra.pictures),
    )


def _distributions(models: Sequence[ModelResults]) -> Html:
    if not any(model.scores for model in models):
        return Html("")
    names = [n for n in COMPARED if any(n in one.values for model in models for one in model.scores)]
    rows = {
        metric_words(name) if len(models) == 1 else f"{metric_words(name)}, {model.name}": column(
            model.scores, name
        )
        for name in names
        for model in models
    }
    caption = (
        "One dot per case; box: middle half and median, whiskers: last case within 1.5 box lengths, red "
        "diamond: mean."
    )
    parts = [picture(drawing.shares(rows), "Distribution of scores over cases", caption, PX)]
    if len(models) == 1:
        parts += _single_plots(models[0])
    return tag("section", tag("h2", "Distribution over cases"), join(parts))


def _single_plots(model: ModelResults) -> list[Html]:
    panels = {metric_words(name): column(model.scores, name) for name in HISTOGRAMS}
    panels = {title: values for title, values in panels.items() if len(drawing.known(values)) > 1}
    parts = []
    if panels:
        parts.append(
            picture(
                drawing.histograms(panels),
                "Histograms of scores",
                "Number of cases by value; red: the median.",
                PX,
            )
        )
    volumes, dice = column(model.scores, "truth_ml"), column(model.scores, "dice")
    bins = list(model.summary.get("sensitivity_by_size") or [])
    bins = [{**item, "high_ml": math.inf if item["high_ml"] is None else item["high_ml"]} for item in bins]
    names = [one.case_id for one in model.scores]
    png = drawing.volumes_and_sizes(names, volumes, dice, bins)
    alt = "Dice by volume of the truth; share of lesions found by size"
    return [*parts, picture(png, alt, "", PX)]


def _curves(model: ModelResults, named: bool) -> Html:
    if not model.probabilities:
        return Html("")
    title = f"Probabilities: {model.name}" if named else "Probabilities"
    lists = {key: list(model.probabilities.get(key) or []) for key in ("reliability", "dice", "froc")}
    png = drawing.curves(**lists)
    words = str(model.probabilities.get("text", ""))
    return tag(
        "section", tag("h2", title), picture(png, "Reliability, Dice by threshold and FROC", words, PX)
    )


def _gallery(model: ModelResults, named: bool) -> Html:
    if not model.gallery:
        return Html("")
    title = f"Worst cases: {model.name}" if named else "Worst cases"
    parts = []
    for item in model.gallery:
        reasons = ", ".join(
            f"{metric_words(name)} {metric_value(name, value)} ({_ordinal(rank)})"
            for name, rank, value in item.worst.ranks
        )
        width = round(_png_width(item.png) / 110 * 96)
        parts.append(
            tag(
                "div",
                tag("h3", item.worst.case_id, tag("small", reasons)),
                picture(item.png, f"Truth and prediction of {item.worst.case_id}", item.caption, width),
                id=anchor(model, item.worst.case_id),
                class_="lesion",
            )
        )
    words = (
        "The worst by each of several metrics, every case once, those that are worst by most metrics first."
    )
    return tag("section", tag("h2", title), tag("p", words), join(parts))


def _ordinal(rank: int) -> str:
    return "worst" if rank == 1 else {2: "2nd", 3: "3rd"}.get(rank, f"{rank}th") + " worst"


def _png_width(png: bytes) -> int:
    """Pixels across, from a PNG's header."""
    return int.from_bytes(png[16:20], "big") if len(png) >= 24 else DPI


def _definitions(
    models: Sequence[ModelResults], metrics: Sequence[MetricLike], facts: Mapping[str, str]
) -> Html:
    there = set(names_of(models, metrics))
    rows = [
        [tag("code", metric.name), metric.meaning, unit_words(metric.unit)]
        for metric in metrics
        if metric.name in there
    ]
    known = [[name, value] for name, value in facts.items()]
    return tag(
        "section",
        tag("h2", "What every number means"),
        table(["", ""], known, class_="facts") if known else "",
        table(["name in cases.csv", "meaning", "unit"], rows, class_="defs"),
    )
