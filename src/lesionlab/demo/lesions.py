"""Lesions of known SUVbw and volume, drawn at plausible places of an anatomy.

A lesion is only placed where a reader could tell it from its surroundings: everything within
`CLEARANCE_MM` of it takes up at most `1 / LEAST_CONTRAST` of its own uptake.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.volume import Geometry
from lesionlab.demo.anatomy import Anatomy
from lesionlab.demo.shapes import Ellipsoid, Point, coverage

CLEARANCE_MM = 10.0
LEAST_CONTRAST = 2.2
SUV_RANGE = (3.0, 14.0)
TRIES = 300


@dataclass(frozen=True, slots=True)
class Site:
    """A region where lesions occur: box in the reference torso (LPS mm), diameters in mm, density in HU."""

    low_mm: Point
    high_mm: Point
    diameters_mm: tuple[float, float]
    hu: float
    mirrored: bool = False
    """Also on the patient's other side."""


SITES: Mapping[str, Site] = {
    "lung": Site((50, -40, 305), (100, 45, 430), (14, 38), 35.0, mirrored=True),
    "liver": Site((-115, -50, 245), (-30, 35, 320), (16, 38), 35.0),
    "mediastinal node": Site((-28, -20, 385), (28, 32, 450), (14, 30), 45.0),
    "axillary node": Site((105, -15, 420), (125, 30, 445), (14, 26), 45.0, mirrored=True),
    "retroperitoneal node": Site((14, 12, 125), (34, 36, 265), (14, 30), 45.0, mirrored=True),
    "pelvic node": Site((48, -35, 70), (78, 20, 125), (14, 32), 45.0, mirrored=True),
    "vertebra": Site((-5, 50, 110), (5, 62, 450), (14, 27), 120.0),
    "ilium": Site((78, 10, 95), (92, 42, 150), (14, 28), 120.0, mirrored=True),
}
"""Every site of lesions by name, in the reference torso of `anatomy.py`."""


@dataclass(frozen=True, slots=True)
class KnownLesion:
    """A lesion as it was put in: the answer that a measurement is compared with.

    `suv` is its uniform SUVbw before the scanner blurs it, `volume_ml` the exact volume of `solid`,
    `contrast` its uptake over the mean uptake within `CLEARANCE_MM` of its surface.
    """

    number: int
    site: str
    solid: Ellipsoid
    suv: float
    hu: float
    volume_ml: float
    contrast: float

    @property
    def centre_mm(self) -> Point:
        """Centre in LPS mm (x, y, z)."""
        return self.solid.centre_mm


def place_lesions(
    rng: np.random.Generator,
    anatomy: Anatomy,
    activity: NDArray[np.float32],
    geometry: Geometry,
    count: int,
) -> tuple[KnownLesion, ...]:
    """Draw `count` lesions at random sites, apart from each other and from anything nearly as hot.

    `activity` is SUVbw of the anatomy without lesions on `geometry`. Fewer are returned where no place is
    found within `TRIES` draws; a count of 0 gives none.
    """
    inner = anatomy.body.grown(-10.0)
    region, filled = coverage(inner, geometry, samples=1)
    free = np.zeros(geometry.shape, bool)
    free[region] = filled > 0
    free[[0, 1, -2, -1]] = False
    lesions: list[KnownLesion] = []
    names = list(SITES)
    for _ in range(TRIES):
        if len(lesions) == count:
            break
        name = names[int(rng.integers(len(names)))]
        solid = _draw_solid(rng, anatomy, SITES[name])
        suv = float(np.exp(rng.uniform(*np.log(SUV_RANGE))))
        surroundings = coverage(solid.grown(CLEARANCE_MM), geometry, samples=1)
        around = surroundings[1] > 0
        uptake = activity[surroundings[0]][around]
        # a place at the edge of the body or near another lesion is refused, a hot one too
        if not uptake.size or not free[surroundings[0]][around].all():
            continue
        if suv < LEAST_CONTRAST * float(uptake.max()):
            continue
        contrast = suv / float(uptake.mean())
        number = len(lesions) + 1
        lesions.append(KnownLesion(number, name, solid, suv, SITES[name].hu, solid.volume_ml, contrast))
        free[surroundings[0]][around] = False
    return tuple(lesions)


def _draw_solid(rng: np.random.Generator, anatomy: Anatomy, site: Site) -> Ellipsoid:
    x, y, z = rng.uniform(site.low_mm, site.high_mm).tolist()
    if site.mirrored and rng.random() < 0.5:
        x = -x
    radius = 0.5 * math.exp(rng.uniform(*np.log(site.diameters_mm)))
    stretch = rng.uniform(0.8, 1.25, 3)
    a, b, c = (radius * stretch / stretch.prod() ** (1 / 3)).tolist()
    return Ellipsoid(anatomy.place(x, y, z), (a, b, c), tilt_deg=float(rng.uniform(-45, 45)))
