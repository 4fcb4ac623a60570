"""Mask against truth: how good one result is, and how good many are."""

from lesionlab.evaluate.cohort import cases_csv, score_rows, summarise, write_scores
from lesionlab.evaluate.overlap import merge_scores, score_biomarkers, score_case, score_missing
from lesionlab.evaluate.thresholds import BestThreshold, best_threshold

__all__ = [
    "BestThreshold",
    "best_threshold",
    "cases_csv",
    "merge_scores",
    "score_biomarkers",
    "score_case",
    "score_missing",
    "score_rows",
    "summarise",
    "write_scores",
]
