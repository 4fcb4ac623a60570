from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

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
