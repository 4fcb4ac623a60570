"""Masks on file against truths on file: pairing them by case, scoring each pair, and the two result files.

The scores themselves are `evaluate/`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, ReadError
from lesionlab.core.files import writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Findings, Prediction, Scores
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Volume
from lesionlab.evaluate import score_case, score_missing, summarise, write_scores
from lesionlab.pipeline.cohort import SUFFIXES, case_name
from lesionlab.pipeline.files import mask_on
from lesionlab.predict import load_bundle
from lesionlab.read import find_cases, load_mask, open_case
from lesionlab.refine import refine
from lesionlab.report import ibsi_checklist, save_volume
from lesionlab.report.tables import lesion_head, lesion_rows, write_csv

NAMES = ("mask.nii.gz", "truth.nii.gz")
"""What a case's own folder is searched for: results of `examine` and of `convert`."""
MASK_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".dcm")


def evaluate_files(
    predictions: str | Path, truths: str | Path, *, progress: Progress = silent
) -> list[Outcome[Scores]]:
    """Score mask files against truth files: one against one, or two folders paired by case id.

    In a folder a case is an image file (its name is the id) or a folder with mask.nii.gz or truth.nii.gz in
    it; truths may also be scans that come with contours. A case without a prediction is scored as one in
    which nothing was found, and marked so; one without a truth fails with that reason, as does a pair on two
    grids; the others are scored. Raises ReadError when one of the two holds no mask at all.
    """
    left, right = Path(predictions), Path(truths)
    if left.is_file() and right.is_file():
        return run_tasks([_pair(case_id_of(left), left, right, (left, right))], progress=progress)
    found, known = mask_files(left, NAMES), truth_files(right)
    tasks = [
        _pair(name, found.get(name), known.get(name), (left, right)) for name in sorted({*found, *known})
    ]
    return run_tasks(tasks, progress=progress)


def write_evaluation(outcomes: Sequence[Outcome[Scores]], folder: str | Path) -> dict[str, Any]:
    """Write cases.csv and summary.json (cases that failed with their reason in it); returns the summary."""
    done, failed = split(outcomes)
    return write_scores(done, Path(folder), failed=failed)


def evaluation_of(outcomes: Sequence[Outcome[Scores]]) -> dict[str, Any]:
    """What `write_evaluation` writes as summary.json."""
    done, failed = split(outcomes)
    return {"failed": failed, **summarise(done)}


def split(outcomes: Sequence[Outcome[Scores]]) -> tuple[list[Scores], dict[str, str]]:
    """The scores there are, and the reasons of those there are not by case."""
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    return done, {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}


def refine_file(mask: str | Path, recipe: Recipe, out: str | Path) -> tuple[Path, tuple[str, ...]]:
    """Clean a mask file as a recipe says, into another file; returns its path and what was changed."""
    drawn = load_mask(Path(mask))
    name = case_id_of(Path(mask))
    # The rules of `refine` look at the mask alone, so the mask may stand for the scan.
    case = Case(name, name, {"mask": drawn}, "mask")
    result = refine(Prediction(drawn), case, recipe)
    return save_volume(result.mask, Path(out)), result.notes


def write_lesions(findings: Findings, path: str | Path) -> Path:
    """Write the lesion table alone as CSV; with radiomics, NAME_ibsi_checklist.csv beside it."""
    lesions, path = findings.lesions, Path(path)
    with writing(path) as temporary:
        write_csv(
            temporary,
            lesion_head(lesions.columns),
            lesion_rows(findings.case.id, lesions.columns, lesions.rows),
        )
    if ibsi_checklist.wanted(findings):
        with writing(path.with_name(f"{path.stem}_ibsi_checklist.csv")) as temporary:
            ibsi_checklist.write_table(ibsi_checklist.checklist(findings), temporary)
    return path


def recipe_of(name: str | Path) -> Recipe:
    """A recipe by name, TOML file, or the bundle folder that it lies in."""
    return load_bundle(name).recipe if Path(name).is_dir() else find_recipe(name)


def truth_files(folder: Path) -> dict[str, Path]:
    """Truths by case id: mask files as `mask_files` finds them, else scans that come with contours."""
    try:
        return mask_files(folder, NAMES[::-1])
    except ReadError:
        scans = find_cases(folder)
        if not scans:
            raise
        return {case_name(path, folder): path for path in scans}


def _truth_of(path: Path) -> Volume:
    """The truth in a mask file, or that of a scan with contours."""
    if path.is_file():
        return load_mask(path)
    truth = open_case(path).truth
    if truth is None:
        raise DatasetError(path, "a scan without contours", "a mask or contours as truth")
    return truth


def mask_files(folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Masks in a folder by case id: image files, and subfolders that hold one of `names`.

    A single file stands for itself. Raises ReadError when there is none.
    """
    if folder.is_file():
        return {case_id_of(folder): folder}
    if not folder.is_dir():
        raise ReadError(folder, "no such file or folder", "a mask, or a folder of masks")
    masks = {}
    for path in sorted(folder.iterdir()):
        inside = next((path / name for name in names if (path / name).is_file()), None)
        if inside is not None:
            masks[path.name] = inside
        elif path.is_file() and path.name.lower().endswith(MASK_SUFFIXES) and not path.name.startswith("."):
            masks[case_id_of(path)] = path
    if not masks:
        wanted = f"CASE{MASK_SUFFIXES[0]} or CASE/{' or CASE/'.join(names)}"
        raise ReadError(folder, "no mask", wanted)
    return masks


def case_id_of(path: Path) -> str:
    """The case id that a mask file's name gives."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def _pair(name: str, mask: Path | None, truth: Path | None, sides: tuple[Path, Path]) -> Task[Scores]:
    def score() -> Scores:
        if truth is None:
            raise DatasetError(f"case {name}", "a prediction alone", f"a truth of that name in {sides[1]}")
        known = _truth_of(truth)
        if mask is None:
            return score_missing(name, known)
        return score_case(name, mask_on(known, mask), known)

    return Task(name, score)
