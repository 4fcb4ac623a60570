"""Two scans of one patient onto each other: the rigid motion between them, found from the images.

The motion is all that comes out. Nothing is interpolated here: the moving scan's grid is carried along
(`core/rigid.py`) and its voxels stay what they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lesionlab.core.errors import GeometryError
from lesionlab.core.grid import resample
from lesionlab.core.rigid import Rigid
from lesionlab.core.units import HOUNSFIELD
from lesionlab.core.volume import Geometry, Volume

LEVELS_MM: Final = (12.0, 5.0)
"""Voxel sizes of the search, coarse to fine."""
SAMPLES: Final = 150_000
SEED: Final = 20090501
BINS: Final = 32
ITERATIONS: Final = (100, 100)
LEAST_OVERLAP: Final = 0.3
"""Share of the smaller scan that must lie inside the other; less is no alignment but an escape."""
CLOSER: Final = 1e-3
"""A motion must raise the similarity by at least this much to be preferred to none."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """The motion that carries the moving scan into the fixed one's space, and how alike they are.

    `before` and `after` are correlations of the two images over their overlap, -1 to 1 (NaN without any).
    """

    motion: Rigid
    before: float
    after: float


def align_rigid(subject: str, fixed: Volume, moving: Volume) -> Alignment:
    """The rigid motion that lays `moving` onto `fixed` (the same channel of the same patient).

    Maximises Mattes' mutual information (Mattes et al., IEEE Trans Med Imaging 2003, doi
    10.1109/TMI.2003.809072) by gradient steps, from three starts: as the scanner's coordinates say, the
    middles of both grids on each other, and both centres of intensity. Where nothing is better than the
    coordinates themselves, these are kept. The same input gives the same motion. Raises GeometryError
    where no start lets the two overlap, or nothing can be searched by (constant images, single slices).
    """
    pairs = [(_at_level(fixed, mm), _at_level(moving, mm)) for mm in LEVELS_MM]
    best: tuple[float, sitk.Transform] | None = None
    for shift in _starts(*pairs[0]):
        found = _searched(*pairs[0], _euler(pairs[0][0].geometry, shift), ITERATIONS[0])
        if found is not None and (best is None or found[0] < best[0]):
            best = found
    if best is None:
        nowhere = f"no motion that lays {moving.geometry.describe()} onto {fixed.geometry.describe()}"
        raise GeometryError(subject, nowhere, "overlap, several slices, and voxels that are not all equal")
    fine = _searched(*pairs[-1], best[1], ITERATIONS[1]) or best
    motion = _motion(fine[1]).inverse()
    before, after = (_likeness(*pairs[-1], step) for step in (Rigid(), motion))
    if not after > before + CLOSER and not np.isnan(before):
        return Alignment(Rigid(), before, before)
    return Alignment(motion, before, after)


def _at_level(volume: Volume, level_mm: float) -> Volume:
    """The volume squeezed into a range that shows tissue, smoothed and thinned to about `level_mm`."""
    array: NDArray[Any] = volume.array.astype(np.float32)
    array = np.nan_to_num(array, copy=False)
    # logarithm: the liver counts beside the bladder
    array = (
        np.clip(array, -300, 300)
        if volume.unit == HOUNSFIELD
        else np.log1p(np.maximum(array, 0.0), dtype=np.float32)
    )
    steps = [
        max(1, min(round(level_mm / s), n // 4))
        for s, n in zip(volume.geometry.spacing, array.shape, strict=True)
    ]
    smooth = ndimage.gaussian_filter(array, [0.0 if step == 1 else step / 2.0 for step in steps])
    thin = np.ascontiguousarray(smooth[tuple(slice(None, None, step) for step in steps)])
    grid = volume.geometry
    spacing = tuple(s * step for s, step in zip(grid.spacing, steps, strict=True))
    return Volume(thin, Geometry(thin.shape, spacing, grid.origin, grid.direction), volume.unit)


def _starts(fixed: Volume, moving: Volume) -> list[NDArray[np.float64]]:
    """Shifts from fixed to moving to start from, without repetitions."""
    shifts = [
        np.zeros(3),
        _middle(moving) - _middle(fixed),
        _centre_of_intensity(moving) - _centre_of_intensity(fixed),
    ]
    chosen: list[NDArray[np.float64]] = []
    for shift in shifts:
        if all(np.linalg.norm(shift - other) > 1.0 for other in chosen):
            chosen.append(shift)
    return chosen


def _middle(volume: Volume) -> NDArray[np.float64]:
    return volume.geometry.to_world((np.asarray(volume.geometry.shape) - 1) / 2)


def _centre_of_intensity(volume: Volume) -> NDArray[np.float64]:
    weights = volume.array - volume.array.min()
    if not weights.any():
        return _middle(volume)
    return volume.geometry.to_world(ndimage.center_of_mass(weights))


def _euler(grid: Geometry, shift: NDArray[np.float64]) -> sitk.Transform:
    start = sitk.Euler3DTransform()
    start.SetCenter([float(v) for v in grid.to_world((np.asarray(grid.shape) - 1) / 2)])
    start.SetTranslation([float(v) for v in shift])
    return start


def _searched(
    fixed: Volume, moving: Volume, start: sitk.Transform, iterations: int
) -> tuple[float, sitk.Transform] | None:
    """The metric (lower is better) and the transform from fixed to moving; None where they do not overlap."""
    search = sitk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(BINS)
    share = min(1.0, SAMPLES / fixed.array.size)
    if share < 1.0:
        search.SetMetricSamplingStrategy(search.REGULAR)
        search.SetMetricSamplingPercentage(share, SEED)
    search.SetInterpolator(sitk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(4.0, 0.005, iterations, 0.7, 1e-8)
    search.SetOptimizerScalesFromPhysicalShift()
    moved = sitk.Euler3DTransform(start)
    search.SetInitialTransform(moved, inPlace=True)
    try:
        with _one_thread():
            search.Execute(_itk(fixed), _itk(moving))
    except RuntimeError:
        # the starting place lies outside the moving scan altogether
        return None
    if _overlap(fixed.geometry, moving.geometry, _motion(moved)) < LEAST_OVERLAP:
        return None
    return float(search.GetMetricValue()), moved


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in a fixed order, so that the same input gives the same motion to the last digit."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def _motion(transform: sitk.Transform) -> Rigid:
    """An Euler transform as p -> R p + t."""
    euler = sitk.Euler3DTransform(transform)
    matrix = np.asarray(euler.GetMatrix()).reshape(3, 3)
    centre, shift = np.asarray(euler.GetCenter()), np.asarray(euler.GetTranslation())
    x, y, z = (float(v) for v in centre + shift - matrix @ centre)
    return Rigid(tuple(float(v) for v in matrix.ravel()), (x, y, z))


def _overlap(fixed: Geometry, moving: Geometry, motion: Rigid) -> float:
    """The share of the smaller grid that lies in the other; `motion` goes from fixed to moving."""
    return max(_inside(fixed, moving, motion), _inside(moving, fixed, motion.inverse()))


def _inside(these: Geometry, others: Geometry, motion: Rigid) -> float:
    axes = [np.linspace(0, n - 1, 12) for n in these.shape]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    there = others.to_index(motion.apply(these.to_world(index)))
    held = ((there >= -0.5) & (there <= np.asarray(others.shape) - 0.5)).all(axis=1)
    return float(held.mean())


def _likeness(fixed: Volume, moving: Volume, motion: Rigid) -> float:
    """Correlation over the overlap, the moving grid carried along; NaN where there is none."""
    carried = Volume(moving.array, motion.moved(moving.geometry), moving.unit)
    try:
        there = resample(carried, fixed.geometry, outside=np.nan).array
    except GeometryError:
        return float("nan")
    both = np.isfinite(there)
    here, other = fixed.array[both].astype(np.float64), there[both].astype(np.float64)
    if here.size < 2 or here.std() == 0 or other.std() == 0:
        return float("nan")
    return float(np.corrcoef(here, other)[0, 1])


def _itk(volume: Volume) -> sitk.Image:
    """A volume as SimpleITK has it: index order x, y, z."""
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing([float(s) for s in volume.geometry.spacing[::-1]])
    image.SetOrigin([float(v) for v in volume.geometry.origin])
    image.SetDirection([float(v) for v in volume.geometry.matrix[:, ::-1].ravel()])
    return image


def mean_shift_mm(grid: Geometry, motion: Rigid) -> float:
    """How far a motion carries the corners of a grid, on average."""
    last: Sequence[int] = [n - 1 for n in grid.shape]
    corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), -1).reshape(-1, 3)
    world = grid.to_world(corners)
    return float(np.linalg.norm(motion.apply(world) - world, axis=1).mean())
