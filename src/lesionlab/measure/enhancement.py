"""Enhancement of a DCE series, voxel by voxel: percentages, ratios, classes and times as arrays.

Pure functions of arrays. Which voxels are a lesion and what it measures as a whole is in `kinetics.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import scipy  # ndimage is loaded where it is first used
from numpy.typing import NDArray

from lesionlab.core.settings import KineticsSettings

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PERSISTENT, PLATEAU, WASHOUT = 1, 2, 3
BACKGROUND_PERCENTILE: Final = 95.0


@dataclass(frozen=True, slots=True, eq=False)
class Enhancement:
    """Maps over one box, (z, y, x); NaN where undefined (not analysed, or a zero denominator).

    `analysed` is where the signal before contrast reaches the background limit. `percent` holds PE in % for
    each phase after contrast, `percent_early` that of the early one; `change` the percentage from
    early to late signal; `curve` the class (0 = none, 1 persistent, 2 plateau, 3 washout); `enhancing`
    the voxels of the functional tumour volume. `time_to_peak` (s), `upslope` (%/s) and `auc` (%.s) are
    None without times, `auc` also where the last phase comes too early.
    """

    analysed: BoolArray
    percent: tuple[FloatArray, ...]
    percent_early: FloatArray
    ratio: FloatArray
    change: FloatArray
    curve: NDArray[np.uint8]
    enhancing: BoolArray
    peak: FloatArray
    time_to_peak: FloatArray | None
    upslope: FloatArray | None
    auc: FloatArray | None


def background_limit(before: NDArray[Any], settings: KineticsSettings) -> float:
    """The least signal before contrast that is analysed: as set, or a share of the 95th percentile.

    `before` is S0 in the box around the mask. Noise divided by noise gives percentages of any size, so air
    and fat-suppressed fat are left out. No voxel gives 0.
    """
    if settings.background is not None:
        return settings.background
    finite = before[np.isfinite(before)]
    if not finite.size:
        return 0.0
    return settings.background_share * float(np.percentile(finite, BACKGROUND_PERCENTILE))


def percent_enhancement(before: FloatArray, after: FloatArray) -> FloatArray:
    """PE = 100 (S - S0) / S0 in %; NaN where S0 is not above 0."""
    return _ratio(100.0 * (after - before), np.where(before > 0, before, np.nan))


def signal_enhancement_ratio(before: FloatArray, early: FloatArray, late: FloatArray) -> FloatArray:
    """SER = (S_early - S0) / (S_late - S0); NaN where the late signal is that before contrast."""
    return _ratio(early - before, late - before)


def signal_change(early: FloatArray, late: FloatArray) -> FloatArray:
    """100 (S_late - S_early) / S_early in %; NaN where the early signal is not above 0."""
    return percent_enhancement(early, late)


def curve_class(change: FloatArray, plateau: float) -> NDArray[np.uint8]:
    """1 (persistent) above +plateau %, 3 (washout) below -plateau %, 2 (plateau) between; 0 for NaN."""
    classes = np.where(change > plateau, PERSISTENT, np.where(change < -plateau, WASHOUT, PLATEAU))
    return np.asarray(np.where(np.isnan(change), 0, classes), dtype=np.uint8)


def with_neighbours(mask: BoolArray, least: int) -> BoolArray:
    """The voxels of a mask that have at least so many others of it among their 26 neighbours."""
    if least <= 0:
        return mask
    count = scipy.ndimage.convolve(mask.astype(np.int16), np.ones((3, 3, 3), np.int16), mode="constant")
    return np.asarray(mask & (count - 1 >= least))


def peak_of(percent: tuple[FloatArray, ...]) -> tuple[FloatArray, NDArray[np.intp]]:
    """The highest PE of each voxel and the phase after contrast (from 0) that first has it."""
    peak = percent[0].copy()
    phase = np.zeros(peak.shape, dtype=np.intp)
    for number, array in enumerate(percent[1:], start=1):
        higher = array > peak
        peak[higher], phase[higher] = array[higher], number
    return peak, phase


def upslope_of(percent: tuple[FloatArray, ...], times_s: tuple[float, ...]) -> FloatArray:
    """The steepest rise between successive points of the curve, %/s; its first point is 0 % at the injection.

    `times_s` are those of the phases after contrast, above 0. Signal does not rise before contrast comes, so
    the curve begins at the injection and not in the middle of the first phase.
    """
    steepest = percent[0] / times_s[0]
    for k in range(1, len(percent)):
        slope = (percent[k] - percent[k - 1]) / (times_s[k] - times_s[k - 1])
        steepest = np.maximum(steepest, slope)
    return np.asarray(steepest, dtype=np.float64)


def auc_of(percent: tuple[FloatArray, ...], times_s: tuple[float, ...], until_s: float) -> FloatArray | None:
    """Area under the curve of PE from the injection (0 %) to `until_s`, straight between points, in %.s.

    None when the last phase lies before that time.
    """
    if times_s[-1] < until_s:
        return None
    knots = np.array([0.0, *(t for t in times_s if t < until_s), until_s])
    area = np.zeros(percent[0].shape)
    for number, array in enumerate(percent):
        # The curve is linear in each PE, and so is its area: the weight is that of a single 1 %.
        unit = np.interp(knots, (0.0, *times_s), np.eye(len(percent) + 1)[number + 1])
        area += float((np.diff(knots) * (unit[1:] + unit[:-1]) / 2.0).sum()) * array
    return area


def enhancement(
    signals: tuple[NDArray[Any], ...],
    times_s: tuple[float, ...] | None,
    settings: KineticsSettings,
    limit: float,
) -> Enhancement:
    """All maps of a box from the signal of each phase; `limit` is the background limit.

    `settings.early` and `late` must be phases. With one phase after contrast, early is also the
    late one: the ratio, the change and the class are undefined, and enhancing is decided by PE alone.
    Otherwise an enhancing voxel must also still be above its signal before contrast in the late phase.
    """
    arrays = [np.asarray(s, dtype=np.float64) for s in signals]
    before, last = arrays[0], len(arrays) - 1
    analysed = np.asarray((before >= limit) & (before > 0))
    for array in arrays:
        analysed &= np.isfinite(array)
    arrays = [np.where(analysed, array, np.nan) for array in arrays]
    before = arrays[0]
    percent = tuple(percent_enhancement(before, after) for after in arrays[1:])
    late = settings.late or last
    enhancing = np.asarray(percent[settings.early - 1] >= settings.enhancing)
    ratio = change = np.full(before.shape, np.nan)
    if late > settings.early:
        early_signal, late_signal = arrays[settings.early], arrays[late]
        ratio = signal_enhancement_ratio(before, early_signal, late_signal)
        change = signal_change(early_signal, late_signal)
        enhancing &= late_signal > before
    peak, phase = peak_of(percent)
    after_s = None if times_s is None else times_s[1:]
    return Enhancement(
        analysed=analysed,
        percent=percent,
        percent_early=percent[settings.early - 1],
        ratio=ratio,
        change=change,
        curve=curve_class(change, settings.plateau),
        enhancing=with_neighbours(enhancing, settings.neighbours),
        peak=peak,
        time_to_peak=None if after_s is None else np.where(analysed, np.asarray(after_s)[phase], np.nan),
        upslope=None if after_s is None else upslope_of(percent, after_s),
        auc=None if after_s is None else auc_of(percent, after_s, settings.auc_s),
    )


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    quotient = np.full(above.shape, np.nan)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient
