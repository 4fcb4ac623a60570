"""Why a case is bad, as a picture: truth and prediction outlined on the scan, or on their own shadow.

Which cases are worst is found here too, from their scores. Drawing itself is `canvas.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from lesionlab.core.results import Scores
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.report import canvas, display
from lesionlab.report.canvas import Layer, View
from lesionlab.report.display import Array, Box, Orientation, Window
from lesionlab.report.figures import BODY_SUV, FIELD_SCALE, LEAST_FIELD_MM, WIDTH

HEIGHT = 3.6
"""Inches of the pictures of a case."""
SHADOW_MM = 40.0
"""Margin around masks that are drawn without a scan."""
WORST_BY: Mapping[str, bool] = {
    "dice": False,
    "lesion_f1": False,
    "hd95_mm": True,
    "volume_error_ml": True,
    "fp_volume_ml": True,
    "fn_volume_ml": True,
}
"""What the gallery looks for, and whether high values are bad; errors count without their sign."""


@dataclass(frozen=True, slots=True)
class Worst:
    """One bad case: for each metric in which it is among the worst, its rank (from 1) and its value."""

    case_id: str
    ranks: tuple[tuple[str, int, float], ...]


@dataclass(frozen=True, slots=True)
class Pictured:
    """A bad case with its picture (PNG) and what is seen there."""

    worst: Worst
    png: bytes
    caption: str = ""


def worst_cases(
    scores: Sequence[Scores], each: int = 3, by: Mapping[str, bool] = WORST_BY
) -> tuple[Worst, ...]:
    """The `each` worst cases of every metric in `by`, each case once, the worst by most metrics first.

    Undefined values are in no list, nor are perfect ones (an error of 0, a share of 1). Equally bad cases are
    taken in their order. No scores give none.
    """
    places: dict[str, list[tuple[str, int, float]]] = {}
    for name, high_is_bad in by.items():
        found = [(one.values.get(name, math.nan), one.case_id) for one in scores]
        perfect = 0.0 if high_is_bad else 1.0
        known = [(abs(v), v, case) for v, case in found if not math.isnan(v) and v != perfect]
        known.sort(key=lambda item: item[0], reverse=high_is_bad)
        for rank, (_, value, case) in enumerate(known[:each], start=1):
            places.setdefault(case, []).append((name, rank, value))
    best_first = sorted(places.items(), key=lambda item: (-len(item[1]), min(r for _, r, _ in item[1])))
    return tuple(Worst(case, tuple(ranks)) for case, ranks in best_first)


def case_picture(truth: Volume, mask: Volume, image: Volume | None = None) -> tuple[bytes, str]:
    """Projections with truth (blue) and prediction (red) outlined, and the slice where they differ most.

    All on one grid; masks are foreground where not 0. Without `image` the masks' own thickness is the grey
    value. A single image (z = 1) is shown as stored. Returns the PNG and a sentence that says
    what is shown.
    """
    true, predicted = truth.array > 0, mask.array > 0
    turn = display.orientation(truth.geometry)
    if turn.flat:
        parts = [_sliced(truth, true, predicted, image, turn, 0)]
    else:
        parts = [
            _projected(true, predicted, image, turn, plane) for plane in (display.CORONAL, display.SAGITTAL)
        ]
        parts.append(_sliced(truth, true, predicted, image, turn, _index(true, predicted, turn)))
    scale = min(HEIGHT / max(view.height_mm for _, view, _ in parts), _fitting(parts))
    # The close-up is a square of its own scale: it is there to be looked into.
    gap, above = 0.12, 0.28
    sizes = [_size(view, scale, number == 2) for number, (_, view, _) in enumerate(parts)]
    tall = max(height for _, height in sizes)
    across = sum(width for width, _ in sizes) + gap * (len(sizes) + 1)
    figure = Figure(figsize=(max(across, 3.0), tall + above + 0.06))
    left = gap
    for (title, view, layers), size in zip(parts, sizes, strict=True):
        axes = canvas.place(figure, left, above, size)
        canvas.show(axes, view, layers)
        canvas.scale_bar(axes, view, view.width_mm)
        axes.set_title(title, fontsize=9, color=canvas.INK, pad=4, loc="left")
        left += size[0] + gap
    return canvas.png(figure, dpi=110), _words(true, predicted, image)


def _size(view: View, scale: float, close: bool) -> tuple[float, float]:
    own = min(HEIGHT / view.height_mm, HEIGHT / view.width_mm) if close else scale
    return view.width_mm * own, view.height_mm * own


def _fitting(parts: Sequence[tuple[str, View, list[Layer]]]) -> float:
    """The scale at which the pictures beside the close-up fit into the page's width."""
    others = parts[:2] if len(parts) > 1 else parts
    room = WIDTH - 0.6 - (HEIGHT if len(parts) > 1 else 0.0)
    return room / sum(view.width_mm for _, view, _ in others)


def _words(true: Array, predicted: Array, image: Volume | None) -> str:
    parts = ["Blue: truth. Red: prediction."]
    parts += ["The truth is empty."] if not true.any() else []
    parts += ["The prediction is empty."] if not predicted.any() else []
    parts += ["Grey: thickness of both masks together, no scan was given."] if image is None else []
    return " ".join(parts)


def _layers(true: Array, predicted: Array) -> list[Layer]:
    return [
        Layer("truth", true, canvas.TRUTH, 1.9),
        Layer("prediction", predicted, canvas.REFINED, 1.0),
    ]


def _projected(
    true: Array, predicted: Array, image: Volume | None, turn: Orientation, plane: int
) -> tuple[str, View, list[Layer]]:
    flat = [display.projection(turn.turn(mask), plane) for mask in (true, predicted)]
    either = flat[0] | flat[1]
    if image is None:
        depth = turn.turn(true | predicted).sum(axis=plane)
        pixels = (depth if plane == display.AXIAL else depth[::-1]) * turn.spacing[plane]
        window = Window(0.0, max(1.0, 1.6 * float(pixels.max())), True, "")
        crop = display.content_box(either, turn.pixel_mm(plane), SHADOW_MM)
    else:
        pixels, window = display.projection(turn.turn(image.array), plane), display.window_of(image)
        body = (pixels > BODY_SUV) | either if image.unit == SUVBW else np.ones_like(either)
        box = display.content_box(body, turn.pixel_mm(plane), 15.0)
        crop = Box(0, pixels.shape[0], box.left, box.right)
    view = View(crop.cut(pixels), turn.pixel_mm(plane), window, display.LETTERS[plane])
    layers = _layers(crop.cut(flat[0]), crop.cut(flat[1]))
    return f"{display.PLANES[plane].capitalize()} projection", view, layers


def _index(true: Array, predicted: Array, turn: Orientation) -> int:
    """The slice in the plane of the images where most voxels differ; where none do, that of most truth."""
    plane = turn.native_plane
    others = tuple(axis for axis in range(3) if axis != plane)
    different = turn.turn(true ^ predicted).sum(axis=others)
    return int(np.argmax(different if different.any() else turn.turn(true).sum(axis=others)))


def _sliced(
    truth: Volume, true: Array, predicted: Array, image: Volume | None, turn: Orientation, index: int
) -> tuple[str, View, list[Layer]]:
    plane = display.AXIAL if turn.flat else turn.native_plane
    cut = [display.section(turn.turn(mask), plane, index) for mask in (true, predicted)]
    either = cut[0] | cut[1]
    pixel_mm = turn.pixel_mm(plane)
    crop = Box(0, either.shape[0], 0, either.shape[1])
    if not turn.flat:
        crop = display.square_box(either, pixel_mm, LEAST_FIELD_MM, FIELD_SCALE)
    if image is None:
        pixels, window = either * 1.0, Window(0.0, 6.0, True, "")
    else:
        pixels, window = display.section(turn.turn(image.array), plane, index), display.window_of(image)
    letters = None if turn.flat else display.LETTERS[plane]
    view = View(crop.cut(pixels), pixel_mm, window, letters, turn.flat and set(turn.spacing) == {1.0})
    layers = _layers(crop.cut(cut[0]), crop.cut(cut[1]))
    title = "Image as stored" if turn.flat else f"{display.PLANES[plane].capitalize()}, where most differs"
    return title, view, layers
