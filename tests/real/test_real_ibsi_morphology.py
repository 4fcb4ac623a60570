"""Morphology against the standard's published values: the digital phantom and the CT configurations."""

from __future__ import annotations

from pathlib import Path

import pytest

import ibsi_reference
from lesionlab.measure.ibsi.chain import prepare
from lesionlab.measure.ibsi.morphology import morphology
from lesionlab.measure.ibsi.spatial import spatial

pytestmark = pytest.mark.real


@pytest.mark.parametrize("name", ibsi_reference.NAMES)
def test_every_published_value_of_morphology_is_met(shared_data: Path, name: str) -> None:
    region = prepare(*ibsi_reference.image_and_mask(name), ibsi_reference.settings(name))
    found = morphology(region) | spatial(region)
    published = ibsi_reference.reference(name)
    assert sum(tag in published for tag in found) == 25
    missed = {
        tag: (value, *published[tag])
        for tag, value in found.items()
        if tag in published and not ibsi_reference.agrees(value, *published[tag])
    }
    assert missed == {}
