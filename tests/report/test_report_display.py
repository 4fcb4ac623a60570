from __future__ import annotations

import numpy as np
import pytest

from lesionlab.core import units
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report.display import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Box,
    content_box,
    orientation,
    picture_box,
    projection,
    section,
    square_box,
    window_of,
)

SPACING = (5.0, 4.0, 3.0)
AXES = {"S": (0, 0, 1), "I": (0, 0, -1), "P": (0, 1, 0), "A": (0, -1, 0), "L": (1, 0, 0), "R": (-1, 0, 0)}


def grid(towards: str, shape: tuple[int, int, int] = (6, 8, 10)) -> Geometry:
    """A grid whose array axes run towards the given three letters."""
    matrix = np.array([AXES[letter] for letter in towards], float).T
    return Geometry(shape, SPACING, (0.0, 0.0, 0.0), tuple(matrix.ravel()))


def hottest(picture: np.ndarray) -> tuple[float, float]:
    """Where the brightest pixel is, as shares of height and width."""
    row, column = np.unravel_index(np.argmax(picture), picture.shape)
    return row / (picture.shape[0] - 1), column / (picture.shape[1] - 1)


@pytest.mark.parametrize("towards", ["SPL", "IAR", "IPL", "SAR", "LIP", "PLS", "RSA", "ASR"])
def test_a_voxel_at_the_left_superior_posterior_corner_is_shown_there(towards: str) -> None:
    geometry = grid(towards)
    corners = np.stack(np.meshgrid(*[(0, n - 1) for n in geometry.shape], indexing="ij"), -1).reshape(-1, 3)
    world = geometry.to_world(corners)
    target = corners[np.argmax(world @ np.array([1.0, 1.0, 1.0]))]  # LPS: most left, posterior, superior
    array = np.zeros(geometry.shape)
    array[tuple(target)] = 1.0
    turn = orientation(geometry)
    turned = turn.turn(array)
    # Radiological: the patient's left at the picture's right, the head up, the front up (axial) or left.
    assert hottest(projection(turned, CORONAL)) == (0.0, 1.0)
    assert hottest(projection(turned, SAGITTAL)) == (0.0, 1.0)
    assert hottest(projection(turned, AXIAL)) == (1.0, 1.0)
    lines = towards.translate(str.maketrans("IAR", "SPL"))  # the body axis along each array axis
    assert turn.native_plane == "SPL".index(lines[0])
    expected = dict(zip(lines, SPACING, strict=True))
    assert turn.spacing == (expected["S"], expected["P"], expected["L"])
    assert turn.pixel_mm(CORONAL) == (expected["S"], expected["L"])
    assert turn.oblique_degrees == pytest.approx(0.0, abs=1e-6)


def test_an_oblique_grid_is_turned_by_its_nearest_axes_and_says_by_how_much() -> None:
    angle = np.radians(20)
    matrix = np.array([[0, np.sin(angle), np.cos(angle)], [0, np.cos(angle), -np.sin(angle)], [1, 0, 0]])
    turn = orientation(Geometry((4, 4, 4), SPACING, (0.0, 0.0, 0.0), tuple(matrix.ravel())))
    assert turn.axes == (0, 1, 2)
    assert turn.oblique_degrees == pytest.approx(20.0)


def test_a_single_image_is_shown_as_stored() -> None:
    geometry = grid("IAR", (1, 8, 10))
    array = np.arange(80.0).reshape(geometry.shape)
    turn = orientation(geometry)
    assert turn.flat
    assert np.array_equal(section(turn.turn(array), AXIAL, 0), array[0])


def test_picture_box_and_projection_agree() -> None:
    array = np.zeros((6, 8, 10), bool)
    box = (slice(1, 3), slice(4, 7), slice(0, 2))
    array[box] = True
    for plane in (AXIAL, CORONAL, SAGITTAL):
        rows, columns = (np.flatnonzero(projection(array, plane).any(axis=axis)) for axis in (1, 0))
        found = Box(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)
        assert picture_box(box, plane, array.shape) == found


def test_windows_follow_the_unit() -> None:
    geometry = Geometry((1, 2, 2), (1.0, 1.0, 1.0))
    array = np.array([[[0.0, 1.0], [2.0, 3.0]]])
    suv = window_of(Volume(array, geometry, units.SUVBW))
    assert (suv.low, suv.high, suv.inverted) == (0.0, 10.0, True)
    assert "SUVbw 0 to 10" in suv.words
    ct = window_of(Volume(array, geometry, units.HOUNSFIELD))
    assert (ct.low, ct.high, ct.inverted) == (-160.0, 240.0, False)
    other = window_of(Volume(array, geometry, units.STORED))
    assert 0.0 <= other.low < other.high <= 3.0


def test_an_image_of_one_value_has_a_window() -> None:
    window = window_of(Volume(np.full((1, 2, 2), 7.0), Geometry((1, 2, 2), (1.0, 1.0, 1.0)), units.STORED))
    assert (window.low, window.high) == (7.0, 8.0)


def test_field_of_view_is_square_in_mm_centred_and_at_least_as_wanted() -> None:
    picture = np.zeros((100, 200), bool)
    picture[50:52, 100:104] = True
    box = square_box(picture, (4.0, 2.0), 120.0, 1.6)
    assert ((box.bottom - box.top) * 4.0, (box.right - box.left) * 2.0) == (120.0, 120.0)
    assert ((box.top + box.bottom) / 2, (box.left + box.right) / 2) == (51.0, 102.0)


def test_field_of_view_grows_with_the_lesion_and_stays_inside() -> None:
    picture = np.zeros((100, 200), bool)
    picture[0:80, 150:200] = True
    box = square_box(picture, (2.0, 2.0), 120.0, 1.6)
    assert (box.top, box.bottom) == (0, 100)
    assert (box.right - box.left, box.right) == (128, 200)


def test_content_box_of_nothing_is_everything() -> None:
    assert content_box(np.zeros((5, 7), bool), (1.0, 1.0), 2.0) == Box(0, 5, 0, 7)
