"""Findings as pages, tables and files; nothing is computed here that a table holds.

`page` writes one patient, `cohort` many (`cohort_tables` their files), `evaluation` agreement with a truth;
`tables` and `volumes` the files beside the pages; `figures` chooses the pictures, `canvas` draws them,
`display` cuts them; `dicom_files` and `research` write for other tools; `html` knows markup, `folder` how
files appear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lesionlab.core.lazy import on_first_use

if TYPE_CHECKING:
    from lesionlab.report.cohort import write_cohort
    from lesionlab.report.cohort_tables import CohortEntry, cohort_entry, write_measurements
    from lesionlab.report.evaluation import ExtraSection, evaluation_page, write_evaluation_page
    from lesionlab.report.evaluation_gallery import Pictured, Worst, case_picture, worst_cases
    from lesionlab.report.evaluation_tables import ModelResults
    from lesionlab.report.figures import training_curves
    from lesionlab.report.page import write_findings
    from lesionlab.report.volumes import require_volume_name, save_volume

__all__ = [
    "CohortEntry",
    "ExtraSection",
    "ModelResults",
    "Pictured",
    "Worst",
    "case_picture",
    "cohort_entry",
    "evaluation_page",
    "require_volume_name",
    "save_volume",
    "training_curves",
    "worst_cases",
    "write_cohort",
    "write_evaluation_page",
    "write_findings",
    "write_measurements",
]

_HOMES = {
    "CohortEntry": "lesionlab.report.cohort_tables",
    "ExtraSection": "lesionlab.report.evaluation",
    "ModelResults": "lesionlab.report.evaluation_tables",
    "Pictured": "lesionlab.report.evaluation_gallery",
    "Worst": "lesionlab.report.evaluation_gallery",
    "case_picture": "lesionlab.report.evaluation_gallery",
    "cohort_entry": "lesionlab.report.cohort_tables",
    "evaluation_page": "lesionlab.report.evaluation",
    "require_volume_name": "lesionlab.report.volumes",
    "save_volume": "lesionlab.report.volumes",
    "training_curves": "lesionlab.report.figures",
    "worst_cases": "lesionlab.report.evaluation_gallery",
    "write_cohort": "lesionlab.report.cohort",
    "write_evaluation_page": "lesionlab.report.evaluation",
    "write_findings": "lesionlab.report.page",
    "write_measurements": "lesionlab.report.cohort_tables",
}
__getattr__ = on_first_use(__name__, _HOMES)
