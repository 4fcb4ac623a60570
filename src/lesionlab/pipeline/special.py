"""What only one kind of image can tell, joined to its lesion table: DCE kinetics, ultrasound, specimens.

Here the stages meet (phases from `standardise`, values from `measure`); nothing is computed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from lesionlab.core.case import Case
from lesionlab.core.errors import RecipeError
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Findings, LesionTable
from lesionlab.core.volume import Volume
from lesionlab.measure.added import in_pixels, join
from lesionlab.measure.kinetics import kinetic_maps, kinetics
from lesionlab.measure.margin import margin
from lesionlab.measure.ultrasound import ultrasound
from lesionlab.pipeline.files import mask_on
from lesionlab.report import save_volume
from lesionlab.standardise.dce import phases_of

MAP = re.compile(
    r"(pe_(post\d+|peak)|ser|signal_change|curve_type|enhancing|time_to_peak|upslope|auc|margin)\.nii\.gz"
)
"""The files of `special_maps`."""


def with_special(
    case: Case, table: LesionTable, recipe: Recipe, specimen: str | Path | None = None
) -> LesionTable:
    """The lesion table with what the recipe asks for besides: kinetics, ultrasound; margins of a specimen.

    `specimen` is a mask file on the reference grid. On an image without known pixel spacing all lengths,
    areas and volumes are in pixels. Raises DatasetError for phases or a specimen that are not there,
    GeometryError for a specimen on another grid.
    """
    known = case.spacing_known
    if recipe.biomarkers.kinetics:
        phases = phases_of(case, recipe.kinetics)
        table = join(table, kinetics(phases, table.labels, recipe.kinetics))
    if specimen is not None:
        drawn, notes = mask_on(case, Path(specimen))
        added = margin(case.id, table.labels, drawn, recipe.margin)[0]
        stated = f"specimen as given in the file {Path(specimen).name}"
        table = join(table, replace(added, notes=(stated, *notes, *added.notes)))
    if recipe.biomarkers.ultrasound:
        image = case.channels[recipe.biomarkers.channel or case.reference]
        table = join(table, ultrasound(image, table.labels, recipe.ultrasound, known=known))
    return table if known else in_pixels(table)


def special_maps(findings: Findings, recipe: Recipe, specimen: str | Path | None = None) -> dict[str, Volume]:
    """The maps behind `with_special` by name: those of kinetics, and `margin`; empty when there is none."""
    case, table = findings.case, findings.lesions
    maps: dict[str, Volume] = {}
    if recipe.biomarkers.kinetics:
        phases = phases_of(case, recipe.kinetics)
        maps |= kinetic_maps(phases, table.labels, recipe.kinetics)
    if specimen is not None:
        drawn, _ = mask_on(case, Path(specimen))
        maps["margin"] = margin(case.id, table.labels, drawn, recipe.margin)[1]
    return maps


def write_maps(
    findings: Findings, recipe: Recipe, folder: str | Path, *, specimen: str | Path | None = None
) -> list[Path]:
    """Write the maps of findings as `NAME.nii.gz` into a folder; returns their paths.

    Raises RecipeError when neither the recipe nor a specimen gives any.
    """
    maps = special_maps(findings, recipe, specimen)
    if not maps:
        found = "neither biomarkers.kinetics nor a specimen"
        raise RecipeError(recipe.name, found, "a recipe or a specimen mask that maps come from")
    return [save_volume(volume, Path(folder) / f"{name}.nii.gz") for name, volume in maps.items()]


def maps_in(folder: Path) -> list[Path]:
    """The maps that `write_maps` left in a folder, now or earlier."""
    return [file for file in folder.glob("*.nii.gz") if MAP.fullmatch(file.name)]
