"""Cleaning a mask by its connected components: holes, small ones, all but the largest.

Only the mask decides here; what the image says about a component belongs to rules of their own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cc3d
import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core.case import Case
from lesionlab.core.components import Connectivity, components, foreground_box, labels_of, regions_of
from lesionlab.core.grid import require_same_grid
from lesionlab.core.recipe import Recipe, RefineSettings
from lesionlab.core.results import Prediction

ORDER = {6: 1, 18: 2, 26: 3}
"""Connectivity as scipy counts it: along how many axes at once two neighbours may differ."""


def refine(prediction: Prediction, case: Case, recipe: Recipe) -> Prediction:
    """The prediction with its mask cleaned as `recipe.refine` says; the mask as predicted in `raw_mask`.

    First holes are filled, then (of each label) all components or the largest are kept, then those below
    `minimum_ml` go. Components are per label. Notes say how many components and ml changed. An
    empty mask stays empty. Refining twice keeps the first raw mask. Raises GeometryError when the
    mask is not on the case's grid, DatasetError when it is not integer.
    """
    require_same_grid(f"{case.id}: mask", case.channels[case.reference], prediction.mask)
    labels = labels_of(case.id, prediction.mask)
    result, notes = cleaned(labels, recipe.refine, prediction.mask.geometry.voxel_ml)
    raw = prediction.raw_mask or prediction.mask
    if result is labels:
        return replace(prediction, raw_mask=raw)
    mask = prediction.mask.with_array(result)
    return replace(prediction, mask=mask, raw_mask=raw, notes=prediction.notes + tuple(notes))


def cleaned(
    labels: NDArray[Any], settings: RefineSettings, voxel_ml: float
) -> tuple[NDArray[Any], list[str]]:
    """Integer labels (z, y, x) cleaned as `refine` does it, and its notes; empty ones return unchanged."""
    notes: list[str] = []
    box = foreground_box(labels, margin=1)
    if box is None:
        return labels, notes
    inner = labels[box]
    if settings.fill_holes:
        filled, holes, voxels = fill_holes(inner, settings.connectivity)
        if holes:
            notes.append(f"refine: filled {holes} holes ({voxels * voxel_ml:.2f} ml)")
        inner = filled
    inner, removed = _drop(
        inner, settings.keep == "largest", settings.minimum_ml / voxel_ml, settings.connectivity
    )
    notes += [text.format(ml=f"{voxels * voxel_ml:.2f} ml") for text, voxels in removed]
    result = np.zeros_like(labels)
    result[box] = inner
    return result, notes


def _drop(
    labels: NDArray[Any], largest_only: bool, minimum_voxels: float, connectivity: Connectivity
) -> tuple[NDArray[Any], list[tuple[str, int]]]:
    """Labels without the unwanted components, and a note template with its voxel count per reason."""
    if not largest_only and minimum_voxels <= 0:
        return labels, []
    numbers, boxes = components(labels, connectivity)
    sizes = np.bincount(numbers.ravel(), minlength=len(boxes) + 1)
    label_of = np.zeros(len(boxes) + 1, dtype=np.int64)
    foreground = numbers > 0
    label_of[numbers[foreground]] = labels[foreground]
    keep = np.ones(len(boxes) + 1, dtype=bool)
    removed = []
    if largest_only:
        # Components come largest first, so the first of each label is the one to keep.
        first = np.unique(label_of[1:], return_index=True)[1] + 1
        keep[1:] = False
        keep[first] = True
        if not keep[1:].all():
            text = f"refine: removed {(~keep).sum()} of {len(boxes)} components beside the largest ({{ml}})"
            removed.append((text, int(sizes[~keep].sum())))
    # The tolerance lets a component of exactly the minimum volume through whatever the spacing's rounding.
    small = keep & (sizes < minimum_voxels * (1 - 1e-9))
    small[0] = False
    if small.any():
        text = f"refine: removed {small.sum()} of {len(boxes)} components below the minimum volume ({{ml}})"
        removed.append((text, int(sizes[small].sum())))
    keep &= ~small
    return np.where(keep[numbers], labels, 0).astype(labels.dtype), removed


def fill_holes(labels: NDArray[Any], connectivity: Connectivity = 26) -> tuple[NDArray[Any], int, int]:
    """Fill the holes of each component and return the labels, the number of holes and of voxels filled.

    A hole is a face-connected region of background that does not reach the border of the array and touches
    exactly one component; it takes that component's label. A cavity with another component inside, or
    walled in by two, therefore stays: filling never joins two components. In an image of one slice
    (z = 1) holes are holes of the slice.
    """
    # One voxel of surrounding background ties everything that is open to the border together. Not along an
    # axis of one voxel: through it, every hole of a 2D image would be open.
    width = [(1, 1) if n > 1 else (0, 0) for n in labels.shape]
    padded = np.pad(labels, width)
    regions = regions_of(padded == 0, 6)
    # Two corners, because around a single line of voxels the padding is two voxels that do not touch.
    outside = (regions[0, 0, 0], regions[-1, -1, -1])
    boxes = cc3d.statistics(regions)["bounding_boxes"]
    numbers, _ = components(padded, connectivity)
    near = scipy.ndimage.generate_binary_structure(3, ORDER[connectivity])
    result = padded.copy()
    holes = voxels = 0
    for region in range(1, len(boxes)):
        if region in outside:
            continue
        around = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in boxes[region])
        hole = regions[around] == region
        walls = scipy.ndimage.binary_dilation(hole, near) & ~hole
        touched = np.unique(numbers[around][walls])
        touched = touched[touched > 0]
        if len(touched) == 1:
            result[around][hole] = padded[around][numbers[around] == touched[0]][0]
            holes += 1
            voxels += int(hole.sum())
    inner = tuple(slice(before, n - after) for n, (before, after) in zip(padded.shape, width, strict=True))
    return result[inner], holes, voxels
