from __future__ import annotations

import io
import math

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from lesionlab.report import canvas
from lesionlab.report.agreement_plots import Limits, Paired, bland_altman_png, identity_png
from lesionlab.report.canvas import REFINED, TRUTH, to_rgb255

NONE = (math.nan, math.nan, math.nan)


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def coloured(image: np.ndarray, colour: str) -> np.ndarray:
    return np.abs(image - to_rgb255(colour)).max(axis=2) <= 12


def pairs(n: int = 20) -> Paired:
    reference = np.linspace(5, 50, n)
    return Paired(
        "TMTV", "ml", reference, reference + np.tile([1.0, -1.0], n // 2), [f"p{k}" for k in range(n)]
    )


def test_lines_stand_where_bias_and_limits_are() -> None:
    limits = Limits((0.0, -0.2, 0.2), (-2.0, -2.3, -1.7), (2.0, 1.7, 2.3))
    image = pixels(bland_altman_png(pairs(), limits))
    bias, limit = coloured(image, TRUTH).sum(axis=1), coloured(image, REFINED).sum(axis=1)
    half = image.shape[1] / 2
    assert (bias > half).sum() >= 1
    rows = np.flatnonzero(limit > half)
    assert rows.min() < np.flatnonzero(bias > half).mean() < rows.max()  # one limit above, one below
    bare = pixels(bland_altman_png(pairs(), Limits(NONE, NONE, NONE)))
    assert not (coloured(bare, REFINED).sum(axis=1) > half).any()


def test_the_line_of_identity_is_the_diagonal() -> None:
    blue = coloured(pixels(identity_png(pairs(), "CCC 0.99")), TRUTH)
    rows, columns = np.nonzero(blue)
    assert np.corrcoef(rows, columns)[0, 1] < -0.999  # up to the right: rows count from above


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_pairs_are_drawn_too(n: int) -> None:
    some = Paired("SUVmax", "g/ml{SUVbw}", [3.0] * n, [4.0] * n)
    for png in (bland_altman_png(some, Limits(NONE, NONE, NONE)), identity_png(some)):
        assert pixels(png).shape[0] > 400


def test_the_same_pairs_give_the_same_bytes() -> None:
    assert identity_png(pairs()) == identity_png(pairs())


def drawn(monkeypatch: pytest.MonkeyPatch, some: Paired, limits: Limits):
    """The figure, its renderer ready, and the texts that stand on its axes."""
    kept = []
    monkeypatch.setattr(canvas, "png", lambda figure: kept.append(figure) or b"")
    bland_altman_png(some, limits)
    FigureCanvasAgg(kept[0]).draw()
    return kept[0].axes[0].texts


def test_limits_beyond_a_thousand_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = drawn(monkeypatch, pairs(), Limits((-311.2496, 0, 0), (-1625.4919, 0, 0), (1002.9928, 0, 0)))
    assert [t.get_text() for t in texts[:3]] == [
        "bias\n−311.25",
        "upper limit\n1002.99",
        "lower limit\n−1625.49",
    ]


@pytest.mark.parametrize("size", [1.0, 1000.0])
def test_names_of_neighbours_do_not_lie_on_each_other(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    reference = size * np.array([27.9, 54.3, 79.9, 182.0, 1532.0])
    measured = size * np.array([19.1, 49.6, 122.1, 105.4, 24.0])
    names = [f"STS_00{k}" for k in range(5)]
    some = Paired("TMTV", "ml", reference, measured, names)
    texts = [t for t in drawn(monkeypatch, some, Limits(NONE, NONE, NONE)) if t.get_text() in names]
    boxes = [t.get_window_extent() for t in texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for k, a in enumerate(boxes) for b in boxes[:k])
