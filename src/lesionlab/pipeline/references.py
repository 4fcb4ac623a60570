"""Reference regions from what a user says: a point in world coordinates, or a label of the mask."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lesionlab.core import units
from lesionlab.core.case import Case
from lesionlab.core.components import labels_of
from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import BiomarkerSettings, Recipe
from lesionlab.core.results import Findings
from lesionlab.core.volume import Volume
from lesionlab.measure import clinic, measure
from lesionlab.measure.added import in_pixels
from lesionlab.measure.references import Reference, References, blood_cylinder, labelled, liver_sphere

LABEL = re.compile(r"label:([1-9][0-9]*)")
NEEDED = "x,y,z in mm (LPS), or label:N of the mask"
UNSCORED = "not compared with the truth: a label of the mask is a reference region"


@dataclass(frozen=True, slots=True)
class Places:
    """Where liver and blood pool are: "x,y,z" in LPS mm, "label:N" of the mask, or "" for unknown."""

    liver: str = ""
    blood: str = ""


def references_of(
    case: Case, mask: Volume, places: Places, biomarkers: BiomarkerSettings
) -> tuple[References, Volume]:
    """The reference regions of a case, and its mask without the labels that were used for them.

    Raises RecipeError for words that are neither a point nor a label, or a channel that is not in SUVbw;
    GeometryError for a point outside the image; DatasetError for a label that is not in the mask.
    """
    if not (places.liver or places.blood):
        return References(), mask
    name = biomarkers.channel or case.reference
    image = case.channels.get(name)
    if image is None or image.unit != units.SUVBW:
        found = "no such channel" if image is None else f"unit {image.unit}"
        raise RecipeError(f"{case.id}, channel {name}", found, f"{units.SUVBW} for reference regions")
    regions: dict[str, Reference] = {}
    used: list[int] = []
    for region, text in (("liver", places.liver), ("blood", places.blood)):
        if not text:
            continue
        subject = f"{case.id}, {region} reference"
        chosen = LABEL.fullmatch(text.strip())
        if chosen:
            used.append(int(chosen[1]))
            regions[region] = labelled(subject, image, mask, used[-1])
        else:
            around = liver_sphere if region == "liver" else blood_cylinder
            regions[region] = around(subject, image, numbers(subject, text))
    labels = labels_of(case.id, mask)
    for label in used:
        labels = labels * (labels != label).astype(labels.dtype)
    return References(**regions), mask.with_array(labels) if used else mask


def with_references(findings: Findings, recipe: Recipe, places: Places) -> Findings:
    """The findings measured again together with reference regions; unchanged where none is given.

    Columns that stand beside those of the lesion table (kinetics, margins) and scores against a truth are
    kept where the lesions are the same, that is, unless a label of the mask became a reference region.
    Raises what `references_of` raises.
    """
    if not (places.liver or places.blood):
        return findings
    case, old = findings.case, findings.lesions
    references, mask = references_of(case, findings.prediction.mask, places, recipe.biomarkers)
    scores = findings.scores
    if mask is not findings.prediction.mask:
        new = measure(case, mask, recipe.biomarkers, recipe.radiomics, references=references)
        new = new if case.spacing_known else in_pixels(new)
        if scores is not None:  # they took the region for lesions, and whether the truth holds it is unknown
            scores, new = None, replace(new, notes=(*new.notes, UNSCORED))
    else:
        new = measure(case, mask, recipe.biomarkers, references=references)
        new = new if case.spacing_known else in_pixels(new)
        names = {column.name for column in new.columns}
        totals = {column.name for column in new.total_columns}
        lacking = clinic.totals(old.rows, recipe.biomarkers, References())[1]  # what they no longer lack
        new = replace(
            new,
            columns=(*new.columns, *(c for c in old.columns if c.name not in names)),
            rows=tuple({**before, **row} for before, row in zip(old.rows, new.rows, strict=True)),
            total_columns=(*new.total_columns, *(c for c in old.total_columns if c.name not in totals)),
            totals={**old.totals, **new.totals},
            notes=tuple(dict.fromkeys((*new.notes, *(note for note in old.notes if note not in lacking)))),
        )
    return replace(findings, lesions=new, scores=scores, prediction=replace(findings.prediction, mask=mask))


def numbers(subject: str, text: str) -> Sequence[float]:
    """Three finite numbers from "x,y,z"; RecipeError for anything else."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if len(found) != 3 or not all(map(math.isfinite, found)):
        raise RecipeError(subject, repr(text), NEEDED)
    return found
