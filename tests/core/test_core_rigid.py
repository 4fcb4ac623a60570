from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lesionlab.core.errors import GeometryError
from lesionlab.core.rigid import Rigid
from lesionlab.core.volume import Geometry
from phantoms import OBLIQUE

TURN = Rotation.from_euler("xyz", [10, -20, 30], degrees=True)
MOTION = Rigid(tuple(TURN.as_matrix().ravel()), (5.0, -6.0, 7.0))


def test_points_go_there_and_back():
    points = np.random.default_rng(1).normal(size=(5, 3)) * 100
    there = MOTION.apply(points)
    assert np.allclose(there, points @ TURN.as_matrix().T + [5, -6, 7])
    assert np.allclose(MOTION.inverse().apply(there), points)
    assert MOTION.degrees == pytest.approx(np.degrees(TURN.magnitude()))
    assert Rigid().degrees == 0.0


def test_a_grid_is_carried_along():
    grid = Geometry((4, 5, 6), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0), OBLIQUE)
    index = np.array([[0, 0, 0], [3, 4, 5], [1, 2, 3]])
    moved = MOTION.moved(grid)
    assert (moved.shape, moved.spacing) == (grid.shape, grid.spacing)
    assert np.allclose(moved.to_world(index), MOTION.apply(grid.to_world(index)))


@pytest.mark.parametrize("bad", [(1.0,) * 9, (1.0, 0, 0, 0, 1, 0, 0, 0, -1), (1.0, 0.0)])
def test_what_is_no_rotation_is_refused(bad):
    with pytest.raises(GeometryError, match="rigid motion: found rotation"):
        Rigid(bad)
