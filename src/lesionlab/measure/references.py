"""Reference regions of a PET: uptake of the liver and of the blood pool, which lesions are compared with.

A region is given by whoever knows the patient, as a point in world coordinates or as a label; none is
searched for here. What thresholds follow from a region belongs to `thresholds`, ratios to `clinic`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.grid import require_same_grid
from lesionlab.core.volume import Volume

LIVER_DIAMETER_MM: Final = 30.0
"""Sphere in the right lobe of the liver (Wahl et al., J Nucl Med 2009, doi 10.2967/jnumed.108.057307)."""
BLOOD_DIAMETER_MM: Final = 10.0
BLOOD_LENGTH_MM: Final = 20.0
"""Cylinder in the descending thoracic aorta along the body's axis (the same source)."""
LIVER_EXPECTED: Final = (1.3, 3.0)
"""Liver SUVbw mean that an FDG-PET of good quality shows (EANM; Boellaard et al., Eur J Nucl Med Mol Imaging
2015, doi 10.1007/s00259-014-2961-x)."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Uptake in a reference region: mean and standard deviation (n - 1) over `voxels`, in the image's unit.

    `where` says in words how the region was given; `cut` is True where the image ends inside it.
    """

    mean: float
    sd: float
    voxels: int
    where: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class References:
    """The reference regions of one scan, as far as they are known."""

    liver: Reference | None = None
    blood: Reference | None = None


def liver_sphere(subject: str, image: Volume, centre_mm: Sequence[float]) -> Reference:
    """The liver in a sphere of 3 cm around a point (LPS, mm): all voxels whose centre lies within.

    Raises GeometryError for a point outside the image, DatasetError for voxels that are not finite.
    """
    radius = LIVER_DIAMETER_MM / 2
    return _around(subject, image, centre_mm, (radius, radius), "sphere of 3 cm")


def blood_cylinder(subject: str, image: Volume, centre_mm: Sequence[float]) -> Reference:
    """The blood pool in a cylinder of 1 cm and 2 cm length along z around a point (LPS, mm).

    Voxels count whose centre lies within; where the voxels are so coarse that none does, the nearest one.
    Raises GeometryError for a point outside the image, DatasetError for voxels that are not finite.
    """
    return _around(
        subject,
        image,
        centre_mm,
        (BLOOD_DIAMETER_MM / 2, BLOOD_LENGTH_MM / 2),
        "cylinder of 1 cm x 2 cm along z",
    )


def labelled(subject: str, image: Volume, labels: Volume, label: int) -> Reference:
    """The voxels of one label as a reference region.

    Raises GeometryError for labels on another grid, DatasetError for a label without a voxel or for voxels
    that are not finite.
    """
    require_same_grid(f"{subject}: labels against the image", image, labels)
    values = image.array[labels.array == label]
    if not values.size:
        raise DatasetError(subject, f"no voxel of label {label}", "a label drawn in the mask")
    return _reference(subject, values, f"label {label} of the mask")


def _around(
    subject: str, image: Volume, centre_mm: Sequence[float], size_mm: tuple[float, float], what: str
) -> Reference:
    """Voxels within a radius of a point: across z and along z, or of a sphere where both are equal."""
    radius, half = size_mm
    grid = image.geometry
    place = ", ".join(f"{value:.1f}" for value in centre_mm)
    where = f"{what} at ({place}) mm LPS"
    middle = grid.to_index(centre_mm)
    nearest = np.round(middle).astype(int)
    if (nearest < 0).any() or (nearest >= grid.shape).any():
        raise GeometryError(subject, f"({place}) mm outside the image", f"a point inside {grid.describe()}")
    reach = np.ceil(math.hypot(radius, half) / np.asarray(grid.spacing)).astype(int)
    low, high = nearest - reach, nearest + reach + 1
    axes = [np.arange(a, b) for a, b in zip(low, high, strict=True)]
    index = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    offset = grid.to_world(index) - np.asarray(centre_mm)
    # a hair of tolerance, so that a centre on the surface does not depend on rounding
    if radius == half:
        inside = np.linalg.norm(offset, axis=1) <= radius + 1e-6
    else:
        inside = (np.hypot(offset[:, 0], offset[:, 1]) <= radius + 1e-6) & (
            np.abs(offset[:, 2]) <= half + 1e-6
        )
    chosen = index[inside] if inside.any() else nearest[None]
    held = ((chosen >= 0) & (chosen < grid.shape)).all(axis=1)
    values = image.array[tuple(chosen[held].T)]
    return _reference(subject, values, where, cut=not bool(held.all()))


def _reference(subject: str, values: NDArray[Any], where: str, *, cut: bool = False) -> Reference:
    if not np.isfinite(values).all():
        raise DatasetError(subject, f"voxels that are not finite in the {where}", "finite voxels")
    exact = values.astype(np.float64)
    sd = float(exact.std(ddof=1)) if exact.size > 1 else 0.0
    return Reference(float(exact.mean()), sd, int(exact.size), where, cut)


def liver_warning(references: References) -> str:
    """The check of the liver's SUVbw mean against EANM's range; "" where it holds or no liver is known."""
    liver = references.liver
    low, high = LIVER_EXPECTED
    if liver is None or low <= liver.mean <= high:
        return ""
    return (
        f"warning: liver SUVmean {liver.mean:.2f} is outside {low:g} to {high:g} (EANM): check dose, weight, "
        "times, and whether the sphere lies in healthy liver"
    )


def reference_notes(references: References) -> list[str]:
    """What was measured where, and what to look at: one line each, warnings first."""
    warning = liver_warning(references)
    notes = [warning] if warning else []
    for name, region in (("liver", references.liver), ("blood pool", references.blood)):
        if region is not None:
            notes.append(
                f"{name} reference: SUVmean {region.mean:.3g}, SD {region.sd:.2g} over {region.voxels} "
                f"voxels, {region.where}"
            )
            if region.cut:
                notes.append(f"warning: the {name} reference is cut by the border of the image")
    return notes
