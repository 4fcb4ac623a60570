"""study.html, study.md and study.csv: many variants on one data set in one table, with ranks and tests.

Rows are plain data, computed in `study/table.py`; here they only become files. One page, no script.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.files import write_text, writing
from lesionlab.report import study_figures as drawing
from lesionlab.report.figures import WIDTH
from lesionlab.report.html import MISSING, Html, document, join, listing, picture, table, tag
from lesionlab.report.page import PURPOSE
from lesionlab.report.tables import write_csv

Rows = Sequence[Mapping[str, Any]]
PX = round(WIDTH * 96)
DEFINITIONS = (
    ("Dice, IoU", "voxel-wise, mean over cases that have a lesion; 95 % interval by drawing patients (BCa)"),
    ("lesions found", "true lesions of which a voxel is covered, mean over cases that have a lesion"),
    ("FP volume", "ml of predicted lesions that touch no true one, mean over all cases"),
    (
        "p (Holm)",
        "Wilcoxon signed-rank on patient means of Dice against the best variant, two-sided, corrected",
    ),
    ("rank", "by mean Dice; in brackets where it lies in 95 % of resamples of patients"),
    ("first", "share of these resamples in which the variant leads"),
    ("left empty", "lesion-free cases in which nothing was found"),
    (
        "training",
        "minutes of training of one fold, mean; patches seen; all networks of two steps or an ensemble",
    ),
    ("s per case", "seconds of prediction, network loaded, median over cases"),
)


def write_study(path: Path, title: str, parts: Mapping[str, Any]) -> Path:
    """Write study.html, study.md and study.csv into a folder; returns the page's path. Raises WriteError.

    `parts` are the fields of `study/table.py`'s StudyTable.
    """
    rows = parts["rows"]
    write_text(path / "study.html", study_page(title, parts))
    write_text(path / "study.md", study_markdown(title, parts))
    for name, kind in (("study", rows), ("classes", parts["classes"]), ("subgroups", parts["groups"])):
        if kind:
            with writing(path / f"{name}.csv") as temporary:
                write_csv(temporary, list(kind[0]), [list(row.values()) for row in kind])
    return path / "study.html"


def study_page(title: str, parts: Mapping[str, Any]) -> Html:
    """The whole page."""
    rows: Rows = parts["rows"]
    best = rows[0]
    cards = [
        ("main", three(best["dice"]), f"mean Dice of the best: {best['variant']}"),
        (None, len(rows), "variant" if len(rows) == 1 else "variants"),
        (None, parts["facts"]["tested"], "each by networks that had not seen the patient"),
    ]
    head = tag(
        "header",
        tag("h1", title),
        tag("p", "Variants on one data set, by the same folds and the same protocol", class_="sub"),
        tag("ul", *(tag("li", tag("b", n), tag("span", w), class_=c) for c, n, w in cards), class_="answer"),
    )
    return document(
        f"{title}: study",
        head,
        _left_out(parts),
        _section("Results", table(*main_table(rows), class_="numbers"), "Best mean Dice first."),
        _section("Cost", table(*cost_table(rows), class_="numbers worded")),
        _figures(parts),
        _free(rows),
        _detail("Per label", parts["classes"], ("label",)),
        _detail("Subgroups", parts["groups"], ("column", "value")),
        _section("Protocol", table(["", ""], [[k, v] for k, v in parts["facts"].items()], class_="facts")),
        _section(
            "What every number means",
            table(["column", "meaning"], [[*d] for d in DEFINITIONS], class_="defs"),
        ),
        tag("footer", f"LesionLab. {PURPOSE}"),
    )


def study_markdown(title: str, parts: Mapping[str, Any]) -> str:
    """The tables as Markdown, with what failed and what the numbers mean."""
    rows: Rows = parts["rows"]
    blocks = [f"# {title}", "", *(f"- {key}: {value}" for key, value in parts["facts"].items()), ""]
    blocks += _markdown(*main_table(rows))
    blocks += ["", f"Rank stability: Kendall's tau with resampled ranks {three(parts['tau'])}.", ""]
    blocks += _markdown(*cost_table(rows))
    if parts["failed"]:
        blocks += ["", "Left out, because a run failed:", ""]
        blocks += [f"- {name}: {reason}" for name, reason in parts["failed"].items()]
    if parts["waiting"]:
        blocks += ["", f"Not run yet: {', '.join(parts['waiting'])}."]
    for head, kind, keys in (
        ("Per label", "classes", ("label",)),
        ("Subgroups", "groups", ("column", "value")),
    ):
        if parts[kind]:
            blocks += ["", f"## {head}", "", *_markdown(*_detail_table(parts[kind], keys))]
    blocks += ["", *(f"- {name}: {meaning}." for name, meaning in DEFINITIONS)]
    return "\n".join(blocks) + "\n"


def main_table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the results; lesion-free cases only where there are some."""
    free = any(row["lesion_free"] for row in rows)
    head = ["variant", "Dice", "IoU", "lesions found", "FP volume, ml", "p (Holm)", "rank", "first"]
    head += ["left empty"] if free else []
    body = []
    for place, row in enumerate(rows):
        cells = [
            str(row["variant"]),
            with_interval(row, "dice"),
            with_interval(row, "iou"),
            three(row["lesion_sensitivity"]),
            in_form(row["fp_volume_ml"], ".3g"),
            "best" if place == 0 and math.isnan(row["p_holm"]) else p_value(row["p_holm"]),
            _rank(row),
            in_form(row["first_share"], ".0%"),
        ]
        cells += [f"{row['left_empty']} of {row['lesion_free']}"] if free else []
        body.append(cells)
    return head, body


def cost_table(rows: Rows) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what each variant costs, and the post-processing that was chosen for it."""
    several = any(not math.isnan(row["seed_sd"]) for row in rows)
    head = ["variant", "parameters", "training, min", "patches seen", "s per case"]
    head += ["SD over seeds"] if several else []
    head += ["post-processing"]
    body = []
    for row in rows:
        cells = [
            str(row["variant"]),
            millions(row["parameters"]),
            f"{row['minutes']:.2f}" if row["minutes"] else MISSING,
            f"{row['patches']:.0f}" if row["patches"] else MISSING,
            three(row["seconds_per_case"]),
        ]
        cells += [three(row["seed_sd"])] if several else []
        body.append([*cells, str(row["post_processing"])])
    return head, body


def with_interval(row: Mapping[str, Any], metric: str) -> str:
    """A mean with its interval in brackets."""
    low, high = row[f"{metric}_low"], row[f"{metric}_high"]
    interval = "" if math.isnan(low) else f" [{low:.3f}, {high:.3f}]"
    return three(row[metric]) + interval


def three(value: float) -> str:
    """Three decimals; undefined as a dash."""
    return in_form(value, ".3f")


def in_form(value: float, form: str) -> str:
    """A number in a form of Python's; undefined as a dash."""
    return MISSING if math.isnan(value) else format(value, form)


def p_value(value: float) -> str:
    """A p value, the smallest as below 0.001."""
    return "< 0.001" if value < 0.001 else three(value)


def _rank(row: Mapping[str, Any]) -> str:
    if math.isnan(row["rank"]):
        return MISSING
    return f"{row['rank']:g} [{row['rank_low']:g}, {row['rank_high']:g}]"


def millions(count: int) -> str:
    """A number of parameters in millions; a dash for a method without any."""
    return MISSING if not count else f"{count / 1e6:.2f} M"


def _section(title: str, *parts: object) -> Html:
    return tag(
        "section",
        tag("h2", title),
        *(tag("p", p) if isinstance(p, str) and not isinstance(p, Html) else p for p in parts),
    )


def _left_out(parts: Mapping[str, Any]) -> Html:
    items: list[object] = [join([tag("b", name), f": {why}"]) for name, why in parts["failed"].items()]
    items += [join([tag("b", name), ": not run yet"]) for name in parts["waiting"]]
    items += [
        join(
            [
                tag("b", row["variant"]),
                f": {row['not_predicted']} cases could not be predicted; they count as empty",
            ]
        )
        for row in parts["rows"]
        if row["not_predicted"]
    ]
    if not items:
        return Html("")
    return tag("section", tag("h2", "Left out or incomplete"), tag("div", listing(items), class_="failed"))


def _figures(parts: Mapping[str, Any]) -> Html:
    rows: Rows = parts["rows"]
    level = f"{drawing.LEVEL:.0%}".replace("%", " %")
    shown = [
        picture(
            drawing.dots(rows),
            "Mean Dice of every variant with its interval",
            f"Mean Dice with 95 % interval. Hollow: below the best at {level} after Holm's correction.",
            PX,
        )
    ]
    if len(rows) > 1:
        pairs: NDArray[np.float64] = parts["pairs"]
        shown += [
            picture(
                drawing.ranks(rows),
                "Rank of every variant with its interval",
                f"Rank by mean Dice, and the range of 95 % of resamples of patients. Kendall's tau between "
                f"these ranks and resampled ones: {three(parts['tau'])}.",
                PX,
            ),
            picture(
                drawing.matrix(rows, pairs),
                "Which variant is better than which",
                f"Blue: the row's variant is better than the column's at {level} (Wilcoxon, Holm's "
                "correction over all pairs). Pink: it is worse. White: they cannot be told apart.",
                drawing.matrix_px(rows),
            ),
            picture(drawing.by_cost(rows), "Mean Dice by parameters and by seconds per case", "", PX),
        ]
    return tag("section", tag("h2", "Comparison"), *shown)


def _free(rows: Rows) -> Html:
    if not any(row["lesion_free"] for row in rows):
        return Html("")
    body = [
        [row["variant"], row["lesion_free"], row["left_empty"], in_form(row["left_empty_share"], ".0%")]
        for row in rows
    ]
    words = "Dice is undefined in a case without a lesion; what counts is that nothing is found there."
    return _section(
        "Cases without a lesion",
        words,
        table(["variant", "cases", "left empty", "share"], body, class_="numbers"),
    )


def _detail(title: str, rows: Rows, keys: Sequence[str]) -> Html:
    return _section(title, table(*_detail_table(rows, keys), class_="numbers")) if rows else Html("")


def _detail_table(rows: Rows, keys: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    metrics = [name for name in ("dice", "iou") if name in rows[0]]
    words = {"dice": "Dice", "iou": "IoU"}
    head = ["variant", *keys, *(words[m] for m in metrics), "cases"]
    body = [
        [
            str(row["variant"]),
            *(str(row[key]) for key in keys),
            *(with_interval(row, m) for m in metrics),
            str(row["dice_n"]),
        ]
        for row in rows
    ]
    return head, body


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return ["| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines]
