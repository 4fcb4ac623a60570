"""Many patients: each is a task of its own, and one that fails is listed with its reason.

Case ids come from the patients' places under the root, so that they are known before anything is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lesionlab.core.errors import DatasetError, ReadError
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.evaluate import summarise
from lesionlab.pipeline.files import converted_from, stamp, write_converted
from lesionlab.pipeline.patient import examine, open_standardised
from lesionlab.pipeline.record import part
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.read import find_cases
from lesionlab.report import CohortEntry, cohort_entry, save_volume, write_cohort, write_findings

T = TypeVar("T")

SUFFIXES = (
    ".nii.gz",
    ".nii",
    ".nrrd",
    ".mha",
    ".mhd",
    ".npy",
    ".tiff",
    ".tif",
    ".png",
    ".jpg",
    ".jpeg",
    ".dcm",
)


def case_name(path: Path, root: Path) -> str:
    """The id of a case found under `root`: its relative path without image suffix, slashes as hyphens."""
    text = path.name if path == root else "-".join(path.relative_to(root).parts)
    suffix = next((s for s in SUFFIXES if text.lower().endswith(s)), "")
    return re.sub(r"[^\w.-]+", "_", text[: len(text) - len(suffix)] or text)


def each_case(
    root: Path, work: Callable[[Path, str, Progress], T], progress: Progress = silent
) -> list[Outcome[T]]:
    """Do `work(path, case id, progress)` for every case under `root`, in order of their paths.

    A case that fails is an outcome with its reason. Raises ReadError when there is no case at all.
    """
    paths = find_cases(root)
    if not paths:
        raise ReadError(root, "no scan in it", "a patient, or a folder of patients")
    names = [case_name(path, root) for path in paths]

    def task(number: int) -> Task[T]:
        path, name = paths[number], names[number]
        share = part(progress, number / len(paths), (number + 1) / len(paths), name)

        def run() -> T:
            if names.count(name) > 1:
                twins = ", ".join(p.name for p, n in zip(paths, names, strict=True) if n == name)
                raise DatasetError(
                    path, f"{names.count(name)} cases called {name!r}: {twins}", "names that differ"
                )
            return work(path, name, share)

        return Task(name, run)

    return run_tasks([task(number) for number in range(len(paths))], progress=progress)


def examine_cohort(
    root: str | Path,
    bundle: Bundle | str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Outcome[CohortEntry]]:
    """Examine every patient under a folder, each into `out/CASE/`, with a cohort report over all in `out`.

    A patient who fails is listed in the report and in the outcomes with the reason; the others go on. What
    stays in memory of a patient is the entry for the cohort's page. Raises ReadError when there is no patient
    at all and BundleError when the bundle itself is no good.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    folder = Path(out)
    scores: list[Scores] = []

    def work(path: Path, name: str, share: Progress) -> CohortEntry:
        findings = examine(path, loaded, device=device, progress=share, case_id=name)
        page = write_findings(findings, folder / name)
        if findings.scores is not None:
            scores.append(findings.scores)
        return cohort_entry(findings, page.relative_to(folder))

    outcomes = each_case(Path(root), work, progress)
    entries = [o.value or CohortEntry(o.name, error=o.error) for o in outcomes]
    summary = summarise(scores) if scores else None
    write_cohort(entries, folder, title=f"{Path(root).name}: {loaded.name}", summary=summary)
    return outcomes


def predict_file(
    source: str | Path,
    bundle: Bundle,
    out: str | Path,
    *,
    device: str = "auto",
    case_id: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the unrefined mask of one case to a file, and return its path."""
    opened = part(progress, 0.0, 0.2)
    case = open_standardised(source, bundle.recipe, case_id=case_id, progress=opened)
    prediction = predict(case, bundle, device=device, progress=part(progress, 0.2, 1.0))
    return save_volume(prediction.mask, Path(out))


def is_one_case(source: str | Path) -> bool:
    """True for a single patient, False for a folder of patients; ReadError where there is neither."""
    return find_cases(Path(source)) == [Path(source)]


def predict_cohort(
    root: str | Path,
    bundle: Bundle | str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Outcome[Path]]:
    """Write the unrefined mask of every case under a folder to `out/CASE.nii.gz`; outcomes hold the paths."""
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)

    def work(path: Path, name: str, share: Progress) -> Path:
        target = Path(out) / f"{name}.nii.gz"
        return predict_file(path, loaded, target, device=device, case_id=name, progress=share)

    return each_case(Path(root), work, progress)


def convert_cohort(
    root: str | Path, out: str | Path, recipe: Recipe, *, progress: Progress = silent
) -> list[Outcome[Path]]:
    """Write every case under a folder as NIfTI into `out/CASE/`: its channels, truth.nii.gz and case.json.

    Channels are standardised as the recipe wants them: PET in SUVbw, all on the reference channel's
    grid. A case that was converted before from the same files by the same recipe is kept, so that an
    interrupted run goes on where it stopped. Outcomes hold the cases' folders.
    """

    def work(path: Path, name: str, share: Progress) -> Path:
        folder = Path(out) / name
        origin = {"source": str(path.absolute()), "stamp": stamp(path), "recipe_sha256": recipe.sha256}
        if converted_from(folder) == origin:
            return folder
        case = open_standardised(path, recipe, case_id=name, progress=share)
        write_converted(case, folder, origin)
        return folder

    return each_case(Path(root), work, progress)
