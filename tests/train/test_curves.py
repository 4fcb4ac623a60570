import math
from dataclasses import replace

import pytest

from lesionlab.train.curves import EpochRow, converged, read_curves, smoothed, write_curves

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
    assert not converged([], 3, 0.002)


def test_the_smoothed_dice_is_nnunets_and_outlives_an_epoch_without_one():
    assert smoothed([], 0.5) == 0.5
    assert smoothed([ROW], 0.25) == pytest.approx(0.9 * 0.625 + 0.1 * 0.25)
    assert smoothed([ROW], math.nan) == 0.625
    assert smoothed([replace(ROW, smoothed_dice=math.nan)], 0.25) == 0.25
    assert math.isnan(smoothed([], math.nan))
