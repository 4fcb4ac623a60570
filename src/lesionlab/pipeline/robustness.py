"""Which features of a cohort's lesions hold when lesions are drawn or scanned a little differently.

The changes and the ICC are `measure/`'s; here scans are opened, lesions walked through, and the two tables
written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import components, labels_of
from lesionlab.core.errors import DatasetError, RecipeError
from lesionlab.core.files import writing
from lesionlab.core.recipe import Recipe
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Volume
from lesionlab.measure.lesions import one_lesion
from lesionlab.measure.perturb import STANDARD, BoolArray, Perturbation
from lesionlab.measure.robustness import Features, Robustness, robustness, variation, variations
from lesionlab.pipeline.cohort import cases_by_name
from lesionlab.pipeline.files import mask_on
from lesionlab.pipeline.measured import Drawn
from lesionlab.pipeline.patient import open_standardised
from lesionlab.report.tables import write_csv

Varied = Mapping[int, Mapping[str, NDArray[np.float64]]]
"""Lesion number to the values of each feature: as drawn, then after every change."""
HEAD = ("feature", "icc", "icc_low", "icc_high", "verdict", "lesions", "lesions_left_out", "median_cv")
LESION_HEAD = ("case_id", "lesion", "feature", "value", "mean", "sd", "cv")


def contoured(root: str | Path) -> list[Drawn]:
    """Every scan under `root`, its lesions to be taken from the contours that come with it.

    Raises ReadError where there is none and DatasetError for two of one id.
    """
    return [Drawn(name, path, None) for name, path in cases_by_name(Path(root)).items()]


def vary_cohort(
    pairs: Sequence[Drawn], recipe: Recipe, *, seed: int = 0, progress: Progress = silent
) -> list[Outcome[Varied]]:
    """Vary every lesion of every pair; a pair without mask uses the scan's contours.

    A pair that cannot be used keeps its reason, the others go on. The result depends on the seed, the case
    ids and the lesions' numbers, not on their order.
    """

    def task(pair: Drawn) -> Task[Varied]:
        return Task(pair.case_id, lambda: _varied(pair, recipe, seed))

    return run_tasks([task(pair) for pair in pairs], progress=progress)


def _varied(pair: Drawn, recipe: Recipe, seed: int) -> Varied:
    if pair.image is None:
        raise DatasetError(f"case {pair.case_id}", f"no scan beside {pair.mask}", "a scan")
    case = open_standardised(pair.image, recipe, case_id=pair.case_id)
    mask = case.truth if pair.mask is None else mask_on(case, pair.mask)[0]
    if mask is None:
        raise DatasetError(f"case {pair.case_id}", "no mask and no contours", "lesions that are drawn")
    name = recipe.biomarkers.channel or case.reference
    if name not in case.channels:
        known = ", ".join(case.channels)
        raise RecipeError(case.id, f"biomarkers.channel = {name!r}", f"one of the case's channels: {known}")
    numbers, boxes = components(labels_of(case.id, mask))
    return {
        number: variations(
            case.channels[name],
            numbers == number,
            features_of(recipe),
            key=f"{pair.case_id}/{number}",
            seed=seed,
        )
        for number in range(1, len(boxes) + 1)
    }


def features_of(recipe: Recipe) -> Features:
    """What is tried: the lesion columns of the recipe and, where it asks for them, its radiomics."""

    def features(image: Volume, mask: BoolArray) -> Mapping[str, float]:
        values = one_lesion(image, mask, recipe.biomarkers)
        if recipe.radiomics.families:
            from lesionlab.measure.ibsi.radiomics import radiomics

            values |= radiomics(image, mask, recipe.radiomics)[0]
        return values

    return features


def summary_of(outcomes: Sequence[Outcome[Varied]]) -> tuple[Robustness, ...]:
    """The robustness of every feature over the lesions of all cases that could be used."""
    return robustness([lesion for o in outcomes if o.value is not None for lesion in o.value.values()])


def write_robustness(outcomes: Sequence[Outcome[Varied]], folder: str | Path) -> Path:
    """Write robustness.csv (per feature) and variation.csv (per lesion and feature); returns the first."""
    folder = Path(folder)
    rows = [
        [r.feature, r.icc, r.low, r.high, r.verdict, r.lesions, r.lesions_left_out, r.cv]
        for r in summary_of(outcomes)
    ]
    lesions: list[list[object]] = [
        [outcome.name, number, name, values[0], values.mean(), values.std(ddof=1), variation(values)]
        for outcome in outcomes
        if outcome.value is not None
        for number, features in outcome.value.items()
        for name, values in features.items()
    ]
    with writing(folder / "variation.csv") as temporary:
        write_csv(temporary, LESION_HEAD, lesions)
    with writing(folder / "robustness.csv") as temporary:
        write_csv(temporary, HEAD, rows)
    return folder / "robustness.csv"


def changes_in_words(changes: Sequence[Perturbation] = STANDARD) -> str:
    """What was tried, for the reader of the tables."""
    words = {
        "erode": "volume -{:.0%}",
        "dilate": "volume +{:.0%}",
        "rotate": "rotation by {:g} degrees",
        "noise": "{:g} x the image's noise",
        "contour": "boundary moved randomly (SD {:g} voxels)",
    }
    told = [words[change.kind].format(change.amount) for change in changes]
    times = {text: told.count(text) for text in told}
    return ", ".join(f"{text} ({n} times)" if n > 1 else text for text, n in times.items())
