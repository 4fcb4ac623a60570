"""LesionLab: from a medical scan to lesions, biomarkers and a report.

The names below are the public surface; they load on first use, so that `import lesionlab` stays quick and
free of torch. Each stage is also a package of its own, with the function of the same name in it:
`from lesionlab.standardise import standardise`, likewise `predict`, `refine` and `measure`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lesionlab.core.case import Case
    from lesionlab.core.errors import LesionLabError
    from lesionlab.core.recipe import Recipe, dump_recipe, load_recipe
    from lesionlab.core.registry import find_recipe
    from lesionlab.core.results import Findings, LesionTable, Prediction, Scores
    from lesionlab.core.volume import Geometry, Volume
    from lesionlab.evaluate import score_case
    from lesionlab.pipeline import convert_cohort, examine, examine_cohort, write_dicom
    from lesionlab.predict import load_bundle
    from lesionlab.read import find_cases, open_case
    from lesionlab.report import save_volume, write_findings

__version__ = "0.1.0"

_HOMES = {
    "Case": "lesionlab.core.case",
    "Findings": "lesionlab.core.results",
    "Geometry": "lesionlab.core.volume",
    "LesionLabError": "lesionlab.core.errors",
    "LesionTable": "lesionlab.core.results",
    "Prediction": "lesionlab.core.results",
    "Recipe": "lesionlab.core.recipe",
    "Scores": "lesionlab.core.results",
    "Volume": "lesionlab.core.volume",
    "convert_cohort": "lesionlab.pipeline",
    "dump_recipe": "lesionlab.core.recipe",
    "examine": "lesionlab.pipeline",
    "examine_cohort": "lesionlab.pipeline",
    "find_cases": "lesionlab.read",
    "find_recipe": "lesionlab.core.registry",
    "load_bundle": "lesionlab.predict",
    "load_recipe": "lesionlab.core.recipe",
    "open_case": "lesionlab.read",
    "save_volume": "lesionlab.report",
    "score_case": "lesionlab.evaluate",
    "write_dicom": "lesionlab.pipeline",
    "write_findings": "lesionlab.report",
}

__all__ = [
    "Case",
    "Findings",
    "Geometry",
    "LesionLabError",
    "LesionTable",
    "Prediction",
    "Recipe",
    "Scores",
    "Volume",
    "convert_cohort",
    "dump_recipe",
    "examine",
    "examine_cohort",
    "find_cases",
    "find_recipe",
    "load_bundle",
    "load_recipe",
    "open_case",
    "save_volume",
    "score_case",
    "write_dicom",
    "write_findings",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lesionlab' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
