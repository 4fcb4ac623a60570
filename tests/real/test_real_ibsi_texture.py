"""Texture against the standard's published values: the digital phantom and the CT configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

import ibsi_reference
from lesionlab.measure.ibsi.chain import prepare
from lesionlab.measure.ibsi.levels import discretise
from lesionlab.measure.ibsi.texture import FEATURES, textures

pytestmark = pytest.mark.real

NUMBERS = {"phantom": 408, "A": 272, "B": 272, "C": 136, "D": 136, "E": 136}
"""Texture values that the standard publishes for each data set."""


@pytest.mark.parametrize("name", ibsi_reference.NAMES)
def test_every_published_value_is_met(shared_data: Path, name: str) -> None:
    settings = ibsi_reference.settings(name)
    image, mask = ibsi_reference.image_and_mask(name)
    found = textures(discretise(prepare(image, mask, settings), settings), FEATURES, settings.aggregations)
    published = ibsi_reference.reference(name)
    assert len(found) == NUMBERS[name]
    assert set(found) == {tag for tag in published if tag.startswith(("cm_", "rlm_", "szm_", "dzm_", "ng"))}
    missed = {
        tag: (value, *published[tag])
        for tag, value in found.items()
        if not ibsi_reference.agrees(value, *published[tag])
    }
    assert missed == {}
