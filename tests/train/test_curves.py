import math
from dataclasses import replace

import pytest

from lesionlab.train.curves import (
    EpochRow,
    converged,
    out_of_time,
    read_curves,
    smoothed,
    time_share,
    write_curves,
)

ROW = EpochRow(0, -0.25, -0.5, 0.75, 0.625, 0.01, 2.5)


def test_curves_survive_the_disk(tmp_path):
    rows = [ROW, replace(ROW, epoch=1, dice=float("nan"))]
    write_curves(rows, tmp_path)
    back = read_curves(tmp_path)
    assert back[0] == ROW
    assert back[1].dice != back[1].dice
    assert read_curves(tmp_path / "nowhere") == []


def test_convergence_wants_a_whole_patience_without_improvement():
    rising = [replace(ROW, epoch=i, smoothed_dice=0.1 * i) for i in range(6)]
    flat = rising + [replace(ROW, epoch=6 + i, smoothed_dice=0.5) for i in range(4)]
    assert not converged(rising, 3, 0.002)
    assert not converged(flat[:-1], 4, 0.002)
    assert converged(flat, 4, 0.002)
    assert not converged(flat, None, 0.002)
    without = [replace(ROW, smoothed_dice=math.nan)] * 9
    assert not converged(without + rising[:3], 3, 0.002)
    assert converged(without + flat, 4, 0.002)
    assert not converged([], 3, 0.002)


def test_the_smoothed_dice_is_nnunets_and_outlives_an_epoch_without_one():
    assert smoothed([], 0.5) == 0.5
    assert smoothed([ROW], 0.25) == pytest.approx(0.9 * 0.625 + 0.1 * 0.25)
    assert smoothed([ROW], math.nan) == 0.625
    assert smoothed([replace(ROW, smoothed_dice=math.nan)], 0.25) == 0.25
    assert math.isnan(smoothed([], math.nan))


def test_time_runs_out_at_the_epoch_that_ends_nearest_to_it():
    rows = [replace(ROW, epoch=i, seconds=20.0) for i in range(8)]
    assert time_share(rows[:3], 2.0) == pytest.approx(0.5)
    # 100 s of 120 s: another epoch ends exactly on time, and after 110 s of 120 s it would end later
    assert not out_of_time(rows[:5], 2.0)
    assert out_of_time(rows[:6], 2.0)
    assert out_of_time([replace(ROW, seconds=55.0)] * 2, 2.0)
    # 6 x 5 s on small patches, then 40 s in full: stopping after 70 s of 80 s is nearer than after 110 s
    growing = [replace(ROW, seconds=5.0)] * 6 + [replace(ROW, seconds=40.0)]
    assert out_of_time(growing, 80 / 60)
    # at least one epoch, and never without a limit
    assert not out_of_time([], 0.001)
    assert not out_of_time(rows, None)
