"""Pictures of agreement: difference against mean (Bland-Altman) and measured against reference with identity.

Only drawing; the numbers come from `evaluate/agreement.py` as plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lesionlab.report import canvas
from lesionlab.report.html import number

WIDTH, HEIGHT = 4.9, 3.9
LABELLED = 3
"""Points that carry their case's name on a Bland-Altman plot: the largest differences."""
NAME_POINTS = 10.0
"""Room of a name from one to the next, in points."""


@dataclass(frozen=True)
class Paired:
    """Pairs to draw: reference and measured values in one unit, and the case of each."""

    name: str
    unit: str
    reference: Sequence[float]
    measured: Sequence[float]
    cases: Sequence[str] = ()


@dataclass(frozen=True)
class Limits:
    """What a Bland-Altman plot draws across: bias and limits, each with (low, high) of its interval."""

    bias: tuple[float, float, float]
    lower: tuple[float, float, float]
    upper: tuple[float, float, float]


def bland_altman_png(pairs: Paired, limits: Limits) -> bytes:
    """Difference (measured - reference) against the mean of the two, with bias and limits, as PNG.

    Each line has its interval as a band; a line or band that is NaN is left out. The cases furthest from the
    bias carry their names. No pair gives axes that say so.
    """
    figure, axes = _axes(pairs, "difference against mean", room=0.8)
    reference, measured = (np.asarray(side, dtype=float) for side in (pairs.reference, pairs.measured))
    mean, difference = (reference + measured) / 2.0, measured - reference
    lines = ((limits.bias, canvas.TRUTH, "bias"), (limits.upper, canvas.REFINED, "upper limit"))
    for (value, low, high), colour, words in (*lines, (limits.lower, canvas.REFINED, "lower limit")):
        if np.isfinite([low, high]).all():
            axes.axhspan(low, high, color=colour, alpha=0.2, linewidth=0, zorder=1)
        if np.isfinite(value):
            axes.axhline(value, color=colour, linewidth=1.2, zorder=2)
            axes.annotate(
                f"{words}\n{number(value, pairs.unit)}",
                (1.0, value),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=colour,
            )
    axes.axhline(0.0, color=canvas.QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1.5)
    axes.plot(mean, difference, "o", markersize=4, color=canvas.INK, alpha=0.75, zorder=3)
    axes.margins(x=0.08, y=0.12)
    _name_outliers(axes, pairs.cases, mean, difference)
    axes.set_xlabel(_with_unit("mean of measured and reference", pairs.unit), fontsize=9)
    axes.set_ylabel(_with_unit("measured - reference", pairs.unit).replace(" - ", " \u2212 "), fontsize=9)
    return canvas.png(figure)


def identity_png(pairs: Paired, words: str = "") -> bytes:
    """Measured against reference on equal axes with the identity line, as PNG; `words` in a corner."""
    figure, axes = _axes(pairs, "measured against reference")
    values = np.array([*pairs.reference, *pairs.measured], dtype=float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    pad = 0.06 * (high - low) or 0.5
    ends = (low - pad, high + pad)
    axes.plot(ends, ends, color=canvas.TRUTH, linewidth=1.2, zorder=2)
    axes.plot(pairs.reference, pairs.measured, "o", markersize=4, color=canvas.INK, alpha=0.75, zorder=3)
    axes.set(xlim=ends, ylim=ends)
    axes.text(0.03, 0.97, words, transform=axes.transAxes, va="top", fontsize=8, color=canvas.INK)
    axes.set_xlabel(_with_unit("reference", pairs.unit), fontsize=9)
    axes.set_ylabel(_with_unit("measured", pairs.unit), fontsize=9)
    return canvas.png(figure)


def _axes(pairs: Paired, title: str, room: float = 0.2) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, HEIGHT))
    axes = canvas.place(figure, 0.85, 0.4, (WIDTH - 0.85 - room, HEIGHT - 1.0))
    axes.set_title(
        f"{pairs.name}: {title} ({len(pairs.reference)} pairs)", fontsize=10, loc="left", color=canvas.INK
    )
    axes.tick_params(labelsize=8.5)
    axes.grid(True, color="#e3e7ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if not len(pairs.reference):
        axes.text(0.5, 0.5, "no pair with both values", transform=axes.transAxes, ha="center", fontsize=9)
    return figure, axes


def _name_outliers(
    axes: Axes, cases: Sequence[str], mean: NDArray[np.float64], off: NDArray[np.float64]
) -> None:
    """Names of the cases furthest from the bias; those of neighbours stand one below the other."""
    if not len(cases):
        return
    furthest = np.argsort(-np.abs(off - off.mean()))[:LABELLED]
    middle = (mean.min() + mean.max()) / 2.0
    axes.autoscale_view()
    high = axes.transData.transform(np.column_stack([mean, off]))[:, 1] * 72.0 / axes.figure.dpi
    least = {True: np.inf, False: np.inf}
    for k in furthest[np.argsort(-off[furthest], kind="stable")]:
        left = bool(mean[k] > middle)
        least[left] = min(high[k], least[left] - NAME_POINTS)
        axes.annotate(
            cases[k],
            (mean[k], off[k]),
            xytext=(-12 if left else 12, least[left] - high[k]),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=7.5,
            color=canvas.QUIET,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
            arrowprops={"arrowstyle": "-", "linewidth": 0.5, "color": canvas.QUIET},
        )


def _with_unit(words: str, unit: str) -> str:
    return f"{words} ({unit})" if unit not in ("", "1") else words
