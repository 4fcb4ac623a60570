"""What a PET/CT scanner makes of known uptake and density: blur and noise.

A plain model: a Gaussian point spread, Poisson counts, and a Gaussian post-filter that correlates the
noise as reconstruction does. Decay, attenuation and scatter count as corrected.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

FWHM_PER_SIGMA = 2.3548200450309493


@dataclass(frozen=True, slots=True)
class Scanner:
    """Blur and noise of one scanner.

    The point spread before counting and the filter after it add in squares: 4.5 and 4 mm give 6 mm in
    all. `counts_per_suv_ml` is the expected number of counts from 1 ml of SUVbw 1; 300 gives about
    10 % noise from voxel to voxel in the liver.
    """

    intrinsic_fwhm_mm: float = 4.5
    filter_fwhm_mm: float = 4.0
    counts_per_suv_ml: float = 300.0
    ct_noise_hu: float = 12.0

    @property
    def fwhm_mm(self) -> float:
        """Full width at half maximum of the whole point spread."""
        return float(np.hypot(self.intrinsic_fwhm_mm, self.filter_fwhm_mm))


def scan_pet(
    activity: NDArray[np.float32],
    spacing_mm: tuple[float, float, float],
    scanner: Scanner,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """SUVbw as imaged from true SUVbw (z, y, x): point spread, counts, filter; never negative."""
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    counts_per_suv = scanner.counts_per_suv_ml * voxel_ml
    seen = _blurred(activity, spacing_mm, scanner.intrinsic_fwhm_mm)
    counted = rng.poisson(np.maximum(seen, 0.0) * counts_per_suv) / counts_per_suv
    return _blurred(counted.astype(np.float32), spacing_mm, scanner.filter_fwhm_mm)


def scan_ct(density: NDArray[np.float32], scanner: Scanner, rng: np.random.Generator) -> NDArray[np.float32]:
    """HU as imaged: Gaussian noise, never below air (-1024)."""
    noise = rng.standard_normal(density.shape, np.float32) * np.float32(scanner.ct_noise_hu)
    return np.maximum(density + noise, np.float32(-1024.0))


def _blurred(
    image: NDArray[np.float32], spacing_mm: tuple[float, float, float], fwhm_mm: float
) -> NDArray[np.float32]:
    sigma = [fwhm_mm / FWHM_PER_SIGMA / step for step in spacing_mm]
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="nearest"), dtype=np.float32)
