"""Which of several readers' masks becomes the truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.files import restored, write_converted
from lesionlab.read import open_case
from lesionlab.standardise import standardise

GRID = Geometry((3, 8, 9), (1.0, 0.5, 0.5))


def mask(*rows: int, label: int = 1) -> Volume:
    array = np.zeros(GRID.shape, np.uint8)
    array[1, list(rows)] = label
    return Volume(array, GRID, ONE)


def drawn_by_three() -> Case:
    readers = {"zoe": mask(1, 2, 3), "anna": mask(2, 3, 4), "max": mask(3, 4, 5)}
    image = Volume(np.random.default_rng(0).uniform(0, 9, GRID.shape).astype(np.float32), GRID, "{stored}")
    return Case("c", "p", {"us": image}, "us", observers=readers, diagnosis="malignant")


def recipe(truth: str):
    data = {"name": "r", "channels": {"us": {}}, "reference": "us", "standardise": {"truth": truth}}
    return parse_recipe(data, "r")


@pytest.mark.parametrize(
    ("rule", "rows"),
    [
        ("first", (1, 2, 3)),
        ("second", (2, 3, 4)),
        ("max", (3, 4, 5)),
        ("union", (1, 2, 3, 4, 5)),
        ("intersection", (3,)),
        ("majority", (2, 3, 4)),
    ],
)
def test_the_recipe_chooses(rule, rows):
    case = standardise(drawn_by_three(), recipe(rule))
    assert case.truth is not None
    np.testing.assert_array_equal(case.truth.array, mask(*rows).array)
    assert f"truth: {rule} of the readers zoe, anna, max" in case.notes
    assert list(case.observers) == ["zoe", "anna", "max"]


def test_labels_may_be_large_numbers():
    readers = {
        name: Volume(mask(*rows).array.astype(np.uint16) * 300, GRID, ONE)
        for name, rows in (("zoe", (1, 2, 3)), ("anna", (2, 3, 4)))
    }
    case = standardise(replace(drawn_by_three(), observers=readers), recipe("union"))
    assert case.truth is not None
    np.testing.assert_array_equal(case.truth.array, mask(1, 2, 3, 4).array.astype(np.uint16) * 300)


def test_staple_lies_between_intersection_and_union():
    truth = standardise(drawn_by_three(), recipe("staple")).truth
    assert truth is not None
    inside = {int(row) for row in np.nonzero(truth.array[1].any(axis=1))[0]}
    assert {3} <= inside <= {1, 2, 3, 4, 5}


def test_several_labels_are_agreed_on_one_by_one_and_an_unknown_reader_is_told():
    case = drawn_by_three()
    two = Volume(mask(1).array + mask(5, label=2).array, GRID, ONE)
    case = replace(case, observers={"a": two, "b": two})
    truth = standardise(case, recipe("intersection")).truth
    assert truth is not None
    np.testing.assert_array_equal(truth.array, two.array)
    with pytest.raises(
        DatasetError, match="c: found truth = 'carl'; needed one of a, b, first, second, union"
    ):
        standardise(case, recipe("carl"))


def test_readers_and_their_order_survive_conversion(tmp_path):
    case = drawn_by_three()
    write_converted(case, tmp_path / "c", {"source": "phantom"})
    back = restored(open_case(tmp_path / "c"), tmp_path / "c")
    assert list(back.observers) == ["zoe", "anna", "max"]
    assert (back.patient_id, back.diagnosis, back.truth) == ("p", "malignant", None)
    np.testing.assert_array_equal(back.observers["max"].array, case.observers["max"].array)
    assert list(back.channels) == ["us"]
