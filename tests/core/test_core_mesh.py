from __future__ import annotations

import numpy as np
import pytest

from lesionlab.core.mesh import SHAPES, shape_areas, shape_tables


def test_every_shape_is_reached_from_the_twenty():
    normals, inside = shape_tables()
    assert len(SHAPES) == 20
    assert inside[0] == 0
    assert inside[255] == 1
    assert ((inside[1:255] > 0) & (inside[1:255] < 1)).all()
    assert (np.abs(normals[1:255]).sum(axis=(1, 2)) > 0).all()


def test_areas_of_shapes_worked_by_hand():
    areas = shape_areas((3.0, 2.0, 1.0))
    assert areas[0] == areas[255] == 0.0
    # corners (0, 0, 0) and (0, 0, 1), (0, 1, 0), (1, 0, 0), then the other side of the cut
    for corners, area in (((0, 1, 2, 3), 6.0), ((0, 1, 4, 5), 2.0), ((0, 2, 4, 6), 3.0)):
        number = sum(1 << corner for corner in corners)
        assert areas[number] == areas[255 - number] == pytest.approx(area)
    # one corner: the triangle between the three half edges of 1.5, 1 and 0.5 mm
    corner = np.linalg.norm(np.cross([-1.5, 1.0, 0.0], [-1.5, 0.0, 0.5])) / 2
    assert [areas[1 << k] for k in range(8)] == pytest.approx([corner] * 8)
