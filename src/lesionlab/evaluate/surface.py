"""How far two surfaces lie apart: Hausdorff distances, average distance, surface Dice; in mm.

Works on boolean arrays of one grid. The compiled loops are in `surface_kernels.py`, overlap is `overlap.py`.

The surface of a mask passes half way between voxels inside and outside. It is cut into elements, one for each
cell of 2 x 2 x 2 voxel centres that it crosses, with the area that marching cubes gives it there; the
element sits at the cell's centre. A distance is that from an element of one surface to the nearest element
of the other, and it counts as much as its element's area. So a surface is not over-sampled where voxels
are fine, and thick slices do not count double. Definition: Nikolov et al., J Med Internet Res 2021,
doi 10.2196/26151; the elements and areas are those of its authors' surface-distance package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import foreground_box
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.mesh import shape_areas
from lesionlab.core.volume import Geometry

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
Spacing = tuple[float, float, float]

TOLERANCES_MM: Final = (2.0,)
"""Distances at which the normalised surface Dice is given unless told."""
ROUNDING: Final = 1e-9
"""Relative slack of a comparison with a tolerance or a percentile: voxel sizes are rarely round in binary."""
ROWS_SEARCHED: Final = 400
"""Rows of cells around a query that are looked into before it counts as far."""
TREE_S: Final = 3e-7
TREE_QUERY_S: Final = 5e-6
GRID_S: Final = 2.5e-8
"""About how many seconds a tree takes per element and per query, and a whole grid per cell."""
CHUNK: Final = 1 << 20
"""Queries put to a tree at a time, which bounds the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceDistances:
    """Distances in mm of each element of the mask's surface to the truth's, and the other way round.

    `mask_sizes` and `truth_sizes` are the elements' areas in mm2 (of a single slice: lengths in mm). Without
    a surface on either side there are no distances and every figure is NaN.
    """

    to_truth_mm: FloatArray
    mask_sizes: FloatArray
    to_mask_mm: FloatArray
    truth_sizes: FloatArray

    @property
    def hd_mm(self) -> float:
        """Hausdorff distance: the longest distance of either direction."""
        return max(float(d.max()) for d in (self.to_truth_mm, self.to_mask_mm)) if self._both else math.nan

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directions' 95th percentiles, weighted by area.

        The percentile of a direction is the shortest distance within which 95 % of its surface lies.
        """
        return self.percentile_mm(95.0)

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: the mean over both surfaces together, weighted by area.

        Source: Heimann et al., IEEE Trans Med Imaging 2009, doi 10.1109/TMI.2009.2013851.
        """
        if not self._both:
            return math.nan
        # not a dot product: its threads would wait for cores that other work holds
        total = (self.to_truth_mm * self.mask_sizes).sum() + (self.to_mask_mm * self.truth_sizes).sum()
        return float(total / (self.mask_sizes.sum() + self.truth_sizes.sum()))

    def percentile_mm(self, percent: float) -> float:
        """The larger of the two directions' percentiles (`hd95_mm`). Raises DatasetError outside 0 to 100."""
        if not 0.0 < percent <= 100.0:
            raise DatasetError("Hausdorff distance", f"percentile {percent:g}", "one above 0 and up to 100")
        if not self._both:
            return math.nan
        sides = ((self.to_truth_mm, self.mask_sizes), (self.to_mask_mm, self.truth_sizes))
        return max(_percentile(distances, sizes, percent / 100.0) for distances, sizes in sides)

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the share of both surfaces that lies within the tolerance of the other.

        A distance equal to the tolerance is within it. Raises DatasetError for a tolerance that is negative
        or not finite.
        """
        if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0.0):
            raise DatasetError("surface Dice", f"a tolerance of {tolerance_mm:g} mm", "one of 0 mm or more")
        if not self._both:
            return math.nan
        within = tolerance_mm * (1.0 + ROUNDING)
        near = self.mask_sizes[self.to_truth_mm <= within].sum()
        near += self.truth_sizes[self.to_mask_mm <= within].sum()
        return float(near / (self.mask_sizes.sum() + self.truth_sizes.sum()))

    @property
    def _both(self) -> bool:
        return bool(len(self.mask_sizes) and len(self.truth_sizes))


def surface_scores(
    mask: BoolArray,
    truth: BoolArray,
    spacing: Spacing,
    *,
    tolerances_mm: tuple[float, ...] = TOLERANCES_MM,
    flat: bool | None = None,
) -> dict[str, float]:
    """`hd_mm`, `hd95_mm`, `assd_mm` and, for each tolerance, `nsd_2mm` (named by it) of two masks (z, y, x).

    NaN throughout where a mask is empty. `flat` and errors are those of `surface_distances` and
    `SurfaceDistances.nsd`.
    """
    found = surface_distances(mask, truth, spacing, flat)
    values = {"hd_mm": found.hd_mm, "hd95_mm": found.hd95_mm, "assd_mm": found.assd_mm}
    return values | {f"nsd_{tolerance:g}mm": found.nsd(tolerance) for tolerance in tolerances_mm}


def surface_distances(
    mask: BoolArray, truth: BoolArray, spacing: Spacing, flat: bool | None = None
) -> SurfaceDistances:
    """Distances between the surfaces of two masks (z, y, x) of one shape; spacing (z, y, x) in mm.

    What lies outside the array counts as empty. A single slice (z = 1) is taken as a picture, its surface as
    a contour, unless `flat` says that it was cut from a volume (False). Time and memory depend on the box
    around both masks. Raises GeometryError where the shapes differ and for spacing that is not positive and
    finite.
    """
    if mask.shape != truth.shape or mask.ndim != 3:
        raise GeometryError("surface distances", f"masks of {mask.shape} and {truth.shape}", "one (z, y, x)")
    if len(spacing) != 3 or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise GeometryError("surface distances", f"spacing {spacing} mm", "three positive finite spacings")
    box = foreground_box(mask | truth)
    if box is None or not mask[box].any() or not truth[box].any():
        nothing = np.zeros(0)
        return SurfaceDistances(nothing, nothing, nothing, nothing)
    flat = mask.shape[0] == 1 and flat is not False
    first, second = _Surface(mask[box], flat), _Surface(truth[box], flat)
    sizes = element_sizes(spacing, flat)
    return SurfaceDistances(
        _distances(first, second, spacing),
        sizes[first.shapes],
        _distances(second, first, spacing),
        sizes[second.shapes],
    )


def diagonal_mm(geometry: Geometry) -> float:
    """The longest distance that two surfaces on a grid can have; of a single slice, within the slice."""
    sides = [n * step for n, step in zip(geometry.shape, geometry.spacing, strict=True)]
    return math.hypot(*(sides[1:] if geometry.shape[0] == 1 else sides))


@lru_cache(maxsize=64)
def element_sizes(spacing: Spacing, flat: bool = False) -> FloatArray:
    """Area in mm2 of the element in a cell of each of the 256 shapes (`core.mesh`); 0 where there is none.

    Of eight corners the fewer kind is cut off, each group that edges join by a piece of its own, as in the
    first marching cubes (Lorensen and Cline, SIGGRAPH 1987, doi 10.1145/37401.37422) and in surface-distance.
    The closed surface of `measure` (IBSI) joins some of these groups and is there larger. With `flat`,
    lengths in mm of the contour within a slice, by the corners with dz = 1 alone.
    """
    if flat:
        return _contour_lengths(spacing)
    areas = shape_areas(spacing)
    sizes = np.zeros(256)
    for number in range(1, 255):
        inside = [corner for corner in range(8) if number >> corner & 1]
        fewer = inside if len(inside) <= 4 else [corner for corner in range(8) if corner not in inside]
        sizes[number] = sum(areas[sum(1 << corner for corner in group)] for group in _groups(fewer))
    sizes.flags.writeable = False
    return sizes


def _contour_lengths(spacing: Spacing) -> FloatArray:
    """Marching squares: a corner alone cuts the cell's half diagonal, two side by side a whole side."""
    _, height, width = spacing
    lengths = np.zeros(256)
    bits = (1 << 2, 1 << 3, 1 << 6, 1 << 7)  # (y, x) = (0, 0), (1, 0), (0, 1), (1, 1)
    for number in range(256):
        square = [bool(number & bit) for bit in bits]
        n = sum(square)
        if n in (1, 3):
            lengths[number] = math.hypot(height, width) / 2.0
        elif n == 2 and square[0] == square[3]:
            lengths[number] = math.hypot(height, width)
        elif n == 2:
            lengths[number] = height if square[0] == square[1] else width
    lengths.flags.writeable = False
    return lengths


def _groups(corners: list[int]) -> list[list[int]]:
    """Corners of a cell that edges join; two corners share an edge where their numbers differ in one bit."""
    left, groups = set(corners), []
    while left:
        group = [left.pop()]
        for corner in group:
            joined = left & {corner ^ 1, corner ^ 2, corner ^ 4}
            left -= joined
            group += sorted(joined)
        groups.append(group)
    return groups


class _Surface:
    """The elements of one mask's surface, as `surface_kernels` lists them; `cells` is their grid."""

    def __init__(self, mask: BoolArray, flat: bool) -> None:
        from lesionlab.evaluate.surface_kernels import find_elements

        self.cells = (1 if flat else mask.shape[0] + 1, mask.shape[1] + 1, mask.shape[2] + 1)
        cut = element_sizes((1.0, 1.0, 1.0), flat) > 0.0
        voxels = np.ascontiguousarray(mask).view(np.uint8)
        self.starts, self.columns, self.shapes = find_elements(voxels, self.cells[0], cut)

    @property
    def rows(self) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.starts, self.columns

    def positions_mm(self, spacing: Spacing, wanted: NDArray[Any] | slice = slice(None)) -> FloatArray:
        row = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))[wanted]
        z, y = np.divmod(row, self.cells[1])
        places = np.stack([z, y, self.columns[wanted]], axis=1)
        return np.asarray(places * np.asarray(spacing, dtype=np.float64))


def _distances(queries: _Surface, surface: _Surface, spacing: Spacing) -> FloatArray:
    """From each element of the one to the nearest of the other, far ones by what costs less."""
    from lesionlab.evaluate.surface_kernels import near_squares

    steps, squares = _steps(spacing)
    found = near_squares(queries.rows, surface.rows, queries.cells[1], steps, squares, spacing[2])
    far = np.flatnonzero(np.isnan(found))
    distances = np.asarray(np.sqrt(found))
    if len(far):
        tree_s = len(surface.columns) * TREE_S + len(far) * TREE_QUERY_S
        by = _by_tree if tree_s <= math.prod(queries.cells) * GRID_S else _by_grid
        distances[far] = by(queries, far, surface, spacing)
    return distances


def _by_tree(queries: _Surface, far: NDArray[Any], surface: _Surface, spacing: Spacing) -> FloatArray:
    from scipy.spatial import cKDTree  # slow to import, and seldom needed

    tree = cKDTree(surface.positions_mm(spacing), balanced_tree=False, compact_nodes=False)
    found = np.empty(len(far))
    for low, high in pairwise([*range(0, len(far), CHUNK), len(far)]):
        found[low:high] = tree.query(queries.positions_mm(spacing, far[low:high]))[0]
    return found


def _by_grid(queries: _Surface, far: NDArray[Any], surface: _Surface, spacing: Spacing) -> FloatArray:
    from lesionlab.evaluate.surface_kernels import grid_squares

    squares = grid_squares(surface.rows, queries.cells, tuple(float(step) for step in spacing))
    row = np.searchsorted(queries.starts, far, side="right") - 1
    return np.asarray(np.sqrt(squares.reshape(-1, queries.cells[2])[row, queries.columns[far]]))


@lru_cache(maxsize=64)
def _steps(spacing: Spacing) -> tuple[NDArray[np.int64], FloatArray]:
    """The nearest `ROWS_SEARCHED` rows as steps (z, y), and their squared distances with that of the next."""
    longer = (math.sqrt(max(1.0, ratio)) for ratio in (spacing[1] / spacing[0], spacing[0] / spacing[1]))
    reach = (min(ROWS_SEARCHED, math.ceil(math.sqrt(ROWS_SEARCHED) * ratio)) for ratio in longer)
    z, y = (np.arange(-n, n + 1) for n in reach)
    squares = ((z * spacing[0]) ** 2)[:, None] + (y * spacing[1]) ** 2
    order = np.argsort(squares, axis=None, kind="stable")[: ROWS_SEARCHED + 1]
    steps = np.stack([z[order // len(y)], y[order % len(y)]], axis=1)
    return steps[:-1], squares.ravel()[order]


def _percentile(distances: FloatArray, sizes: FloatArray, share: float) -> float:
    """The shortest distance within which such a share of the surface lies; only the far end is sorted."""
    whole, left_out = sizes.sum(), 2 * math.ceil((1.0 - share) * len(sizes))
    far = np.ones(len(sizes), dtype=bool)
    if 0 < left_out < len(sizes):
        end = distances >= np.partition(distances, -left_out)[-left_out]
        if sizes[end].sum() > (1.0 - share) * whole * (1.0 + ROUNDING):
            far = end
    distances, sizes = distances[far], sizes[far]
    order = np.argsort(distances)
    within = whole - sizes.sum() + np.cumsum(sizes[order])
    place = int(np.searchsorted(within, share * whole * (1.0 - ROUNDING)))
    return float(distances[order[min(place, len(order) - 1)]])
