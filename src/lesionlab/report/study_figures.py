"""The plots of a study: means with intervals, ranks with intervals, who beats whom, quality by cost.

Plain numbers in, PNG bytes out; what is shown where is decided in `study.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from lesionlab.report import canvas
from lesionlab.report.figures import WIDTH

Rows = Sequence[Mapping[str, Any]]
LEVEL = 0.05
"""A corrected p below this counts as a difference."""
LINE_IN = 0.24
"""Height of a variant's line, in inches."""
FILL = "#e3e7ea"
NAMED = 3
"""So many of the best variants carry their name in the plot of costs."""
PANEL_PT, NAME_PT = 150.0, 10.0
"""Height between the lowest and the highest point of that plot, and of a name, in points."""
WIDE = 30.0
"""Half of a log scale, as a factor, from which only powers of ten are labelled."""
LETTER_IN = 0.073
"""Width of a letter of a variant's name, in inches, at 9 points."""


def dots(rows: Rows, metric: str = "dice") -> bytes:
    """Each variant's mean with its interval, one below the other; hollow where it is below the best."""
    figure, axes = _lines([str(row["variant"]) for row in rows])
    for place, row in enumerate(rows):
        worse = _worse(row)
        colour = canvas.QUIET if worse else canvas.TRUTH
        low, high = row[f"{metric}_low"], row[f"{metric}_high"]
        if not math.isnan(low):
            axes.plot([low, high], [place, place], color=colour, linewidth=1.6, solid_capstyle="butt")
        axes.plot(
            row[metric],
            place,
            "o",
            markersize=6,
            color=colour,
            markerfacecolor="white" if worse else colour,
            zorder=3,
        )
    best = rows[0][metric]
    if not math.isnan(best):
        axes.axvline(best, color=canvas.REFINED, linewidth=0.9, linestyle="dashed", zorder=0)
    return canvas.png(figure)


def ranks(rows: Rows) -> bytes:
    """Each variant's rank with its interval over resamples of patients, and how often it is first."""
    figure, axes = _lines([str(row["variant"]) for row in rows], right=0.75)
    for place, row in enumerate(rows):
        axes.plot(
            [row["rank_low"], row["rank_high"]],
            [place, place],
            color=canvas.TRUTH,
            linewidth=5,
            alpha=0.35,
            solid_capstyle="butt",
        )
        axes.plot(row["rank"], place, "o", markersize=5, color=canvas.TRUTH, zorder=3)
        if row["first_share"] >= 0.005:
            axes.annotate(
                f"first {row['first_share']:.0%}",
                (1.0, place),
                xycoords=("axes fraction", "data"),
                xytext=(6, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.locator_params(axis="x", integer=True)
    return canvas.png(figure)


def matrix(rows: Rows, pairs: NDArray[np.float64]) -> bytes:
    """Who beats whom: dark where the variant of the row is better than that of the column and the difference
    is significant, pale where it is worse, empty where they cannot be told apart.
    """
    names = [str(row["variant"]) for row in rows]
    count = len(names)
    left, side = _matrix_size(names)
    figure = Figure(figsize=(left + side + 0.3, side + 0.55))
    axes = canvas.place(figure, left, 0.35, (side, side))
    for i in range(count):
        for j in range(count):
            if i == j:
                axes.add_patch(_cell(i, j, FILL))
            elif pairs[i, j] < LEVEL:
                better = rows[i]["dice"] > rows[j]["dice"]
                axes.add_patch(_cell(i, j, canvas.TRUTH if better else "#f6c9d0"))
    axes.set(xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xticks=range(count), yticks=range(count))
    axes.set_xticklabels([str(k + 1) for k in range(count)], fontsize=8)
    axes.set_yticklabels([f"{name}  {k + 1}" for k, name in enumerate(names)], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_xticks(np.arange(-0.5, count), minor=True)
    axes.set_yticks(np.arange(-0.5, count), minor=True)
    axes.grid(True, which="minor", color="white", linewidth=1)
    axes.tick_params(which="minor", length=0)
    return canvas.png(figure)


def matrix_px(rows: Rows) -> int:
    """Width of `matrix` in CSS pixels at which its text has its nominal size."""
    return round((sum(_matrix_size([str(row["variant"]) for row in rows])) + 0.3) * 96)


def _matrix_size(names: Sequence[str]) -> tuple[float, float]:
    """Inches of the names' margin and of the square beside it."""
    left = _margin(names) + 0.1
    return left, min(0.26, (WIDTH - left - 0.3) / max(1, len(names))) * len(names)


def by_cost(rows: Rows) -> bytes:
    """Mean Dice against parameters and against seconds per case, both on log scales; the best three named."""
    figure = Figure(figsize=(WIDTH, 3.1))
    panels = (("parameters", 1e6, "parameters, millions"), ("seconds_per_case", 1.0, "seconds per case"))
    for number, (key, unit, words) in enumerate(panels):
        axes = canvas.place(figure, 0.55 + number * 5.0, 0.3, (4.2, 2.3))
        points = [(row[key] / unit, row["dice"], str(row["variant"])) for row in rows if row[key] > 0]
        low, high = min((p[0] for p in points), default=1.0), max((p[0] for p in points), default=1.0)
        below = names_below([y for _, y, _ in points[:NAMED]], [y for _, y, _ in points])
        for place, (x, y, name) in enumerate(points):
            right = x * x > low * high  # in the right half of a log scale the name goes to the left
            axes.plot(x, y, "o", markersize=5, color=canvas.TRUTH, alpha=0.7, markeredgewidth=0)
            if place < NAMED:
                axes.annotate(
                    name,
                    (x, y),
                    xytext=(-6 if right else 6, -below[place]),
                    textcoords="offset points",
                    fontsize=8,
                    va="center",
                    ha="right" if right else "left",
                )
        if points:
            axes.set_xscale("log")
            middle, half = math.sqrt(low * high), max(math.sqrt(high / low) * 1.3, 4.0)
            axes.set_xlim(middle / half, middle * half)  # a decade at least, so that ticks stay apart
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if half < WIDE else (1.0,)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(words, fontsize=8.5)
        axes.set_title("mean Dice", fontsize=9.5, loc="left")
        _quiet(axes, "both")
    return canvas.png(figure)


def names_below(named: Sequence[float], heights: Sequence[float]) -> list[float]:
    """How many points below its own each name is written, so that none lies on another; the highest is first.

    `heights` are those of all points, which fill the panel.
    """
    span = max(heights) - min(heights) if heights else 0.0
    per_point = PANEL_PT / span if span > 0 else 0.0
    found: list[float] = []
    last = math.inf
    for height in np.nan_to_num(named).tolist():
        own = height * per_point
        last = min(own, last - NAME_PT)
        found.append(own - last)
    return found


def _worse(row: Mapping[str, Any]) -> bool:
    return bool(row["p_holm"] < LEVEL)


def _lines(names: Sequence[str], right: float = 0.3) -> tuple[Figure, Axes]:
    """A figure with a line per name, the first on top."""
    height, left = LINE_IN * max(2, len(names)), _margin(names)
    figure = Figure(figsize=(WIDTH, height + 0.5))
    axes = canvas.place(figure, left, 0.1, (WIDTH - left - right, height))
    axes.set(ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)))
    axes.set_yticklabels(names, fontsize=9)
    _quiet(axes, "x")
    return figure, axes


def _margin(names: Sequence[str]) -> float:
    return 0.35 + LETTER_IN * max((len(name) for name in names), default=0)


def _cell(i: int, j: int, colour: str) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=colour, linewidth=0)


def _quiet(axes: Axes, grid: Any) -> None:
    axes.tick_params(labelsize=8.5)
    axes.grid(True, axis=grid, color=FILL, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
