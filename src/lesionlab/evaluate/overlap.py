"""One mask against its truth: voxel-wise overlap, volumes, and lesions found, missed and false.

Distances between surfaces and statistics over many cases live elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import components, foreground_box, labels_of
from lesionlab.core.grid import require_same_grid
from lesionlab.core.results import LesionTable, Scores
from lesionlab.core.volume import Volume
from lesionlab.evaluate.empty import METRICS, apply_rule

CONNECTIVITY: Final = 18
"""What makes voxels one lesion here, as in the autoPET challenge, so that its FP and FN volumes compare."""


def score_case(case_id: str, mask: Volume, truth: Volume, *, label: int | None = None) -> Scores:
    """The metrics of `evaluate.empty.METRICS` for one case; undefined ones are NaN, with a note.

    All labels count as one foreground unless `label` picks one. A lesion is an 18-connected component; a true
    lesion is found, and a predicted one is not false, when a single voxel overlaps (the any-overlap
    rule of autoPET, github.com/lab-midas/autoPET). Empty masks follow the table in
    `evaluate.empty`. Raises GeometryError naming both grids where they differ, and DatasetError for
    masks that are not integer.
    """
    require_same_grid(f"{case_id}: prediction against truth", truth, mask)
    predicted = _foreground(case_id, mask, label)
    true = _foreground(case_id, truth, label)
    box = foreground_box(predicted | true) or (slice(0, 1),) * 3
    predicted, true = predicted[box], true[box]
    voxel_ml = mask.geometry.voxel_ml
    both = predicted & true
    n_both, n_predicted, n_true = (int(np.count_nonzero(a)) for a in (both, predicted, true))
    missed, fn_voxels, lesions_true = _untouched(true, both)
    false, fp_voxels, lesions_predicted = _untouched(predicted, both)
    values = {
        "dice": _share(2 * n_both, n_predicted + n_true),
        "iou": _share(n_both, n_predicted + n_true - n_both),
        "ppv": _share(n_both, n_predicted),
        "sensitivity": _share(n_both, n_true),
        "predicted_ml": n_predicted * voxel_ml,
        "truth_ml": n_true * voxel_ml,
        "overlap_ml": n_both * voxel_ml,
        "volume_error_ml": (n_predicted - n_true) * voxel_ml,
        "volume_error_percent": 100.0 * _share(n_predicted - n_true, n_true),
        "lesions_true": float(lesions_true),
        "lesions_predicted": float(lesions_predicted),
        "lesions_found": float(lesions_true - missed),
        "lesions_missed": float(missed),
        "lesions_false": float(false),
        "lesion_sensitivity": _share(lesions_true - missed, lesions_true),
        "lesion_ppv": _share(lesions_predicted - false, lesions_predicted),
        "fp_volume_ml": fp_voxels * voxel_ml,
        "fn_volume_ml": fn_voxels * voxel_ml,
        "prediction_missing": 0.0,
    }
    notes = apply_rule(values, truth_empty=n_true == 0, prediction_empty=n_predicted == 0)
    return Scores(case_id, {m.name: values[m.name] for m in METRICS}, tuple(notes))


def score_missing(case_id: str, truth: Volume, *, label: int | None = None) -> Scores:
    """The scores of a case for which the method gave nothing: those of an empty prediction, and marked so."""
    scores = score_case(case_id, truth.with_array(np.zeros_like(truth.array)), truth, label=label)
    notes = ("no prediction: scored as an empty one", *scores.notes)
    return Scores(case_id, {**scores.values, "prediction_missing": 1.0}, notes)


BIOMARKERS = ("TMTV", "TLG", "SUVmax", "Dmax", "lesions")
"""The patient totals whose error is scored."""


def score_biomarkers(predicted: LesionTable, truth: LesionTable, *, case_id: str = "") -> Scores:
    """How far the patient totals measured on a prediction are from those measured on the truth.

    For each of TMTV, TLG, SUVmax, Dmax and lesions that both tables hold: `NAME_error` (predicted - true, in
    the total's unit) and `NAME_error_percent`. An error is NaN, with a note, where a total is undefined;
    the percentage also where the true value is 0.
    """
    values: dict[str, float] = {}
    for name in BIOMARKERS:
        if name in predicted.totals and name in truth.totals:
            values |= _errors(name, predicted.totals, truth.totals)
    undefined = [name for name, value in values.items() if math.isnan(value)]
    notes = (f"{', '.join(undefined)} undefined: a total is undefined or 0",) if undefined else ()
    return Scores(case_id, values, notes)


def merge_scores(first: Scores, *others: Scores) -> Scores:
    """One `Scores` with the values and notes of all; the first names the case."""
    values, notes = dict(first.values), list(first.notes)
    for scores in others:
        values |= scores.values
        notes += scores.notes
    return Scores(first.case_id, values, tuple(notes))


def _foreground(case_id: str, mask: Volume, label: int | None) -> NDArray[np.bool_]:
    array = labels_of(case_id, mask)
    return array > 0 if label is None else array == label


def _untouched(mask: NDArray[np.bool_], both: NDArray[np.bool_]) -> tuple[int, int, int]:
    """How many components of `mask` hold no voxel of `both`, their voxels, and how many there are in all."""
    numbers, boxes = components(mask, CONNECTIVITY)
    touched = np.zeros(len(boxes) + 1, dtype=bool)
    touched[numbers[both]] = True
    touched[0] = True
    untouched = ~touched
    sizes = np.bincount(numbers.ravel(), minlength=len(touched))
    return int(untouched.sum()), int(sizes[untouched].sum()), len(boxes)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _errors(name: str, predicted: Mapping[str, float], truth: Mapping[str, float]) -> dict[str, float]:
    error = predicted[name] - truth[name]
    return {f"{name}_error": error, f"{name}_error_percent": 100.0 * _share(error, truth[name])}
