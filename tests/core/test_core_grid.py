"""Resampling: known answers on linear ramps, masks kept whole, and grids that do not meet."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lesionlab.core.errors import GeometryError
from lesionlab.core.grid import overlaps, require_same_grid, resample
from lesionlab.core.volume import Geometry, Volume

SAGITTAL = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0)


def ramp(geometry: Geometry) -> Volume:
    """A volume whose value is a linear function of the world position, so that any grid's answer is known."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), -1)
    return Volume((geometry.to_world(index) @ [1.0, 2.0, -3.0]).astype(np.float32), geometry, "1")


@given(
    st.tuples(*[st.floats(0.5, 3.0)] * 3),
    st.tuples(*[st.floats(4.0, 8.0)] * 3),
)
def test_trilinear_resampling_of_a_ramp_is_exact(
    spacing: tuple[float, float, float], origin: tuple[float, float, float]
) -> None:
    source = Geometry((20, 20, 20), (1.0, 1.5, 2.0))
    target = Geometry((3, 4, 3), spacing, origin)
    assert np.allclose(resample(ramp(source), target).array, ramp(target).array, atol=1e-3)


def test_axes_may_be_turned_between_grids() -> None:
    source = Geometry((20, 20, 20), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    target = Geometry((4, 5, 6), (1.0, 1.0, 1.0), (5.0, 6.0, 12.0), SAGITTAL)
    assert np.allclose(resample(ramp(source), target).array, ramp(target).array, atol=1e-4)


def test_order_0_keeps_labels_and_dtype() -> None:
    source = Geometry((4, 4, 4), (2.0, 2.0, 2.0))
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[1:3, 1:3, 1:3] = 7
    result = resample(Volume(labels, source, "1"), Geometry((8, 8, 8), (1.0, 1.0, 1.0)), order=0, outside=0)
    assert result.array.dtype == np.uint8
    assert set(np.unique(result.array)) == {0, 7}


def test_outside_becomes_the_given_value_or_the_edge() -> None:
    source = Volume(np.full((4, 4, 4), 5.0, np.float32), Geometry((4, 4, 4), (1.0, 1.0, 1.0)), "1")
    target = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (2.0, 0.0, 0.0))
    assert resample(source, target).array[0, 0].tolist() == [5.0, 5.0, 5.0, 5.0]
    assert resample(source, target, outside=-1000.0).array[0, 0].tolist() == [5.0, 5.0, -1000.0, -1000.0]


def test_the_same_grid_returns_the_same_values_as_float32() -> None:
    volume = Volume(np.arange(8, dtype=np.int16).reshape(2, 2, 2), Geometry((2, 2, 2), (1.0, 1.0, 1.0)), "1")
    assert resample(volume, volume.geometry).array.dtype == np.float32
    assert resample(volume, volume.geometry, order=0) is volume


def test_a_grid_elsewhere_is_refused_unless_an_outside_value_is_given() -> None:
    source = Volume(np.ones((4, 4, 4), np.float32), Geometry((4, 4, 4), (1.0, 1.0, 1.0)), "1")
    away = Geometry((4, 4, 4), (1.0, 1.0, 1.0), (0.0, 0.0, 900.0))
    with pytest.raises(GeometryError, match=r"outside the target.*needed an overlap with grid"):
        resample(source, away)
    assert not resample(source, away, outside=0.0).array.any()


def test_overlap_counts_half_a_voxel_of_margin() -> None:
    first = Geometry((4, 4, 4), (1.0, 1.0, 1.0))
    assert overlaps(first, Geometry((1, 1, 1), (1.0, 1.0, 1.0), (3.4, 0.0, 0.0)))
    assert not overlaps(first, Geometry((1, 1, 1), (1.0, 1.0, 1.0), (3.6, 0.0, 0.0)))


def test_a_turned_grid_beside_another_does_not_overlap_it() -> None:
    """Its corners lie on both sides of the other along every axis, and yet it passes by."""
    half = np.sqrt(0.5)
    turned = (0.0, -half, half, 0.0, half, half, 1.0, 0.0, 0.0)
    first = Geometry((20, 20, 20), (1.0, 1.0, 1.0))
    for away_mm, meets in ((5.0, False), (-5.0, True)):
        corner = np.array([19.5, 19.5, 9.5]) + away_mm * half * np.array([1, 1, 0])
        long = Geometry((20, 60, 4), (1.0, 1.0, 1.0), direction=turned)
        start = corner - long.to_world([10, 30, 0])
        moved = Geometry(long.shape, long.spacing, tuple(start), turned)
        assert overlaps(first, moved) == overlaps(moved, first) == meets


@given(st.randoms(use_true_random=False))
def test_grids_that_share_a_voxel_centre_overlap(random) -> None:
    numbers = np.random.default_rng(random.randrange(2**32))

    def grid() -> Geometry:
        axes, _ = np.linalg.qr(numbers.normal(size=(3, 3)))
        return Geometry(
            tuple(numbers.integers(1, 9, 3)),
            tuple(numbers.uniform(0.5, 3, 3)),
            tuple(numbers.uniform(-6, 6, 3)),
            tuple(axes.ravel()),
        )

    first, second = grid(), grid()
    index = np.stack(np.meshgrid(*[np.arange(n) for n in second.shape], indexing="ij"), -1)
    there = first.to_index(second.to_world(index))
    if ((there >= -0.5) & (there <= np.asarray(first.shape) - 0.5)).all(axis=-1).any():
        assert overlaps(first, second)


def test_two_grids_that_should_be_one_are_both_named() -> None:
    first = Volume(np.zeros((2, 2, 2)), Geometry((2, 2, 2), (1.0, 1.0, 1.0)), "1")
    second = Volume(np.zeros((2, 2, 3)), Geometry((2, 2, 3), (1.0, 1.0, 1.0)), "1")
    require_same_grid("case", first, first)
    with pytest.raises(GeometryError, match=r"^case: found grid 2 x 2 x 3 .* needed grid 2 x 2 x 2 "):
        require_same_grid("case", first, second)
