"""Drawing one picture: grey values in mm, mask outlines on voxel edges, lesion numbers, letters, scale bar.

matplotlib's objects on the Agg canvas only: no pyplot, no global state; it is imported when the first picture
is drawn, because commands without a report wait for it too. What is drawn together is decided in
`figures.py`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lesionlab.report.display import Array, Box, Window

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image

REFINED, TRUTH, RAW = "#d81b3c", "#0077e6", "#e08a00"
INK, QUIET, PAPER = "#1c2126", "#8a949c", "#ffffff"
DPI = 150
LABEL_POINTS = 9.0
SUBSAMPLES = 4
"""Points per voxel edge when outlining, so that an outline follows the voxels' own edges."""

BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True)
class Layer:
    """A mask to outline. The words are those of the legend."""

    words: str
    mask: Array
    colour: str
    width: float
    dashed: bool = False


@dataclass(frozen=True)
class View:
    """A picture with all it takes to draw it.

    `pixel_mm` is height and width of a pixel; `letters` stand at the left, right, top and bottom edge (None
    for images of unknown orientation); `unscaled` says that the pixel size is not known.
    """

    pixels: Array
    pixel_mm: tuple[float, float]
    window: Window
    letters: tuple[str, str, str, str] | None = None
    unscaled: bool = False

    @property
    def ink(self) -> tuple[str, str]:
        """Colours of writing on the picture and of the halo around it, so that it reads on either."""
        return (INK, PAPER) if self.window.inverted else (PAPER, INK)

    @property
    def height_mm(self) -> float:
        """Height of the picture."""
        return float(self.pixels.shape[0] * self.pixel_mm[0])

    @property
    def width_mm(self) -> float:
        """Width of the picture."""
        return float(self.pixels.shape[1] * self.pixel_mm[1])


def blank(width: float, height: float) -> Figure:
    """An empty figure, sizes in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _halo(width: float, colour: str) -> list[Any]:
    """A line around writing, so that it reads on any grey."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground=colour)]


def png(figure: Figure, dpi: int = DPI) -> bytes:
    """A figure as a PNG file's bytes; the same figure gives the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, facecolor="white", metadata={"Software": None})
    small = io.BytesIO()
    # Half the size; the palette holds the very colours that the legend speaks of.
    picture = Image.open(buffer).convert("RGB")
    picture.quantize(palette=_palette(), dither=Image.Dither.NONE).save(small, format="png")
    return small.getvalue()


@functools.cache
def _palette() -> Image.Image:
    """256 colours: 136 greys, and each line colour at five opacities over eight greys."""
    from PIL import Image

    # Pillow looks colours up by their upper six bits; a gap below white keeps white from turning grey.
    levels = [*np.linspace(0, 248, 135).round().astype(int).tolist(), 255]
    greys = [(level,) * 3 for level in levels]
    lines = [
        tuple(round(share * part + (1 - share) * grey) for part in to_rgb255(colour))
        for colour in (REFINED, TRUTH, RAW)
        for share in (0.2, 0.4, 0.6, 0.8, 1.0)
        for grey in np.linspace(0, 255, 8)
    ]
    image = Image.new("P", (1, 1))
    image.putpalette([part for colour in (*greys, *lines) for part in colour])
    return image


def to_rgb255(colour: str) -> tuple[int, int, int]:
    """Red, green and blue, 0 to 255, of a colour like #d81b3c."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def width_px(figure: Figure) -> int:
    """Width in CSS pixels at which a figure's text has its nominal size."""
    return round(float(figure.get_size_inches()[0]) * 96)


def place(figure: Figure, left: float, top: float, size: tuple[float, float]) -> Axes:
    """Axes of the given (width, height), all in inches from the figure's upper left corner."""
    width, height = (float(value) for value in figure.get_size_inches())
    axes: Axes = figure.add_axes(
        (left / width, 1 - (top + size[1]) / height, size[0] / width, size[1] / height)
    )
    return axes


def show(axes: Axes, view: View, layers: Sequence[Layer]) -> None:
    """Draw the picture in mm (origin at its upper left corner), then the outlines, then the edge letters."""
    axes.imshow(
        view.pixels,
        cmap="gray_r" if view.window.inverted else "gray",
        vmin=view.window.low,
        vmax=view.window.high,
        extent=(0.0, view.width_mm, view.height_mm, 0.0),
        interpolation="bilinear",
        aspect="auto",  # the axes have the picture's own proportions
    )
    for layer in layers:
        outline(axes, layer, view.pixel_mm)
    axes.set(xlim=(0.0, view.width_mm), ylim=(view.height_mm, 0.0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=QUIET, linewidth=0.6)
    pen, halo = view.ink
    places = ((0.015, "left"), (0.985, "right"), (0.5, "center"))
    for letter, (x, across) in zip(view.letters or (), places, strict=False):
        axes.text(
            x,
            0.985,
            letter,
            transform=axes.transAxes,
            ha=across,
            va="top",
            fontsize=LABEL_POINTS,
            color=pen,
            path_effects=_halo(2.2, halo),
        )


def outline(axes: Axes, layer: Layer, pixel_mm: tuple[float, float]) -> None:
    """Outline a mask along the edges of its pixels; an empty mask draws nothing."""
    rows, columns = (np.flatnonzero(layer.mask.any(axis=axis)) for axis in (1, 0))
    if rows.size == 0:
        return
    inside = layer.mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    fine = np.pad(np.kron(inside, np.ones((SUBSAMPLES, SUBSAMPLES), dtype=np.uint8)), 1)
    y = ((np.arange(fine.shape[0]) - 0.5) / SUBSAMPLES + rows[0]) * pixel_mm[0]
    x = ((np.arange(fine.shape[1]) - 0.5) / SUBSAMPLES + columns[0]) * pixel_mm[1]
    axes.contour(
        x,
        y,
        fine,
        levels=[0.5],
        colors=[layer.colour],
        linewidths=[layer.width],
        linestyles=["dashed" if layer.dashed else "solid"],
    )


def number_lesions(axes: Axes, view: View, boxes: Mapping[int, Box]) -> list[int]:
    """Write lesion numbers beside the picture, each with a thin line to its lesion; the numbers written.

    Each stands on the nearer side, spread so that no two overlap. `boxes` are in the order of importance:
    where a side is full, the later ones are left out.
    """
    inches = _height_inches(axes)
    gap = 1.35 * LABEL_POINTS / 72 / inches * view.height_mm
    room = max(1, int(view.height_mm / gap))
    sides: tuple[dict[int, Box], dict[int, Box]] = ({}, {})
    for number, box in boxes.items():
        side = sides[(box.left + box.right) * view.pixel_mm[1] / 2 > view.width_mm / 2]
        if len(side) < room:
            side[number] = box
    offset = 0.16 / inches * view.height_mm
    for right, side in enumerate(sides):
        heights = {n: (box.top + box.bottom) / 2 * view.pixel_mm[0] for n, box in side.items()}
        x = view.width_mm + offset if right else -offset
        for number, y in spread(heights, gap, view.height_mm).items():
            box = side[number]
            edge = (box.right if right else box.left) * view.pixel_mm[1]
            axes.plot(
                [x, edge], [y, heights[number]], color=REFINED, linewidth=0.6, alpha=0.75, clip_on=False
            )
            axes.text(
                x,
                y,
                str(number),
                ha="left" if right else "right",
                va="center",
                fontsize=LABEL_POINTS,
                fontweight="bold",
                color=REFINED,
            )
    axes.set(xlim=(0.0, view.width_mm), ylim=(view.height_mm, 0.0))
    return sorted(number for side in sides for number in side)


def _height_inches(axes: Axes) -> float:
    figure = axes.get_figure(root=True)
    whole = 1.0 if figure is None else float(figure.get_size_inches()[1])
    return whole * float(axes.get_position().height)


def spread(wanted: Mapping[int, float], gap: float, length: float) -> dict[int, float]:
    """Positions near the wanted ones, in their order, at least `gap` apart and within `length`."""
    order = sorted(wanted, key=lambda key: wanted[key])
    placed: dict[int, float] = {}
    least = gap / 2
    for key in order:
        placed[key] = max(wanted[key], least)
        least = placed[key] + gap
    most = length - gap / 2
    for key in reversed(order):
        placed[key] = min(placed[key], most)
        most = placed[key] - gap
    return placed


def scale_bar(axes: Axes, view: View, within_mm: float) -> None:
    """A bar of the longest round length up to a third of `within_mm`, in the lower left corner."""
    fitting = [length for length in BARS_MM if length <= within_mm / 3]
    if not fitting:
        return
    length, top = fitting[-1], view.height_mm
    inches = _height_inches(axes)
    point = top / inches / 72
    start = 5 * point
    pen, halo = view.ink
    axes.plot(
        [start, start + length],
        [top - 6 * point] * 2,
        color=pen,
        linewidth=2.2,
        solid_capstyle="butt",
        path_effects=_halo(4.0, halo),
    )
    axes.text(
        start,
        top - 9 * point,
        f"{length} px" if view.unscaled else f"{length} mm",
        ha="left",
        va="bottom",
        fontsize=8,
        color=pen,
        path_effects=_halo(2.2, halo),
    )


def legend(figure: Figure, layers: Sequence[Layer], note: str, top: float) -> None:
    """Line samples with their words and a closing note, one below the other, `top` inches from above."""
    from matplotlib.lines import Line2D

    width, height = (float(value) for value in figure.get_size_inches())
    for row, layer in enumerate(layers):
        y = 1 - (top + 0.09 + 0.19 * row) / height
        style = "dashed" if layer.dashed else "solid"
        figure.add_artist(
            Line2D([0.1 / width, 0.42 / width], [y, y], color=layer.colour, linewidth=2, linestyle=style)
        )
        figure.text(0.5 / width, y, layer.words, fontsize=LABEL_POINTS, color=INK, va="center")
    y = 1 - (top + 0.09 + 0.19 * len(layers)) / height
    figure.text(0.1 / width, y, note, fontsize=LABEL_POINTS, color=INK, va="center")
