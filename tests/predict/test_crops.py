from types import SimpleNamespace

import numpy as np

from lesionlab.core.learning import LocateSettings
from lesionlab.core.results import Prediction
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.predict.crops import candidates, crops_of, refined, share_of
from lesionlab.predict.engine import Slab

SHAPE = (20, 30, 40)
GRID = Geometry(SHAPE, (4.0, 2.0, 1.0), (0.0, 0.0, 0.0))


def prediction(spots, probability=True):
    """A coarse result: each spot is (box, probability); what is above one half is in the mask too."""
    chance = np.zeros(SHAPE, np.float32)
    for box, value in spots:
        chance[box] = value
    mask = Volume((chance > 0.5).astype(np.uint8), GRID, ONE)
    return Prediction(mask, Volume(chance, GRID, ONE) if probability else None)


SPOTS = [(np.s_[2:4, 2:4, 2:4], 0.9), (np.s_[10:12, 20:22, 30:33], 0.35), (np.s_[18:20, 5:6, 5:6], 0.1)]


def test_candidates_are_what_is_likely_enough_with_a_margin_in_mm():
    boxes, count = candidates(prediction(SPOTS), GRID.spacing, LocateSettings(margin_mm=4.0))
    assert count == 2
    assert sorted(boxes, key=lambda box: box[0].start) == [np.s_[1:5, 0:6, 0:8], np.s_[9:13, 18:24, 26:37]]
    boxes, count = candidates(prediction(SPOTS, probability=False), GRID.spacing, LocateSettings(margin_mm=0))
    assert (boxes, count) == ([np.s_[2:4, 2:4, 2:4]], 1)


def test_of_too_many_candidates_the_likeliest_stay():
    settings = LocateSettings(margin_mm=0, maximum_crops=1, minimum_probability=0.05)
    boxes, count = candidates(prediction(SPOTS), GRID.spacing, settings)
    assert (boxes, count) == ([np.s_[2:4, 2:4, 2:4]], 3)
    assert candidates(prediction([]), GRID.spacing, settings) == ([], 0)


def test_any_label_may_be_what_is_likely_enough():
    first, second = (prediction([spot]).probability for spot in SPOTS[:2])
    mask = Volume(np.zeros(SHAPE, np.uint8), GRID, ONE)
    settings = LocateSettings(margin_mm=0, maximum_crops=1)
    for every in ((first, second), (second, first)):
        found = Prediction(mask, every[0], others=every[1:])
        assert candidates(found, GRID.spacing, settings) == ([np.s_[2:4, 2:4, 2:4]], 2)


def space(forward=(0, 1, 2), box=np.s_[0:20, 0:30, 0:40], inner=SHAPE):
    shape = tuple(side.stop - side.start for side in box)
    return SimpleNamespace(forward=list(forward), box=box, shape=shape, inner=inner)


def test_crops_are_a_patch_at_least_and_stay_inside():
    patch = (6, 10, 50)
    crops = crops_of([np.s_[0:1, 29:30, 7:9]], space(), patch)
    assert crops == [np.s_[0:6, 20:30, 0:40]]
    assert crops_of([np.s_[5:15, 10:20, 3:4]], space(), (4, 4, 4)) == [np.s_[5:15, 10:20, 2:6]]
    assert crops_of([], space(), patch) == []


def test_crops_follow_turned_axes_the_body_box_and_the_spacing():
    turned = space((2, 0, 1), np.s_[10:40, 2:18, 0:30], (60, 8, 30))
    # scan z 4:8 -> 1:3 of 8, y 10:12 -> 10:12 of 30, x 20:25 -> 20:30 of 60
    assert crops_of([np.s_[4:8, 10:12, 20:25]], turned, (1, 1, 1)) == [np.s_[20:30, 1:3, 10:12]]
    assert crops_of([np.s_[0:1, 0:1, 0:1]], turned, (2, 2, 2)) == [np.s_[0:2, 0:2, 0:2]]


def test_overlapping_crops_become_one_until_none_overlap():
    boxes = [np.s_[0:4, 0:4, 0:4], np.s_[8:12, 0:4, 0:4], np.s_[3:9, 3:5, 3:5], np.s_[15:18, 20:24, 20:24]]
    crops = crops_of(boxes, space(), (1, 1, 1))
    assert crops == [np.s_[0:12, 0:5, 0:5], np.s_[15:18, 20:24, 20:24]]
    assert share_of(crops, SHAPE) == (12 * 5 * 5 + 3 * 4 * 4) / (20 * 30 * 40)
    touching = [np.s_[0:4, 0:4, 0:4], np.s_[4:8, 0:4, 0:4]]
    assert crops_of(touching, space(), (1, 1, 1)) == touching


def test_the_network_runs_in_the_crops_and_background_is_around():
    data = np.random.default_rng(0).normal(size=(2, 70, 9, 8)).astype(np.float32)
    crops = [np.s_[30:40, 0:4, 0:4], np.s_[60:70, 2:9, 1:8]]
    told = []

    def run(part, done):
        done(1, 2)
        done(2, 2)
        half = part.shape[1] // 2
        for start in (0, half):
            yield Slab(start, part[:, start : start + half] * 2)

    background = np.array([30.0, 0.0], np.float32)
    rows = list(refined(data, crops, run, background, lambda number, count: told.append((number, count))))
    logits = np.concatenate(rows, axis=1)
    expected = np.empty_like(data)
    expected[:] = background[:, None, None, None]
    for box in crops:
        expected[(slice(None), *box)] = data[(slice(None), *box)] * 2
    np.testing.assert_array_equal(logits, expected)
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    empty = np.concatenate(list(refined(data, [], run, background, lambda *_: None)), axis=1)
    assert (empty == background[:, None, None, None]).all()
