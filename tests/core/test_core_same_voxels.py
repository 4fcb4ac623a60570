"""Grids that hold the same voxels in another order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from lesionlab.core.grid import resample, same_voxels
from lesionlab.core.volume import Geometry, Volume
from phantoms import OBLIQUE

GRID = Geometry((3, 4, 5), (3.0, 2.0, 1.0), (10.0, -20.0, 30.0), OBLIQUE)
VOLUME = Volume(np.arange(60).reshape(3, 4, 5), GRID, "1")


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_every_swap_and_reversal_is_undone(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    corner = np.where(np.array(signs) > 0, 0, np.array(GRID.shape)[list(order)] - 1)
    index = np.zeros(3)
    index[list(order)] = corner
    target = Geometry(
        tuple(GRID.shape[a] for a in order),  # type: ignore[arg-type]
        tuple(GRID.spacing[a] for a in order),  # type: ignore[arg-type]
        tuple(GRID.to_world(index)),  # type: ignore[arg-type]
        tuple((GRID.matrix[:, list(order)] * np.array(signs)).ravel()),
    )
    found = same_voxels(VOLUME, target)
    assert found is not None
    assert found.geometry == target
    np.testing.assert_array_equal(found.array, resample(VOLUME, target, order=0).array)


@pytest.mark.parametrize(
    "target",
    [
        replace(GRID, shape=(3, 4, 6)),
        replace(GRID, spacing=(3.0, 2.0, 1.1)),
        replace(GRID, origin=(10.0, -20.0, 30.5)),
        replace(GRID, direction=tuple(np.eye(3).ravel())),
    ],
)
def test_other_voxels_are_none(target: Geometry) -> None:
    assert same_voxels(VOLUME, target) is None
