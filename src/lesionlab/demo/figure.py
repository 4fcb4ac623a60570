"""The demo's own picture: every lesion found against known, for each method."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lesionlab.demo.compare import LesionMatch, PatientMatch

COLOURS = ("#c4122f", "#7a8793")
MARKS = ("o", "x")


def found_against_known(matches: Mapping[str, Sequence[PatientMatch]]) -> bytes:
    """A PNG with two panels: volume in ml and SUVmax of each known lesion, found against known.

    Missed lesions lie on the zero line of the volumes. At most two methods are told apart.
    """
    figure = Figure(figsize=(9.4, 4.2), layout="constrained")
    volumes, uptakes = figure.subplots(1, 2)
    for (method, patients), colour, mark in zip(matches.items(), COLOURS, MARKS, strict=False):
        lesions = [lesion for patient in patients for lesion in patient.lesions]
        false = sum(patient.false_positives for patient in patients)
        found = sum(lesion.found for lesion in lesions)
        label = f"{method}: {found} of {len(lesions)} found, {false} false"
        style = {"color": colour, "marker": mark, "linestyle": "none", "markersize": 6, "alpha": 0.85}
        volumes.plot(*_points(lesions, volume=True), label=label, **style)
        uptakes.plot(*_points(lesions, volume=False), label=label, **style)
    _dress(volumes, "volume", "ml")
    _dress(uptakes, "SUVmax", "SUVbw, g/ml")
    if matches:
        volumes.legend(loc="upper left", frameon=False, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _points(lesions: Sequence[LesionMatch], *, volume: bool) -> tuple[list[float], list[float]]:
    known = [lesion.known.volume_ml if volume else lesion.known.suv for lesion in lesions]
    found = [lesion.found_ml if volume else lesion.found_suvmax for lesion in lesions]
    missing = 0.0 if volume else math.nan
    return known, [value if lesion.found else missing for value, lesion in zip(found, lesions, strict=True)]


def _dress(axes: Axes, quantity: str, unit: str) -> None:
    end = max(axes.get_xlim()[1], axes.get_ylim()[1])
    axes.plot([0, end], [0, end], color="#333333", linewidth=0.8, zorder=0)
    axes.set(xlim=(0, end), ylim=(-0.02 * end, end), aspect="equal")
    axes.set_xlabel(f"known {quantity if quantity == 'volume' else 'uptake'} ({unit})")
    axes.set_ylabel(f"found {quantity} ({unit})")
    axes.grid(color="#e6e9ed", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
