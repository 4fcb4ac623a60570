"""Tiles are cut from channels that are scaled and resized as far as the window has come, with equal bits."""

import tracemalloc

import numpy as np
import pytest

from lesionlab.core.inputs import NetworkArrays, network_input
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.resize import bands, resize
from lesionlab.predict.channels import Channel, Crop, cuts_of, not_empty
from lesionlab.predict.space import Space
from lesionlab.predict.tiles import ChannelTiles, HeldTiles, PaddedTiles, ResizedTiles
from networks_phantom import sphere_case
from plans_phantom import STATED, plan_of, scan

WHOLE = (slice(None), slice(None), slice(None))


def cropped(array, box=WHOLE, forward=(0, 1, 2)):
    view = array.transpose(forward)
    sides = tuple(slice(*side.indices(size)[:2]) for side, size in zip(box, view.shape, strict=True))
    return Channel(array.__getitem__, Crop(forward, sides))


@pytest.mark.parametrize("shape", [(3, 5, 7), (40, 210, 130), (5, 300, 801)])
def test_moments_are_numpys_to_the_bit(shape):
    array = np.random.default_rng(0).gamma(2.0, 900.0, shape).astype(np.float32)
    channel = cropped(array)
    channel.scale("ZScoreNormalization", {}, "c")
    assert channel.scaling.subtract == array.mean() and channel.scaling.divide == array.std()
    box = (slice(1, 3), slice(2, None), slice(0, 6))
    expected = array.transpose(2, 0, 1)[box].copy()
    part = cropped(array, box, (2, 0, 1))
    part.scale("ZScoreNormalization", {}, "c")
    np.testing.assert_array_equal(part[:], (expected - expected.mean()) / expected.std())


@pytest.mark.parametrize("spacing", [(3.0, 2.5, 4.0), (9.0, 2.5, 2.0), (2.0, 2.0, 2.0)])
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_are_the_boxes_of_what_enters_as_a_whole(spacing, masked):
    plans, configuration = plan_of((2.0, 2.0, 2.0), transpose=(0, 2, 1), masked=masked)
    data = scan((48, 21, 16))
    space = Space(plans, configuration, "c", spacing)
    whole, tiles = space.enter(data), space.tiles(data)
    assert space.streams() and isinstance(tiles, ChannelTiles if spacing == (2, 2, 2) else ResizedTiles)
    assert tiles.shape == whole.shape
    for first in (0, 9, 9, 20, 33, 5):  # the last is above the one before, so that it starts again
        box = (slice(first, first + 10), slice(3, 12), slice(2, 9))
        np.testing.assert_array_equal(tiles.tile(box), whole[:, *box])
    # each channel for itself, scaled and then resized as a whole
    number = 1
    channel = cropped(data[number], tuple(slice(s.start, s.stop) for s in space.box), (0, 2, 1))
    channel.scale("CTNormalization", STATED, "c")
    apart = 0 if spacing[0] == 9.0 else None
    np.testing.assert_array_equal(whole[number], resize(channel[:], whole.shape[1:], separate_axis=apart))


def test_what_does_not_come_in_rows_is_held():
    plans, configuration = plan_of((2.0, 2.0, 2.0))
    space = Space(plans, configuration, "c", (2.0, 2.0, 7.0))  # thick along the last axis
    assert not space.streams() and isinstance(space.tiles(scan((12, 14, 13))), HeldTiles)


def test_rows_are_held_no_longer_than_a_tile_needs():
    plans, configuration = plan_of((2.0, 2.0, 2.0), masked=False)

    def peak(depth):
        data = [np.random.default_rng(0).uniform(1, 255, (depth, 40, 40)).astype(np.float32)] * 5
        bands(depth, depth * 5 // 4, 3)  # made and kept before, because its making takes depth x depth
        tracemalloc.start()
        tiles = Space(plans, configuration, "c", (2.5, 2.5, 2.5)).tiles(data)
        for first in range(0, tiles.shape[1] - 32, 16):
            tiles.tile((slice(first, first + 32), slice(0, 50), slice(0, 50)))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    short, long = peak(100), peak(800)
    # where any channel is not zero, one byte a voxel, may grow; the channels would be 20 bytes a voxel
    assert long - short < 2.5 * 700 * 40 * 40


def test_zeros_come_around_what_is_smaller_than_the_patch():
    array = np.random.default_rng(0).normal(size=(2, 5, 20, 7)).astype(np.float32)
    tiles = PaddedTiles(HeldTiles(array), (8, 8, 8))
    whole = np.pad(array, [(0, 0), (1, 2), (0, 0), (0, 1)])
    assert tiles.shape == whole.shape and tiles.inner == (slice(1, 6), slice(0, 20), slice(0, 7))
    for y in (0, 5, 12):
        box = (slice(0, 8), slice(y, y + 8), slice(0, 8))
        np.testing.assert_array_equal(tiles.tile(box), whole[:, *box])


def test_channels_that_the_recipe_scales_are_cut_before_they_are_made():
    case = sphere_case(3)
    name = next(iter(case.channels))
    fixed = {"normalisation": "fixed", "clip": [0.0, 20.0], "divide_by": 7.0, "curve": "log"}
    recipe = parse_recipe({"name": "r", "reference": name, "channels": {name: fixed}}, "r")
    arrays, box = NetworkArrays(case, recipe), (slice(2, 9), slice(3, 8), slice(1, 12))
    whole = network_input(case, recipe)[0].array
    np.testing.assert_array_equal(arrays.cut(0)(box), whole[box])
    np.testing.assert_array_equal(not_empty(cuts_of(arrays), whole.shape), whole != 0)
    resized = recipe.changed(standardise={"size": [24, 20]})
    arrays = NetworkArrays(case, resized)
    np.testing.assert_array_equal(arrays.cut(0)(box), network_input(case, resized)[0].array[box])
