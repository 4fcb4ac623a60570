"""The plots of an evaluation: distributions over cases, Dice by volume, lesions by size, curves.

Plain numbers in, PNG bytes out; what is shown where is decided in `evaluation.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from lesionlab.report import canvas
from lesionlab.report.figures import WIDTH

Floats = NDArray[np.float64]
POINTS_MOST = 2000
"""So many cases are drawn as single points; beyond that only their box is."""
FILL = "#e3e7ea"
NAMED = 3
"""So many of the worst cases carry their name in a scatter plot."""


def known(values: ArrayLike) -> Floats:
    """The finite ones of the values."""
    array = np.asarray(values, dtype=np.float64)
    return array[np.isfinite(array)]


def shares(rows: Mapping[str, ArrayLike]) -> bytes:
    """A box with all points for each named set of shares (0 to 1), one below the other, as PNG.

    The box holds the middle half and the median, its whiskers reach to the last point within 1.5 box lengths;
    the diamond is the mean. Undefined values are left out and counted beside the name.
    """
    height = 0.42 * max(1, len(rows))
    figure = Figure(figsize=(WIDTH, height + 0.45))
    axes = canvas.place(figure, 2.9, 0.1, (WIDTH - 3.2, height))
    labels = []
    for place, (name, given) in enumerate(rows.items()):
        values = known(given)
        _box(axes, values, place)
        without = np.size(given) - len(values)
        labels.append(f"{name}  (n {len(values)}{f', {without} undefined' if without else ''})")
    axes.set(xlim=(-0.02, 1.02), ylim=(max(1, len(rows)) - 0.5, -0.5), yticks=range(len(rows)))
    axes.set_yticklabels(labels, fontsize=9)
    axes.set_xticks(np.arange(0, 1.01, 0.1))
    _quiet(axes, "x")
    return canvas.png(figure)


def _box(axes: Axes, values: Floats, place: float) -> None:
    if not len(values):
        axes.text(0.5, place, "undefined in every case", ha="center", va="center", fontsize=8.5)
        return
    low, middle, high = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (high - low)
    ends = values[values >= low - reach].min(), values[values <= high + reach].max()
    axes.plot(ends, [place, place], color=canvas.QUIET, linewidth=1.0, zorder=1)
    axes.fill_between([low, high], place - 0.3, place + 0.3, color=FILL, linewidth=0.8, zorder=2)
    if len(values) <= POINTS_MOST:
        # Points of one value are spread the same way every time, so that a page can be made again.
        shift = (np.arange(len(values)) * 0.618034) % 1.0 - 0.5
        axes.plot(
            np.sort(values),
            place + 0.5 * shift,
            "o",
            markersize=3.2,
            color=canvas.TRUTH,
            alpha=0.6,
            markeredgewidth=0,
            zorder=3,
        )
    axes.plot([middle, middle], [place - 0.3, place + 0.3], color=canvas.INK, linewidth=1.8, zorder=4)
    axes.plot(values.mean(), place, "D", markersize=4.5, color=canvas.REFINED, zorder=5)


def histograms(panels: Mapping[str, ArrayLike]) -> bytes:
    """Histograms side by side (at most four), each titled and with its median as a line, as PNG."""
    shown = list(panels.items())[:4]
    gap, left = 0.55, 0.45
    across = (WIDTH - left - gap * len(shown)) / max(1, len(shown)) + gap * 0.35
    figure = Figure(figsize=(WIDTH, 2.4))
    for number, (title, given) in enumerate(shown):
        axes = canvas.place(figure, left + number * (across + gap * 0.75), 0.35, (across, 1.75))
        values = known(given)
        if len(values):
            bins = min(30, max(8, math.ceil(2 * len(values) ** 0.5)))
            axes.hist(values, bins=bins, color=canvas.TRUTH, alpha=0.6, edgecolor="white", linewidth=0.6)
            middle = float(np.median(values))
            axes.axvline(middle, color=canvas.REFINED, linewidth=1.4)
            axes.set_title(f"{middle:.3g}", fontsize=8.5, loc="right", color=canvas.REFINED)
        axes.set_title(title, fontsize=9.5, loc="left")
        axes.locator_params(axis="y", integer=True, nbins=5)
        axes.locator_params(axis="x", nbins=5)
        _quiet(axes, "y")
    return canvas.png(figure)


def by_volume(names: Sequence[str], volumes_ml: ArrayLike, dice: ArrayLike, axes: Axes) -> None:
    """Dice of each case against the volume of its truth (log scale); the worst carry their names."""
    volume, score = np.asarray(volumes_ml, dtype=np.float64), np.asarray(dice, dtype=np.float64)
    kept = np.isfinite(score) & (volume > 0)
    axes.plot(volume[kept], score[kept], "o", markersize=4, color=canvas.TRUTH, alpha=0.65, markeredgewidth=0)
    axes.set_xscale("log")
    low, high = (float(f(volume[kept])) for f in (np.min, np.max)) if kept.any() else (1.0, 10.0)
    axes.set(xlim=(low / 1.6, high * 1.6), ylim=(-0.03, 1.03))
    worst = np.flatnonzero(kept)[np.argsort(score[kept], kind="stable")][:NAMED]
    # Names of neighbours would run into each other: all stand on one side, the one farther out higher.
    right = bool(kept.any() and np.median(volume[worst]) > math.sqrt(low * high))
    worst = worst[np.argsort(volume[worst] if right else -volume[worst], kind="stable")]
    for position, i in enumerate(worst):
        near = sum(abs(score[i] - score[j]) < 0.06 for j in worst[:position])
        axes.annotate(
            names[i],
            (volume[i], score[i]),
            xytext=(-14 if right else 14, 12 + 11 * near),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            arrowprops={"arrowstyle": "-", "linewidth": 0.6, "color": canvas.REFINED},
        )
    axes.plot(volume[worst], score[worst], "o", markersize=4, color=canvas.REFINED, markeredgewidth=0)
    axes.set_title("Dice by volume of the truth", fontsize=9.5, loc="left")
    axes.set_xlabel("volume of the truth, ml", fontsize=8.5)
    ticks = [10.0**n for n in range(-3, 6) if low / 1.6 <= 10.0**n <= high * 1.6]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    _quiet(axes, "both")


def by_size(bins: Sequence[Mapping[str, float]], axes: Axes) -> None:
    """Share of lesions found by size; each bar says found / lesions. Bins without lesions stay empty."""
    words = [size_words(item["low_ml"], item["high_ml"]) for item in bins]
    for place, item in enumerate(bins):
        lesions, found = int(item["lesions"]), int(item["found"])
        share = found / lesions if lesions else 0.0
        axes.bar(place, share, width=0.72, color=canvas.TRUTH, alpha=0.6)
        axes.text(place, share + 0.02, f"{found}/{lesions}", ha="center", va="bottom", fontsize=8.5)
    axes.set(ylim=(0, 1.13), xticks=range(len(bins)), yticks=np.arange(0, 1.01, 0.2))
    axes.set_xticklabels(words, fontsize=8.5)
    axes.set_title("Lesions found, by size", fontsize=9.5, loc="left")
    axes.set_xlabel("volume of the true lesion, ml", fontsize=8.5)
    _quiet(axes, "y")


def size_words(low: float, high: float | None) -> str:
    """A range of sizes in words."""
    if high is None or math.isinf(high):
        return f"{low:g} and more"
    return f"under {high:g}" if low == 0 else f"{low:g} to {high:g}"


def volumes_and_sizes(
    names: Sequence[str], volumes_ml: ArrayLike, dice: ArrayLike, bins: Sequence[Mapping[str, float]]
) -> bytes:
    """Dice by volume and, where lesions are known, sensitivity by size beside it, as PNG."""
    figure = Figure(figsize=(WIDTH, 2.95))
    by_volume(names, volumes_ml, dice, canvas.place(figure, 0.45, 0.35, (4.2, 2.1)))
    if bins:
        by_size(bins, canvas.place(figure, 5.35, 0.35, (4.4, 2.1)))
    return canvas.png(figure)


def curves(
    reliability: Sequence[tuple[float, float]],
    dice: Sequence[tuple[float, float]],
    froc: Sequence[tuple[float, float]],
) -> bytes:
    """Reliability (mean probability, observed share), Dice by threshold and FROC, side by side, as PNG.

    Each is a list of points (x, y), undefined ones left out; an empty list leaves its axes empty.
    """
    figure = Figure(figsize=(WIDTH, 3.2))
    places = [canvas.place(figure, left, 0.35, (2.55, 2.25)) for left in (0.5, 3.85, 7.2)]
    first, second, third = places
    first.plot([0, 1], [0, 1], color=canvas.QUIET, linewidth=1, linestyle="dashed")
    _line(first, reliability, "o-")
    first.set_title("Reliability", fontsize=9.5, loc="left")
    first.set_xlabel("mean probability", fontsize=8.5)
    first.set_ylabel("observed share", fontsize=8.5)
    first.set(xlim=(0, 1), ylim=(0, 1))
    _line(second, dice, "-")
    second.set_title("Dice by threshold", fontsize=9.5, loc="left")
    second.set_xlabel("probability threshold", fontsize=8.5)
    second.set(xlim=(0, 1), ylim=(0, 1))
    if froc:
        # Steps: between two operating points the lower sensitivity is what can be had.
        ordered = np.array(sorted(froc))
        third.step(ordered[:, 0], ordered[:, 1], where="post", color=canvas.TRUTH, linewidth=1.4)
        third.set_xlim(0, max(1.0, float(ordered[:, 0].max()) * 1.05))
    third.set_title("FROC", fontsize=9.5, loc="left")
    third.set_xlabel("false lesions per scan", fontsize=8.5)
    third.set_ylabel("lesion sensitivity", fontsize=8.5)
    third.set_ylim(0, 1.02)
    for axes in places:
        _quiet(axes, "both")
    return canvas.png(figure)


def _line(axes: Axes, points: Sequence[tuple[float, float]], style: str) -> None:
    kept = np.array([point for point in points if all(math.isfinite(v) for v in point)]).reshape(-1, 2)
    axes.plot(kept[:, 0], kept[:, 1], style, color=canvas.TRUTH, linewidth=1.4, markersize=3.5)


def _quiet(axes: Axes, grid: Literal["both", "x", "y"]) -> None:
    axes.tick_params(labelsize=8.5)
    axes.grid(True, axis=grid, color=FILL, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
