"""From an image and a lesion's mask to the region that features are computed on (IBSI section 2).

The order of the standard: interpolation, rounding, re-segmentation by range, then by outliers. Only the
part of the image around the lesion is touched. Grey levels are the business of `levels`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.volume import Volume
from lesionlab.measure.ibsi.region import BoolArray, FloatArray, IntArray, Region, tight_box

Box = tuple[slice, slice, slice]
Method = Literal["nearest", "linear", "cubic"]

PEAK_RADIUS_MM: Final = (3000.0 / (4.0 * math.pi)) ** (1.0 / 3.0)
"""Radius of the 1 cm3 sphere of the intensity peaks, 6.2 mm; the region keeps this margin."""
REACH: Final[dict[Method, int]] = {"nearest": 1, "linear": 1, "cubic": 20}
"""Voxels beyond the region that interpolation looks at. A cubic spline's coefficient depends on all
voxels, by a factor of 0.27 less per voxel of distance; 20 leave 1e-11."""
SAME: Final = 1e-4
"""Voxels by which a grid may be longer than a whole number before it gets one more, and the relative
difference below which two spacings are one: what single precision in file headers can do."""
HALF: Final = 0.5 - 1e-6
"""Share of a voxel from which it belongs to an interpolated mask: 0.5, but for rounding errors."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of the interpolation: `count` voxels of `spacing` mm, and where their centres lie.

    The centre of voxel k lies at index (k - (count - 1) / 2) x step + (old - 1) / 2 of the `old` voxels:
    both grids share their centre.
    """

    old: int
    count: int
    step: float
    spacing: float

    def positions(self, cut: slice) -> FloatArray:
        """Indices among the old voxels, clipped to them: beyond the edge its value goes on."""
        k = np.arange(cut.start, cut.stop, dtype=np.float64)
        centred = (k - (self.count - 1) / 2) * self.step + (self.old - 1) / 2
        return np.asarray(np.clip(centred, 0.0, self.old - 1.0))

    def reached(self, cut: slice) -> slice:
        """The new voxels that lie less than one old voxel from those of `cut`."""
        ends = (np.array([cut.start - 1, cut.stop]) - (self.old - 1) / 2) / self.step + (self.count - 1) / 2
        return slice(max(0, math.floor(ends[0])), min(self.count, math.ceil(ends[1]) + 1))

    def needed(self, cut: slice, reach: int) -> slice:
        """The old voxels that the new ones of `cut` depend on."""
        where = self.positions(cut)
        return slice(max(0, math.floor(where[0]) - reach), min(self.old, math.ceil(where[-1]) + reach + 1))


def axes_of(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    wanted: tuple[float, float, float] | None,
) -> tuple[Axis, Axis, Axis]:
    """The interpolated grid, axis by axis: as many voxels as cover the old grid; 0 or None keeps an axis."""
    found = []
    for n, old, new in zip(shape, spacing, wanted or (0.0, 0.0, 0.0), strict=True):
        if new == 0 or abs(new - old) <= 1e-6 * old:
            found.append(Axis(n, n, 1.0, old))
        else:
            found.append(Axis(n, max(1, math.ceil(n * old / new - SAME)), new / old, new))
    return found[0], found[1], found[2]


def prepare(image: Volume, mask: BoolArray, settings: RadiomicsSettings, box: Box | None = None) -> Region:
    """Cut a lesion out of its image, interpolate, round and re-segment it.

    `mask` (z, y, x) has the image's shape or, where `box` is given, the shape of that box of the image,
    outside of which the lesion has no voxel. A voxel of the new grid belongs to the lesion where the
    interpolated mask is at least 0.5. Voxels that are not finite stay so, also where interpolation
    would look at them. An empty mask, or a lesion too small for the new grid, gives empty
    masks. Source: IBSI reference manual (arXiv 1612.07003v11), image processing.
    """
    spacing = image.geometry.spacing
    start = (0, 0, 0) if box is None else (box[0].start, box[1].start, box[2].start)
    tight = tight_box(mask)
    axes = axes_of(image.geometry.shape, spacing, settings.spacing_mm)
    new_spacing = (axes[0].spacing, axes[1].spacing, axes[2].spacing)
    if tight[0].stop == 0:
        nothing = np.zeros((0, 0, 0), dtype=bool)
        return Region(np.zeros((0, 0, 0)), nothing, nothing, new_spacing)
    lesion = mask[tight]
    place = _shifted(tight, start)
    if any(axis.step != 1.0 for axis in axes):
        lesion, place = _interpolated_mask(lesion, place, axes, settings.mask_interpolation)
        wide, inner = _widened(place, axes)
        values = _interpolated(image, wide, axes, settings.interpolation)
    else:
        wide, inner = _widened(place, axes)
        values = image.array[wide].astype(np.float64)
    if settings.round_to:
        # ties come out of interpolation as 0.4999...; settle them before rounding
        values = np.rint(np.round(values / settings.round_to, 6)) * settings.round_to
    morphological = np.zeros(values.shape, dtype=bool)
    morphological[inner] = lesion
    return Region(values, morphological, resegment(values, morphological, settings), new_spacing)


def resegment(values: FloatArray, mask: BoolArray, settings: RadiomicsSettings) -> BoolArray:
    """The voxels of a mask that lie in the range and then are no outliers of what is left (IBSI 2.5)."""
    kept = mask
    if settings.keep_range is not None:
        low, high = settings.keep_range
        kept = kept & (values >= low) & (values <= high)
    if settings.outlier_sigma is not None and kept.any():
        inside = values[kept]
        mean, limit = inside.mean(), settings.outlier_sigma * inside.std()
        if np.isfinite(limit):
            kept = kept & (np.abs(values - mean) <= limit)
    return kept


def _shifted(box: Box, start: tuple[int, int, int]) -> Box:
    z, y, x = (slice(s.start + a, s.stop + a) for s, a in zip(box, start, strict=True))
    return z, y, x


def _widened(place: Box, axes: tuple[Axis, Axis, Axis]) -> tuple[Box, Box]:
    """A box of the new grid with the margin of the intensity peaks, and the old box inside it."""
    wide, inner = [], []
    for cut, axis in zip(place, axes, strict=True):
        margin = int(PEAK_RADIUS_MM / axis.spacing)
        outer = slice(max(0, cut.start - margin), min(axis.count, cut.stop + margin))
        wide.append(outer)
        inner.append(slice(cut.start - outer.start, cut.stop - outer.start))
    return (wide[0], wide[1], wide[2]), (inner[0], inner[1], inner[2])


def _interpolated_mask(
    lesion: BoolArray, place: Box, axes: tuple[Axis, Axis, Axis], method: Method
) -> tuple[BoolArray, Box]:
    """The lesion on the new grid in its tight box, and where that box lies."""
    reach = REACH[method]
    near = [axis.reached(cut) for axis, cut in zip(axes, place, strict=True)]
    old = [axis.needed(cut, reach) for axis, cut in zip(axes, near, strict=True)]
    around = np.zeros([o.stop - o.start for o in old])
    # at the border of the image, coarse new voxels may look at a part of the lesion only
    here, there = zip(*(_shared(p, o) for p, o in zip(place, old, strict=True)), strict=True)
    around[there] = lesion[here]
    places = [a.positions(n) - o.start for a, n, o in zip(axes, near, old, strict=True)]
    share = _sample(around, places, method)
    found = share >= HALF
    tight = tight_box(found)
    return found[tight], _shifted(tight, (near[0].start, near[1].start, near[2].start))


def _shared(first: slice, second: slice) -> tuple[slice, slice]:
    """What two ranges of one axis have in common, counted from the start of each; maybe nothing."""
    start = max(first.start, second.start)
    stop = max(start, min(first.stop, second.stop))
    return slice(start - first.start, stop - first.start), slice(start - second.start, stop - second.start)


def _interpolated(image: Volume, cut: Box, axes: tuple[Axis, Axis, Axis], method: Method) -> FloatArray:
    """The image's values (z, y, x) in a box of the new grid; NaN where it looks at such a voxel."""
    if any(c.stop <= c.start for c in cut):
        return np.zeros([max(0, c.stop - c.start) for c in cut])
    old = tuple(axis.needed(c, REACH[method]) for axis, c in zip(axes, cut, strict=True))
    array = image.array[old].astype(np.float64)
    places = [a.positions(c) - o.start for a, c, o in zip(axes, cut, old, strict=True)]
    broken = ~np.isfinite(array)
    if not broken.any():
        return _sample(array, places, method)
    sampled = _sample(np.where(broken, 0.0, array), places, method)
    sampled[_sample(broken.astype(np.float64), places, "linear") > 1e-9] = np.nan
    return sampled


def _sample(array: FloatArray, places: list[FloatArray], method: Method) -> FloatArray:
    """Values of an array at a grid of fractional indices, given axis by axis."""
    if method == "cubic" and array.size and array.min() == array.max():
        # a spline through one value is that value; the filter's rounding errors would become grey levels
        method = "nearest"
    if method == "cubic":
        array = ndimage.spline_filter(array, order=3, mode="mirror")
    for axis, where in enumerate(places):
        index, weight = _taps(where, array.shape[axis], method)
        shape = [1, 1, 1]
        shape[axis] = -1
        first = np.take(array, index[0], axis=axis)
        total = first.copy()
        for i, w in zip(index[1:], weight[1:], strict=True):
            # the weights add up to 1; written so, between equal values lies that value to the last digit
            total += (np.take(array, i, axis=axis) - first) * w.reshape(shape)
        array = total
    return array


def _taps(where: FloatArray, count: int, method: Method) -> tuple[list[IntArray], list[FloatArray]]:
    """Which voxels count, and how much, for each position along one axis."""
    if method == "nearest":
        return [np.floor(where + 0.5).astype(np.int32)], [np.ones_like(where)]
    # positions that are whole but for a rounding error must not look at the next voxel
    where = np.round(where, 9)
    first = np.floor(where).astype(np.int32)
    t = where - first
    if method == "linear":
        return [first, np.minimum(first + 1, count - 1)], [1.0 - t, t]
    weights = [
        (1.0 - t) ** 3 / 6.0,
        (4.0 - 6.0 * t**2 + 3.0 * t**3) / 6.0,
        (1.0 + 3.0 * t + 3.0 * t**2 - 3.0 * t**3) / 6.0,
        t**3 / 6.0,
    ]
    return [_mirrored(first + k, count) for k in (-1, 0, 1, 2)], weights


def _mirrored(index: NDArray[Any], count: int) -> IntArray:
    """Indices beyond an edge, reflected about the edge voxel's centre as the spline's filter does."""
    if count == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * count - 2)
    return np.asarray(np.minimum(index, 2 * count - 2 - index), dtype=np.int32)
