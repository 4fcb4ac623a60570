"""From voxels to pictures as a reader expects them: patient orientation, sections, projections, windows.

Pure array work; drawing belongs to `figures.py`. A picture's rows run downwards and its columns to the right.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume

Array = NDArray[Any]

AXIAL, CORONAL, SAGITTAL = 0, 1, 2
PLANES = ("axial", "coronal", "sagittal")
LETTERS = (("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I"))
"""What stands at a picture's left, right, top and bottom edge, by plane."""

SUV_TOP = 10.0
CT_WINDOW = (-160.0, 240.0)
PERCENTILES = (1.0, 99.5)


@dataclass(frozen=True)
class Orientation:
    """How to turn an array so that its axes run to the patient's superior, posterior and left.

    `axes` names the array axis along each of those, `flips` whether it runs backwards, `spacing` the mm per
    step after turning. Oblique grids are turned by whole axes only; `oblique_degrees` is what is left.
    A single image (z = 1) is shown as stored: `flat`.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing: tuple[float, float, float]
    oblique_degrees: float
    flat: bool

    @property
    def native_plane(self) -> int:
        """The plane in which the images were taken: the one across array axis 0."""
        return self.axes.index(0)

    def turn(self, array: Array) -> Array:
        """The array (z, y, x) as (superior, posterior, left), a view."""
        steps = tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)
        return array.transpose(self.axes)[steps]

    def pixel_mm(self, plane: int) -> tuple[float, float]:
        """Height and width in mm of a pixel of a picture in that plane."""
        rows, columns = (axis for axis in range(3) if axis != plane)
        return self.spacing[rows], self.spacing[columns]


def orientation(geometry: Geometry) -> Orientation:
    """The turn that brings a grid nearest to (superior, posterior, left)."""
    if geometry.shape[0] == 1:
        return Orientation((0, 1, 2), (False,) * 3, geometry.spacing, 0.0, True)
    towards = geometry.matrix[::-1]  # rows: superior, posterior, left; columns: array axes
    axes = max(permutations(range(3)), key=lambda p: sum(abs(towards[i, p[i]]) for i in range(3)))
    parts = [float(towards[i, axes[i]]) for i in range(3)]
    worst = float(np.degrees(np.arccos(min(1.0, min(abs(part) for part in parts)))))
    return Orientation(
        axes=(axes[0], axes[1], axes[2]),
        flips=(parts[0] < 0, parts[1] < 0, parts[2] < 0),
        spacing=(geometry.spacing[axes[0]], geometry.spacing[axes[1]], geometry.spacing[axes[2]]),
        oblique_degrees=worst,
        flat=False,
    )


def section(turned: Array, plane: int, index: int) -> Array:
    """One slice of a turned array as a picture: head up, patient's right (or anterior) at the left."""
    return _upright(np.take(turned, index, axis=plane), plane)


def projection(turned: Array, plane: int) -> Array:
    """The maximum-intensity projection of a turned array across a plane, as a picture."""
    return _upright(turned.max(axis=plane), plane)


def _upright(image: Array, plane: int) -> Array:
    return image if plane == AXIAL else image[::-1]


@dataclass(frozen=True)
class Window:
    """Grey scale of a picture: values shown, whether dark means high, and the words that say so."""

    low: float
    high: float
    inverted: bool
    words: str


def window_of(volume: Volume) -> Window:
    """SUVbw 0 to 10 inverted, CT soft tissue, everything else between its own 1 and 99.5 percentiles.

    The scale follows the volume's unit; an image of one value gets a window of width one.
    """
    if volume.unit == SUVBW:
        return Window(0.0, SUV_TOP, True, f"SUVbw 0 to {SUV_TOP:g} g/ml")
    if volume.unit == HOUNSFIELD:
        return Window(*CT_WINDOW, False, f"{CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU".replace("-", "−"))
    step = max(1, volume.array.size // 1_000_000)
    sample = volume.array.ravel()[::step]
    low, high = (float(value) for value in np.percentile(sample, PERCENTILES))
    high = high if high > low else low + 1.0
    return Window(low, high, False, f"{low:.4g} to {high:.4g}".replace("-", "−"))


@dataclass(frozen=True)
class Box:
    """Rows and columns of a picture, half open."""

    top: int
    bottom: int
    left: int
    right: int

    def cut(self, picture: Array) -> Array:
        """The part of a picture inside the box."""
        return picture[self.top : self.bottom, self.left : self.right]

    def within(self, outer: Box) -> Box:
        """The same box counted from another box's upper left corner."""
        top, left = outer.top, outer.left
        return Box(self.top - top, self.bottom - top, self.left - left, self.right - left)


def content_box(picture: Array, pixel_mm: tuple[float, float], margin_mm: float) -> Box:
    """The smallest box around a boolean picture's True pixels with a margin; the whole picture if none."""
    rows, columns = (np.flatnonzero(picture.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return Box(0, picture.shape[0], 0, picture.shape[1])
    edge = [round(margin_mm / size) for size in pixel_mm]
    return Box(
        max(0, int(rows[0]) - edge[0]),
        min(picture.shape[0], int(rows[-1]) + 1 + edge[0]),
        max(0, int(columns[0]) - edge[1]),
        min(picture.shape[1], int(columns[-1]) + 1 + edge[1]),
    )


def square_box(picture: Array, pixel_mm: tuple[float, float], least_mm: float, scale: float) -> Box:
    """A square field of view around a boolean picture's True pixels, kept inside the picture.

    Its side is `scale` times the larger extent of the True pixels, at least `least_mm`, and no more than the
    picture holds in either direction.
    """
    tight = content_box(picture, pixel_mm, 0.0)
    extent = (
        (tight.bottom - tight.top) * pixel_mm[0],
        (tight.right - tight.left) * pixel_mm[1],
    )
    side = max(least_mm, scale * max(extent))
    top, bottom = _span(tight.top, tight.bottom, side / pixel_mm[0], picture.shape[0])
    left, right = _span(tight.left, tight.right, side / pixel_mm[1], picture.shape[1])
    return Box(top, bottom, left, right)


def _span(first: int, last: int, wanted: float, size: int) -> tuple[int, int]:
    length = min(size, max(1, round(wanted)))
    start = round((first + last - length) / 2)
    start = min(max(0, start), size - length)
    return start, start + length


def picture_box(box: tuple[slice, slice, slice], plane: int, shape: tuple[int, ...]) -> Box:
    """Where the box of a part of a turned array comes to lie in a picture across `plane`."""
    rows, columns = (axis for axis in range(3) if axis != plane)
    top, bottom = box[rows].start, box[rows].stop
    if plane != AXIAL:
        top, bottom = shape[rows] - bottom, shape[rows] - top
    return Box(top, bottom, box[columns].start, box[columns].stop)
