"""Mask against truth: how good one result is, and how good many are."""

from lesionlab.evaluate.calibration import (
    Calibration,
    DiceCurve,
    calibration,
    dice_by_threshold,
    mean_curve,
    near_box,
    pooled,
    probabilities_of,
    refuse_probabilities,
)
from lesionlab.evaluate.cohort import cases_csv, score_rows, summarise, write_scores
from lesionlab.evaluate.detection import (
    Froc,
    FrocCase,
    Matching,
    MatchRule,
    froc,
    froc_case,
    match_lesions,
    sensitivity_by_size,
)
from lesionlab.evaluate.empty import METRICS
from lesionlab.evaluate.labels import score_labels, without_ignored
from lesionlab.evaluate.lesions import lesion_records, lesions_csv, sensitivity_of_records
from lesionlab.evaluate.overlap import (
    merge_scores,
    score_biomarkers,
    score_case,
    score_lesions,
    score_missing,
)
from lesionlab.evaluate.surface import surface_scores
from lesionlab.evaluate.thresholds import BestThreshold, best_threshold

__all__ = [
    "METRICS",
    "BestThreshold",
    "Calibration",
    "DiceCurve",
    "Froc",
    "FrocCase",
    "MatchRule",
    "Matching",
    "best_threshold",
    "calibration",
    "cases_csv",
    "dice_by_threshold",
    "froc",
    "froc_case",
    "lesion_records",
    "lesions_csv",
    "match_lesions",
    "mean_curve",
    "merge_scores",
    "near_box",
    "pooled",
    "probabilities_of",
    "refuse_probabilities",
    "score_biomarkers",
    "score_case",
    "score_labels",
    "score_lesions",
    "score_missing",
    "score_rows",
    "sensitivity_by_size",
    "sensitivity_of_records",
    "summarise",
    "surface_scores",
    "without_ignored",
    "write_scores",
]
