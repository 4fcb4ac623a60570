"""Hull, largest diameter, smallest box and ellipsoids against bodies with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import ConvexHull
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from scipy.special import elliprg

from lesionlab.measure.ibsi.morphology_boxes import (
    _frame,
    box_area,
    ellipsoid_area,
    ellipsoid_volume,
    smallest_box,
)
from lesionlab.measure.ibsi.morphology_ellipsoid import smallest_ellipsoid
from lesionlab.measure.ibsi.morphology_hull import Hull, hull_triangles, largest_diameter, mesh_hull

STEPS = np.concatenate([np.eye(3, dtype=int), -np.eye(3, dtype=int)])
CORNERS = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=np.float64)


def hull_of(points):
    found = ConvexHull(points)
    triangles = points[found.simplices]
    faces = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
    faces *= np.sign((faces * found.equations[:, :3]).sum(axis=1))[:, None]
    return Hull(points[found.vertices], faces, found.volume)


def turned(seed):
    return Rotation.random(random_state=seed).as_matrix()


@pytest.mark.parametrize("seed", range(40))
def test_hull_agrees_with_qhull(seed):
    rng = np.random.default_rng(seed)
    mask = rng.random(rng.integers(1, 12, 3)) < rng.random()
    mask[tuple(rng.integers(0, mask.shape))] = True
    spacing = tuple(rng.random(3) + 0.5)
    points = (2 * np.argwhere(mask)[:, None] + STEPS).reshape(-1, 3) * np.asarray(spacing) / 2
    expected, found = ConvexHull(points), mesh_hull(mask, spacing)
    assert found.volume_mm3 == pytest.approx(expected.volume)
    assert found.area_mm2 == pytest.approx(expected.area)
    assert found.faces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-9)
    assert largest_diameter(found.vertices) == pytest.approx(pdist(points).max())


def test_hull_of_a_large_ball_agrees_with_qhull():
    grid = np.indices((61, 61, 61)) - 30
    mask = (grid**2).sum(axis=0) < 29.3**2
    points = (2 * np.argwhere(mask)[:, None] + STEPS).reshape(-1, 3) / 2
    expected, found = ConvexHull(points), mesh_hull(mask, (1.0, 1.0, 1.0))
    assert (found.volume_mm3, found.area_mm2) == pytest.approx((expected.volume, expected.area))


def test_hull_triangles_face_outward():
    points = (CORNERS * 4).astype(np.int64)
    triangles = points[hull_triangles(points)]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    assert (((triangles[:, 0] - 2) * normals).sum(axis=1) > 0).all()
    assert np.linalg.norm(normals, axis=1).sum() / 2 == pytest.approx(6 * 16)


@pytest.mark.parametrize("seed", range(5))
def test_smallest_box_finds_a_turned_box(seed):
    sides = np.array([3.0, 5.0, 11.0])
    found = smallest_box(hull_of(CORNERS * sides @ turned(seed).T), np.eye(3))
    assert found == pytest.approx(sides)
    assert box_area(found) == pytest.approx(206)


def test_smallest_box_of_a_regular_tetrahedron_is_its_cube():
    tetrahedron = CORNERS[[0, 3, 5, 6]] @ turned(2).T
    assert smallest_box(hull_of(tetrahedron), np.eye(3)).prod() == pytest.approx(1)


@pytest.mark.parametrize("seed", range(6))
def test_smallest_box_holds_the_body_and_beats_simple_ones(seed):
    points = np.random.default_rng(seed).normal(size=(60, 3)) * (1, 2, 3) @ turned(seed).T
    hull = hull_of(points)
    _, axes = np.linalg.eigh(np.cov(points.T))
    volume = smallest_box(hull, axes.T).prod()
    assert hull.volume_mm3 < volume
    assert volume <= np.ptp(points, axis=0).prod() * (1 + 1e-9)
    assert volume <= np.ptp(points @ axes, axis=0).prod() * (1 + 1e-9)
    # no box among many thousand random orientations is more than a few percent smaller
    orientations = Rotation.random(20_000, random_state=seed).as_matrix()
    random_best = np.ptp(hull.vertices @ orientations, axis=1).prod(axis=1).min()
    assert volume <= 1.02 * random_best


@pytest.mark.parametrize("normal", [(1, 0, 0), (-1, 0, 0), (0, 0, -1), (0.6, -0.48, 0.64), (-0.6, 0, 0.8)])
def test_frames_are_right_angled(normal):
    frame = _frame(*normal)
    assert frame[0] == pytest.approx(normal)
    assert frame @ frame.T == pytest.approx(np.eye(3), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_smallest_ellipsoid_finds_a_turned_ellipsoid(seed):
    directions = np.random.default_rng(seed).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    points = directions * (2, 3, 7) @ turned(seed).T + 50
    assert smallest_ellipsoid(points) == pytest.approx((2, 3, 7), rel=1e-5)


def test_smallest_ellipsoid_of_a_box_and_of_a_simplex():
    # both touch at every corner: sides times 3^(1/2) / 2, and the ball around a regular tetrahedron
    sides = np.array([3.0, 5.0, 11.0])
    box = CORNERS * sides @ turned(1).T
    assert smallest_ellipsoid(box) == pytest.approx(sides * np.sqrt(3) / 2, rel=1e-5)
    tetrahedron = CORNERS[[0, 3, 5, 6]]
    assert smallest_ellipsoid(tetrahedron) == pytest.approx([np.sqrt(3) / 2] * 3, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_smallest_ellipsoid_meets_khachiyans_condition(seed):
    """Within a thousandth of what the weights of the dual problem prove to be a lower bound."""
    grid = np.indices((15, 15, 15)).reshape(3, -1).T - 7
    mask = (((grid @ turned(seed)) / (3, 5, 7)) ** 2).sum(axis=1).reshape(15, 15, 15) < 1
    points = mesh_hull(mask, (1.0, 1.0, 1.0)).vertices
    lifted = np.c_[points - points.mean(axis=0), np.ones(len(points))]
    weights = np.full(len(points), 1 / len(points))
    for _ in range(3000):
        inverse = np.linalg.inv((lifted * weights[:, None]).T @ lifted)
        distance = np.einsum("ij,jk,ik->i", lifted, inverse, lifted)
        far = int(distance.argmax())
        step = (distance[far] - 4) / (4 * (distance[far] - 1))
        weights *= 1 - step
        weights[far] += step
    centre = lifted[:, :3].T @ weights
    spread = (lifted[:, :3] * weights[:, None]).T @ lifted[:, :3] - np.outer(centre, centre)
    lower = np.sqrt(np.linalg.det(3 * spread))
    volume = smallest_ellipsoid(points).prod()
    assert lower * (1 - 1e-9) <= volume <= lower * 1.003


def test_ellipsoid_volume_and_area_of_a_ball():
    assert ellipsoid_volume(np.array([2.0, 2.0, 2.0])) == pytest.approx(32 / 3 * np.pi)
    assert ellipsoid_area(np.array([2.0, 2.0, 2.0])) == pytest.approx(16 * np.pi)
    assert np.isnan(ellipsoid_area(np.zeros(3)))


def test_ellipsoid_area_is_the_standards_series():
    """As printed, with Legendre polynomials of degree 0 to 20; not quite an ellipsoid's area."""
    c, b, a = 4.27, 4.65, 5.7
    alpha, beta = np.sqrt(1 - (b / a) ** 2), np.sqrt(1 - (c / a) ** 2)
    legendre = np.polynomial.legendre.Legendre
    total = sum(
        (alpha * beta) ** n / (1 - 4 * n**2) * legendre.basis(n)((alpha**2 + beta**2) / (2 * alpha * beta))
        for n in range(21)
    )
    found = ellipsoid_area(np.array([a, c, b]))
    assert found == pytest.approx(4 * np.pi * a * b * total)
    exact = 4 * np.pi * elliprg((a * b) ** 2, (b * c) ** 2, (c * a) ** 2)
    assert 0.95 < found / exact < 0.97
