"""Discretisation: from a region's intensities to grey levels (IBSI section 2.7).

Only levels. What is computed on them is in the families.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.measure.ibsi.region import FloatArray, IntArray, Levels, Region, tight


@dataclass(frozen=True, slots=True)
class Bins:
    """How intensities become levels: `number` bins of equal size cover `width` from `lower` on.

    Level k holds its lower edge and not its upper one, but for the last of `count`, which holds both. A width
    of 0 stands for constant intensity: all values are level 1.
    """

    lower: float
    width: float
    number: int
    count: int

    def levels_of(self, values: FloatArray) -> IntArray:
        """Levels 1 to `count` of values, of any shape, int32."""
        if self.width == 0:
            return np.ones(values.shape, dtype=np.int32)
        # multiplied before divided: whole intensities then fall exactly onto the edges they belong to
        places = values - self.lower
        places *= self.number
        places /= self.width
        found = np.floor(places, out=places).astype(np.int32)
        found += 1
        return np.clip(found, 1, self.count, out=found)


def fixed_size_bins(values: FloatArray, size: float, origin: float) -> Bins:
    """Bins of one size from `origin` up to the highest of the values (n >= 1, finite).

    Values below the origin, which a stated origin can leave there, move it down by whole bins.
    """
    lower = origin + size * min(0.0, math.floor((float(values.min()) - origin) / size))
    return Bins(lower, size, 1, math.floor((float(values.max()) - lower) / size) + 1)


def fixed_number_bins(values: FloatArray, number: int) -> Bins:
    """`number` bins of equal size from the lowest to the highest of the values (n >= 1, finite)."""
    low, high = float(values.min()), float(values.max())
    return Bins(low, high - low, number, number if high > low else 1)


def bins_of(values: FloatArray, settings: RadiomicsSettings) -> Bins:
    """The bins that the settings ask for; under a fixed size they begin at `bin_origin`, else at the lower
    end of `keep_range` where it is finite, else at the lowest value."""
    if settings.bin_number is not None:
        return fixed_number_bins(values, settings.bin_number)
    size = settings.bin_size or 1.0
    return fixed_size_bins(values, size, _origin(values, settings))


def _origin(values: FloatArray, settings: RadiomicsSettings) -> float:
    if settings.bin_origin is not None:
        return settings.bin_origin
    if settings.keep_range is not None and np.isfinite(settings.keep_range[0]):
        return settings.keep_range[0]
    return float(values.min())


def discretise(region: Region, settings: RadiomicsSettings) -> Levels:
    """The grey levels of a region's intensity mask, in the tight box of its morphological mask.

    That box, because the distances of zones are counted from the border of the lesion as drawn. Constant
    intensity gives one level (under a fixed size, the level of that intensity). An empty intensity mask
    gives zeros and no level. The values inside must be finite.
    """
    lesion = tight(region)
    inside = lesion.inside
    return levels_of(lesion, inside, bins_of(inside, settings) if len(inside) else Bins(0.0, 0.0, 1, 0))


def levels_of(lesion: Region, inside: FloatArray, bins: Bins) -> Levels:
    """`discretise` of a region that `tight` returned, given what is inside and its bins."""
    array = np.zeros(lesion.intensity.shape, dtype=np.int32)
    array[lesion.intensity] = bins.levels_of(inside)
    return Levels(array, bins.count, lesion.morphological, lesion.spacing)
