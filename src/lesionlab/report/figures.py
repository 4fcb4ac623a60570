"""The figures of a report: projections, slices through a lesion, a thumbnail, training curves.

Chooses what is shown together and lays it out; cutting arrays is `display.py`, drawing them `canvas.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy  # ndimage is loaded where it is first used

from lesionlab.core.components import components
from lesionlab.core.results import Findings
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.report import canvas, display
from lesionlab.report.canvas import Layer, View
from lesionlab.report.display import Array, Box, Orientation, Window

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH = 10.0
"""Inches; at 96 pixels each, a little less than the page."""
SIDE, TITLE = 0.5, 0.3
NUMBERED = 20
"""So many lesions carry their number on a projection, the largest first."""
CHANNELS_SHOWN = 4
PANELS_PER_ROW = 7
LEAST_FIELD_MM = 120.0
FIELD_SCALE = 1.6
BODY_SUV = 0.4
"""Uptake that counts as body where a projection is cropped; air lies below it."""


def layers_of(findings: Findings) -> list[Layer]:
    """The masks (z, y, x) to outline, in drawing order, the refined mask last and on top.

    The truth is among them where it is known, the raw mask where refinement changed it.
    """
    prediction, truth = findings.prediction, findings.case.truth
    refined = prediction.mask.array > 0
    layers = []
    if truth is not None:
        layers.append(Layer("truth", truth.array > 0, canvas.TRUTH, 2.4))
    if prediction.raw_mask is not None:
        raw = prediction.raw_mask.array > 0
        if not np.array_equal(raw, refined):
            words = "raw mask (seen where refinement changed it)"
            layers.append(Layer(words, raw, canvas.RAW, 1.2, dashed=True))
    many = len(findings.lesions.rows) > NUMBERED
    words = (
        f"refined mask, the {NUMBERED} largest lesions numbered" if many else "refined mask, lesions numbered"
    )
    layers.append(Layer(words, refined, canvas.REFINED, 1.1))
    return layers


def lesion_boxes(labels: Array) -> dict[int, tuple[slice, slice, slice]]:
    """Lesion number to its box in a label array, the largest lesion first."""
    sizes = np.bincount(labels.ravel())
    boxes = {n: box for n, box in enumerate(scipy.ndimage.find_objects(labels), start=1) if box is not None}
    return {n: boxes[n] for n in sorted(boxes, key=lambda n: (-int(sizes[n]), n))}


def projections(findings: Findings) -> Figure:
    """Coronal and sagittal maximum-intensity projections of the reference channel with all outlines.

    For a single image (z = 1) the image itself, as stored. Lesions carry their numbers in the margins.
    """
    volume = findings.case.channels[findings.case.reference]
    turn = display.orientation(volume.geometry)
    window = display.window_of(volume)
    layers = layers_of(findings)
    planes = [display.AXIAL] if turn.flat else [display.CORONAL, display.SAGITTAL]
    parts = [_projected(findings, turn, plane, layers, window) for plane in planes]
    views = [view for view, _, _ in parts]
    scale = _scale(views)
    below = 0.25 + 0.19 * (len(layers) + 1)
    height = TITLE + views[0].height_mm * scale + below
    width = sum(view.width_mm * scale + 2 * SIDE for view in views)
    figure = canvas.blank(max(width, 5.0), height)
    left, narrow = 0.0, min(view.width_mm for view in views)
    for plane, (view, shown, boxes) in zip(planes, parts, strict=True):
        size = (view.width_mm * scale, view.height_mm * scale)
        axes = canvas.place(figure, left + SIDE, TITLE, size)
        canvas.show(axes, view, shown)
        canvas.number_lesions(axes, view, boxes)
        canvas.scale_bar(axes, view, narrow)
        title = "Image as stored" if turn.flat else f"{display.PLANES[plane].capitalize()}, maximum intensity"
        axes.set_title(title, fontsize=10, color=canvas.INK, pad=5)
        left += size[0] + 2 * SIDE
    canvas.legend(figure, layers, _scale_words(findings.case.reference, window), height - below + 0.12)
    return figure


def _scale_words(channel: str, window: Window) -> str:
    dark = "dark = high" if window.inverted else "bright = high"
    return f"grey scale: {channel_words(channel)}, {window.words}, {dark}"


def _scale(views: Sequence[View]) -> float:
    """Inches per mm: as high as reads well for that field of view, no wider than the page."""
    high = max(view.height_mm for view in views)
    wanted = min(max(high / 60, 4.2), 7.8)
    across = WIDTH - 2 * SIDE * len(views)
    return min(wanted / high, across / sum(view.width_mm for view in views))


def _projected(
    findings: Findings, turn: Orientation, plane: int, layers: Sequence[Layer], window: Window
) -> tuple[View, list[Layer], dict[int, Box]]:
    """One projection cropped to the body: its view, its outlines, its lesions' boxes (largest first)."""
    volume = findings.case.channels[findings.case.reference]
    picture = display.projection(turn.turn(volume.array), plane)
    flat_layers = [
        Layer(x.words, display.projection(turn.turn(x.mask), plane), x.colour, x.width, x.dashed)
        for x in layers
    ]
    crop = _body(picture, volume, flat_layers, turn, plane)
    labels = turn.turn(findings.lesions.labels.array)
    boxes = {
        n: display.picture_box(box, plane, labels.shape).within(crop)
        for n, box in list(lesion_boxes(labels).items())[:NUMBERED]
    }
    shown = [Layer(x.words, crop.cut(x.mask), x.colour, x.width, x.dashed) for x in flat_layers]
    return view_of(crop.cut(picture), turn, plane, window), shown, boxes


def _body(picture: Array, volume: Volume, layers: Sequence[Layer], turn: Orientation, plane: int) -> Box:
    """On SUV the body with a margin, rows kept whole so that both projections align; else everything."""
    if volume.unit != SUVBW or turn.flat:
        return Box(0, picture.shape[0], 0, picture.shape[1])
    wanted = picture > BODY_SUV
    for layer in layers:
        wanted = wanted | layer.mask
    box = display.content_box(wanted, turn.pixel_mm(plane), 15.0)
    return Box(0, picture.shape[0], box.left, box.right)


def view_of(pixels: Array, turn: Orientation, plane: int, window: Window) -> View:
    """A cut picture with the pixel size and edge letters that belong to its plane."""
    unscaled = turn.flat and set(turn.spacing) == {1.0}
    letters = None if turn.flat else display.LETTERS[plane]
    return View(pixels, turn.pixel_mm(plane), window, letters, unscaled)


def channel_words(name: str) -> str:
    """A channel's name as people write it: short names are abbreviations."""
    return name.upper() if len(name) <= 3 else name


def region_slices(findings: Findings, region: Array) -> Figure:
    """Slices through the centre of a lesion (a boolean array), side by side, in the plane of the images.

    Each channel bare (at most four), then on the reference channel the truth where known, the raw mask where
    there is one, and the refined mask, all with one field of view of at least 120 mm.
    """
    case = findings.case
    turn = display.orientation(case.geometry)
    plane = turn.native_plane
    turned = turn.turn(region)
    index = central_slice(turned, plane)
    outline = display.projection(turned, plane)
    crop = display.square_box(outline, turn.pixel_mm(plane), LEAST_FIELD_MM, FIELD_SCALE)

    def cut(array: Array) -> Array:
        return crop.cut(display.section(turn.turn(array), plane, index))

    panels: list[tuple[str, str, View, list[Layer]]] = []
    for name in _channels_shown(findings):
        window = display.window_of(case.channels[name])
        view = view_of(cut(case.channels[name].array), turn, plane, window)
        panels.append((channel_words(name), window.words, view, []))
    reference = case.channels[case.reference]
    beneath = view_of(cut(reference.array), turn, plane, display.window_of(reference))
    this = cut(region)
    for title, mask, colour in _masks(findings):
        shown = cut(mask) > 0
        words = "" if shown.any() else "nothing in this slice"
        panels.append((title, words, beneath, _mask_layers(title, shown, this, colour)))
    return _panels(panels)


def missed(findings: Findings) -> tuple[Array, list[int]]:
    """Connected parts of the truth, numbered by size, and the numbers of those the refined mask misses."""
    truth = findings.case.truth
    if truth is None:
        return findings.lesions.labels.array, []
    parts, boxes = components((truth.array > 0).astype(np.uint8))
    touched = set(np.unique(parts[findings.prediction.mask.array > 0]).tolist())
    return parts, [n for n in range(1, len(boxes) + 1) if n not in touched]


def central_slice(mask: Array, plane: int) -> int:
    """The slice across `plane` nearest to the mask's centroid among those that the mask reaches."""
    others = tuple(axis for axis in range(3) if axis != plane)
    counts = mask.sum(axis=others)
    centre = float(np.average(np.arange(counts.size), weights=counts))
    reached = np.flatnonzero(counts)
    return int(reached[np.argmin(np.abs(reached - centre))])


def _channels_shown(findings: Findings) -> list[str]:
    case = findings.case
    names = [case.reference, *(name for name in case.channels if name != case.reference)]
    return names[:CHANNELS_SHOWN]


def _masks(findings: Findings) -> list[tuple[str, Array, str]]:
    truth, raw = findings.case.truth, findings.prediction.raw_mask
    masks = [] if truth is None else [("truth", truth.array, canvas.TRUTH)]
    masks += [] if raw is None else [("raw mask", raw.array, canvas.RAW)]
    return [*masks, ("refined mask", findings.prediction.mask.array, canvas.REFINED)]


def _mask_layers(title: str, shown: Array, this: Array, colour: str) -> list[Layer]:
    """The outline; on the refined mask this lesion bold and its neighbours thin."""
    if title != "refined mask":
        return [Layer(title, shown, colour, 1.5)]
    return [Layer("other lesions", shown & ~this, colour, 0.7), Layer(title, this, colour, 1.7)]


def _panels(panels: Sequence[tuple[str, str, View, list[Layer]]]) -> Figure:
    gap, above = 0.09, 0.4
    rows = -(-len(panels) // PANELS_PER_ROW)
    columns = -(-len(panels) // rows)
    view = panels[0][2]
    across = min(2.3, (WIDTH + gap) / columns - gap)
    down = across * view.height_mm / view.width_mm
    if down > 2.6:
        across, down = across * 2.6 / down, 2.6
    figure = canvas.blank(columns * (across + gap), rows * (down + above) + 0.04)
    for position, (title, words, panel, layers) in enumerate(panels):
        row, column = divmod(position, columns)
        corner = (column * (across + gap) + gap / 2, row * (down + above) + above)
        axes = canvas.place(figure, corner[0], corner[1], (across, down))
        canvas.show(
            axes, panel if position == 0 else View(panel.pixels, panel.pixel_mm, panel.window), layers
        )
        if position == 0:
            canvas.scale_bar(axes, panel, panel.width_mm)
        axes.text(0, 1.025, words, transform=axes.transAxes, fontsize=8.5, color="#4d565e", va="bottom")
        axes.text(
            0,
            1.025 + 0.165 / down,
            title,
            transform=axes.transAxes,
            fontsize=9.5,
            fontweight="bold",
            color=canvas.INK,
            va="bottom",
        )
    return figure


def thumbnail(findings: Findings) -> bytes:
    """A small coronal projection with outlines as PNG, for the table of a cohort."""
    volume = findings.case.channels[findings.case.reference]
    turn = display.orientation(volume.geometry)
    plane = display.AXIAL if turn.flat else display.CORONAL
    thin = [Layer(x.words, x.mask, x.colour, x.width / 2, x.dashed) for x in layers_of(findings)]
    view, shown, _ = _projected(findings, turn, plane, thin, display.window_of(volume))
    scale = min(2.15 / view.height_mm, 1.6 / view.width_mm)
    size = (view.width_mm * scale, view.height_mm * scale)
    figure = canvas.blank(size[0] + 0.02, size[1] + 0.02)
    bare = View(view.pixels, view.pixel_mm, view.window)
    canvas.show(canvas.place(figure, 0.01, 0.01, size), bare, shown)
    return canvas.png(figure, dpi=140)


def training_curves(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Loss and validation Dice over the epochs as PNG.

    Each row is an epoch with `epoch`, and where known `train_loss`, `validation_loss`, `dice` and `seconds`;
    missing values leave gaps. No row gives empty axes that say so.
    """
    from matplotlib.ticker import MaxNLocator

    figure = canvas.blank(WIDTH, 3.1)
    losses, dice = canvas.place(figure, 0.65, 0.4, (3.9, 2.1)), canvas.place(figure, 5.4, 0.4, (3.9, 2.1))
    epochs = [float(row["epoch"]) for row in rows]
    marker = "o" if len(rows) == 1 else None
    for key, words, colour in (
        ("train_loss", "training", canvas.TRUTH),
        ("validation_loss", "validation", canvas.RAW),
    ):
        losses.plot(epochs, _values(rows, key), color=colour, linewidth=1.4, marker=marker, label=words)
    values = _values(rows, "dice")
    dice.plot(epochs, values, color=canvas.REFINED, linewidth=1.4, marker=marker)
    if np.isfinite(values).any():
        best = int(np.nanargmax(values))
        dice.plot(epochs[best], values[best], "o", color=canvas.REFINED, markersize=5)
        dice.set_title(f"best {values[best]:.3f} at epoch {epochs[best]:g}", fontsize=8.5, loc="right")
    spent = float(np.nansum(_values(rows, "seconds")))
    losses.set_title("Loss", fontsize=10, loc="left")
    dice.set_title("Validation Dice", fontsize=10, loc="left")
    if rows:
        losses.legend(fontsize=8.5, frameon=False)
        figure.text(
            0.65 / WIDTH, 0.03, f"{len(rows)} epochs, {_duration(spent)}", fontsize=8.5, color="#4d565e"
        )
    else:
        figure.text(0.5, 0.5, "no epoch finished", ha="center", fontsize=10)
    for axes in (losses, dice):
        axes.set_xlabel("epoch", fontsize=9)
        axes.tick_params(labelsize=8.5)
        axes.grid(True, color="#e3e7ea", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    dice.set_ylim(0.0, 1.0)
    return canvas.png(figure)


def _values(rows: Sequence[Mapping[str, Any]], key: str) -> Array:
    found = (row.get(key) for row in rows)
    return np.asarray([np.nan if value in (None, "") else float(value) for value in found], dtype=np.float64)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
