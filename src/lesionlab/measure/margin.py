"""Resection margin of a specimen: how far the lesion lies from the specimen's surface.

Distances are between surfaces, not voxel centres. Which mask is the specimen is the pipeline's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.components import foreground_box, labels_of
from lesionlab.core.errors import DatasetError
from lesionlab.core.grid import require_same_grid
from lesionlab.core.results import Column
from lesionlab.core.settings import MarginSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import Added, together

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

DIRECTIONS: Final = ("left", "right", "posterior", "anterior", "superior", "inferior")
"""Outward normals along +x, -x, +y, -y, +z and -z of LPS, in this order."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """The faces between a mask's voxels and their 6-neighbours outside it, within the array.

    `voxels` and `outside` (n, 3) are the voxels on either side, `points` (n, 3) the middles of the faces,
    moved onto the smoothed surface, in mm from the centre of the first voxel, `normals` (n, 3) outward
    unit vectors along the array's axes, `areas_mm2` (n,) the part of the surface that each face stands
    for: its own area times the share of the normal along its axis, so that a plane has its true area
    however it lies. Faces at the border of the array are none.
    """

    voxels: NDArray[np.int64]
    outside: NDArray[np.int64]
    points: FloatArray
    normals: FloatArray
    areas_mm2: FloatArray


def surface_of(mask: BoolArray, spacing: tuple[float, float, float]) -> Surface:
    """The surface of a mask (z, y, x) with spacing in mm; no faces for an empty mask."""
    sizes = np.asarray(spacing)
    voxels, outside, axes, signs = [], [], [], []
    for axis in range(3):
        step = np.diff(mask.astype(np.int8), axis=axis)
        for sign in (1, -1):
            # A fall from inside to outside along the axis faces forwards, a rise backwards.
            lower = np.argwhere(step == -sign)
            upper = lower.copy()
            upper[:, axis] += 1
            voxels.append(lower if sign > 0 else upper)
            outside.append(upper if sign > 0 else lower)
            axes.append(np.full(len(lower), axis))
            signs.append(np.full(len(lower), float(sign)))
    inner, outer = np.concatenate(voxels), np.concatenate(outside)
    axis_of, sign_of = np.concatenate(axes), np.concatenate(signs)
    middles = (inner + outer) / 2.0
    normals, shift = _smoothed(mask, middles, sizes)
    along = np.take_along_axis(normals, axis_of[:, None], axis=1)[:, 0] * sign_of
    face = np.prod(sizes) / sizes[axis_of]
    points = middles * sizes + shift[:, None] * normals
    return Surface(inner, outer, points, normals, face * np.maximum(along, 0.0))


def _smoothed(mask: BoolArray, middles: FloatArray, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Outward normals at the middles of faces (n, 3), and how far the smoothed surface lies from each in mm.

    The mask is smoothed by a Gaussian of its longest voxel edge; its surface is where that is one half, found
    by one step along the normal. A step longer than half a voxel means that smoothing has worn the mask
    away there (a thin plate, a single voxel): none is taken.
    """
    smooth = scipy.ndimage.gaussian_filter(mask.astype(np.float32), sizes.max() / sizes, mode="nearest")
    slopes = [
        np.gradient(smooth, size, axis=axis) if mask.shape[axis] > 1 else np.zeros_like(smooth)
        for axis, size in enumerate(sizes)
    ]
    level, *slope = (
        scipy.ndimage.map_coordinates(s, middles.T, order=1, mode="nearest").astype(np.float64)
        for s in (smooth, *slopes)
    )
    fall = -np.stack(slope, axis=1)
    length = np.linalg.norm(fall, axis=1)
    normals: FloatArray = np.divide(fall, length[:, None], out=np.zeros_like(fall), where=length[:, None] > 0)
    shift = np.divide(level - 0.5, length, out=np.zeros_like(length), where=length > 0)
    reach = 0.5 * np.abs(normals) @ sizes
    return normals, np.where(np.abs(shift) <= reach, shift, 0.0)


def margin_columns(settings: MarginSettings) -> tuple[Column, ...]:
    """The columns that `margin` adds per lesion."""
    return (
        Column("margin", units.MILLIMETRE, "smallest distance from the lesion's surface to the specimen's"),
        *(
            Column(
                f"margin_{name}",
                units.MILLIMETRE,
                f"smallest distance to the part of the specimen's surface that faces {name} (outward normal "
                "nearest to that axis of LPS)",
            )
            for name in DIRECTIONS
        ),
        *(
            Column(
                f"close_area_{limit:g}mm",
                units.SQUARE_MILLIMETRE,
                f"area of the specimen's surface nearer than {limit:g} mm to the lesion",
            )
            for limit in settings.close_mm
        ),
    )


def total_columns(settings: MarginSettings) -> tuple[Column, ...]:
    """The columns that `margin` adds per patient: over the lesions together."""
    close = [c for c in margin_columns(settings) if c.name.startswith("close_area")]
    return (
        Column("margin", units.MILLIMETRE, "smallest margin of the lesions"),
        *(Column(c.name, c.unit, c.meaning.replace("the lesion", "any lesion")) for c in close),
        Column("specimen_area", units.SQUARE_MILLIMETRE, "area of the specimen's surface"),
        Column("specimen_volume", units.MILLILITRE, "specimen voxels x voxel volume"),
    )


def margin(subject: str, labels: Volume, specimen: Volume, settings: MarginSettings) -> tuple[Added, Volume]:
    """Margins of the lesions numbered in `labels` (0 = none), and the surface map.

    A mask's surface is made of the faces between its voxels and their 6-neighbours outside, each moved along
    the normal by at most half a voxel to where the smoothed mask is one half, which takes off the steps of
    the voxels; faces of a plane along the grid stay midway between voxel centres. The distance runs from
    each such point of the specimen to the nearest of the lesion. Where the lesion breaks through the
    specimen's surface it is 0. The map (float32, mm) holds, in each voxel of the specimen's surface,
    the smallest distance of its faces to any lesion, and NaN elsewhere. The border of the image is no
    surface. A lesion wholly outside the specimen has a row of NaN with a note, and no part in totals and
    map. No lesion in it gives a margin of NaN and areas of 0. Raises GeometryError for another grid and
    DatasetError for a specimen mask that is empty or has no surface in the image.
    """
    require_same_grid(f"{subject}: specimen against lesions", labels, specimen)
    inside = labels_of(f"{subject}: specimen", specimen) > 0
    box = foreground_box(inside | (labels.array > 0), margin=1)
    if not inside.any() or box is None:
        raise DatasetError(subject, "an empty specimen mask", "the specimen as a mask")
    geometry = labels.geometry
    numbers, inside_box = labels.array[box], inside[box]
    surface = surface_of(inside_box, geometry.spacing)
    if not len(surface.areas_mm2):
        raise DatasetError(subject, "a specimen that fills the image", "an image with room around it")
    facing = _facing(surface, geometry.matrix)
    rows, notes = [], []
    names = [column.name for column in margin_columns(settings)]
    nearest = np.full(len(surface.areas_mm2), np.inf)
    for number in range(1, int(numbers.max(initial=0)) + 1):
        lesion = numbers == number
        if not (lesion & inside_box).any():
            rows.append(dict.fromkeys(names, math.nan))
            notes.append((number, "lies wholly outside the specimen: no margin"))
            continue
        distance = distances(surface, lesion, geometry.spacing)
        nearest = np.minimum(nearest, distance)
        rows.append(_row(distance, facing, surface, settings))
        beyond = int((lesion & ~inside_box).sum())
        if beyond:
            notes.append((number, f"{beyond} of its {int(lesion.sum())} voxels lie outside the specimen"))
        missing = [name for name in DIRECTIONS if math.isnan(rows[-1][f"margin_{name}"])]
        if missing:
            notes.append((number, f"no surface of the specimen faces {', '.join(missing)}: no margin there"))
    map_mm = np.full(geometry.shape, np.nan, dtype=np.float32)
    if np.isfinite(nearest).all():
        inner = tuple((surface.voxels + [s.start for s in box]).T)
        filled = np.full(geometry.shape, np.inf, dtype=np.float32)
        np.minimum.at(filled, inner, nearest.astype(np.float32))
        map_mm[inner] = filled[inner]
    totals = {
        "margin": float(nearest.min()) if np.isfinite(nearest).all() else math.nan,
        **_close(nearest, surface, settings),
        "specimen_area": float(surface.areas_mm2.sum()),
        "specimen_volume": float(inside.sum()) * geometry.voxel_ml,
    }
    remarks = [*together(notes), *_cut(inside, bool(rows))]
    added = Added(margin_columns(settings), tuple(rows), total_columns(settings), totals, tuple(remarks))
    return added, Volume(map_mm, geometry, units.MILLIMETRE)


def distances(surface: Surface, lesion: BoolArray, spacing: tuple[float, float, float]) -> FloatArray:
    """From each face of a specimen's surface to the lesion's surface in mm; 0 where the lesion lies on it.

    Lesion and specimen share an array with at least one voxel of room around the lesion, or end with it.
    """
    room = math.ceil(4.0 * max(spacing) / min(spacing)) + 1
    box = foreground_box(lesion, margin=room)
    own = None if box is None else surface_of(lesion[box], spacing)
    if box is None or own is None or not len(own.points):
        return np.zeros(len(surface.points))
    corner = np.array([s.start for s in box]) * np.asarray(spacing)
    from scipy.spatial import cKDTree  # slow to import, and only margins need it

    found, _ = cKDTree(own.points + corner).query(surface.points)
    across = lesion[tuple(surface.voxels.T)] | lesion[tuple(surface.outside.T)]
    return np.asarray(np.where(across, 0.0, found), dtype=np.float64)


def _facing(surface: Surface, matrix: NDArray[Any]) -> NDArray[np.intp]:
    """The index in DIRECTIONS that each face's outward normal is nearest to; LPS axes as the file states."""
    world = surface.normals @ matrix.T
    axis = np.abs(world).argmax(axis=1)
    negative = np.take_along_axis(world, axis[:, None], axis=1)[:, 0] < 0
    return np.asarray(2 * axis + negative, dtype=np.intp)


def _row(
    distance: FloatArray, facing: NDArray[np.intp], surface: Surface, settings: MarginSettings
) -> dict[str, float]:
    row = {"margin": float(distance.min())}
    for index, name in enumerate(DIRECTIONS):
        there = distance[(facing == index) & (surface.areas_mm2 > 0)]
        row[f"margin_{name}"] = float(there.min()) if there.size else math.nan
    return row | _close(distance, surface, settings)


def _close(distance: FloatArray, surface: Surface, settings: MarginSettings) -> dict[str, float]:
    return {
        f"close_area_{limit:g}mm": float(surface.areas_mm2[distance < limit].sum())
        for limit in settings.close_mm
    }


def _cut(inside: BoolArray, lesions: bool) -> Sequence[str]:
    """Notes on a specimen that the image cuts, and on a patient without lesion."""
    ends = [inside.take(k, axis=a).any() for a in range(3) if inside.shape[a] > 1 for k in (0, -1)]
    notes = []
    if any(ends):
        notes.append("the specimen reaches the border of the image; no margin is measured to that border")
    if not lesions:
        notes.append("no lesion: the margin is undefined")
    return notes
