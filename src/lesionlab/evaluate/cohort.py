"""Scores over many cases: the summary, and both as files.

Every case counts once; the pooled figures, where every voxel counts once, say so. How intervals are found
is `bootstrap.py`, tests between methods are `comparison.py`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import jsonable, write_json, write_text
from lesionlab.core.results import Scores
from lesionlab.evaluate.bootstrap import STANDARD, Floats, Interval, intervals


def summarise(scores: Sequence[Scores], patients: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Mean, sd (n - 1), median, min and max of every metric over the cases where it is defined; JSON-able.

    `metrics[name]` also holds `n` and `undefined`, the cases with and without a value, and `mean_low` and
    `mean_high`, the mean's bootstrap interval; `intervals` says how that was found. `patients` maps case
    to patient where a patient has several cases (others are a patient each). A figure that cannot
    be had (sd of one case) is None. `cases`, `empty_truth`, `empty_prediction`, `both_empty` and
    `missing_predictions` count cases: a missing prediction was scored as an empty one by
    `score_missing` and so counts against the method. `pooled` is over all voxels of all cases
    (micro average). No scores give zero cases and no metrics. Raises DatasetError when a case is there
    twice, or has an IoU above its Dice, which no mask can have.
    """
    seen: set[str] = set()
    for one in scores:
        _check(one, seen)
    names = list(dict.fromkeys(name for one in scores for name in one.values))
    table = np.array([[one.values.get(name, math.nan) for name in names] for one in scores])
    whose = [(patients or {}).get(one.case_id, one.case_id) for one in scores]
    means = intervals(table, whose) if names else []
    empty = [(_is_empty(one, "truth_ml"), _is_empty(one, "predicted_ml")) for one in scores]
    return {
        "cases": len(scores),
        "empty_truth": sum(truth and not predicted for truth, predicted in empty),
        "empty_prediction": sum(predicted and not truth for truth, predicted in empty),
        "both_empty": sum(truth and predicted for truth, predicted in empty),
        "missing_predictions": sum(one.values.get("prediction_missing", 0.0) == 1.0 for one in scores),
        "metrics": {
            name: _describe(column, mean) for name, column, mean in zip(names, table.T, means, strict=True)
        },
        "intervals": {**asdict(STANDARD), "of": "mean", "unit": "patient", "patients": len(set(whose))},
        "pooled": _pooled(scores),
    }


def score_rows(scores: Sequence[Scores]) -> list[dict[str, Any]]:
    """One flat row per case: `case`, every metric of any case (None where undefined), and `notes`."""
    names = list(dict.fromkeys(name for one in scores for name in one.values))
    return [
        {
            "case": one.case_id,
            **{name: jsonable(float(one.values.get(name, math.nan))) for name in names},
            "notes": "; ".join(one.notes),
        }
        for one in scores
    ]


def cases_csv(scores: Sequence[Scores]) -> str:
    """The rows as CSV text with a header; an undefined metric is an empty cell."""
    rows = score_rows(scores)
    text = io.StringIO()
    writer = csv.DictWriter(
        text, fieldnames=list(rows[0]) if rows else ["case", "notes"], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_scores(
    scores: Sequence[Scores], folder: Path, patients: Mapping[str, str] | None = None, **facts: Any
) -> dict[str, Any]:
    """Write `cases.csv` and `summary.json` into the folder and return the summary.

    `patients` as for `summarise`; `facts` (recipe, bundle, data set ...) go in front of the summary. Raises
    WriteError.
    """
    summary = {**facts, **summarise(scores, patients)}
    write_text(folder / "cases.csv", cases_csv(scores))
    write_json(folder / "summary.json", summary)
    return summary


def _check(scores: Scores, seen: set[str]) -> None:
    if scores.case_id in seen:
        raise DatasetError(scores.case_id, "this case twice among the scores", "every case once")
    seen.add(scores.case_id)
    dice, iou = scores.values.get("dice", math.nan), scores.values.get("iou", math.nan)
    if iou > dice + 1e-9:
        raise DatasetError(scores.case_id, f"IoU {iou:.4g} above Dice {dice:.4g}", "both of one mask")


def _is_empty(scores: Scores, volume: str) -> bool:
    return scores.values.get(volume) == 0.0


def _describe(values: Floats, mean: Interval) -> dict[str, Any]:
    defined = values[~np.isnan(values)]
    counts = {"n": len(defined), "undefined": len(values) - len(defined)}
    if not len(defined):
        names = ("mean", "mean_low", "mean_high", "sd", "median", "min", "max")
        return dict.fromkeys(names) | counts
    return {
        "mean": float(defined.mean()),
        "mean_low": jsonable(mean.low),
        "mean_high": jsonable(mean.high),
        "sd": float(defined.std(ddof=1)) if len(defined) > 1 else None,
        "median": float(np.median(defined)),
        "min": float(defined.min()),
        "max": float(defined.max()),
    } | counts


def _pooled(scores: Sequence[Scores]) -> Mapping[str, float | None]:
    """Dice, IoU, PPV and sensitivity of all cases taken as one big volume, by ml."""
    both, predicted, true = (
        math.fsum(one.values.get(name, 0.0) for one in scores)
        for name in ("overlap_ml", "predicted_ml", "truth_ml")
    )
    parts = {
        "dice": (2 * both, predicted + true),
        "iou": (both, predicted + true - both),
        "ppv": (both, predicted),
        "sensitivity": (both, true),
    }
    return {name: part / whole if whole else None for name, (part, whole) in parts.items()}
