"""Acquisition faults: known effects, rising with strength, the same for the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest

import phantoms
from lesionlab.core.errors import DatasetError
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.faults import (
    FAULTS,
    Fault,
    blur,
    low_resolution,
    noise,
    scale_error,
    trusted_up_to,
)

GRID = Geometry((24, 32, 30), (3.0, 2.0, 2.5), (-30.0, 10.0, 50.0), phantoms.OBLIQUE)
by_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


def hot_ball(geometry: Geometry = GRID) -> Volume:
    centre = tuple(geometry.to_world((np.array(geometry.shape) - 1) / 2))
    array = 1.0 + 7.0 * phantoms.ball_mask(geometry, centre, 10.0)
    return Volume(array.astype(np.float32), geometry, SUVBW)


def change(fault: Fault, strength: float) -> float:
    volume = hot_ball()
    return float(np.abs(fault.apply(volume, strength, 7).array - volume.array).mean())


@by_fault
def test_no_strength_changes_nothing(fault: Fault) -> None:
    volume = hot_ball()
    assert np.array_equal(fault.apply(volume, 0.0, 7).array, volume.array)


@by_fault
def test_the_change_rises_with_the_strength(fault: Fault) -> None:
    rising = [strength for strength in fault.strengths if strength > 0]
    changes = [change(fault, strength) for strength in rising]
    assert changes == sorted(changes)
    assert changes[0] > 0.0


@by_fault
def test_same_seed_same_voxels_and_the_input_is_left_alone(fault: Fault) -> None:
    volume = hot_ball()
    before = volume.array.copy()
    first, again = (fault.apply(volume, fault.strengths[-1], 7) for _ in range(2))
    assert np.array_equal(first.array, again.array)
    assert np.array_equal(volume.array, before)
    assert (first.geometry, first.unit, first.array.dtype) == (volume.geometry, SUVBW, np.float32)


def test_scale_error_is_a_factor() -> None:
    assert scale_error(hot_ball(), -25.0).array.max() == pytest.approx(6.0)
    with pytest.raises(DatasetError, match="found -100 %"):
        scale_error(hot_ball(), -100.0)


def test_noise_has_the_sd_it_says_and_stays_above_0() -> None:
    flat = Volume(np.full((40, 40, 40), 4.0, np.float32), Geometry((40, 40, 40), (1.0, 1.0, 1.0)), SUVBW)
    assert noise(flat, 10.0, 1).array.std() == pytest.approx(0.4, rel=0.02)
    assert noise(flat, 200.0, 1).array.min() == 0.0
    assert not np.array_equal(noise(flat, 10.0, 1).array, noise(flat, 10.0, 2).array)
    signed = flat.with_array(np.where(np.arange(40) < 20, -4.0, 4.0) * np.ones((40, 40, 40)))
    assert noise(signed, 10.0, 1).array.min() < -4.0
    nothing = flat.with_array(np.zeros((40, 40, 40), np.float32))
    assert np.array_equal(noise(nothing, 10.0, 1).array, nothing.array)


def test_variance_of_noise_rises_with_the_signal() -> None:
    steps = np.where(np.arange(60) < 30, 1.0, 9.0) * np.ones((60, 60, 60))
    volume = Volume(steps, Geometry((60, 60, 60), (1.0, 1.0, 1.0)), SUVBW)
    found = noise(volume, 5.0, 1).array
    assert found[..., 30:].std() / found[..., :30].std() == pytest.approx(3.0, rel=0.03)


def test_blur_has_the_width_it_says() -> None:
    geometry = Geometry((41, 41, 41), (2.0, 1.0, 1.5))
    point = np.zeros(geometry.shape, np.float32)
    point[20, 20, 20] = 1000.0
    spread = blur(Volume(point, geometry, SUVBW), 8.0).array
    assert spread.sum() == pytest.approx(1000.0, rel=1e-4)
    line = spread[20, :, 20]
    assert line[24] / line[20] == pytest.approx(0.5, rel=0.02)  # 4 mm off, half the maximum
    offsets = (np.arange(41) - 20) * 2.0
    variance = (spread.sum(axis=(1, 2)) * offsets**2).sum() / spread.sum()
    assert math.sqrt(variance) * 2.3548 == pytest.approx(8.0, rel=0.02)


def test_low_resolution_loses_detail_and_keeps_place_and_level() -> None:
    volume = hot_ball()
    coarse = low_resolution(volume, 10.0).array
    assert coarse.max() < 0.95 * volume.array.max()
    assert coarse.mean() == pytest.approx(volume.array.mean(), rel=0.05)
    index = np.indices(volume.array.shape).reshape(3, -1)
    centres = [
        (index * (array.ravel() - 1.0)).sum(axis=1) / (array - 1.0).sum() for array in (volume.array, coarse)
    ]
    assert np.abs(centres[0] - centres[1]).max() < 0.5
    assert low_resolution(volume, 1.5) is volume


def test_low_resolution_touches_only_finer_axes() -> None:
    geometry = Geometry((12, 20, 20), (8.0, 2.0, 2.0))
    array = np.zeros(geometry.shape, np.float32)
    array[6] = 5.0
    found = low_resolution(Volume(array, geometry, SUVBW), 6.0).array
    assert np.allclose(found, array, atol=1e-5)


def test_voxels_wider_than_a_thin_scan_make_its_slices_one() -> None:
    ramp = np.broadcast_to(np.arange(3.0, dtype=np.float32)[:, None, None], (3, 32, 30))
    for step in (1.0, 3.0, 6.0):
        thin = Volume(ramp, Geometry((3, 32, 30), (step, 2.0, 2.5), (0, 0, 0), phantoms.OBLIQUE), SUVBW)
        assert np.allclose(low_resolution(thin, 20.0).array, 1.0, atol=1e-5)


def test_a_picture_of_one_slice_stays_one() -> None:
    flat = hot_ball(Geometry((1, 32, 30), (1.0, 2.0, 2.5)))
    for fault in FAULTS:
        assert fault.apply(flat, fault.strengths[-1], 7).array.shape == (1, 32, 30)


@pytest.mark.parametrize("apply", [noise, blur, low_resolution])
def test_negative_strengths_are_refused(apply) -> None:
    with pytest.raises(DatasetError, match="needed 0 or more"):
        apply(hot_ball(), -1.0)


def test_trusted_up_to_the_last_strength_that_held() -> None:
    clean = [0.9, 0.8, math.nan]
    dice = [[0.88, 0.79, 0.1], [0.86, 0.77, 0.1], [0.5, 0.6, 0.9], [0.9, 0.8, 0.9]]
    assert trusted_up_to([5, 10, 20, 40], dice, clean) == 10.0
    assert trusted_up_to([5, 10, 20, 40], dice, clean, loss=0.01) == 0.0
    assert trusted_up_to([5, 10, 20, 40], dice, clean, loss=1.0) == 40.0
    with pytest.raises(DatasetError, match=r"found scores of shape .* needed 3 strengths x 3 patients"):
        trusted_up_to([5, 10, 20], dice, clean)
