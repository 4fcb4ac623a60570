"""Quality flags without truth: phantoms whose flags are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

import phantoms
from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate.quality import (
    Flag,
    Limits,
    Quality,
    TrainingLesions,
    disagreement,
    modified_z,
    position,
    quality,
    training_lesions,
)

GRID = Geometry((20, 30, 40), (3.0, 2.0, 2.0), (-40.0, 20.0, 100.0))
CENTRE = tuple(GRID.to_world((9.5, 14.5, 19.5)))


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0) -> tuple[float, float, float]:
    return (CENTRE[0] + x, CENTRE[1] + y, CENTRE[2] + z)


def ball(centre=CENTRE, radius=10.0, geometry=GRID) -> Volume:
    return Volume(phantoms.ball_mask(geometry, centre, radius).astype(np.uint8), geometry, "1")


def cube(start: int, geometry=GRID) -> Volume:
    array = np.zeros(geometry.shape, np.uint8)
    array[5:9, 5:9, start : start + 4] = 1
    return Volume(array, geometry, "1")


def flag(found: Quality, name: str) -> Flag:
    return next(one for one in found.flags if one.name == name)


def trained(number: int = 20) -> TrainingLesions:
    random = np.random.default_rng(3)
    return training_lesions(
        ball(moved(*random.normal(0.0, 3.0, 3)), random.uniform(8.0, 10.0)) for _ in range(number)
    )


def test_disagreement_is_one_minus_the_mean_pairwise_dice() -> None:
    # cubes 4 wide, shifted by 0, 1 and 2: Dice 3/4, 3/4 and 2/4
    masks = [cube(start).array for start in (5, 6, 7)]
    assert disagreement(masks) == pytest.approx(1.0 - (0.75 + 0.75 + 0.5) / 3.0)
    as_probabilities = [np.where(mask, 0.5, 0.49).astype(np.float32) for mask in masks]
    assert disagreement(as_probabilities) == pytest.approx(disagreement(masks))


def test_disagreement_of_empty_masks_and_of_large_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    empty, some = np.zeros((4, 5, 6), bool), np.ones((4, 5, 6), bool)
    assert disagreement([empty, empty]) == 0.0
    assert disagreement([empty, some]) == 1.0
    masks = [np.random.default_rng(seed).random((9, 8, 7)) < 0.4 for seed in range(4)]
    at_once = disagreement(masks)
    monkeypatch.setattr("lesionlab.evaluate.quality.PLANE", 1)
    assert disagreement(masks) == pytest.approx(at_once)


def test_disagreement_needs_two_masks() -> None:
    with pytest.raises(DatasetError, match="found 1 masks; needed at least two"):
        disagreement([np.zeros((2, 2, 2))])


def test_a_case_like_the_training_set_raises_nothing() -> None:
    mask = ball()
    sure = mask.with_array(np.where(mask.array, 0.99, 0.0).astype(np.float32))
    found = quality(mask, members=[mask, mask], probability=sure, training=trained())
    assert found.raised == ()
    assert [one.name for one in found.flags] == [
        "disagreement",
        "doubt",
        "volume",
        "position",
        "border",
        "empty",
    ]
    assert 0.0 < found.score < 1.0
    assert flag(found, "doubt").value == pytest.approx(1.0 - 2 * 0.99 / 1.99)


def test_each_fault_raises_its_own_flag() -> None:
    training = trained()
    huge = quality(ball(radius=19.0), training=training)
    assert huge.raised == ("volume",)
    away = quality(ball(moved(y=16.0)), training=training)
    assert away.raised == ("position",)
    assert "front to back" in flag(away, "position").sentence
    corner = quality(cube(36))
    assert corner.raised == ("border",)
    assert flag(corner, "border").value == pytest.approx(16 / 64)
    split = quality(cube(5), members=[cube(5), cube(7)])
    assert split.raised == ("disagreement",)
    assert "mean pairwise Dice of 0.50" in flag(split, "disagreement").sentence
    unsure = cube(5).with_array(np.full(GRID.shape, 0.01) + 0.5 * cube(5).array)
    assert quality(cube(5), probability=unsure).raised == ("doubt",)


def test_score_is_the_largest_strain() -> None:
    found = quality(cube(5), members=[cube(5), cube(6)], limits=Limits(disagreement=0.1))
    assert found.score == pytest.approx(0.25 / 0.1)
    assert math.isnan(Quality(()).score)
    assert found.record()["raised"] == ("disagreement",)


def test_an_empty_mask_is_judged_by_how_rare_that_was() -> None:
    nothing = cube(5).with_array(np.zeros(GRID.shape, np.uint8))
    assert quality(nothing).raised == ("empty",)
    assert quality(nothing, training=trained()).raised == ("empty",)
    rare = TrainingLesions((1.0,) * 3, ((0.5, 0.5, 0.5),) * 3, empty=7)
    found = quality(nothing, members=[nothing, nothing], training=rare)
    assert found.raised == ()
    assert flag(found, "empty").value == pytest.approx(0.3)
    assert math.isnan(flag(found, "volume").value)
    assert flag(found, "disagreement").value == 0.0


def test_what_is_not_known_says_why() -> None:
    found = quality(cube(5), training=trained(4))
    assert flag(found, "volume").sentence == "not known: only 4 training cases with a lesion"
    assert flag(found, "disagreement").sentence == "not known: needs two masks or more"
    alike = TrainingLesions((1.0,) * 9, ((0.5, 0.5, 0.5),) * 9)
    same = quality(cube(5), training=alike)
    assert math.isnan(flag(same, "position").value)
    assert math.isnan(flag(same, "volume").value)
    assert same.raised == ()


def test_position_is_that_in_the_patient_whatever_the_axes() -> None:
    place = moved(11.0, -7.0, 5.0)
    flipped = Geometry(
        (40, 20, 30),
        (2.0, 3.0, 2.0),
        tuple(GRID.to_world((0, 29, 39))),
        (-1.0, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 1.0, 0.0),
    )
    assert position(ball(place)) == pytest.approx(position(ball(place, geometry=flipped)), abs=1e-9)
    assert position(ball()) == pytest.approx((0.5, 0.5, 0.5), abs=1e-9)
    assert position(cube(5).with_array(np.zeros(GRID.shape, np.uint8))) is None


def test_modified_z_by_hand() -> None:
    assert modified_z(7.0, [1, 2, 3, 4, 5]) == pytest.approx(0.6745 * 4.0)
    assert modified_z(3.0, [1, 1, 1, 1, 6]) == pytest.approx(2.0 / 1.2533)  # MAD 0, mean deviation 1
    assert math.isnan(modified_z(3.0, [2, 2, 2]))


def test_training_lesions_survive_their_record() -> None:
    found = training_lesions([ball(), cube(5), cube(5).with_array(np.zeros(GRID.shape, np.uint8))])
    assert found.empty == 1
    assert found.volumes_ml[1] == pytest.approx(64 * 12.0 / 1000.0)
    assert TrainingLesions.from_record(found.record()) == found
    with pytest.raises(DatasetError, match="needed volumes_ml, positions and empty"):
        TrainingLesions.from_record({"volumes_ml": [1.0]})


def test_other_grids_and_probabilities_as_masks_are_refused() -> None:
    other = Geometry(GRID.shape, (3.0, 2.0, 2.5), GRID.origin)
    with pytest.raises(GeometryError, match="fold, flip or probability"):
        quality(cube(5), members=[cube(5, other), cube(5)])
    with pytest.raises(DatasetError, match="integer labels"):
        quality(cube(5).with_array(np.zeros(GRID.shape, np.float32)))


def test_a_picture_of_one_slice_has_no_border_in_depth() -> None:
    flat = Geometry((1, 30, 40), (1.0, 1.0, 1.0))
    array = np.zeros(flat.shape, np.uint8)
    array[0, 5:9, 5:9] = 1
    assert quality(Volume(array, flat, "1")).raised == ()
