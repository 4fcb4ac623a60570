"""The tables of evaluation.html: what a model's results are, their summary, and every case.

The page around them is `evaluation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from lesionlab.core.results import Scores
from lesionlab.report.evaluation_gallery import Pictured
from lesionlab.report.html import MISSING, Html, escaped, join, number, table, tag
from lesionlab.report.page import metric_value, metric_words

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Voxel-wise overlap": ("dice", "iou", "ppv", "sensitivity", "specificity", "volumetric_similarity"),
    "Volume": ("predicted_ml", "truth_ml", "overlap_ml", "volume_error_ml", "volume_error_percent"),
    "Surface": ("hd_mm", "hd95_mm", "assd_mm", "nsd_2mm"),
    "Lesion-wise": (),
}
"""The summary's parts; a metric in none of them belongs to the last."""
HIDDEN = ("prediction_missing",)
CASE_COLUMNS = (
    *("dice", "sensitivity", "ppv", "hd95_mm", "nsd_2mm", "volume_error_ml", "truth_ml"),
    *("lesions_true", "lesions_missed", "lesions_false", "fp_volume_ml", "fn_volume_ml"),
)
LISTED = 400
"""So many cases are in the page's table; cases.csv has all."""


class MetricLike(Protocol):
    """What the page must know of a metric; `evaluate.empty.Metric` is one."""

    @property
    def name(self) -> str:
        """Its key in the scores."""

    @property
    def unit(self) -> str:
        """Its UCUM unit."""

    @property
    def meaning(self) -> str:
        """What it is, in a few words."""


@dataclass(frozen=True)
class ModelResults:
    """One model as the page shows it.

    `summary` is that of `evaluate.summarise` (keys `metrics`, `cases`, `empty_truth` ...), where known also
    with `sensitivity_by_size` (records low_ml, high_ml, lesions, found). `failed` maps cases that could not
    be scored to the reason. `probabilities` holds `text` and point lists `reliability`,
    `dice` and `froc`.
    """

    name: str
    scores: Sequence[Scores]
    summary: Mapping[str, Any]
    failed: Mapping[str, str] = field(default_factory=dict)
    probabilities: Mapping[str, Any] = field(default_factory=dict)
    gallery: Sequence[Pictured] = ()


def total(scores: Sequence[Scores], name: str) -> float:
    """The sum of a metric over the cases where it is defined."""
    values = (one.values.get(name, math.nan) for one in scores)
    return math.fsum(value for value in values if not math.isnan(value))


def mean(metrics: Mapping[str, Any], name: str) -> str:
    """The mean of a metric as text, a dash where there is none."""
    return shown(name, (metrics.get(name) or {}).get("mean"))


def interval(metrics: Mapping[str, Any], name: str, frame: str = "{}") -> str:
    """The interval of a mean in a frame of words; nothing where it is not known."""
    low, high = (
        value if isinstance(value, float | int) and math.isfinite(value) else None
        for value in ((metrics.get(name) or {}).get(key) for key in ("mean_low", "mean_high"))
    )
    if low is None or high is None:
        return ""
    return frame.format(f"{metric_value(name, low)} to {metric_value(name, high)}")


def shown(name: str, value: Any) -> str:
    """A metric's value as text, a dash where there is none."""
    return metric_value(name, value) if isinstance(value, float | int) else MISSING


def _grouped(names: Iterable[str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {title: [] for title in GROUPS}
    for name in names:
        held = (title for title, members in GROUPS.items() if name in members)
        groups[next(held, list(GROUPS)[-1])].append(name)
    return {title: members for title, members in groups.items() if members}


def names_of(models: Sequence[ModelResults], metrics: Sequence[MetricLike]) -> list[str]:
    """The metrics that any model has, in the order of `metrics`, others behind."""
    there = dict.fromkeys(name for model in models for name in model.summary.get("metrics") or {})
    order = [metric.name for metric in metrics if metric.name in there]
    return [name for name in dict.fromkeys([*order, *there]) if name not in HIDDEN]


def summary_tables(model: ModelResults, metrics: Sequence[MetricLike]) -> Html:
    """Every metric over the cases, by groups, with its interval and how many cases it is defined in."""
    found: Mapping[str, Any] = model.summary.get("metrics") or {}
    if not found:
        return tag("section", tag("h2", "Summary"), tag("p", "No case could be scored."))
    pooled: Mapping[str, Any] = model.summary.get("pooled") or {}
    head = ["mean", "95% interval", "sd", "median", "least", "most", "n", "undefined", "pooled"]
    parts = []
    for title, names in _grouped(names_of([model], metrics)).items():
        rows = []
        for name in names:
            values = found[name]
            row: list[object] = [metric_words(name), shown(name, values.get("mean"))]
            row.append(interval(found, name) or MISSING)
            row += [shown(name, values.get(key)) for key in ("sd", "median", "min", "max")]
            row += [values.get("n", MISSING), values.get("undefined", MISSING)]
            row.append(shown(name, pooled[name]) if name in pooled else "")
            rows.append(row)
        parts.append(table([title, *head], rows, class_="numbers"))
    how = model.summary.get("intervals") or {}
    words = "Pooled: all voxels of all cases taken as one volume."
    words += (
        f" Intervals of the mean over patients: bootstrap ({how['method']}), {number(how['resamples'])} "
        f"resamples of {number(how['patients'])} patients."
        if {"method", "resamples", "patients"} <= set(how)
        else ""
    )
    return tag(
        "section", tag("h2", "Summary"), join(parts), tag("p", words, class_="quiet"), class_="small even"
    )


def side_by_side(models: Sequence[ModelResults], metrics: Sequence[MetricLike]) -> Html:
    """The mean of every metric, a column per model."""
    names = names_of(models, metrics)
    parts = []
    for title, members in _grouped(names).items():
        rows = [
            [metric_words(name), *(_mean_cell(model.summary.get("metrics") or {}, name) for model in models)]
            for name in members
        ]
        parts.append(table([title, *(model.name for model in models)], rows, class_="numbers"))
    words = "Mean over the cases where the metric is defined, with its 95% interval over patients, and n."
    return tag("section", tag("h2", "Summary"), tag("p", words), tag("div", *parts, class_="beside"))


def _mean_cell(metrics: Mapping[str, Any], name: str) -> Html:
    if name not in metrics:
        return escaped(MISSING)
    below = interval(metrics, name, "{}; ") + f"n {metrics[name].get('n', MISSING)}"
    return join([mean(metrics, name), tag("span", below, class_="unit")])


def column(scores: Sequence[Scores], name: str) -> list[float]:
    """A metric over the cases, NaN where a case has none."""
    return [one.values.get(name, math.nan) for one in scores]


def anchor(model: ModelResults, case_id: str) -> str:
    """The id on the page of a case's place in a model's gallery."""
    return "case-" + "".join(c if c.isalnum() else f"-{ord(c):x}-" for c in f"{model.name}-{case_id}")


def cases_table(model: ModelResults) -> Html:
    """Every case with the metrics worth a page's width; those with a picture link to it."""
    if not model.scores:
        return Html("")
    names = [name for name in CASE_COLUMNS if any(name in one.values for one in model.scores)]
    pictured = {item.worst.case_id for item in model.gallery}
    rows = []
    for one in model.scores[:LISTED]:
        case: object = one.case_id
        if one.case_id in pictured:
            case = tag("a", one.case_id, href=f"#{anchor(model, one.case_id)}")
        rows.append([case, *(metric_value(name, one.values.get(name, math.nan)) for name in names)])
    rest = len(model.scores) - LISTED
    words = f"{MISSING} is undefined. All metrics are in cases.csv, every lesion in lesions.csv."
    words += f" The first {LISTED} cases; {rest} more are in cases.csv." if rest > 0 else ""
    head = ["Case", *map(metric_words, names)]
    return tag(
        "section",
        tag("h2", "Every case"),
        table(head, rows, class_="numbers"),
        tag("p", words, class_="quiet"),
        class_="small",
    )


def cases_of_all(models: Sequence[ModelResults]) -> Html:
    """Dice of every case, a column per model."""
    cases = list(dict.fromkeys(one.case_id for model in models for one in model.scores))
    dice = [{one.case_id: one.values.get("dice", math.nan) for one in model.scores} for model in models]
    rows = [
        [case, *(metric_value("dice", held.get(case, math.nan)) for held in dice)] for case in cases[:LISTED]
    ]
    if not rows:
        return Html("")
    head = ["Case", *(model.name for model in models)]
    return tag("section", tag("h2", "Dice of every case"), table(head, rows, class_="numbers"))
