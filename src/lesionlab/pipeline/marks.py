"""Work on one mask file: cleaning it up, and writing the lesions measured in one.

Masks against truths are `evaluation.py`.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.files import writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Findings, Prediction
from lesionlab.pipeline.pairs import case_id_of
from lesionlab.predict import load_bundle
from lesionlab.read import load_mask
from lesionlab.refine import refine
from lesionlab.report import ibsi_checklist, require_volume_name, save_volume
from lesionlab.report.tables import COLUMNS_HEAD, column_rows, lesion_head, lesion_rows, write_csv


def refine_file(mask: str | Path, recipe: Recipe, out: str | Path) -> tuple[Path, tuple[str, ...]]:
    """Clean a mask file as a recipe says, into another file; returns its path and what was changed."""
    require_volume_name(Path(out))
    drawn = load_mask(Path(mask))
    name = case_id_of(Path(mask))
    # The rules of `refine` look at the mask alone, so the mask may stand for the scan.
    case = Case(name, name, {"mask": drawn}, "mask")
    result = refine(Prediction(drawn), case, recipe)
    return save_volume(result.mask, Path(out)), result.notes


def write_lesions(findings: Findings, path: str | Path) -> Path:
    """Write the lesion table as CSV and, beside it, NAME_columns.csv: unit, meaning and code of each column.

    With radiomics, NAME_ibsi_checklist.csv too.
    """
    lesions, path = findings.lesions, Path(path)
    with writing(path) as temporary:
        write_csv(
            temporary,
            lesion_head(lesions.columns),
            lesion_rows(findings.case.id, lesions.columns, lesions.rows),
        )
    with writing(_beside(path, "columns")) as temporary:
        write_csv(temporary, COLUMNS_HEAD, column_rows({"lesions": lesions.columns}))
    if ibsi_checklist.wanted(findings):
        with writing(_beside(path, "ibsi_checklist")) as temporary:
            ibsi_checklist.write_table(ibsi_checklist.checklist(findings), temporary)
    return path


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.stem}_{what}.csv")


def recipe_of(name: str | Path) -> Recipe:
    """A recipe by name, TOML file, or the bundle folder that it lies in."""
    return load_bundle(name).recipe if Path(name).is_dir() else find_recipe(name)
