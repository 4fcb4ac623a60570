"""Cases, facts and errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from lesionlab.core import errors
from lesionlab.core.case import AcquisitionFacts, Case
from lesionlab.core.errors import DatasetError, LesionLabError
from lesionlab.core.volume import Geometry, Volume

GRID = Geometry((2, 3, 4), (1.0, 1.0, 1.0))
SUV = Volume(np.zeros((2, 3, 4), np.float32), GRID, "g/ml{SUVbw}")


def test_a_case_has_the_grid_of_its_reference() -> None:
    ct = Volume(np.zeros((1, 1, 1)), Geometry((1, 1, 1), (2.0, 2.0, 2.0)), "[hnsf'U]")
    case = Case("a", "patient", {"suv": SUV, "ct": ct}, "suv")
    assert case.geometry is GRID
    assert case.truth is None
    assert case.notes == ()


def test_channels_cannot_be_changed_afterwards() -> None:
    channels = {"suv": SUV}
    case = Case("a", "patient", channels, "suv")
    channels["ct"] = SUV
    assert list(case.channels) == ["suv"]
    with pytest.raises(TypeError):
        case.channels["ct"] = SUV  # type: ignore[index]


@pytest.mark.parametrize(("channels", "found"), [({"suv": SUV}, "channels suv"), ({}, "channels none")])
def test_a_reference_that_is_no_channel_is_refused(channels: dict[str, Volume], found: str) -> None:
    with pytest.raises(DatasetError, match=f"^a: found {found}; needed the reference channel 'ct'$"):
        Case("a", "patient", channels, "ct")


def test_notes_are_added_behind() -> None:
    facts = AcquisitionFacts(notes=("one",))
    assert facts.with_notes("two", "three").notes == ("one", "two", "three")
    assert facts.notes == ("one",)


KINDS = [
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LesionLabError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_and_survives_copying_between_processes(kind: type[LesionLabError]) -> None:
    error = kind("file.dcm", "two\nlines", "one")
    assert str(error) == "file.dcm: found two lines; needed one"
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is kind
        assert str(twin) == str(error)
        assert (twin.subject, twin.found, twin.needed) == ("file.dcm", "two\nlines", "one")
