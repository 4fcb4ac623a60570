"""Two timepoints of one patient, from their files to what changed.

    findings of each -> rigid alignment -> measured with reference regions -> respond

Each timepoint is a folder that `examine` wrote, or a scan with a mask, with contours, or with a method to
draw lesions by. Nothing is written here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, RecipeError, SuvError
from lesionlab.core.recipe import Recipe
from lesionlab.core.response import Comparison
from lesionlab.core.results import Findings, Prediction
from lesionlab.core.rigid import Rigid
from lesionlab.core.suv import SUV_KINDS
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import measure
from lesionlab.measure.matching import WITHIN_MM
from lesionlab.measure.references import References
from lesionlab.measure.response import Timepoint, respond
from lesionlab.pipeline.patient import examine, findings_again, findings_of_mask, open_standardised
from lesionlab.pipeline.record import Stopwatch, part, provenance
from lesionlab.pipeline.references import LABEL, Places, numbers, references_of
from lesionlab.predict import Bundle
from lesionlab.standardise.rigid import Alignment, align_rigid, mean_shift_mm
from lesionlab.standardise.suv_header import PetSeries
from lesionlab.standardise.suv_normalisers import body_of, multiple_of_suvbw

Formula = Literal["james128", "janmahasatian", "morgan"]
FORMULAS: Final[Mapping[Formula, str]] = {
    "james128": "James (men 1.10 W - 128 (W/H)^2, women 1.07 W - 148 (W/H)^2)",
    "janmahasatian": "Janmahasatian et al. 2005",
    "morgan": "Morgan (men 1.10 W - 120 (W/H)^2, women 1.07 W - 148 (W/H)^2)",
}
DATES: Final = ("AcquisitionDate", "SeriesDate", "StudyDate")


@dataclass(frozen=True, slots=True)
class Scan:
    """What is said about one timepoint.

    `body` is "weight_kg,height_cm,sex" for files whose header does not say so, else "".
    """

    source: Path
    mask: Path | None = None
    places: Places = field(default_factory=Places)
    body: str = ""


@dataclass(frozen=True, slots=True)
class Rules:
    """How two timepoints are compared.

    `align` names the channel that the motion is found on (`none`: the scanner's coordinates as they are;
    `auto`: CT where both have one, else the measured channel).
    """

    align: str = "auto"
    within_mm: float = WITHIN_MM
    formula: Formula = "james128"


def compare(
    baseline: Scan,
    followup: Scan,
    method: Recipe | Bundle,
    rules: Rules = Rules(),
    *,
    progress: Progress = silent,
) -> Comparison:
    """Everything that changed between two timepoints of one patient.

    `method` draws the lesions where it is a bundle, and otherwise only says what is measured: the lesions are
    then the scans' masks or contours. A reference point given for the baseline alone is carried to the
    follow-up by the alignment, or told where that scan does not show it. Raises LesionLabError, naming the
    file, for input that cannot be used.
    """
    first = _findings(baseline, method, part(progress, 0.0, 0.4))
    second = _findings(followup, method, part(progress, 0.4, 0.7))
    recipe = method.recipe if isinstance(method, Bundle) else method
    _require_labels_of_both(baseline.places, followup.places, second)
    progress("aligning", 0.7)
    aligned, channel = _aligned(first.case, second.case, rules.align)
    places, lost = _carried(baseline.places, followup.places, aligned.motion.inverse(), second.case.geometry)
    first, regions = _measured(first, baseline.places, recipe)
    second, other_regions = _measured(second, places, recipe)
    factors, notes = _factors((first.case, second.case), (baseline.body, followup.body), rules.formula)
    progress("comparing", 0.9)
    timepoints = (
        _timepoint(first, recipe, regions, factors[0], Rigid()),
        _timepoint(second, recipe, other_regions, factors[1], aligned.motion),
    )
    kind = SUV_KINDS[f"SUVlbm-{rules.formula}"]
    response = respond(first.case.id, *timepoints, within_mm=rules.within_mm, sul=(kind.unit, kind.meaning))
    progress("done", 1.0)
    return Comparison(
        baseline=first,
        followup=second,
        response=response,
        motion=aligned.motion,
        likeness=(aligned.before, aligned.after),
        settings={
            "alignment": _alignment_words(second.case, aligned, channel),
            "matching": response.rule,
            "SUL": f"SUVbw x lean body mass / weight; lean body mass after {FORMULAS[rules.formula]}",
        },
        notes=(*_doubts(first.case, second.case), *lost, *notes, *response.notes),
    )


def _findings(scan: Scan, method: Recipe | Bundle, progress: Progress) -> Findings:
    """The lesions of one timepoint: examined before, from a mask, by a method, or from contours."""
    if scan.mask is not None:
        return findings_of_mask(scan.source, scan.mask, method, progress=progress)
    if (scan.source / "run.json").is_file():
        return findings_again(scan.source, progress=progress)
    if isinstance(method, Bundle):
        return examine(scan.source, method, progress=progress)
    watch = Stopwatch()
    case = open_standardised(scan.source, method, watch=watch, progress=progress)
    if case.truth is None:
        raise DatasetError(scan.source, "a scan without lesions", "a mask, contours, or a method (-m)")
    lesions = measure(case, case.truth, method.biomarkers)
    prediction = Prediction(case.truth, notes=("contours that came with the scan",))
    bundle = Bundle("contours", method, None, (), "")
    record = provenance(case, bundle, watch, device="cpu", paths=(scan.source, None))
    return Findings(replace(case, truth=None), prediction, lesions, record)


def _aligned(first: Case, second: Case, wanted: str) -> tuple[Alignment, str]:
    """The motion from the second case into the first's space, and the channel that it was found on."""
    if wanted == "none":
        return Alignment(Rigid(), math.nan, math.nan), "none"
    both = [name for name in first.channels if name in second.channels]
    name = wanted if wanted != "auto" else "ct" if "ct" in both else first.reference
    if name not in both:
        raise RecipeError(f"{first.id} and {second.id}", f"channel {name}", f"one of both: {', '.join(both)}")
    return align_rigid(second.id, first.channels[name], second.channels[name]), name


def _carried(baseline: Places, followup: Places, back: Rigid, grid: Geometry) -> tuple[Places, list[str]]:
    """The follow-up's places; points that only the baseline has are carried over by the motion `back`.

    One that is then outside the follow-up's grid is unknown there, with a warning.
    """
    found, lost = {}, []
    for region, words in (("liver", "liver"), ("blood", "blood pool")):
        here, there = getattr(baseline, region), getattr(followup, region)
        if here and not there and not LABEL.fullmatch(here.strip()):
            point = back.apply(numbers(f"{region} reference", here))
            index = np.round(grid.to_index(point))
            if ((index >= 0) & (index < grid.shape)).all():
                there = ",".join(f"{v:.2f}" for v in point)
            else:
                lost.append(f"warning: the place of the {words}, carried over, is outside the follow-up scan")
        found[region] = there
    return Places(**found), lost


def _require_labels_of_both(baseline: Places, followup: Places, second: Findings) -> None:
    """Raise RecipeError where the baseline's reference label is in the follow-up's mask, a lesion there."""
    for region in ("liver", "blood"):
        label = LABEL.fullmatch(getattr(baseline, region).strip())
        if label and not getattr(followup, region) and (second.prediction.mask.array == int(label[1])).any():
            raise RecipeError(
                f"{second.case.id}, {region} reference",
                f"{label[0]} given for the baseline alone, and that label in this mask too",
                f"--{region} twice, or it would be a new lesion here",
            )


def _measured(findings: Findings, places: Places, recipe: Recipe) -> tuple[Findings, References]:
    """The findings measured by `recipe` together with their reference regions."""
    case = findings.case
    references, mask = references_of(case, findings.prediction.mask, places, recipe.biomarkers)
    lesions = measure(case, mask, recipe.biomarkers, references=references)
    return replace(findings, lesions=lesions, prediction=replace(findings.prediction, mask=mask)), references


def _timepoint(
    findings: Findings, recipe: Recipe, references: References, factor: float, motion: Rigid
) -> Timepoint:
    """One side of the comparison, its grid carried along by `motion`; no voxel is interpolated."""
    case = findings.case
    image = case.channels[recipe.biomarkers.channel or case.reference]
    labels = findings.lesions.labels
    grid = motion.moved(image.geometry)
    lesions = replace(findings.lesions, labels=Volume(labels.array, grid, labels.unit))
    moved = Volume(image.array, grid, image.unit)
    settings = recipe.biomarkers
    return Timepoint(moved, lesions, references, factor, settings.peak_ml, settings.peak_centre)


def _factors(
    cases: tuple[Case, Case], bodies: tuple[str, str], formula: Formula
) -> tuple[tuple[float, float], list[str]]:
    """SUL / SUVbw at each timepoint (NaN where unknown), and why it is unknown or what was flagged."""
    found, notes = [], []
    for when, case, body in zip(("baseline", "follow-up"), cases, bodies, strict=True):
        factor, words = sul_factor(case, formula, body)
        found.append(factor)
        notes += [f"{when}: {word}" for word in words]
    return (found[0], found[1]), notes


def sul_factor(case: Case, formula: Formula, body: str = "") -> tuple[float, list[str]]:
    """Lean body mass over weight, and notes; NaN with the reason where weight, height or sex is missing.

    They come from the PET header, or from `body` ("weight_kg,height_cm,sex") where that is given; nothing is
    guessed. Raises RecipeError for a `body` that is none.
    """
    facts = next((case.facts.channels[n] for n in ("suv", "pet") if n in case.facts.channels), None)
    header = dict(facts.header) if facts is not None else {}
    if body:
        header |= _given(case.id, body)
    try:
        known = body_of(PetSeries(case.id, header, ()))
    except SuvError as error:
        return math.nan, [f"no SUL: {error.found}"]
    if len(known.value.sexes) != 1:
        return math.nan, ["no SUL: PatientSex is neither M nor F"]
    factor = multiple_of_suvbw(f"SUVlbm-{formula}", known.value)
    if not factor > 0:
        return math.nan, [f"no SUL: {FORMULAS[formula]} gives no lean body mass for this body"]
    origin = "as given" if body else "from the header"
    size = f"{known.value.weight_kg:g} kg, {known.value.height_cm:g} cm, {known.value.sexes[0]}"
    return factor, [*known.warnings, f"SUL = SUVbw x {factor:.4f} ({size}, {origin})"]


def _given(subject: str, body: str) -> dict[str, object]:
    try:
        weight, height, sex = (part.strip() for part in body.split(","))
        sizes = float(weight), float(height)
        known = {"m": "M", "f": "F"}[sex.lower()]
    except (ValueError, KeyError):
        sizes, known = (0.0, 0.0), ""
    if not all(0 < size < math.inf for size in sizes):
        raise RecipeError(subject, f"body {body!r}", "weight_kg,height_cm,sex, as 71.5,174,F")
    return {"PatientWeight": sizes[0], "PatientSize": sizes[1] / 100.0, "PatientSex": known}


def _alignment_words(case: Case, aligned: Alignment, channel: str) -> str:
    if channel == "none":
        return "none: the scanners' coordinates as they are"
    shift = mean_shift_mm(case.geometry, aligned.motion)
    if shift == 0:
        return f"rigid, found on {channel}: nothing is better than the scanners' coordinates"
    return (
        f"rigid, found on {channel} (Mattes' mutual information): {aligned.motion.degrees:.1f} degrees, "
        f"corners moved by {shift:.1f} mm on average, correlation {aligned.before:.3f} before and "
        f"{aligned.after:.3f} after; the follow-up's grid was moved, its voxels were not interpolated"
    )


def _doubts(first: Case, second: Case) -> list[str]:
    """Warnings on what does not look like two timepoints of one patient."""
    notes = []
    headers = [
        next((c.facts.channels[n].header for n in ("suv", "pet") if n in c.facts.channels), {})
        for c in (first, second)
    ]
    if all(headers) and first.patient_id != second.patient_id:
        notes.append(f"warning: patient {first.patient_id} at baseline, {second.patient_id} at follow-up")
    dates = [next((str(h[d]) for d in DATES if h.get(d)), "") for h in headers]
    if all(dates) and dates[1] < dates[0]:
        notes.append(f"warning: the follow-up ({dates[1]}) is older than the baseline ({dates[0]})")
    return notes
