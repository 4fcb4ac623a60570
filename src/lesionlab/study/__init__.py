"""Many recipes on one data set by the same folds and the same protocol, resumable, into one table."""

from __future__ import annotations

from lesionlab.study.finish import report_study, run_and_report
from lesionlab.study.hand_on import write_variant
from lesionlab.study.load import Study, load_study
from lesionlab.study.run import run_study
from lesionlab.study.settings import StudySettings

__all__ = [
    "Study",
    "StudySettings",
    "load_study",
    "report_study",
    "run_and_report",
    "run_study",
    "write_variant",
]
