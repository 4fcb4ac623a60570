from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.results import Column, LesionTable
from lesionlab.core.settings import UltrasoundSettings
from lesionlab.core.units import STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.added import in_pixels
from lesionlab.measure.ultrasound import boundary_points, ultrasound, ultrasound_columns

SETTINGS = UltrasoundSettings(margin_mm=1.0, ring_mm=3.0, posterior_mm=4.0)
SPACING = (0.2, 0.1)


def picture(size_mm=(6.0, 10.0), *, shadow=-30.0, edge_mm=0.0, lesion=40.0, tissue=100.0, spacing=SPACING):
    """An ellipse of (height, width) mm in tissue, a band of other brightness straight beneath it.

    Grey falls from tissue to lesion over `edge_mm` (0 = at once) of the ellipse's approximate distance.
    """
    shape = (round(30 / spacing[0]), round(40 / spacing[1]))
    y, x = (
        (np.arange(n) + 0.5)[s] * step
        for n, s, step in zip(shape, ((slice(None), None), (None, slice(None))), spacing, strict=True)
    )
    dy, dx = (y - 12.0) / (size_mm[0] / 2), (x - 20.0) / (size_mm[1] / 2)
    mask = dy**2 + dx**2 <= 1
    grey = np.full(shape, tissue) + shadow * ((np.abs(dx) <= 1) & (dy > 0))
    if edge_mm > 0:
        # In a circle this is the distance to the boundary.
        distance = (np.sqrt(dy**2 + dx**2) - 1) * size_mm[0] / 2
        share = np.clip(0.5 - distance / edge_mm, 0.0, 1.0)
        grey = tissue + (lesion - tissue) * share
    else:
        grey[mask] = lesion
    geometry = Geometry((1, *shape), (1.0, *spacing))
    return Volume(grey[None], geometry, STORED), Volume(mask[None].astype(np.int32), geometry, "1")


def one(image: Volume, labels: Volume, settings: UltrasoundSettings = SETTINGS, *, known: bool = True):
    added = ultrasound(image, labels, settings, known=known)
    assert len(added.rows) == 1
    return added.rows[0], added.notes


def test_size_along_the_axes_in_mm() -> None:
    row, notes = one(*picture())
    assert row["area"] == pytest.approx(math.pi * 3 * 5, rel=0.01)
    assert row["height"] == pytest.approx(6.0, abs=0.2)
    assert row["width"] == pytest.approx(10.0, abs=0.1)
    assert row["taller_than_wide"] == pytest.approx(0.6, abs=0.03)
    assert notes == ()
    upright, _ = one(*picture((10.0, 6.0)))
    assert upright["taller_than_wide"] == pytest.approx(1 / 0.6, abs=0.06)


def test_an_image_without_spacing_is_measured_in_pixels() -> None:
    image, labels = picture(spacing=(0.1, 0.1))
    settings = UltrasoundSettings(margin_px=10, ring_px=30, posterior_px=40)
    known, _ = one(image, labels, settings.model_copy(update={"posterior_mm": 4.0}))
    pixels = Geometry(image.geometry.shape, (1.0, 1.0, 1.0))
    row, _ = one(
        Volume(image.array, pixels, STORED), Volume(labels.array, pixels, "1"), settings, known=False
    )
    assert row["area"] == labels.array.sum() == pytest.approx(known["area"] * 100)
    assert row["height"] == pytest.approx(known["height"] * 10)
    assert row["margin_gradient"] == pytest.approx(known["margin_gradient"] / 10)
    for name in ("taller_than_wide", "margin_sharpness", "posterior_ratio", "echo_ratio", "echo_difference"):
        assert row[name] == pytest.approx(known[name], rel=1e-3), name
    units = {c.name: c.unit for c in ultrasound_columns(settings, STORED, known=False)}
    assert units["height"] == units["area"] == "{pixels}"
    assert units["margin_gradient"] == "{stored}/{pixels}"
    assert not any("mm" in unit for unit in units.values())


@pytest.mark.parametrize("edge", [1.0, 2.0, 4.0])
def test_the_gradient_across_a_margin_of_known_width(edge: float) -> None:
    row, _ = one(*picture((10.0, 10.0), edge_mm=edge, spacing=(0.1, 0.1)))
    assert row["margin_gradient"] == pytest.approx(60.0 / edge, rel=0.05)


def test_a_blurred_margin_is_less_sharp() -> None:
    sharp, soft = (one(*picture((10.0, 10.0), edge_mm=e, spacing=(0.1, 0.1)))[0] for e in (0.5, 4.0))
    assert sharp["margin_sharpness"] > 1.5 * soft["margin_sharpness"]
    dark, bright = (one(*picture(lesion=v, shadow=0.0))[0] for v in (40.0, 160.0))
    assert dark["margin_gradient"] == pytest.approx(-bright["margin_gradient"])
    assert dark["margin_sharpness"] == pytest.approx(bright["margin_sharpness"])


@pytest.mark.parametrize(("shadow", "ratio"), [(-30.0, 0.7), (0.0, 1.0), (25.0, 1.25)])
def test_shadow_and_enhancement_beneath(shadow: float, ratio: float) -> None:
    row, _ = one(*picture(shadow=shadow))
    assert row["posterior_difference"] == pytest.approx(shadow)
    assert row["posterior_ratio"] == pytest.approx(ratio)


def test_depth_is_compared_with_the_same_depth() -> None:
    """Attenuation alone, equal beneath and beside, is no shadow."""
    image, labels = picture(shadow=0.0)
    fading = image.array * np.linspace(2.0, 0.5, image.array.shape[1])[None, :, None]
    row, _ = one(image.with_array(fading), labels)
    assert row["posterior_difference"] == pytest.approx(0.0, abs=1e-9)
    assert row["posterior_ratio"] == pytest.approx(1.0)


def test_echogenicity_against_the_ring() -> None:
    row, _ = one(*picture(shadow=0.0))
    assert row["echo_difference"] == pytest.approx(-60.0)
    assert row["echo_ratio"] == pytest.approx(0.4)


def test_other_lesions_belong_to_no_band() -> None:
    image, labels = picture(shadow=0.0)
    grey, numbers = image.array.copy(), labels.array.copy()
    # Beneath, beside and around the first, very bright.
    for ys, xs in (((78, 85), (180, 220)), ((80, 90), (120, 145)), ((50, 60), (255, 270))):
        grey[0, slice(*ys), slice(*xs)] = 250.0
        numbers[0, slice(*ys), slice(*xs)] = 2
    alone, _ = one(image, labels)
    found = ultrasound(image.with_array(grey), labels.with_array(numbers), SETTINGS, known=True).rows[0]
    for name in ("posterior_ratio", "echo_ratio"):
        assert found[name] == pytest.approx(alone[name]), name


def test_a_volume_is_measured_in_its_largest_slice() -> None:
    image, labels = picture()
    small, little = picture((4.0, 4.0))
    geometry = Geometry((3, *image.geometry.shape[1:]), (1.0, *SPACING))
    stack = Volume(np.concatenate([small.array, image.array, small.array]), geometry, STORED)
    drawn = Volume(np.concatenate([little.array, labels.array, little.array]), geometry, "1")
    row, notes = one(stack, drawn)
    flat, _ = one(image, labels)
    assert row == flat
    assert notes == ("lesion 1: ultrasound features in the slice where it is largest, z = 1",)


def test_what_cannot_be_measured_says_why() -> None:
    image, labels = picture()
    bottom = image.geometry.shape[1]
    to_bottom = labels.array.copy()
    to_bottom[0, bottom - 20 :, 150:250] = 1
    to_bottom[0, : bottom - 20] = 0
    row, notes = one(image, labels.with_array(to_bottom))
    assert math.isnan(row["posterior_ratio"]) and math.isfinite(row["echo_ratio"])
    assert any("posterior features are undefined" in n for n in notes)
    nearly = labels.array.copy()
    nearly[0] = np.roll(labels.array[0], bottom - 77, axis=0)
    row, notes = one(image, labels.with_array(nearly))
    assert math.isfinite(row["posterior_ratio"])
    assert any("less than half of the band" in n for n in notes)
    whole = labels.with_array(np.ones_like(labels.array))
    row, notes = one(image, whole)
    assert [k for k, v in row.items() if math.isfinite(v)] == ["area", "height", "width", "taller_than_wide"]
    assert len(notes) == 3
    broken = image.array.copy()
    broken[0, 60, 200] = np.nan
    row, notes = one(image.with_array(broken), labels)
    assert math.isnan(row["echo_ratio"]) and row["area"] > 0
    assert any("not finite" in n for n in notes)
    row, notes = one(image.with_array(np.zeros_like(image.array)), labels)
    assert row["echo_difference"] == 0.0 and math.isnan(row["echo_ratio"])
    assert math.isnan(row["margin_sharpness"]) and math.isnan(row["posterior_ratio"])
    assert {n.split(": ")[1] for n in notes} == {
        "the tissue around it is black",
        "all grey values are equal",
        "the tissue beside the posterior band is black",
    }


def test_small_lesions_and_none() -> None:
    image, labels = picture()
    single = np.zeros_like(labels.array)
    single[0, 60, 200] = 1
    row, notes = one(image, labels.with_array(single))
    assert row["area"] == pytest.approx(0.02)
    assert row["taller_than_wide"] == pytest.approx(2.0)
    assert all(math.isfinite(v) for v in row.values()) and notes == ()
    corner = np.zeros_like(labels.array)
    corner[0, 0, 0] = 1
    assert math.isfinite(one(image, labels.with_array(corner))[0]["echo_ratio"])
    assert ultrasound(image, labels.with_array(np.zeros_like(single)), SETTINGS, known=True).rows == ()


def test_the_boundary_lies_between_pixels() -> None:
    lesion = np.zeros((4, 4), bool)
    lesion[1, 1] = True
    points = {tuple(p) for p in boundary_points(lesion).tolist()}
    assert points == {(0.5, 1.0), (1.5, 1.0), (1.0, 0.5), (1.0, 1.5)}
    assert len(boundary_points(np.ones((3, 3), bool))) == 0


def test_a_table_without_spacing_says_pixels() -> None:
    columns = (
        *(Column("volume", "ml", "v"), Column("TLG", "g", "t")),
        *(Column("d", "mm", "d"), Column("g", "{stored}/mm", "g")),
    )
    total = (Column("volume", "ml", "v"), Column("n", "1", "n"))
    labels = picture()[1]
    table = LesionTable(
        columns, ({"volume": 0.5, "TLG": 2.0, "d": 3.0, "g": 1.0},), total, {"volume": 0.5, "n": 1}, labels
    )
    found = in_pixels(table)
    units = [c.unit for c in found.columns]
    assert units == ["{pixels}", "g/ml.{pixels}", "{pixels}", "{stored}/{pixels}"]
    assert found.rows == ({"volume": 500.0, "TLG": 2000.0, "d": 3.0, "g": 1.0},)
    assert found.totals == {"volume": 500.0, "n": 1}
    assert [c.unit for c in found.total_columns] == ["{pixels}", "1"]
