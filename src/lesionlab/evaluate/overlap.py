"""One mask against its truth: all metrics of a case, and those of voxels: overlap and volumes.

How lesions are matched is `detection.py`, distances between surfaces are `surface.py`, statistics over
many cases live elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import labels_of
from lesionlab.core.grid import require_same_grid
from lesionlab.core.results import LesionTable, Scores
from lesionlab.core.volume import Volume
from lesionlab.evaluate.detection import (
    ANY_OVERLAP,
    Matching,
    MatchRule,
    apply,
    detection_scores,
    match_lesions,
    missed_and_false_ml,
    panoptic_scores,
)
from lesionlab.evaluate.empty import METRICS, apply_rule
from lesionlab.evaluate.surface import diagonal_mm, surface_scores


def score_case(
    case_id: str, mask: Volume, truth: Volume, *, label: int | None = None, rule: MatchRule = ANY_OVERLAP
) -> Scores:
    """The metrics of `evaluate.empty.METRICS` for one case; undefined ones are NaN, with a note.

    All labels count as one foreground unless `label` picks one. A lesion is an 18-connected component; which
    count as found and false is `rule`'s, by default any overlap. FP and FN volume are those of autoPET
    (github.com/lab-midas/autoPET: any overlap) and the three qualities those of one-to-one pairs with an
    IoU of at least 0.5, whatever the rule. Empty masks follow the table in `evaluate.empty`. Raises
    GeometryError naming both grids where they differ, and DatasetError for masks that are not integer.
    """
    return score_lesions(case_id, mask, truth, label=label, rule=rule)[0]


def score_lesions(
    case_id: str, mask: Volume, truth: Volume, *, label: int | None = None, rule: MatchRule = ANY_OVERLAP
) -> tuple[Scores, Matching]:
    """As `score_case`, with the lesions that were matched for it."""
    require_same_grid(f"{case_id}: prediction against truth", truth, mask)
    predicted = _foreground(case_id, mask, label)
    true = _foreground(case_id, truth, label)
    matching = match_lesions(predicted, true, mask.geometry.voxel_ml, rule=rule)
    box = matching.overlaps.box
    values = _voxel_values(predicted[box], true[box], mask.geometry.voxel_ml, true.size)
    values |= _lesion_values(matching) | {"prediction_missing": 0.0}
    empty = (values["truth_ml"] == 0.0, values["predicted_ml"] == 0.0)
    if empty == (False, True):
        values |= dict.fromkeys(("hd_mm", "hd95_mm", "assd_mm"), diagonal_mm(mask.geometry))
    elif not any(empty):
        flat = true.shape[0] == 1
        values |= surface_scores(predicted[box], true[box], mask.geometry.spacing, flat=flat)
    notes = apply_rule(values, truth_empty=empty[0], prediction_empty=empty[1])
    return Scores(case_id, {m.name: values[m.name] for m in METRICS}, tuple(notes)), matching


def score_missing(
    case_id: str, truth: Volume, *, label: int | None = None, rule: MatchRule = ANY_OVERLAP
) -> Scores:
    """The scores of a case for which the method gave nothing: those of an empty prediction, and marked so."""
    scores = score_case(case_id, truth.with_array(np.zeros_like(truth.array)), truth, label=label, rule=rule)
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


def _voxel_values(
    predicted: NDArray[np.bool_], true: NDArray[np.bool_], voxel_ml: float, grid_voxels: int
) -> dict[str, float]:
    """The voxel-wise metrics of two masks cut to a box that holds both, on a grid of so many voxels."""
    n_both, n_predicted, n_true = (int(np.count_nonzero(a)) for a in (predicted & true, predicted, true))
    negative = grid_voxels - n_true
    return {
        "dice": _share(2 * n_both, n_predicted + n_true),
        "iou": _share(n_both, n_predicted + n_true - n_both),
        "ppv": _share(n_both, n_predicted),
        "sensitivity": _share(n_both, n_true),
        "specificity": _share(negative - (n_predicted - n_both), negative),
        "volumetric_similarity": 1.0 - _share(abs(n_predicted - n_true), n_predicted + n_true),
        "predicted_ml": n_predicted * voxel_ml,
        "truth_ml": n_true * voxel_ml,
        "overlap_ml": n_both * voxel_ml,
        "volume_error_ml": (n_predicted - n_true) * voxel_ml,
        "volume_error_percent": 100.0 * _share(n_predicted - n_true, n_true),
    }


def _lesion_values(matching: Matching) -> dict[str, float]:
    """The lesion-wise metrics: counts by the rule, volumes by any overlap, qualities by one-to-one pairs."""
    missed_ml, false_ml = missed_and_false_ml(apply(matching.overlaps, ANY_OVERLAP))
    values = detection_scores(matching) | panoptic_scores(matching.overlaps)
    return values | {"fp_volume_ml": false_ml, "fn_volume_ml": missed_ml}


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _errors(name: str, predicted: Mapping[str, float], truth: Mapping[str, float]) -> dict[str, float]:
    error = predicted[name] - truth[name]
    return {f"{name}_error": error, f"{name}_error_percent": 100.0 * _share(error, truth[name])}
