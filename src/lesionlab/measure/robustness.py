"""How much features change when a lesion is drawn or scanned a little differently.

Works with any function from an image and a mask to named numbers. The changes themselves are in `perturb`.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from lesionlab.core.components import foreground_box
from lesionlab.core.volume import Geometry, Volume
from lesionlab.measure.perturb import STANDARD, BoolArray, Perturbation, perturbed

Features = Callable[[Volume, BoolArray], Mapping[str, float]]
MARGIN_MM: Final = 20.0
"""Room around a lesion for its changes, and for spheres that reach beyond it."""
CONFIDENCE: Final = 0.95
VERDICTS: Final = ((0.9, "excellent"), (0.75, "good"), (0.5, "moderate"), (-math.inf, "poor"))
"""By the lower end of the interval (Koo and Li, J Chiropr Med 2016, doi 10.1016/j.jcm.2016.02.012)."""


@dataclass(frozen=True, slots=True)
class Robustness:
    """One feature over several lesions: ICC(1,1) with its 95 % interval, and how much it varies within one.

    `lesions` were used, those with a value for every change; `lesions_left_out` were not. `cv` is the median
    over lesions of standard deviation / |mean|, NaN where undefined.
    """

    feature: str
    icc: float
    low: float
    high: float
    lesions: int
    lesions_left_out: int
    cv: float

    @property
    def verdict(self) -> str:
        """The lower end of the interval in a word; "unknown" without one."""
        if math.isnan(self.low):
            return "unknown"
        return next(word for least, word in VERDICTS if self.low >= least)


def variations(
    image: Volume,
    mask: BoolArray,
    features: Features,
    *,
    key: str = "",
    seed: int = 0,
    changes: Sequence[Perturbation] = STANDARD,
) -> dict[str, NDArray[np.float64]]:
    """Every feature of one lesion as it is (first) and after each change, in their order.

    `mask` (z, y, x) covers the image. The random numbers depend on `seed` and `key` (the lesion's name)
    only, so that neither order nor company of lesions matters. An empty mask gives no features.
    """
    box = foreground_box(mask)
    if box is None:
        return {}
    cut, region = cropped(image, mask)
    random = np.random.default_rng([seed, zlib.crc32(key.encode())])
    values = [dict(features(cut, region))]
    values += [dict(features(*perturbed(cut, region, change, random))) for change in changes]
    names = dict.fromkeys(name for row in values for name in row)
    return {name: np.array([row.get(name, math.nan) for row in values]) for name in names}


def cropped(image: Volume, mask: BoolArray, margin_mm: float = MARGIN_MM) -> tuple[Volume, BoolArray]:
    """Image and mask cut to the mask's box with a margin, the grid's origin moved along."""
    box = foreground_box(mask)
    if box is None:
        return image, mask
    grid = image.geometry
    low = [max(0, s.start - math.ceil(margin_mm / mm)) for s, mm in zip(box, grid.spacing, strict=True)]
    high = [
        min(n, s.stop + math.ceil(margin_mm / mm))
        for s, mm, n in zip(box, grid.spacing, grid.shape, strict=True)
    ]
    inner = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    array = np.ascontiguousarray(image.array[inner])
    x, y, z = (float(v) for v in grid.to_world(low))
    return (
        Volume(array, Geometry(array.shape, grid.spacing, (x, y, z), grid.direction), image.unit),
        np.ascontiguousarray(mask[inner]),
    )


def robustness(lesions: Sequence[Mapping[str, NDArray[np.float64]]]) -> tuple[Robustness, ...]:
    """Each feature's ICC over lesions x changes, in the order in which features first appear.

    `lesions` are results of `variations` with the same changes. A lesion without a finite value for every
    change does not count for that feature. Below two lesions the ICC is NaN.
    """
    found = []
    for name in dict.fromkeys(name for lesion in lesions for name in lesion):
        rows = [lesion[name] for lesion in lesions if name in lesion and np.isfinite(lesion[name]).all()]
        table = np.array(rows) if rows else np.zeros((0, 0))
        icc, low, high = intraclass_correlation(table)
        known = [cv for cv in map(variation, rows) if not math.isnan(cv)]
        cv = float(np.median(known)) if known else math.nan
        found.append(Robustness(name, icc, low, high, len(rows), len(lesions) - len(rows), cv))
    return tuple(found)


def variation(values: NDArray[np.float64]) -> float:
    """Coefficient of variation: standard deviation (n - 1) / |mean|; NaN below two values or at mean 0."""
    if values.size < 2 or not np.isfinite(values).all() or values.mean() == 0:
        return math.nan
    return float(values.std(ddof=1) / abs(values.mean()))


def intraclass_correlation(table: NDArray[np.float64]) -> tuple[float, float, float]:
    """ICC(1,1) of a table (lesions, changes) with its two-sided 95 % interval.

    One-way random effects, single rating: (B - W) / (B + (k - 1) W) with the mean squares between (B) and
    within (W) lesions and k ratings each (Shrout and Fleiss, Psychol Bull 1979, doi
    10.1037/0033-2909.86.2.420). Every change counts as error, a systematic one too. NaN below two lesions or
    two ratings, and where nothing differs at all.
    """
    if table.ndim != 2 or min(table.shape) < 2:
        return math.nan, math.nan, math.nan
    lesions, ratings = table.shape
    means = table.mean(axis=1)
    between = ratings * float(((means - means.mean()) ** 2).sum()) / (lesions - 1)
    within = float(((table - means[:, None]) ** 2).sum()) / (lesions * (ratings - 1))
    # what rounding leaves of values that are all the same is no variance
    least = (np.abs(table).max() * 1e-12) ** 2
    if within <= least:
        return (1.0, 1.0, 1.0) if between > least else (math.nan, math.nan, math.nan)
    ratio = between / within
    tail = 1.0 - (1.0 - CONFIDENCE) / 2
    first, second = lesions - 1, lesions * (ratings - 1)
    low = ratio / float(stats.f.ppf(tail, first, second))
    high = ratio * float(stats.f.ppf(tail, second, first))
    icc, lower, upper = ((f - 1.0) / (f + ratings - 1.0) for f in (ratio, low, high))
    return icc, lower, upper
