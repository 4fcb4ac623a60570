"""A known motion between two scans is found from the images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.transform import Rotation

from lesionlab.core.errors import GeometryError
from lesionlab.core.rigid import Rigid
from lesionlab.core.units import HOUNSFIELD, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.standardise.rigid import align_rigid, mean_shift_mm

GRID = Geometry((40, 44, 48), (4.0, 4.0, 4.0), (-90.0, -80.0, -70.0))


def torso(motion: Rigid, grid: Geometry = GRID, *, seed: int = 0, unit: str = SUVBW) -> Volume:
    """An ellipsoid with organs, moved, with noise; known at every point, so nothing is resampled."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    p = motion.inverse().apply(grid.to_world(index))
    inside = (p[..., 0] / 75) ** 2 + (p[..., 1] / 60) ** 2 + (p[..., 2] / 70) ** 2 < 1
    array = np.where(inside, 1.0, 0.0)
    for centre, radius, value in (
        ((-30, 10, 5), 22, 3.0),
        ((35, -15, 20), 14, 6.0),
        ((10, 25, -30), 10, 9.0),
    ):
        array[np.linalg.norm(p - np.array(centre), axis=-1) < radius] = value
    array = ndimage.gaussian_filter(array, 0.7) + np.random.default_rng(seed).normal(0, 0.05, grid.shape)
    if unit == HOUNSFIELD:
        array = np.where(inside, 40.0 * array, -1000.0)
    return Volume(array.astype(np.float32), grid, unit)


def motion_of(degrees: float, shift: tuple[float, float, float]) -> Rigid:
    turn = Rotation.from_rotvec(np.radians(degrees) * np.array([0.6, -0.48, 0.64]))
    return Rigid(tuple(turn.as_matrix().ravel()), shift)


@pytest.mark.parametrize("unit", [SUVBW, HOUNSFIELD])
@pytest.mark.parametrize(("degrees", "shift"), [(0.0, (12.0, -9.0, 6.0)), (9.0, (-10.0, 8.0, 14.0))])
def test_the_motion_between_two_scans_is_found(unit, degrees, shift):
    true = motion_of(degrees, shift)
    found = align_rigid("P1", torso(Rigid(), unit=unit), torso(true, seed=1, unit=unit))
    points = np.random.default_rng(2).uniform(-40, 40, (50, 3))
    left = np.linalg.norm(found.motion.apply(true.apply(points)) - points, axis=1)
    assert left.mean() < 0.8  # mm, voxels of 4 mm
    assert found.after > 0.97
    assert found.after > found.before + 0.05


def test_other_uptake_does_not_disturb_and_the_answer_is_always_the_same():
    true = motion_of(5.0, (6.0, 5.0, -8.0))
    fixed, moving = torso(Rigid()), torso(true, seed=1)
    hot = moving.array.copy()
    hot[20:23, 20:23, 20:23] = 15.0
    one = align_rigid("P1", fixed, moving.with_array(hot))
    two = align_rigid("P1", fixed, moving.with_array(hot))
    assert one == two
    assert mean_shift_mm(GRID, one.motion) > 5.0
    points = np.random.default_rng(2).uniform(-40, 40, (50, 3))
    assert np.linalg.norm(one.motion.apply(true.apply(points)) - points, axis=1).mean() < 0.8


def test_a_scanner_with_other_coordinates_and_voxels():
    far = Geometry((36, 30, 34), (4.5, 6.0, 5.5), (900.0, -1500.0, 2000.0))
    true = Rigid(translation=(980.0, -1420.0, 2075.0))
    found = align_rigid("P1", torso(Rigid()), torso(true, far, seed=1))
    assert np.isnan(found.before)
    assert np.linalg.norm(found.motion.apply(true.apply([[0.0, 0.0, 0.0]]))) < 2.0


def test_scans_that_lie_together_stay_where_they_are():
    scan = torso(Rigid())
    found = align_rigid("P1", scan, scan)
    assert found.motion == Rigid()
    assert found.before == found.after == pytest.approx(1.0)


def test_scans_of_one_slice_are_refused_for_what_they_are():
    scan = torso(Rigid())
    flat = Geometry((1, *GRID.shape[1:]), GRID.spacing, GRID.origin, GRID.direction)
    one = Volume(scan.array[20:21], flat, SUVBW)
    with pytest.raises(GeometryError, match=r"P1: found no motion that lays grid 1 x .* several slices"):
        align_rigid("P1", one, one)


def test_nothing_to_see_is_refused_or_left_alone():
    empty = Volume(np.zeros(GRID.shape, np.float32), GRID, SUVBW)
    try:
        found = align_rigid("P1", empty, empty)
    except GeometryError as error:
        assert "P1" in str(error)
    else:
        assert found.motion == Rigid()
