"""Pictures of what changed between two timepoints: every lesion's uptake twice, and the changes in order.

Only drawing; what the changes are was decided in `measure/response.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from lesionlab.core.response import Change, Response
from lesionlab.report import canvas

SHOWN = 24
"""Lesions in a picture; the table and changes.csv have all."""
LIMIT_PERCENT = 30.0
MOST_PERCENT = 200.0
"""Longer bars are cut here and carry their number."""
WIDTH, HEIGHT = 10.0, 3.6
COLOURS = {"up": canvas.REFINED, "down": canvas.TRUTH, "flat": "#8a949c", "new": canvas.RAW}


def peak_name(response: Response) -> str:
    """SULpeak where it is known wherever SUVpeak is, else SUVpeak."""
    sides = [side for one in (*response.changes, response.totals) for side in (one.baseline, one.followup)]
    known = [side["SULpeak"] for side in sides if not math.isnan(side["SUVpeak"])]
    return "SULpeak" if known and not any(math.isnan(value) for value in known) else "SUVpeak"


def changes_figure(response: Response) -> Figure:
    """Peak uptake of each lesion at both timepoints (left), and its change in percent in order (right)."""
    name = peak_name(response)
    chosen = sorted(response.changes, key=lambda change: -_weight(change, name))[:SHOWN]
    figure = Figure(figsize=(WIDTH, HEIGHT))
    left = canvas.place(figure, 0.75, 0.45, (3.0, HEIGHT - 1.0))
    right = canvas.place(figure, 4.95, 0.45, (WIDTH - 5.15, HEIGHT - 1.0))
    _pairs(left, chosen, name)
    _waterfall(right, chosen, name)
    hidden = len(response.changes) - len(chosen)
    if hidden:
        words = f"the {SHOWN} hottest of {len(response.changes)} lesions"
        figure.text(0.75 / WIDTH, 0.02, words, fontsize=8.5, color="#4d565e")
    return figure


def _weight(change: Change, name: str) -> float:
    values = (change.baseline[name], change.followup[name])
    return max((value for value in values if not math.isnan(value)), default=0.0)


def colour_of(change: Change, name: str) -> str:
    """Red up, blue down, grey within 30 %, orange for a new lesion."""
    if change.match.kind == "new":
        return COLOURS["new"]
    percent = change.percent[name]
    if math.isnan(percent) or abs(percent) < LIMIT_PERCENT:
        return COLOURS["flat"]
    return COLOURS["up"] if percent > 0 else COLOURS["down"]


def _pairs(axes: Axes, changes: Sequence[Change], name: str) -> None:
    """A line per lesion from baseline to follow-up; new ones have a point at the right alone."""
    ends: dict[int, float] = {}
    for position, change in enumerate(changes):
        values = (change.baseline[name], change.followup[name])
        hollow = change.match.kind == "vanished"
        colour = colour_of(change, name)
        axes.plot([0, 1], values, color=colour, linewidth=1.4, marker="o", markersize=5, zorder=3)
        if hollow and not math.isnan(values[1]):
            axes.plot([1], [values[1]], "o", markersize=5, color=colour, markerfacecolor="white", zorder=4)
        if not math.isnan(values[1]):
            ends[position] = values[1]
    axes.set(xlim=(-0.2, 1.5), xticks=[0, 1], xticklabels=["baseline", "follow-up"])
    axes.set_ylim(bottom=0.0)
    top = axes.get_ylim()[1]
    gap = 0.062 * top
    if len(ends) <= 12:
        placed = canvas.spread({k: top - v for k, v in ends.items()}, gap, top)
        for position, depth in placed.items():
            change = changes[position]
            axes.text(
                1.07,
                top - depth,
                change.match.words,
                fontsize=8.5,
                va="center",
                color=colour_of(change, name),
            )
    _dress(axes, f"{name} of each lesion")
    axes.set_ylabel(f"{name} (g/ml)", fontsize=9)


def _waterfall(axes: Axes, changes: Sequence[Change], name: str) -> None:
    """Bars of the change in percent from the largest rise to the largest fall; new lesions stand first."""
    fresh = [change for change in changes if change.match.kind == "new"]
    known = [c for c in changes if c.match.kind != "new" and not math.isnan(c.percent[name])]
    known.sort(key=lambda change: -change.percent[name])
    bars = [*fresh, *known]
    heights = [MOST_PERCENT if c.match.kind == "new" else c.percent[name] for c in bars]
    largest = min(MOST_PERCENT, max([*(c.percent[name] for c in known), 2 * LIMIT_PERCENT]))
    top = largest + 0.16 * (largest + 115.0)
    for position, (change, height) in enumerate(zip(bars, heights, strict=True)):
        new = change.match.kind == "new"
        shown = largest if new else max(min(height, largest), -100.0)
        axes.bar(
            position,
            shown,
            width=0.72,
            facecolor="white" if new else colour_of(change, name),
            edgecolor=colour_of(change, name),
            linewidth=1.2,
            zorder=3,
        )
        if len(bars) <= 14:
            words = "new" if new else f"{height:+.0f} %".replace("-", "−")
            axes.text(
                position,
                shown + (0.02 if shown >= 0 else -0.02) * (top + 115),
                words,
                ha="center",
                va="bottom" if shown >= 0 else "top",
                fontsize=8.5,
                color=canvas.INK,
                zorder=5,
                path_effects=[withStroke(linewidth=2.5, foreground="white")],
            )
    for level in (LIMIT_PERCENT, -LIMIT_PERCENT):
        axes.axhline(level, color="#5f6b75", linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    axes.axhline(0.0, color=canvas.INK, linewidth=0.9, zorder=4)
    axes.set(xlim=(-0.7, max(len(bars), 3) - 0.3), ylim=(-118.0, top))
    axes.set_xticks(range(len(bars)), [change.match.words for change in bars], fontsize=8)
    if len(bars) > 8:
        axes.tick_params(axis="x", rotation=60)
    _dress(axes, f"Change of {name} (dashed: 30 %)")
    axes.set_ylabel("change in %", fontsize=9)
    if not bars:
        axes.text(
            0.5, 0.5, "no lesion with a known change", transform=axes.transAxes, ha="center", fontsize=9
        )


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left", color=canvas.INK)
    axes.tick_params(labelsize=8.5)
    axes.grid(True, axis="y", color="#e3e7ea", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
