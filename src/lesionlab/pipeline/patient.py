"""One scan, from its files to findings: the road that the command line, the demo and every server take.

    open_case -> standardise -> predict -> refine -> measure (-> score, when the truth is known)

Nothing is written here; `report/` writes findings, `cohort.py` walks over many patients.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.devices import require_device
from lesionlab.core.errors import ReadError
from lesionlab.core.memory import available_memory
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.results import Findings, Prediction
from lesionlab.core.tasks import Progress, silent
from lesionlab.evaluate import merge_scores, score_biomarkers, score_case, score_labels, without_ignored
from lesionlab.measure import measure
from lesionlab.pipeline.files import mask_on, restored
from lesionlab.pipeline.record import Stopwatch, device_of, part, provenance
from lesionlab.pipeline.special import with_special
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.read import open_case
from lesionlab.refine import refine
from lesionlab.report.corrected import MASK
from lesionlab.standardise import standardise

AHEAD_BYTES = 4_000_000_000
"""With less free memory than this no scan is read while another one is worked on."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A scan that was read and standardised ahead of its turn, and the watch that timed it."""

    source: Path
    case: Case
    watch: Stopwatch


@dataclass(frozen=True, slots=True)
class Paths:
    """Where a scan was read from, and the files that were given besides."""

    scan: Path
    truth: Path | None = None
    mask: Path | None = None
    specimen: Path | None = None


def examine(
    source: str | Path | Opened,
    bundle: Bundle | str | Path,
    *,
    truth: str | Path | None = None,
    device: str = "auto",
    case_id: str | None = None,
    progress: Progress = silent,
) -> Findings:
    """Find and measure the lesions of one patient.

    `source` is anything `open_case` takes, or what `open_ahead` gave; `bundle` a loaded bundle, a bundle
    folder or the name of a recipe that needs no weights; `truth` a mask or contours, if they are not found
    with the scan. `device` is auto, cpu, cuda or mps; `case_id` replaces the name that the files give. No
    lesion is a result like any other: no rows, zero totals. Raises LesionLabError, naming the file or case,
    for input that cannot be used.
    """
    require_device(device)
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    if not isinstance(source, Opened):
        source = _opened(source, bundle.recipe, truth, case_id, part(progress, 0, 0.15))
    case, watch = source.case, source.watch
    with watch.stage("predict"):
        prediction = predict(case, bundle, device=device, progress=part(progress, 0.15, 0.8))
    with watch.stage("refine"):
        progress("refining", 0.8)
        prediction = refine(prediction, case, bundle.recipe)
    paths = Paths(source.source, _path(truth))
    return _measured(case, prediction, bundle, watch, paths, device, progress)


def open_ahead(source: Path, recipe: Recipe, *, case_id: str | None = None) -> Opened | None:
    """A scan read and standardised while another one is worked on; None where memory is short for two.

    Meant for another thread, so it tells no progress.
    """
    free = available_memory()
    if free is not None and free < AHEAD_BYTES:
        return None
    return _opened(source, recipe, None, case_id, silent)


def _opened(
    source: str | Path, recipe: Recipe, truth: str | Path | None, case_id: str | None, progress: Progress
) -> Opened:
    watch = Stopwatch()
    case = open_standardised(source, recipe, truth=truth, case_id=case_id, watch=watch, progress=progress)
    return Opened(Path(source), case, watch)


def findings_of_mask(
    source: str | Path,
    mask: str | Path,
    method: Recipe | Bundle,
    *,
    truth: str | Path | None = None,
    specimen: str | Path | None = None,
    case_id: str | None = None,
    progress: Progress = silent,
) -> Findings:
    """Measure lesions that are already drawn: the same road, with a mask file in place of a prediction.

    The mask is taken as it is (no refinement) and must lie on the scan's reference grid; contours (RTSTRUCT)
    are drawn onto it. `method` is the recipe to measure by, or the bundle that drew the mask; `specimen` a
    mask of the excised specimen, for its resection margins. Raises GeometryError, naming both grids,
    when a mask lies on another.
    """
    watch = Stopwatch()
    bundle = method if isinstance(method, Bundle) else Bundle("mask file", method, None, (), "")
    opened = part(progress, 0.0, 0.6)
    case = open_standardised(
        source, bundle.recipe, truth=truth, case_id=case_id, watch=watch, progress=opened
    )
    with watch.stage("read"):
        drawn, notes = mask_on(case, Path(mask))
    given = Prediction(drawn, notes=(f"mask as given in the file {Path(mask).name}", *notes))
    paths = Paths(Path(source), _path(truth), Path(mask), _path(specimen))
    return _measured(case, given, bundle, watch, paths, "cpu", progress)


def findings_again(folder: str | Path, *, progress: Progress = silent) -> Findings:
    """The findings of a folder that `examine` wrote, measured anew from its mask.nii.gz and the same scan.

    For a mask that was corrected by hand. Raises ReadError for a folder that is none of ours, or whose scan
    is gone.
    """
    file = Path(folder) / "run.json"
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        settings, source, truth = dict(run["settings"]), str(run["source"]), str(run["truth"])
        names = str(run["case_id"]), str(run["bundle"]), str(run["bundle_sha256"])
    except OSError as error:
        needed = "a folder that `examine` wrote, or a mask for the scan (--mask)"
        raise ReadError(folder, f"no run.json ({error.strerror})", needed) from None
    except (ValueError, KeyError, TypeError):
        raise ReadError(file, "no record of a run", "the run.json that `examine` wrote") from None
    if not source or not Path(source).exists():
        raise ReadError(folder, f"its scan gone from {source or 'nowhere'}", "the scan where it was examined")
    bundle = Bundle(names[1], parse_recipe(settings, str(file)), None, (), names[2])
    return findings_of_mask(
        source,
        Path(folder) / MASK,
        bundle,
        truth=truth or None,
        case_id=names[0],
        progress=progress,
    )


def open_standardised(
    source: str | Path,
    recipe: Recipe,
    *,
    truth: str | Path | None = None,
    case_id: str | None = None,
    watch: Stopwatch | None = None,
    progress: Progress = silent,
) -> Case:
    """A scan read and standardised as the recipe wants it; a `truth` given counts before all readers."""
    watch = watch or Stopwatch()
    with watch.stage("read"):
        progress("reading", 0.0)
        case = restored(open_case(source, truth=truth, case_id=case_id), Path(source))
    if truth is not None:
        case = replace(case, observers={})  # the readers' consensus would take its place
    with watch.stage("standardise"):
        progress("standardising", 0.6)
        return standardise(case, recipe)


def _measured(
    case: Case,
    prediction: Prediction,
    bundle: Bundle,
    watch: Stopwatch,
    paths: Paths,
    device: str,
    progress: Progress,
) -> Findings:
    """Measure, score and record."""
    with watch.stage("measure"):
        progress("measuring", 0.85)
        found = measure(case, prediction.mask, bundle.recipe.biomarkers, bundle.recipe.radiomics)
        lesions = with_special(case, found, bundle.recipe, paths.specimen).named(bundle.recipe.labels)
    scores = None
    if case.truth is not None:
        with watch.stage("evaluate"):
            progress("comparing with the truth", 0.95)
            drawn, truth = without_ignored(prediction.mask, case.truth, bundle.recipe.ignored)
            case = replace(case, truth=truth)
            ours = found if drawn is prediction.mask else measure(case, drawn, bundle.recipe.biomarkers)
            scores = merge_scores(
                score_case(case.id, drawn, truth),
                score_biomarkers(ours, measure(case, truth, bundle.recipe.biomarkers)),
                score_labels(case.id, drawn, truth, bundle.recipe.predicted_labels),
            )
    given = (paths.scan, paths.truth)
    record = provenance(case, bundle, watch, device=device_of(bundle, device), paths=given, mask=paths.mask)
    progress("done", 1.0)
    return Findings(case, prediction, lesions, record, scores)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
