"""One synthetic torso patient: true uptake, the PET and CT that a scanner makes of it, and its known lesions.

Voxels are painted with the share of each that a solid fills, so that volumes are exact. Files and
DICOM belong to `cohort.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.units import HOUNSFIELD, ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.anatomy import Anatomy, draw_anatomy
from lesionlab.demo.lesions import KnownLesion, place_lesions
from lesionlab.demo.scanner import Scanner, scan_ct, scan_pet
from lesionlab.demo.shapes import coverage

PET_GRID = Geometry((96, 60, 88), (5.0, 4.0, 4.0), (-174.0, -118.0, 8.0))
"""480 x 240 x 352 mm from the pelvic floor to the collar bones."""
CT_GRID = Geometry((97, 96, 128), (5.0, 3.0, 3.0), (-190.5, -130.5, 6.3))
"""Wider, finer in plane, and cut elsewhere than PET, as a CT is."""
AIR_HU = -1000.0
LESION_SAMPLES = 8


@dataclass(frozen=True, eq=False)
class Phantom:
    """A patient whose answer is known.

    `activity` is the true SUVbw on the PET grid, `suv` the same as imaged, `ct` in HU on its own grid,
    `labels` (uint8, PET grid) the number of the lesion that fills at least half of a voxel, else 0.
    """

    activity: Volume
    suv: Volume
    ct: Volume
    labels: Volume
    lesions: tuple[KnownLesion, ...]
    weight_kg: float
    height_m: float
    dose_bq: float
    uptake_s: float

    @property
    def truth(self) -> Volume:
        """Label 1 wherever there is a lesion."""
        return self.labels.with_array((self.labels.array > 0).astype(np.uint8))


def torso(
    rng: np.random.Generator,
    *,
    lesions: int | None = None,
    scanner: Scanner | None = None,
) -> Phantom:
    """Draw one patient: anatomy, uptake, lesions, then the scan.

    `lesions` is how many to place, 1 to 5 at random when None, none for 0. The same generator state gives
    the same patient.
    """
    scanner = scanner or Scanner()
    anatomy = draw_anatomy(rng)
    wanted = int(rng.integers(1, 6)) if lesions is None else lesions
    activity = _paint_organs(anatomy, PET_GRID, uptake=True)
    known = place_lesions(rng, anatomy, activity, PET_GRID, wanted)
    density = _paint_organs(anatomy, CT_GRID, uptake=False)
    labels = np.zeros(PET_GRID.shape, np.uint8)
    for lesion in known:
        region, share = coverage(lesion.solid, PET_GRID, LESION_SAMPLES)
        _replace(activity[region], share, lesion.suv)
        labels[region][share >= 0.5] = lesion.number
        region, share = coverage(lesion.solid, CT_GRID)
        _replace(density[region], share, lesion.hu)
    weight_kg, height_m = _stature(anatomy, rng)
    return Phantom(
        activity=Volume(activity, PET_GRID, SUVBW),
        suv=Volume(scan_pet(activity, PET_GRID.spacing, scanner, rng), PET_GRID, SUVBW),
        ct=Volume(scan_ct(density, scanner, rng), CT_GRID, HOUNSFIELD),
        labels=Volume(labels, PET_GRID, ONE),
        lesions=known,
        weight_kg=weight_kg,
        height_m=height_m,
        dose_bq=round(weight_kg * float(rng.uniform(3.0e6, 4.5e6)), -6),
        uptake_s=round(float(rng.uniform(3300.0, 4500.0))),
    )


def _paint_organs(anatomy: Anatomy, grid: Geometry, *, uptake: bool) -> NDArray[np.float32]:
    """True SUVbw (`uptake`) or HU of the organs on a grid; every organ ends at the body's surface."""
    image = np.full(grid.shape, 0.0 if uptake else AIR_HU, np.float32)
    if not uptake:
        region, share = coverage(anatomy.couch, grid, samples=2)
        _replace(image[region], share, -650.0)
    body = np.zeros(grid.shape, np.float32)
    region, share = coverage(anatomy.body, grid, samples=2)
    body[region] = share
    for organ in anatomy.organs:
        region, share = coverage(organ.solid, grid, samples=2)
        _replace(image[region], np.minimum(share, body[region]), organ.suv if uptake else organ.hu)
    return image


def _replace(image: NDArray[np.float32], share: NDArray[np.float32], value: float) -> None:
    """Fill `share` of each voxel of a view with `value`, in place."""
    image += share * (np.float32(value) - image)


def _stature(anatomy: Anatomy, rng: np.random.Generator) -> tuple[float, float]:
    """Weight in kg and height in m that go with the size of the torso."""
    sx, sy, sz = anatomy.scale
    height_m = round(1.74 * sz * float(rng.uniform(0.96, 1.04)), 2)
    return round(72.0 * sx * sy * sz * float(rng.uniform(0.95, 1.08)), 1), height_m
