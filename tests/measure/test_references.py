from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.references import (
    Reference,
    References,
    blood_cylinder,
    labelled,
    liver_sphere,
    liver_warning,
    reference_notes,
)
from phantoms import OBLIQUE, ball_mask, ball_ml

GRID = Geometry((40, 40, 40), (2.0, 2.0, 2.0), (-40.0, -40.0, -40.0))
ASKEW = Geometry((40, 44, 40), (2.0, 1.8, 2.0), (0.0, 0.0, 0.0), OBLIQUE)


def suv(array, geometry=GRID):
    return Volume(np.asarray(array, np.float32), geometry, SUVBW)


@pytest.mark.parametrize("grid", [GRID, ASKEW], ids=["straight", "oblique"])
def test_the_liver_is_a_sphere_of_3_cm(grid):
    centre = tuple(grid.to_world((np.asarray(grid.shape) - 1) / 2))
    array = np.where(ball_mask(grid, centre, 15.0), 2.0, 50.0)
    region = liver_sphere("P1", suv(array, grid), centre)
    assert (region.mean, region.sd, region.cut) == (2.0, 0.0, False)
    assert region.voxels == ball_mask(grid, centre, 15.0).sum()
    assert region.voxels * grid.voxel_ml == pytest.approx(ball_ml(15.0), rel=0.03)


def test_the_blood_pool_is_a_cylinder_along_the_body():
    index = np.stack(np.meshgrid(*[np.arange(n) for n in ASKEW.shape], indexing="ij"), -1)
    centre = ASKEW.to_world((np.asarray(ASKEW.shape) - 1) / 2)
    offset = ASKEW.to_world(index) - centre
    inside = (np.hypot(offset[..., 0], offset[..., 1]) <= 5.0) & (np.abs(offset[..., 2]) <= 10.0)
    region = blood_cylinder("P1", suv(np.where(inside, 1.5, 9.0), ASKEW), tuple(centre))
    assert (region.mean, region.voxels) == (1.5, inside.sum())
    assert region.voxels * ASKEW.voxel_ml == pytest.approx(math.pi * 25 * 20 / 1000, rel=0.1)


def test_spread_is_that_of_a_sample():
    array = np.zeros(GRID.shape)
    array[10, 10, 10:14] = [1.0, 2.0, 3.0, 6.0]
    labels = Volume((array > 0).astype(np.uint8) * 3, GRID, "1")
    region = labelled("P1", suv(array), labels, 3)
    assert (region.mean, region.voxels) == (3.0, 4)
    assert region.sd == pytest.approx(np.std([1, 2, 3, 6], ddof=1))
    assert region.where == "label 3 of the mask"


def test_coarse_voxels_give_the_nearest_one():
    grid = Geometry((5, 5, 5), (30.0, 30.0, 30.0))
    array = np.arange(125.0).reshape(grid.shape)
    region = blood_cylinder("P1", suv(array, grid), (64.0, 53.0, 70.0))
    assert (region.mean, region.sd, region.voxels) == (array[2, 2, 2], 0.0, 1)


def test_a_region_at_the_border_says_so():
    region = liver_sphere("P1", suv(np.full(GRID.shape, 2.0)), (-40.0, 0.0, 0.0))
    assert region.cut
    assert "warning: the liver reference is cut" in reference_notes(References(liver=region))[1]


def test_places_that_cannot_be():
    image = suv(np.ones(GRID.shape))
    with pytest.raises(GeometryError, match=r"P1: found \(90.0, 0.0, 0.0\) mm outside the image"):
        liver_sphere("P1", image, (90.0, 0.0, 0.0))
    with pytest.raises(DatasetError, match="P1: found no voxel of label 4"):
        labelled("P1", image, Volume(np.zeros(GRID.shape, np.uint8), GRID, "1"), 4)
    with pytest.raises(GeometryError, match="labels against the image"):
        labelled("P1", image, Volume(np.zeros(ASKEW.shape, np.uint8), ASKEW, "1"), 1)
    array = np.ones(GRID.shape)
    array[20, 20, 20] = np.nan
    with pytest.raises(DatasetError, match="not finite"):
        liver_sphere("P1", suv(array), (0.0, 0.0, 0.0))


@pytest.mark.parametrize(("mean", "warned"), [(1.29, True), (1.3, False), (3.0, False), (3.01, True)])
def test_the_liver_is_checked_against_the_eanm_range(mean, warned):
    region = Reference(mean, 0.1, 500, "sphere of 3 cm at (0.0, 0.0, 0.0) mm LPS")
    notes = reference_notes(References(liver=region))
    assert notes[0].startswith("warning: liver SUVmean") == warned
    assert bool(liver_warning(References(liver=region))) == warned
    assert not liver_warning(References(blood=region))
