"""Intensity-volume histogram (IBSI 3.5, family P88C): which share of the lesion is at least so bright.

The curve belongs to the total range G of intensities, taken in steps: for every intensity i of G,
nu_i is the share of voxels with at least i, gamma_i = (i - min G) / (max G - min G).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from lesionlab.core.recipe import RadiomicsSettings
from lesionlab.core.units import ONE
from lesionlab.measure.ibsi.feature import INTENSITY, Feature
from lesionlab.measure.ibsi.levels import fixed_number_bins
from lesionlab.measure.ibsi.region import FloatArray, Region
from lesionlab.measure.ibsi.statistics import ordered

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("ivh_v10", "BC2M", ONE, "share of voxels with an intensity fraction gamma of at least 10 %"),
    Feature("ivh_v90", "BC2M", ONE, "share of voxels with an intensity fraction gamma of at least 90 %"),
    Feature("ivh_i10", "GBPN", INTENSITY, "lowest intensity that at most 10 % of the voxels reach"),
    Feature("ivh_i90", "GBPN", INTENSITY, "lowest intensity that at most 90 % of the voxels reach"),
    Feature("ivh_diff_v10_v90", "DDTU", ONE, "v10 - v90"),
    Feature("ivh_diff_i10_i90", "CNV2", INTENSITY, "i10 - i90"),
    Feature("ivh_auc", "9CMM", ONE, "area under nu over gamma (trapezoids); 0 for a single intensity"),
)
"""Under a fixed number of bins, i10, i90 and their difference are bin numbers, without unit."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Ascending intensities (n,), the range G, and its step; 0 stands for no discretisation at all."""

    ordered: FloatArray
    low: float
    high: float
    step: float

    def share(self, intensity: float) -> float:
        """The share of voxels with at least this intensity."""
        below = np.searchsorted(self.ordered, intensity - _slack(self.step), side="left")
        return float((len(self.ordered) - below) / len(self.ordered))

    def volume_at(self, fraction: float) -> float:
        """The largest share of voxels whose intensity fraction is at least `fraction`."""
        wanted = fraction * (self.high - self.low)
        if self.step > 0:
            wanted = math.ceil(wanted / self.step - 1e-9) * self.step
        return self.share(self.low + wanted)

    def intensity_at(self, fraction: float) -> float:
        """The lowest intensity that at most a share `fraction` of the voxels reaches."""
        n = len(self.ordered)
        # with m voxels allowed at or above it, the answer lies just above the (m + 1)-th highest
        allowed = min(n - 1, math.floor(fraction * n + 1e-9))
        bound = float(self.ordered[n - 1 - allowed])
        if self.step == 0:
            return bound
        return self.low + (math.floor((bound - self.low) / self.step + 1e-9) + 1) * self.step

    def area(self) -> float:
        """The area under the curve of nu over gamma, by trapezoids between the steps."""
        if self.step == 0:
            inside = np.clip(self.ordered, self.low, self.high)
            return float((inside.mean() - self.low) / (self.high - self.low))
        steps = math.floor((self.high - self.low) / self.step + 1e-9)
        # a voxel lies at or above as many of the steps + 1 intensities as it is steps from the lowest
        reached = np.floor((self.ordered - self.low) / self.step + 1e-9) + 1
        total = float(np.clip(reached, 0, steps + 1).mean())
        ends = self.share(self.low) + self.share(self.low + steps * self.step)
        return (total - 0.5 * ends) / steps


def volume_histogram(region: Region, settings: RadiomicsSettings) -> dict[str, float]:
    """The 7 features of a region's intensity-volume histogram, whose intensities must be finite.

    The settings choose one of the standard's three cases. Neither size nor number of bins: intensities as
    they are, in steps of `round_to`, or of 1 where all are whole numbers, else without steps. A bin size:
    bin centres, the bins beginning at the range's lower end, else at the minimum. A number of bins:
    bin numbers. G is the re-segmentation range where it is finite, else it ends at the lowest and
    highest intensity. Empty: all NaN. A range G of one intensity: NaN but for `ivh_auc` = 0.
    """
    return volume_histogram_of_ordered(ordered(region.inside), settings)


def volume_histogram_of_ordered(x: FloatArray, settings: RadiomicsSettings) -> dict[str, float]:
    """`volume_histogram` of values that `statistics.ordered` returned."""
    if len(x) == 0:
        return {feature.name: math.nan for feature in FEATURES}
    curve = _curve(x, settings)
    if curve.high - curve.low <= _slack(curve.step):
        return {feature.name: math.nan for feature in FEATURES} | {"ivh_auc": 0.0}
    v10, v90 = curve.volume_at(0.1), curve.volume_at(0.9)
    i10, i90 = curve.intensity_at(0.1), curve.intensity_at(0.9)
    return {
        "ivh_v10": v10,
        "ivh_v90": v90,
        "ivh_i10": i10,
        "ivh_i90": i90,
        "ivh_diff_v10_v90": v10 - v90,
        "ivh_diff_i10_i90": i10 - i90,
        "ivh_auc": curve.area(),
    }


def _curve(x: FloatArray, settings: RadiomicsSettings) -> Curve:
    low, high = float(x[0]), float(x[-1])
    if settings.volume_histogram_bins is not None:
        bins = fixed_number_bins(x, settings.volume_histogram_bins)
        return Curve(bins.levels_of(x).astype(np.float64), 1.0, float(bins.count), 1.0)
    if settings.keep_range is not None:
        low = settings.keep_range[0] if np.isfinite(settings.keep_range[0]) else low
        high = settings.keep_range[1] if np.isfinite(settings.keep_range[1]) else high
    size = settings.volume_histogram_bin_size
    if size is not None:
        centres = low + size * (np.floor((x - low) / size) + 0.5)
        return Curve(centres, low + 0.5 * size, high - 0.5 * size, size)
    if settings.round_to:
        return Curve(x, low, high, settings.round_to)
    return Curve(x, low, high, 1.0 if np.array_equal(x, np.rint(x)) else 0.0)


def _slack(step: float) -> float:
    """What rounding may take from an intensity on the grid of steps without its leaving its place."""
    return 1e-6 * step
