"""Findings as pages, tables and files; nothing is computed here that a table holds.

`page` writes one patient, `cohort` many (`cohort_tables` their files), `evaluation` agreement with a truth;
`tables` and `volumes` the files beside the pages; `figures` chooses the pictures, `canvas` draws them,
`display` cuts them; `html` knows markup, `folder` how files appear.
"""

from __future__ import annotations

from lesionlab.report.cohort import write_cohort
from lesionlab.report.cohort_tables import CohortEntry, cohort_entry, write_measurements
from lesionlab.report.evaluation import ExtraSection, evaluation_page, write_evaluation_page
from lesionlab.report.evaluation_gallery import Pictured, Worst, case_picture, worst_cases
from lesionlab.report.evaluation_tables import ModelResults
from lesionlab.report.figures import training_curves
from lesionlab.report.page import write_findings
from lesionlab.report.volumes import save_volume

__all__ = [
    "CohortEntry",
    "ExtraSection",
    "ModelResults",
    "Pictured",
    "Worst",
    "case_picture",
    "cohort_entry",
    "evaluation_page",
    "save_volume",
    "training_curves",
    "worst_cases",
    "write_cohort",
    "write_evaluation_page",
    "write_findings",
    "write_measurements",
]
