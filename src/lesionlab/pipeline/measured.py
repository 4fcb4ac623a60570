"""Many scans with masks that are already drawn: which belong together, and each measured as a task.

The measuring of one is `patient.findings_of_mask`; what is kept of each is `report/`'s cohort entry.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lesionlab.core.errors import DatasetError, ReadError, RecipeError, reason
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.pipeline.cohort import cases_by_name
from lesionlab.pipeline.files import filled_rows
from lesionlab.pipeline.pairs import NAMES, called_as, case_id_of, mask_files
from lesionlab.pipeline.patient import findings_of_mask
from lesionlab.report import CohortEntry, cohort_entry, write_measurements

IMAGE, MASK, CASE = "image", "mask", "case_id"


@dataclass(frozen=True)
class Drawn:
    """A scan and the mask that belongs to it; None where one of the two is missing."""

    case_id: str
    image: Path | None
    mask: Path | None


def listed(table: Path) -> list[Drawn]:
    """The pairs of a CSV file with columns `image`, `mask` and, if wished, `case_id`.

    Paths are relative to the file's folder; empty rows are passed over. Without `case_id` the image's name is
    the id, or that of its folder where images share a name. Raises ReadError for a file that is not such a
    table and DatasetError for ids that occur twice.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows, head = filled_rows(reader), tuple(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReadError(table, reason(error), f"a CSV file with columns {IMAGE} and {MASK}") from None
    missing = [name for name in (IMAGE, MASK) if name not in head]
    if missing or not rows:
        found = f"columns {', '.join(head) or 'none'}" if missing else "no row"
        raise ReadError(table, found, f"a CSV file with columns {IMAGE} and {MASK}, and a row per case")
    files = [[table.parent / row[name] if row[name] else None for name in (IMAGE, MASK)] for row in rows]
    names = _ids([row.get(CASE) or "" for row in rows], [image or mask or table for image, mask in files])
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise DatasetError(
            table, f"case {', '.join(twins)} more than once", f"a {CASE} of its own in each row"
        )
    return [Drawn(name, image, mask) for name, (image, mask) in zip(names, files, strict=True)]


def _ids(given: Sequence[str], files: Sequence[Path]) -> list[str]:
    """The ids as given; of the others the file's name or, where names repeat, its folder's."""
    names = [name or case_id_of(file) for name, file in zip(given, files, strict=True)]
    if len(set(names)) == len(names):
        return names
    return [name or file.absolute().parent.name for name, file in zip(given, files, strict=True)]


def paired(images: Path, masks: Path) -> list[Drawn]:
    """The pairs of two folders by case id: scans as `find_cases` finds them, masks as `evaluate` does.

    A scan without mask or a mask without scan is a pair with one side missing. Raises ReadError when
    either folder holds nothing, DatasetError where one holds two of one id.
    """
    scans = cases_by_name(images)
    drawn = called_as(scans, mask_files(masks, NAMES))
    return [Drawn(name, scans.get(name), drawn.get(name)) for name in sorted({*scans, *drawn})]


def named(recipe: Recipe, names: str) -> Recipe:
    """The recipe with its radiomics under other names; RecipeError for unknown ones or where it has none."""
    if names == recipe.radiomics.names:
        return recipe
    if not recipe.radiomics.families:
        raise RecipeError(
            recipe.name, f"names {names} without radiomics", "a recipe with radiomics, e.g. pet-radiomics"
        )
    return recipe.changed(radiomics={"names": names})


def measure_cohort(
    pairs: Sequence[Drawn], recipe: Recipe, *, progress: Progress = silent
) -> list[Outcome[CohortEntry]]:
    """Measure every pair; one that cannot be measured keeps its reason, the others go on."""

    def task(pair: Drawn) -> Task[CohortEntry]:
        def run() -> CohortEntry:
            if pair.image is None or pair.mask is None:
                lacks, has = ("scan", pair.mask) if pair.image is None else ("mask", pair.image)
                raise DatasetError(f"case {pair.case_id}", f"no {lacks} beside {has}", f"a {lacks}")
            findings = findings_of_mask(pair.image, pair.mask, recipe, case_id=pair.case_id)
            return cohort_entry(findings, None)

        return Task(pair.case_id, run)

    return run_tasks([task(pair) for pair in pairs], progress=progress)


def write_cohort_measurements(
    outcomes: Sequence[Outcome[CohortEntry]], folder: Path, *, title: str, long: bool
) -> Path:
    """Write lesions.csv, patients.csv, columns.csv, cohort.json (and long.csv); returns lesions.csv."""
    entries = [o.value or CohortEntry(o.name, error=o.error) for o in outcomes]
    return write_measurements(entries, folder, title=title, long=long)
