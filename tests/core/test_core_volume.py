"""Geometry and Volume: the axis order, the world, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.core.errors import GeometryError
from lesionlab.core.volume import Geometry, Volume

AXIAL = (0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0)
spacings = st.tuples(*[st.floats(0.1, 10)] * 3)
origins = st.tuples(*[st.floats(-500, 500)] * 3)


def rotation(angles: tuple[float, float, float]) -> np.ndarray:
    a, b, c = angles
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return about_x @ about_y @ about_z


def test_default_direction_maps_z_y_x_to_lps() -> None:
    grid = Geometry((4, 5, 6), (3.0, 2.0, 1.0), (10.0, 20.0, 30.0))
    # index (z, y, x) = (1, 2, 3): x moves along L by 3 x 1, y along P by 2 x 2, z along S by 1 x 3 mm
    assert grid.to_world((1, 2, 3)).tolist() == [13.0, 24.0, 33.0]
    assert grid.voxel_ml == pytest.approx(0.006)


@given(spacings, origins, st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.integers(-40, 40)] * 3))
def test_world_and_index_are_inverse_for_oblique_grids(
    spacing: tuple[float, float, float],
    origin: tuple[float, float, float],
    angles: tuple[float, float, float],
    index: tuple[int, int, int],
) -> None:
    grid = Geometry((9, 9, 9), spacing, origin, tuple(rotation(angles).ravel()))
    assert np.allclose(grid.to_index(grid.to_world(index)), index, atol=1e-6)


def test_to_world_takes_many_points() -> None:
    grid = Geometry((4, 5, 6), (1.0, 1.0, 1.0))
    assert grid.to_world(np.zeros((7, 2, 3))).shape == (7, 2, 3)


@pytest.mark.parametrize("spacing", [(0.0, 1.0, 1.0), (1.0, -2.0, 1.0), (1.0, 1.0, float("nan"))])
def test_impossible_spacing_is_refused(spacing: tuple[float, float, float]) -> None:
    with pytest.raises(GeometryError, match=r"found spacing .*needed three positive finite spacings"):
        Geometry((2, 2, 2), spacing)


@pytest.mark.parametrize("shape", [(0, 2, 2), (2, 2), (1, 2, 3, 4)])
def test_impossible_shape_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(GeometryError, match="three positive sizes"):
        Geometry(shape, (1.0, 1.0, 1.0))


def test_origin_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(GeometryError, match="three finite coordinates"):
        Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, float("inf"), 0.0))


@pytest.mark.parametrize(
    "direction", [(1.0,) * 9, (0.0,) * 9, (1.0, 0.0, 0.0), (2.0, 0, 0, 0, 2.0, 0, 0, 0, 2.0)]
)
def test_axes_that_are_not_orthonormal_are_refused(direction: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match="orthonormal"):
        Geometry((2, 2, 2), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), direction)


def test_matches_looks_at_all_corners() -> None:
    grid = Geometry((100, 10, 10), (3.0, 2.0, 2.0))
    assert grid.matches(Geometry((100, 10, 10), (3.00001, 2.0, 2.0)))
    # the origins agree, the far end is 0.1 x 99 mm away
    assert not grid.matches(Geometry((100, 10, 10), (3.1, 2.0, 2.0)))
    assert not grid.matches(Geometry((100, 10, 11), (3.0, 2.0, 2.0)))
    assert not grid.matches(Geometry((100, 10, 10), (3.0, 2.0, 2.0), (0.0, 0.0, 0.5)))


def test_describe_names_shape_spacing_and_origin() -> None:
    text = Geometry((4, 5, 6), (3.27, 2.0, 1.5), (1.0, -2.0, 3.0)).describe()
    assert text == "grid 4 x 5 x 6 (z, y, x), spacing 3.27 x 2 x 1.5 mm, origin (1.0, -2.0, 3.0) mm"


def test_volume_is_read_only_and_leaves_the_callers_array_writable() -> None:
    array = np.zeros((2, 3, 4), np.float32)
    volume = Volume(array, Geometry((2, 3, 4), (1.0, 1.0, 1.0)), "1")
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    array[0, 0, 0] = 1


def test_volume_of_another_shape_than_its_grid_is_refused() -> None:
    with pytest.raises(GeometryError, match=r"array of shape \(2, 3, 5\)"):
        Volume(np.zeros((2, 3, 5)), Geometry((2, 3, 4), (1.0, 1.0, 1.0)), "1")


def test_with_array_keeps_grid_and_unit_unless_told() -> None:
    volume = Volume(np.zeros((2, 3, 4)), Geometry((2, 3, 4), (1.0, 1.0, 1.0)), "Bq/ml")
    assert volume.with_array(np.ones((2, 3, 4))).unit == "Bq/ml"
    changed = volume.with_array(np.ones((2, 3, 4)), "1")
    assert changed.unit == "1"
    assert changed.geometry is volume.geometry
