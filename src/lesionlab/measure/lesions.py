"""From a mask to the lesion table: number the lesions, measure each inside its box, add up the patient.

The order of the work; the measuring itself is in `uptake`, `shape` and `spread`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.case import Case
from lesionlab.core.components import Box, components, foreground_box, labels_of
from lesionlab.core.errors import RecipeError
from lesionlab.core.grid import require_same_grid
from lesionlab.core.recipe import BiomarkerSettings, RadiomicsSettings
from lesionlab.core.results import LesionTable
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure import clinic
from lesionlab.measure.added import join
from lesionlab.measure.catalogue import lesion_columns, total_columns
from lesionlab.measure.references import References, reference_notes
from lesionlab.measure.shape import centroid_index, diameters_in_slice, hull_points, largest_squared_distance
from lesionlab.measure.spread import largest_distance, largest_edge_distance
from lesionlab.measure.uptake import hottest, peak, sphere_weights

Row = Mapping[str, float]
NO_RADIOMICS = RadiomicsSettings()
NO_REFERENCES = References()


def measure(
    case: Case,
    mask: Volume,
    biomarkers: BiomarkerSettings,
    radiomics: RadiomicsSettings = NO_RADIOMICS,
    *,
    references: References = NO_REFERENCES,
) -> LesionTable:
    """The lesions of a mask and what they measure on one channel of the case.

    A lesion is a 26-connected component of one label; lesions are numbered from 1 by descending volume.
    SUV names (SUVmax, MTV, TLG ...) are used where the channel's unit is SUVbw, plain ones (max,
    volume ...) elsewhere; units and definitions stand in the columns. No lesion gives no rows, zero
    volume and NaN for SUVmax and Dmax, with a note; every NaN has a note. `references` (SUVbw only) add
    ratios to liver and blood pool and the thresholds that rest on them. The families of `radiomics` add
    the image biomarker standard's features, prepared as it says. Raises RecipeError for a channel that the
    case lacks, GeometryError for a mask on another grid and DatasetError for a mask that is not integer.
    """
    name = biomarkers.channel or case.reference
    if name not in case.channels:
        known = ", ".join(case.channels)
        raise RecipeError(case.id, f"biomarkers.channel = {name!r}", f"one of the case's channels: {known}")
    image = case.channels[name]
    require_same_grid(f"{case.id}: mask against channel {name}", image, mask)
    labels = labels_of(case.id, mask)
    numbers, boxes = components(labels, 26)
    suv = image.unit == units.SUVBW
    rows, hulls, notes = _rows(image, (labels, numbers), boxes, biomarkers, references)
    edge = largest_edge_distance(hulls)
    totals, remarks = _totals(rows, suv, edge)
    columns = lesion_columns(image.unit, biomarkers.peak_ml, biomarkers.peak_centre)
    columns_of_totals = total_columns(image.unit)
    if suv:
        columns += clinic.lesion_columns(biomarkers, references)
        columns_of_totals += clinic.total_columns(biomarkers, references)
        chosen, more = clinic.totals(rows, biomarkers, references)
        totals, remarks = totals | chosen, [*reference_notes(references), *remarks, *more]
    table = LesionTable(
        columns=columns,
        rows=tuple(rows),
        total_columns=columns_of_totals,
        totals=totals,
        labels=mask.with_array(numbers, units.ONE),
        notes=(*notes, *remarks),
    )
    if not radiomics.families:
        return table
    # loaded here, because compiled kernels cost start-up time that most runs do not need
    from lesionlab.measure.ibsi.table import lesion_features

    return join(table, lesion_features(image, numbers, boxes, radiomics))


def _rows(
    image: Volume,
    masks: tuple[NDArray[Any], NDArray[Any]],
    boxes: Sequence[Box],
    biomarkers: BiomarkerSettings,
    references: References,
) -> tuple[list[Row], list[NDArray[np.float64]], list[str]]:
    """A row per lesion, each lesion's hull (n, 3) in mm of the grid, and notes; `masks`: labels, numbers."""
    labels, numbers = masks
    suv = image.unit == units.SUVBW
    spacing = image.geometry.spacing
    weights = sphere_weights(spacing, biomarkers.peak_ml) if suv else None
    on_maximum = biomarkers.peak_centre == "hottest_voxel"
    rows: list[Row] = []
    hulls: list[NDArray[np.float64]] = []
    notes: list[str] = []
    for number, box in enumerate(boxes, start=1):
        lesion = numbers[box] == number
        label = int(labels[box][lesion][0])
        row = {"lesion": float(number), "label": float(label), "voxels": float(lesion.sum())}
        hull = hull_points(lesion, spacing)
        intensity, remarks = _intensity(image, lesion, box, weights, on_maximum)
        row |= intensity | _shape(lesion, box, image.geometry, hull)
        if suv:
            choice = (biomarkers, references)
            row |= clinic.lesion_values(image, numbers, (number, box), row, choice)
        rows.append(row)
        hulls.append(hull + np.array([s.start for s in box]) * spacing)
        notes += [f"lesion {number}: {remark}" for remark in remarks]
    return rows, hulls, notes


def one_lesion(image: Volume, mask: NDArray[np.bool_], biomarkers: BiomarkerSettings) -> dict[str, float]:
    """Uptake and size of a whole mask (z, y, x) as one lesion, however many parts it has; {} when empty.

    The columns of `measure` without identity, position and whatever needs other lesions or references.
    """
    box = foreground_box(mask)
    if box is None:
        return {}
    suv = image.unit == units.SUVBW
    weights = sphere_weights(image.geometry.spacing, biomarkers.peak_ml) if suv else None
    lesion = mask[box]
    row, _ = _intensity(image, lesion, box, weights, biomarkers.peak_centre == "hottest_voxel")
    hull = hull_points(lesion, image.geometry.spacing)
    shape = _shape(lesion, box, image.geometry, hull)
    row |= {name: value for name, value in shape.items() if name.startswith(("diameter", "width"))}
    if suv:
        choice = (biomarkers, NO_REFERENCES)
        row |= clinic.lesion_values(image, mask.astype(np.uint8), (1, box), row, choice)
    return row


def _intensity(
    image: Volume,
    lesion: NDArray[np.bool_],
    box: Box,
    weights: NDArray[np.float64] | None,
    on_maximum: bool,
) -> tuple[dict[str, float], list[str]]:
    """The intensity columns of one lesion, and remarks; `weights` are given for an SUV channel."""
    values: NDArray[Any] = image.array[box][lesion]
    volume_ml = len(values) * image.geometry.voxel_ml
    notes = []
    broken = int(np.count_nonzero(~np.isfinite(values)))
    highest = mean = highest_mean = math.nan
    if broken:
        notes.append(f"no intensity: {broken} of {len(values)} voxels are not finite numbers")
    else:
        highest, mean = float(values.max()), float(values.mean(dtype=np.float64))
    if weights is None:
        return {"max": highest, "mean": mean, "volume": volume_ml}, notes
    if not broken:
        centres = hottest(image.array[box], lesion) if on_maximum else lesion
        highest_mean, cut = peak(image.array, centres, box, weights)
        if cut:
            notes.append("the sphere of SUVpeak is cut by the border of the image; the rest of it counts")
        if highest_mean > highest * (1 + 1e-6):
            notes.append("SUVpeak is above SUVmax: the sphere reaches hotter tissue outside the lesion")
    uptake = {"SUVmax": highest, "SUVmean": mean, "SUVpeak": highest_mean}
    return uptake | {"MTV": volume_ml, "TLG": volume_ml * mean}, notes


def _shape(
    lesion: NDArray[np.bool_], box: Box, geometry: Geometry, hull: NDArray[np.float64]
) -> dict[str, float]:
    corner = np.array([s.start for s in box])
    x, y, z = geometry.to_world(centroid_index(lesion) + corner)
    long, wide = diameters_in_slice(lesion, geometry.spacing)
    touches = any(n > 1 and (s.start == 0 or s.stop == n) for s, n in zip(box, geometry.shape, strict=True))
    return {
        "diameter_3d": math.sqrt(largest_squared_distance(hull, hull)),
        "diameter_in_slice": long,
        "width_in_slice": wide,
        "x": float(x),
        "y": float(y),
        "z": float(z),
        "touches_border": float(touches),
    }


def _totals(rows: Sequence[Row], suv: bool, edge: float) -> tuple[dict[str, float], list[str]]:
    """Patient totals, with a note for each that is undefined."""
    centroids = np.array([[row["x"], row["y"], row["z"]] for row in rows]).reshape(-1, 3)
    highest = "SUVmax" if suv else "max"
    maxima = [row[highest] for row in rows]
    # NaN must win over every number: a patient's maximum is unknown where one lesion's is.
    maximum = math.nan if not rows or any(math.isnan(m) for m in maxima) else max(maxima)
    totals = {"lesions": float(len(rows))}
    if suv:
        totals["TMTV"] = math.fsum(row["MTV"] for row in rows)
        totals["TLG"] = math.fsum(row["TLG"] for row in rows)
    else:
        totals["volume"] = math.fsum(row["volume"] for row in rows)
    totals |= {highest: maximum, "Dmax": largest_distance(centroids), "Dmax_edge": edge}
    notes = []
    if not rows:
        notes.append(f"no lesion: {highest}, Dmax and Dmax_edge of the patient are undefined")
    elif len(rows) == 1:
        notes.append("Dmax and Dmax_edge need two lesions; found 1")
    if rows and math.isnan(maximum):
        names = f"{highest} and TLG" if suv else highest
        notes.append(f"{names} of the patient are undefined where they are for a lesion")
    return totals, notes
