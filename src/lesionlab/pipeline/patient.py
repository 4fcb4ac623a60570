"""One scan, from its files to findings: the road that the command line, the demo and every server take.

    open_case -> standardise -> predict -> refine -> measure (-> score, when the truth is known)

Nothing is written here; `report/` writes findings, `cohort.py` walks over many patients.
"""

from __future__ import annotations

from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.grid import require_same_grid
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Findings, Prediction
from lesionlab.core.tasks import Progress, silent
from lesionlab.evaluate import score_case
from lesionlab.measure import measure
from lesionlab.pipeline.record import Stopwatch, device_of, part, provenance
from lesionlab.predict import Bundle, load_bundle, predict
from lesionlab.read import load_mask, open_case
from lesionlab.refine import refine
from lesionlab.standardise import standardise


def examine(
    source: str | Path,
    bundle: Bundle | str | Path,
    *,
    truth: str | Path | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> Findings:
    """Find and measure the lesions of one patient.

    `source` is anything `open_case` takes; `bundle` a loaded bundle, a bundle folder or the name of a recipe
    that needs no weights; `truth` a mask or contours, if they are not found with the scan. `device`
    is auto, cpu, cuda or mps. No lesion is a result like any other: no rows, zero totals. Raises
    LesionLabError, naming the file or case, for input that cannot be used.
    """
    watch = Stopwatch()
    if not isinstance(bundle, Bundle):
        bundle = load_bundle(bundle)
    case = open_standardised(
        source, bundle.recipe, truth=truth, watch=watch, progress=part(progress, 0, 0.15)
    )
    with watch.stage("predict"):
        prediction = predict(case, bundle, device=device, progress=part(progress, 0.15, 0.8))
    with watch.stage("refine"):
        progress("refining", 0.8)
        prediction = refine(prediction, case, bundle.recipe)
    return _measured(case, prediction, bundle, watch, (_path(source), _path(truth)), device, progress)


def findings_of_mask(
    source: str | Path,
    mask: str | Path,
    recipe: Recipe,
    *,
    truth: str | Path | None = None,
    progress: Progress = silent,
) -> Findings:
    """Measure lesions that somebody else has drawn: the same road, with a mask file in place of a method.

    The mask is taken as it is (no refinement) and must lie on the scan's reference grid; contours (RTSTRUCT)
    are drawn onto it. Raises GeometryError, naming both grids, when it lies on another.
    """
    watch = Stopwatch()
    case = open_standardised(source, recipe, truth=truth, watch=watch, progress=part(progress, 0, 0.6))
    with watch.stage("read"):
        drawn = load_mask(Path(mask), case.geometry)
        require_same_grid(str(mask), case.channels[case.reference], drawn)
    given = Prediction(drawn, notes=(f"mask given as a file: {Path(mask).name}",))
    as_bundle = Bundle("mask file", recipe, None, (), recipe.sha256)
    return _measured(case, given, as_bundle, watch, (_path(source), _path(truth)), "cpu", progress)


def open_standardised(
    source: str | Path,
    recipe: Recipe,
    *,
    truth: str | Path | None = None,
    watch: Stopwatch | None = None,
    progress: Progress = silent,
) -> Case:
    """A scan read and standardised as the recipe wants it."""
    watch = watch or Stopwatch()
    with watch.stage("read"):
        progress("reading", 0.0)
        case = open_case(Path(source), truth=_path(truth))
    with watch.stage("standardise"):
        progress("standardising", 0.6)
        return standardise(case, recipe)


def _measured(
    case: Case,
    prediction: Prediction,
    bundle: Bundle,
    watch: Stopwatch,
    paths: tuple[Path | None, Path | None],
    device: str,
    progress: Progress,
) -> Findings:
    with watch.stage("measure"):
        progress("measuring", 0.85)
        lesions = measure(case, prediction.mask, bundle.recipe.biomarkers)
    scores = None
    if case.truth is not None:
        with watch.stage("evaluate"):
            progress("comparing with the truth", 0.95)
            scores = score_case(case.id, prediction.mask, case.truth)
    record = provenance(case, bundle, watch, device=device_of(bundle, device), paths=paths)
    progress("done", 1.0)
    return Findings(case, prediction, lesions, record, scores)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
