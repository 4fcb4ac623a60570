"""Simulated acquisition faults of rising strength, and how far a method may be trusted under them.

The faults here need numpy and scipy alone: SUV scale error, noise, blur, low resolution. Those of Fourier
space (motion, ghosting, spikes) and the bias field are TorchIO's, which imports torch: `benchmarks/` brings
them in as further entries of the same shape. Running a method on faulty volumes is left to the caller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from lesionlab.core.errors import DatasetError
from lesionlab.core.grid import resample
from lesionlab.core.volume import Geometry, Volume

Apply = Callable[[Volume, float, int], Volume]
"""Volume, strength and seed to the faulty volume on the same grid; the same three give the same voxels."""
FWHM: Final = 2.0 * math.sqrt(2.0 * math.log(2.0))
"""Full width at half maximum of a Gaussian of sd 1."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault: name, what its strength means (with unit), strengths that rise, and the function.

    Strength 0 is no fault: the function then returns the voxels as they are.
    """

    name: str
    meaning: str
    strengths: tuple[float, ...]
    apply: Apply


def scale_error(volume: Volume, strength: float, seed: int = 0) -> Volume:
    """Every voxel times 1 + strength / 100: a wrong dose, weight or decay time. Strength in %, above -100."""
    if strength <= -100.0:
        raise DatasetError("scale error", f"{strength:g} %", "more than -100 %")
    return _like(volume, volume.array * (1.0 + strength / 100.0))


def noise(volume: Volume, strength: float, seed: int = 0) -> Volume:
    """White Gaussian noise whose variance rises with the signal, as that of counts does.

    `strength` is the sd in % at the mean of the voxels above 0; at a signal s it is strength x sqrt(s x
    mean). For images in which 0 means no signal (PET, DCE, ultrasound). Where the volume has no voxel below
    0, negative results become 0. A volume without signal stays as it is.
    """
    array = volume.array.astype(np.float64)
    positive = array[array > 0.0]
    if strength == 0.0 or not len(positive):
        return volume
    deviation = _at_least_0("noise", strength) / 100.0 * np.sqrt(np.abs(array) * positive.mean())
    noisy = array + deviation * np.random.default_rng(seed).standard_normal(array.shape)
    return _like(volume, noisy if array.min() < 0.0 else np.maximum(noisy, 0.0))


def blur(volume: Volume, strength: float, seed: int = 0) -> Volume:
    """A Gaussian of `strength` mm full width at half maximum; axes of one voxel are left alone."""
    if strength == 0.0:
        return volume
    width = _at_least_0("blur", strength)
    return _like(volume, _smooth(volume, (width, width, width)))


def low_resolution(volume: Volume, strength: float, seed: int = 0) -> Volume:
    """As if the voxels had been `strength` mm wide, brought back to the grid by linear interpolation.

    Axes whose voxels are as wide already, and axes of one voxel, are left alone; along an axis shorter than
    `strength` the values become one. Before the coarse grid is sampled, the image is smoothed with a Gaussian
    as wide (FWHM) as its voxels, against aliasing.
    """
    geometry, wanted = volume.geometry, _at_least_0("low resolution", strength)
    coarse = [
        wanted if n > 1 and wanted > step else step
        for n, step in zip(geometry.shape, geometry.spacing, strict=True)
    ]
    if tuple(coarse) == geometry.spacing:
        return volume
    shape = [
        max(1, math.ceil(n * fine / wide))
        for n, fine, wide in zip(geometry.shape, geometry.spacing, coarse, strict=True)
    ]
    # the first coarse voxel covers the image from its outer face on; one that covers all of it lies around
    # its middle, as its own could be outside
    first = [
        (wide - fine) / 2.0 / fine if count > 1 else (n - 1) / 2.0
        for fine, wide, count, n in zip(geometry.spacing, coarse, shape, geometry.shape, strict=True)
    ]
    grid = Geometry(
        (shape[0], shape[1], shape[2]),
        (coarse[0], coarse[1], coarse[2]),
        tuple(geometry.to_world(first)),
        geometry.direction,
    )
    widths = [wide if wide > fine else 0.0 for fine, wide in zip(geometry.spacing, coarse, strict=True)]
    smooth = volume.with_array(_smooth(volume, widths))
    return _like(volume, resample(resample(smooth, grid), geometry).array)


FAULTS: Final = (
    Fault("SUV scale error", "% added to every voxel", (-40.0, -20.0, -10.0, 10.0, 20.0, 40.0), scale_error),
    Fault("noise", "sd in % at the mean signal", (10.0, 25.0, 50.0, 100.0), noise),
    Fault("blur", "Gaussian FWHM in mm", (4.0, 8.0, 12.0, 20.0), blur),
    Fault("low resolution", "voxel width in mm", (5.0, 8.0, 12.0, 20.0), low_resolution),
)
"""The faults that need no other library, with strengths for a whole-body or limb PET."""


def trusted_up_to(
    strengths: Sequence[float], scores: ArrayLike, clean: ArrayLike, *, loss: float = 0.05
) -> float:
    """The strength up to which the mean score over patients falls by at most `loss`; 0 if by more at once.

    `scores` (Dice, or the negative of an absolute error) is (strengths, patients) at the given strengths in
    their order, `clean` (patients) without fault. All strengths up to the answer must hold; ask for strengths
    above and below 0 apart. Patients without a score at some strength count for none. Raises
    DatasetError where the sizes differ.
    """
    table, base = np.asarray(scores, np.float64), np.asarray(clean, np.float64)
    if table.shape != (len(strengths), len(base)):
        raise DatasetError(
            "faults", f"scores of shape {table.shape}", f"{len(strengths)} strengths x {len(base)} patients"
        )
    known = ~np.isnan(np.vstack([table, base[None]])).any(axis=0)
    held = 0.0
    for strength, row in zip(strengths, table, strict=True):
        if not known.any() or float((base - row)[known].mean()) > loss:
            break
        held = float(strength)
    return held


def _at_least_0(fault: str, strength: float) -> float:
    if strength < 0.0:
        raise DatasetError(fault, f"strength {strength:g}", "0 or more")
    return strength


def _smooth(volume: Volume, widths_mm: Sequence[float]) -> np.ndarray:
    """Smoothed with Gaussians of these FWHM, edges extended; axes of one voxel are left alone."""
    geometry = volume.geometry
    sigmas = [
        width / FWHM / step if n > 1 else 0.0
        for width, step, n in zip(widths_mm, geometry.spacing, geometry.shape, strict=True)
    ]
    return np.asarray(ndimage.gaussian_filter(volume.array.astype(np.float64), sigmas, mode="nearest"))


def _like(volume: Volume, array: np.ndarray) -> Volume:
    """The values as float32 in the volume's grid and unit."""
    return volume.with_array(array.astype(np.float32))
