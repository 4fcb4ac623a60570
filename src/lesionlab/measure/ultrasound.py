"""Breast ultrasound features of a lesion: size along the image axes, margin, posterior tissue, echogenicity.

In every image y is depth (the transducer is at the top) and x runs along the transducer. A 3D volume is
measured in the slice (z) where the lesion is largest. Texture belongs to `ibsi/`, diameters to `shape.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core import units
from lesionlab.core.results import Column
from lesionlab.core.settings import UltrasoundSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.added import Added, together

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Flat = tuple[float, float]

CENTRAL: Final = 2.0 / 3.0
"""Share of the lesion's width, in its middle, beneath which posterior tissue is judged: refraction at the
edges of a smooth lesion throws shadows of its own."""


@dataclass(frozen=True, slots=True)
class Widths:
    """The bands in the unit that lengths have, and the pixel's size (y, x) in it."""

    unit: str
    pixel: Flat
    margin: float
    ring: float
    posterior: float


def widths(settings: UltrasoundSettings, spacing: Flat | None) -> Widths:
    """The settings' bands in mm, or in pixels where the spacing (y, x) is None."""
    if spacing is None:
        px = (settings.margin_px, settings.ring_px, settings.posterior_px)
        return Widths(units.PIXELS, (1.0, 1.0), *px)
    mm = (settings.margin_mm, settings.ring_mm, settings.posterior_mm)
    return Widths(units.MILLIMETRE, spacing, *mm)


def ultrasound_columns(settings: UltrasoundSettings, unit: str, *, known: bool) -> tuple[Column, ...]:
    """The columns that `ultrasound` adds for a channel of this unit; lengths in pixels unless `known`."""
    length = units.MILLIMETRE if known else units.PIXELS
    area = units.SQUARE_MILLIMETRE if known else units.PIXELS
    band = widths(settings, (1.0, 1.0) if known else None)
    word = "mm" if known else "pixels"
    ring = f"a ring of {band.ring:g} {word} around it, without other lesions"
    posterior = (
        f"the band of {band.posterior:g} {word} beneath the lesion's middle {CENTRAL:.0%}, against tissue "
        f"at the same depths up to {band.posterior:g} {word} to either side of it"
    )
    gradient = f"{unit}/mm" if known else f"{unit}/{units.PIXELS}"
    return (
        Column(
            "area",
            area,
            "pixels x pixel area (number of pixels where the spacing is unknown)",
            "SCT:42798000",
        ),
        Column("height", length, "extent along y (depth), pixel edge to pixel edge"),
        Column("width", length, "extent along x (the transducer's line), pixel edge to pixel edge"),
        Column("taller_than_wide", units.ONE, "height / width; above 1 = taller than wide (not parallel)"),
        Column(
            "margin_gradient",
            gradient,
            f"grey values outside minus inside, per {word.rstrip('s')}, between two points {band.margin:g} "
            f"{word} apart on the normals of the boundary; mean over the boundary",
        ),
        Column(
            "margin_sharpness",
            units.ONE,
            "mean absolute difference across the boundary (the same points), over the standard "
            "deviation of grey values in the lesion and its ring",
        ),
        Column("posterior_difference", unit, f"mean grey value of {posterior}: the difference"),
        Column(
            "posterior_ratio",
            units.ONE,
            f"mean grey value of {posterior}: the quotient; below 1 = shadow, above 1 = enhancement",
        ),
        Column("echo_difference", unit, f"mean grey value of the lesion minus that of {ring}"),
        Column("echo_ratio", units.ONE, f"mean grey value of the lesion over that of {ring}"),
    )


def ultrasound(image: Volume, labels: Volume, settings: UltrasoundSettings, *, known: bool) -> Added:
    """The ultrasound features of the lesions numbered in `labels` (0 = none); `known` = spacing in mm known.

    What cannot be measured is NaN with a note: a band or ring outside the image or of other lesions alone,
    a boundary that lies at the border of the image, grey values that are not finite or all 0.
    """
    band = widths(settings, image.geometry.spacing[1:] if known else None)
    columns = ultrasound_columns(settings, image.unit, known=known)
    rows, notes = [], []
    for number, box in enumerate(scipy.ndimage.find_objects(labels.array), start=1):
        lesion = labels.array[box] == number
        sizes = lesion.sum(axis=(1, 2))
        flat = box[0].start + int(sizes.argmax())
        if len(sizes) > 1:
            notes.append((number, f"ultrasound features in the slice where it is largest, z = {flat}"))
        row, remarks = _one(image.array[flat], labels.array[flat], number, band)
        rows.append({column.name: row.get(column.name, math.nan) for column in columns})
        notes += [(number, remark) for remark in remarks]
    return Added(columns, tuple(rows), notes=together(notes))


def _one(
    image: NDArray[Any], numbers: NDArray[Any], number: int, band: Widths
) -> tuple[dict[str, float], list[str]]:
    """All features of one lesion in one slice (y, x), and why some are missing."""
    ys, xs = np.nonzero(numbers == number)
    height = float(np.ptp(ys) + 1) * band.pixel[0]
    width = float(np.ptp(xs) + 1) * band.pixel[1]
    row = {
        "area": len(ys) * band.pixel[0] * band.pixel[1],
        "height": height,
        "width": width,
        "taller_than_wide": height / width,
    }
    reach = max(band.ring, band.posterior, band.margin) + 2.0 * max(band.pixel)
    margin = [math.ceil(reach / p) for p in band.pixel]
    window = tuple(
        slice(max(0, int(k.min()) - m), min(n, int(k.max()) + 1 + m))
        for k, m, n in zip((ys, xs), margin, image.shape, strict=True)
    )
    grey = np.asarray(image[window], dtype=np.float64)
    lesion = numbers[window] == number
    other = (numbers[window] > 0) & ~lesion
    if not np.isfinite(grey).all():
        return row, ["grey values around it are not finite numbers: margin, posterior and echo are undefined"]
    outside_mm = scipy.ndimage.distance_transform_edt(~lesion, sampling=band.pixel)
    inside_mm = scipy.ndimage.distance_transform_edt(lesion, sampling=band.pixel)
    ring = (outside_mm > 0) & (outside_mm <= band.ring) & ~other
    notes: list[str] = []
    row |= _echo(grey, lesion, ring, notes)
    row |= _margin(grey, outside_mm - inside_mm, (lesion, ring), band, notes)
    row |= posterior(grey, lesion, other, band, notes)
    return row, notes


def _echo(grey: FloatArray, lesion: BoolArray, ring: BoolArray, notes: list[str]) -> dict[str, float]:
    if not ring.any():
        notes.append("no tissue around it in the image: echogenicity is undefined")
        return {}
    within, around = float(grey[lesion].mean()), float(grey[ring].mean())
    if around == 0:
        notes.append("the tissue around it is black: echo_ratio is undefined")
    return {
        "echo_difference": within - around,
        "echo_ratio": within / around if around != 0 else math.nan,
    }


def _margin(
    grey: FloatArray, distance: FloatArray, areas: tuple[BoolArray, BoolArray], band: Widths, notes: list[str]
) -> dict[str, float]:
    """Differences across the boundary; `distance` is signed (inside negative), in the band's unit.

    The boundary's points lie midway between pixels inside and their neighbours outside (4-neighbours), each
    with the normal of the distance smoothed by a quarter of the band (at least a pixel).
    """
    lesion, ring = areas
    sigma = [max(band.margin / 4.0, p) / p for p in band.pixel]
    smooth = scipy.ndimage.gaussian_filter(distance, sigma, mode="nearest")
    slopes = np.stack(np.gradient(smooth, *band.pixel)) if min(grey.shape) > 1 else None
    points = boundary_points(lesion)
    if slopes is None or not len(points):
        notes.append("no boundary inside the image: margin is undefined")
        return {}
    sampled = [scipy.ndimage.map_coordinates(s, points.T, order=1, mode="nearest") for s in slopes]
    normal = np.stack(sampled, axis=1)
    length = np.linalg.norm(normal, axis=1)
    points, normal = points[length > 0], normal[length > 0] / length[length > 0, None]
    half = 0.5 * band.margin * normal / np.asarray(band.pixel)
    low, high = np.zeros(2), np.asarray(grey.shape) - 1.0
    ends = (points - half, points + half)
    seen = np.all([((e >= low) & (e <= high)).all(axis=1) for e in ends], axis=0)
    if not seen.any():
        notes.append("no boundary inside the image: margin is undefined")
        return {}
    inner, outer = (scipy.ndimage.map_coordinates(grey, e[seen].T, order=1, mode="nearest") for e in ends)
    difference = outer - inner
    spread = float(grey[lesion | ring].std())
    if spread == 0:
        notes.append("all grey values are equal: margin_sharpness is undefined")
    return {
        "margin_gradient": float(difference.mean()) / band.margin,
        "margin_sharpness": float(np.abs(difference).mean()) / spread if spread > 0 else math.nan,
    }


def boundary_points(lesion: BoolArray) -> FloatArray:
    """Points (n, 2), as fractional indices, midway between each pixel and its 4-neighbours outside.

    The border of the array is no boundary.
    """
    found = []
    for axis in (0, 1):
        edges = np.argwhere(np.diff(lesion.astype(np.int8), axis=axis) != 0).astype(np.float64)
        edges[:, axis] += 0.5
        found.append(edges)
    return np.concatenate(found)


def posterior(
    grey: FloatArray, lesion: BoolArray, other: BoolArray, band: Widths, notes: list[str]
) -> dict[str, float]:
    """The band beneath a lesion against the tissue beside that band, depth by depth.

    In each column of the lesion's middle part the band begins below its lowest pixel. Tissue at the sides
    lies beyond the lesion's left and right end. Each depth is compared with the same depth at the sides
    and weighs by its number of pixels in the band; pixels of other lesions count on neither side.
    """
    columns = np.flatnonzero(lesion.any(axis=0))
    cut = math.floor(len(columns) * (1.0 - CENTRAL) / 2.0)
    middle = columns[cut : len(columns) - cut]
    depth, side = (max(1, round(band.posterior / p)) for p in band.pixel)
    rows = np.arange(lesion.shape[0])[:, None]
    lowest = lesion.shape[0] - 1 - lesion[::-1].argmax(axis=0)
    beneath = np.zeros(lesion.shape, dtype=bool)
    beneath[:, middle] = (rows > lowest[middle]) & (rows <= lowest[middle] + depth)
    beside = np.zeros(lesion.shape, dtype=bool)
    beside[:, max(0, columns[0] - side) : columns[0]] = True
    beside[:, columns[-1] + 1 : columns[-1] + 1 + side] = True
    beneath, beside = beneath & ~other & ~lesion, beside & ~other
    below, aside = beneath.sum(axis=1), beside.sum(axis=1)
    both = (below > 0) & (aside > 0)
    if not both.any():
        notes.append("no tissue beneath it and beside that in the image: posterior features are undefined")
        return {}
    if below[both].sum() < 0.5 * depth * len(middle):
        notes.append("less than half of the band beneath it lies in the image")
    weight = below[both] / below[both].sum()
    means = [np.where(m, grey, 0.0).sum(axis=1)[both] / m.sum(axis=1)[both] for m in (beneath, beside)]
    band_mean, side_mean = (float((weight * mean).sum()) for mean in means)
    if side_mean == 0:
        notes.append("the tissue beside the posterior band is black: posterior_ratio is undefined")
    ratio = band_mean / side_mean if side_mean != 0 else math.nan
    return {"posterior_difference": band_mean - side_mean, "posterior_ratio": ratio}
