from __future__ import annotations

import math

import numpy as np
import pytest

import phantoms
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.settings import MarginSettings
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.margin import DIRECTIONS, margin, margin_columns, surface_of, total_columns

SETTINGS = MarginSettings(close_mm=(6.0, 8.0, 12.0))
GRIDS = {
    "1 mm": Geometry((58, 58, 58), (1.0, 1.0, 1.0), (-28.4, -28.7, -28.3)),
    "thick slices": Geometry((29, 82, 45), (2.0, 0.7, 1.3), (-28.6, -28.4, -28.1)),
    "oblique": Geometry((58, 58, 58), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), phantoms.OBLIQUE),
}


def balls(grid: Geometry, shift=(6.0, 2.0, -3.0), radius=12.0, outer=24.0) -> tuple[Volume, Volume]:
    """A lesion, a ball off the centre of a ball that is the specimen."""
    centre = grid.to_world((np.asarray(grid.shape) - 1) / 2.0 + 0.13)
    lesion = phantoms.ball_mask(grid, tuple(centre + shift), radius)
    specimen = phantoms.ball_mask(grid, tuple(centre), outer)
    return Volume(lesion.astype(np.int32), grid, "1"), Volume(specimen.astype(np.uint8), grid, "1")


def box(shape, low, high) -> np.ndarray:
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return array


def close_area(limit: float, radius=12.0, outer=24.0, shift=7.0) -> float:
    """Area of the part of a sphere of radius `outer` nearer than `limit` to a sphere inside it."""
    cosine = (outer**2 + shift**2 - (radius + limit) ** 2) / (2 * outer * shift)
    return 2 * math.pi * outer**2 * (1 - cosine)


@pytest.mark.parametrize("name", GRIDS)
def test_a_ball_in_a_ball(name: str) -> None:
    grid = GRIDS[name]
    lesion, specimen = balls(grid)
    added, surface = margin("S1", lesion, specimen, SETTINGS)
    coarse = 0.3 * max(grid.spacing)
    assert added.rows[0]["margin"] == pytest.approx(24.0 - 12.0 - 7.0, abs=coarse)
    assert added.totals is not None
    assert added.totals["specimen_area"] == pytest.approx(4 * math.pi * 24**2, rel=0.02)
    assert added.totals["specimen_volume"] == pytest.approx(phantoms.ball_ml(24.0), rel=0.01)
    # An error of a third of a voxel in the distance moves the border of the small cap most.
    for limit, share in ((8.0, 0.08), (12.0, 0.06)):
        found = added.totals[f"close_area_{limit:g}mm"]
        assert found == pytest.approx(close_area(limit), rel=share)
        assert added.rows[0][f"close_area_{limit:g}mm"] == found
    known = np.isfinite(surface.array)
    assert surface.unit == "mm"
    assert not (known & (specimen.array == 0)).any()
    assert surface.array[known].min() == pytest.approx(added.totals["margin"], abs=1e-5)
    # In every voxel of the surface: the distance to the lesion's centre, less its radius.
    centre = grid.to_world((np.asarray(grid.shape) - 1) / 2.0 + 0.13) + np.array([6.0, 2.0, -3.0])
    away = np.linalg.norm(grid.to_world(np.argwhere(known)) - centre, axis=1) - 12.0
    assert np.abs(surface.array[known] - away).mean() < 0.6 * max(grid.spacing)
    assert added.notes == ()


def test_six_directions_of_a_box_in_a_box_are_exact() -> None:
    """Faces along the grid are where they are drawn, whatever the spacing."""
    shape, spacing = (40, 50, 60), (1.5, 1.0, 0.5)
    grid = Geometry(shape, spacing)
    specimen = Volume(box(shape, (4, 5, 6), (36, 45, 54)), grid, "1")
    lesion = Volume(box(shape, (12, 12, 20), (30, 40, 44)).astype(np.int32), grid, "1")
    row = margin("S1", lesion, specimen, SETTINGS)[0].rows[0]
    expected = {
        "margin_left": 10 * 0.5,
        "margin_right": 14 * 0.5,
        "margin_posterior": 5.0,
        "margin_anterior": 7.0,
        "margin_superior": 6 * 1.5,
        "margin_inferior": 8 * 1.5,
    }
    assert {k: row[k] for k in expected} == pytest.approx(expected, abs=0.02)
    assert row["margin"] == min(row[f"margin_{d}"] for d in DIRECTIONS)


def test_directions_follow_the_patient_not_the_array() -> None:
    shape = (40, 40, 40)
    specimen, lesion = box(shape, (4, 4, 4), (36, 36, 36)), box(shape, (14, 14, 6), (26, 26, 18))
    plain = Geometry(shape, (1.0, 1.0, 1.0))
    # The array's last axis runs to the patient's back.
    turned = Geometry(shape, (1.0, 1.0, 1.0), direction=(0, 1, 0, 0, 0, 1, 1, 0, 0))
    rows = [
        margin("S", Volume(lesion.astype(np.int32), g, "1"), Volume(specimen, g, "1"), SETTINGS)[0].rows[0]
        for g in (plain, turned)
    ]
    assert rows[0]["margin_right"] == rows[1]["margin_anterior"] == pytest.approx(2.0, abs=0.05)
    assert rows[0]["margin_left"] == rows[1]["margin_posterior"] == pytest.approx(18.0, abs=0.3)


def test_a_lesion_at_the_surface_and_beyond() -> None:
    shape = (30, 30, 30)
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    specimen = Volume(box(shape, (5, 5, 5), (25, 25, 25)), grid, "1")
    at = Volume(box(shape, (10, 10, 5), (20, 20, 12)).astype(np.int32), grid, "1")
    added, surface = margin("S", at, specimen, MarginSettings(close_mm=(1.0,)))
    assert added.rows[0]["margin"] == pytest.approx(0.0, abs=1e-6)
    # The lesion's 10 x 10 mm at the surface and a rim of 1 mm around it, its outer corners rounded.
    area = added.rows[0]["close_area_1mm"]
    assert 100.0 <= area <= 145.0
    assert surface.array[15, 15, 5] == pytest.approx(0.0, abs=1e-6)
    through = Volume(box(shape, (10, 10, 2), (20, 20, 12)).astype(np.int32), grid, "1")
    added, surface = margin("S", through, specimen, MarginSettings(close_mm=(1.0,)))
    assert added.rows[0]["margin"] == 0.0
    assert surface.array[15, 15, 5] == 0.0
    assert any("300 of its 1000 voxels lie outside the specimen" in n for n in added.notes)


def test_a_lesion_wholly_outside_has_no_margin() -> None:
    shape = (30, 30, 60)
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    specimen = Volume(box(shape, (5, 5, 5), (25, 25, 30)), grid, "1")
    outside = box(shape, (10, 10, 40), (20, 20, 50)).astype(np.int32)
    settings = MarginSettings(close_mm=(3.0,))
    added, surface = margin("S", Volume(outside, grid, "1"), specimen, settings)
    assert all(math.isnan(value) for value in added.rows[0].values())
    assert set(added.rows[0]) == {column.name for column in added.columns}
    assert added.totals is not None
    assert math.isnan(added.totals["margin"]) and added.totals["close_area_3mm"] == 0.0
    assert np.isnan(surface.array).all()
    assert any("lies wholly outside the specimen: no margin" in note for note in added.notes)
    # beside one that is in the specimen it changes nothing
    inside = box(shape, (10, 10, 9), (20, 20, 20)).astype(np.int32)
    alone, map_alone = margin("S", Volume(inside, grid, "1"), specimen, settings)
    both, map_both = margin("S", Volume(inside + 2 * outside, grid, "1"), specimen, settings)
    assert both.rows[0] == pytest.approx(alone.rows[0], abs=0.01)
    assert both.totals == pytest.approx(alone.totals, rel=0.01)
    np.testing.assert_allclose(map_both.array, map_alone.array, atol=0.05)


def test_several_lesions_share_the_surface() -> None:
    shape = (30, 30, 60)
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    specimen = Volume(box(shape, (5, 5, 5), (25, 25, 55)), grid, "1")
    labels = box(shape, (10, 10, 9), (20, 20, 20)).astype(np.int32)
    labels += 2 * box(shape, (10, 10, 42), (20, 20, 53))
    added, surface = margin("S", Volume(labels, grid, "1"), specimen, MarginSettings(close_mm=(3.0,)))
    first, second = added.rows
    assert (first["margin_right"], second["margin_left"]) == pytest.approx((4.0, 2.0), abs=0.05)
    assert first["margin_left"] > 30.0
    assert added.totals is not None
    assert added.totals["margin"] == second["margin"]
    assert added.totals["close_area_3mm"] == pytest.approx(first["close_area_3mm"] + second["close_area_3mm"])
    assert np.nanmin(surface.array) == pytest.approx(2.0, abs=0.05)


def test_one_voxel_keeps_its_place() -> None:
    """Smoothing would wear a single voxel away; its own faces count."""
    shape = (21, 21, 21)
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    specimen = Volume(box(shape, (2, 2, 2), (19, 19, 19)), grid, "1")
    lesion = np.zeros(shape, np.int32)
    lesion[10, 10, 5] = 1
    row = margin("S", Volume(lesion, grid, "1"), specimen, SETTINGS)[0].rows[0]
    assert row["margin"] == row["margin_right"] == pytest.approx(3.0, abs=0.02)


def test_a_picture_has_margins_in_its_plane() -> None:
    shape = (1, 40, 60)
    grid = Geometry(shape, (1.0, 0.5, 0.5))
    specimen = Volume(box(shape, (0, 4, 4), (1, 36, 56)), grid, "1")
    lesion = Volume(box(shape, (0, 14, 10), (1, 26, 30)).astype(np.int32), grid, "1")
    added, _ = margin("S", lesion, specimen, SETTINGS)
    row = added.rows[0]
    assert row["margin"] == row["margin_right"] == pytest.approx(3.0, abs=0.02)
    assert math.isnan(row["margin_superior"]) and math.isnan(row["margin_inferior"])
    assert any("no surface of the specimen faces superior, inferior" in n for n in added.notes)


@pytest.mark.parametrize("normal", [(1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (1.0, 2.0, 3.0)])
def test_a_plane_has_its_area_however_it_lies(normal: tuple[float, float, float]) -> None:
    """A slab cut from a cylinder along its axis: the disc's area on either side."""
    unit = np.asarray(normal) / np.linalg.norm(normal)
    spacing = (1.0, 0.8, 1.2)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in (60, 75, 50)], indexing="ij"), -1)
    away = (index - np.array([30, 37, 25])) * spacing
    height = away @ unit
    across = np.linalg.norm(away - height[..., None] * unit, axis=-1)
    surface = surface_of(np.abs(height) < 8.2, spacing)
    near = np.linalg.norm(surface.points - np.array([30, 37, 25]) * spacing, axis=1)
    along = (surface.points - np.array([30, 37, 25]) * spacing) @ unit
    inside = np.sqrt(np.maximum(near**2 - along**2, 0)) < 15.0
    assert across.max() > 15.0
    assert surface.areas_mm2[inside].sum() == pytest.approx(2 * math.pi * 15.0**2, rel=0.02)
    assert np.abs(np.abs(along[inside]) - 8.2).max() < 0.6
    assert np.linalg.norm(surface.normals[inside], axis=1) == pytest.approx(1.0)


def test_no_lesion_no_surface_and_other_grids() -> None:
    shape = (10, 10, 10)
    grid = Geometry(shape, (1.0, 1.0, 1.0))
    nothing = Volume(np.zeros(shape, np.int32), grid, "1")
    specimen = Volume(box(shape, (0, 2, 2), (8, 8, 8)), grid, "1")
    added, surface = margin("S", nothing, specimen, SETTINGS)
    assert added.rows == () and added.totals is not None
    assert math.isnan(added.totals["margin"]) and added.totals["close_area_6mm"] == 0.0
    assert np.isnan(surface.array).all()
    assert [n.split(":")[0].split(";")[0] for n in added.notes] == [
        "the specimen reaches the border of the image",
        "no lesion",
    ]
    with pytest.raises(DatasetError, match="S: found an empty specimen mask"):
        margin("S", nothing, nothing, SETTINGS)
    with pytest.raises(DatasetError, match="a specimen that fills the image"):
        margin("S", nothing, specimen.with_array(np.ones(shape, np.uint8)), SETTINGS)
    other = Volume(specimen.array, Geometry(shape, (2.0, 1.0, 1.0)), "1")
    with pytest.raises(GeometryError, match="S: specimen against lesions"):
        margin("S", nothing, other, SETTINGS)


def test_every_column_has_a_name_of_its_own_a_unit_and_a_meaning() -> None:
    for columns in (margin_columns(SETTINGS), total_columns(SETTINGS)):
        assert len({c.name for c in columns}) == len(columns)
        assert all(c.unit and c.meaning for c in columns)
    lesion, specimen = balls(GRIDS["1 mm"])
    added, _ = margin("S", lesion, specimen, SETTINGS)
    assert list(added.rows[0]) == [c.name for c in added.columns]
    assert added.totals is not None
    assert list(added.totals) == [c.name for c in added.total_columns]
