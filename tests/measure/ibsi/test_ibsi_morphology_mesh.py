from __future__ import annotations

import numpy as np
import pytest

from lesionlab.core.mesh import shape_tables
from lesionlab.measure.ibsi.morphology_mesh import count_shapes, mesh_area_volume


def test_surfaces_are_closed():
    rng = np.random.default_rng(0)
    normals, _ = shape_tables()
    for share in (0.2, 0.5, 0.8):
        counts = count_shapes(rng.random((9, 8, 7)) < share)
        assert np.einsum("s,sti->i", counts, normals) == pytest.approx(np.zeros(3), abs=1e-9)


def test_shapes_are_counted_as_by_hand():
    rng = np.random.default_rng(1)
    mask = rng.random((4, 5, 6)) < 0.5
    padded = np.pad(mask, 1).astype(int)
    number = sum(
        padded[dz : 5 + dz, dy : 6 + dy, dx : 7 + dx] << (4 * dx + 2 * dz + dy)
        for dz in (0, 1)
        for dy in (0, 1)
        for dx in (0, 1)
    )
    assert np.array_equal(count_shapes(mask), np.bincount(number.ravel(), minlength=256))


def test_a_hole_takes_away_what_fills_it_but_corners():
    full = np.ones((9, 9, 9), bool)
    holed = full.copy()
    holed[3:6, 3:6, 3:6] = False
    area, volume = mesh_area_volume(full, (1.0, 1.0, 1.0))
    holed_area, holed_volume = mesh_area_volume(holed, (1.0, 1.0, 1.0))
    block_area, block_volume = mesh_area_volume(np.ones((3, 3, 3), bool), (1.0, 1.0, 1.0))
    assert holed_area - area == pytest.approx(block_area)
    assert volume - holed_volume == pytest.approx(block_volume)


def test_no_voxel_has_no_surface():
    assert mesh_area_volume(np.zeros((2, 3, 4), bool), (1.0, 1.0, 1.0)) == (0.0, 0.0)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_area_and_volume_are_those_of_scikit_image(share):
    measure = pytest.importorskip("skimage.measure", reason="scikit-image is not installed")
    mask = np.random.default_rng(5).random((12, 13, 14)) < share
    spacing = (3.0, 1.7, 1.0)
    vertices, faces, _, _ = measure.marching_cubes(np.pad(mask, 1).astype(float), 0.5, spacing=spacing)
    triangles = vertices[faces].astype(float)
    volume = abs(np.einsum("ij,ij->", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2]))) / 6
    area = measure.mesh_surface_area(vertices, faces)
    assert mesh_area_volume(mask, spacing) == pytest.approx((area, volume), rel=1e-5)
