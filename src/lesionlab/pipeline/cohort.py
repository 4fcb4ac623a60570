"""Many patients: each is a task of its own, and one that fails is listed with its reason.

Case ids come from the patients' places under the root, so that they are known before anything is read.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from lesionlab.core.devices import require_device
from lesionlab.core.errors import DatasetError, ReadError
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.evaluate import summarise
from lesionlab.pipeline.exports import Exports
from lesionlab.pipeline.files import converted_from, require_apart, stamp, write_converted
from lesionlab.pipeline.kept import Examined, examined_task, run_examined
from lesionlab.pipeline.patient import Opened, open_ahead, open_standardised
from lesionlab.pipeline.record import part
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.read import find_cases
from lesionlab.report import CohortEntry, require_volume_name, save_volume, write_cohort

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
    """The id of a case found under `root`: its relative path without image suffix, slashes as hyphens.

    The root itself has its own name, also where it is given as `.` or `..`.
    """
    own = (root.resolve() if root.name in ("", "..") else root).name
    text = own if path == root else "-".join(path.relative_to(root).parts)
    suffix = next((s for s in SUFFIXES if text.lower().endswith(s)), "")
    return plain_id(text[: len(text) - len(suffix)] or text)


def plain_id(name: str) -> str:
    """A name as the id of a case, which is the name of a folder too: of spaces and signs, one underscore.

    Accents count as part of their letter, also where a file system (macOS) keeps them apart.
    """
    plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name))
    return plain if plain.strip(".") else "case"


def named_cases(root: Path) -> list[tuple[str, Path]]:
    """Every case under `root` with its id, in order of their paths; ReadError when there is none."""
    paths = find_cases(root)
    if not paths:
        raise ReadError(root, "no scan in it", "a patient, or a folder of patients")
    return [(case_name(path, root), path) for path in paths]


def cases_by_name(root: Path) -> dict[str, Path]:
    """`named_cases` by id; DatasetError where two have the same."""
    cases = named_cases(root)
    for name, paths in _paths_of(cases).items():
        require_single(root, name, paths)
    return dict(cases)


def _paths_of(cases: Sequence[tuple[str, Path]]) -> dict[str, list[Path]]:
    """Every path of each id."""
    found: dict[str, list[Path]] = {}
    for name, path in cases:
        found.setdefault(name, []).append(path)
    return found


def require_single(folder: Path, name: str, files: Sequence[Path]) -> None:
    """Raise DatasetError where several files of a folder have one id."""
    if len(files) > 1:
        told = ", ".join(path.relative_to(folder).as_posix() for path in files)
        raise DatasetError(folder, f"{len(files)} cases called {name!r}: {told}", "names that differ")


def each_case(
    root: Path, make: Callable[[Path, str, Progress], Task[T]], progress: Progress = silent
) -> list[Task[T]]:
    """A task, `make(path, case id, progress)`, for every case under `root`.

    A case whose id another one has too fails when its task is run. Raises ReadError when there is no case.
    """
    cases = named_cases(root)
    paths = _paths_of(cases)
    tasks = []
    for number, (name, path) in enumerate(cases):
        share = part(progress, number / len(cases), (number + 1) / len(cases), name)
        refuse: Callable[[], Any] = partial(require_single, root, name, paths[name])
        tasks.append(make(path, name, share) if len(paths[name]) == 1 else Task(name, refuse))
    return tasks


def examine_cohort(
    root: str | Path,
    bundle: Bundle | str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    again: bool = False,
    exports: Exports | None = None,
    progress: Progress = silent,
) -> list[Outcome[Examined]]:
    """Examine every patient under a folder, each into `out/CASE/`, with a cohort report over all in `out`.

    A patient who fails is listed in the report and in the outcomes with the reason; the others go on.
    Patients that an earlier run finished, from the same files by the same method, are kept unless `again`.
    `exports` are written for each. What stays in memory of a patient is the entry for the cohort's page.
    Raises ReadError when there is no patient at all and BundleError when the bundle itself is no good.
    """
    loaded = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    folder = Path(out)

    def make(path: Path, name: str, share: Progress) -> Task[dict[str, Any]]:
        return examined_task(
            path, loaded, folder, name=name, device=device, exports=exports or Exports(), progress=share
        )

    tasks = each_case(Path(root), make, progress)
    outcomes = run_examined(tasks, folder, again=again, progress=progress)
    report_cohort(outcomes, folder, title=f"{Path(root).name}: {loaded.name}")
    return outcomes


def report_cohort(
    outcomes: Sequence[Outcome[Examined]],
    folder: Path,
    *,
    title: str,
    figures: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the report over many patients into the folder that holds theirs; returns its path."""
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    scores = [examined.scores for examined in done if examined.scores is not None]
    entries = [o.value.entry if o.value else CohortEntry(o.name, error=o.error) for o in outcomes]
    whose = {entry.case_id: entry.patient_id or entry.case_id for entry in entries}
    summary = summarise(scores, whose) if scores else None
    return write_cohort(entries, folder, title=title, summary=summary, figures=figures)


def predict_file(
    source: str | Path | Opened,
    bundle: Bundle,
    out: str | Path,
    *,
    device: str = "auto",
    case_id: str | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the unrefined mask of one case to a file, and return its path.

    Raises WriteError for a bad suffix and for a file that is the scan's own, or lies in its folder.
    """
    require_device(device)
    require_volume_name(Path(out))
    require_apart(Path(out), source.source if isinstance(source, Opened) else Path(source))
    if isinstance(source, Opened):
        case = source.case
    else:
        opening = part(progress, 0.0, 0.2)
        case = open_standardised(source, bundle.recipe, case_id=case_id, progress=opening)
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

    def make(path: Path, name: str, share: Progress) -> Task[Path]:
        target = Path(out) / f"{name}.nii.gz"

        def run(opened: Opened | None) -> Path:
            return predict_file(opened or path, loaded, target, device=device, case_id=name, progress=share)

        return Task(name, run, prepare=lambda: open_ahead(path, loaded.recipe, case_id=name))

    return run_tasks(each_case(Path(root), make, progress), progress=progress)


def convert_cohort(
    root: str | Path, out: str | Path, recipe: Recipe, *, progress: Progress = silent
) -> list[Outcome[Path]]:
    """Write every case under a folder as NIfTI into `out/CASE/`: its channels, truth.nii.gz and case.json.

    Channels are standardised as the recipe wants them: PET in SUVbw, all on the reference channel's
    grid. A case that was converted before from the same files by the same recipe is kept, so that an
    interrupted run goes on where it stopped. Outcomes hold the cases' folders.
    """

    def make(path: Path, name: str, share: Progress) -> Task[Path]:
        return Task(name, lambda: convert(path, name, share))

    def convert(path: Path, name: str, share: Progress) -> Path:
        folder = Path(out) / name
        require_apart(folder, path)
        origin = {"source": str(path.absolute()), "stamp": stamp(path), "recipe_sha256": recipe.sha256}
        if converted_from(folder) == origin:
            return folder
        case = open_standardised(path, recipe, case_id=name, progress=share)
        write_converted(case, folder, origin)
        return folder

    return run_tasks(each_case(Path(root), make, progress), progress=progress)
