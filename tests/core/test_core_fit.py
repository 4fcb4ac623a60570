"""Slices resized to a fixed number of pixels, and back."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lesionlab.core.errors import GeometryError
from lesionlab.core.fit import fit, fit_labels, fit_volume, weights
from lesionlab.core.volume import Geometry, Volume


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_flat_slices_stay_flat_and_no_value_leaves_the_range(rows, columns, high, wide):
    flat = fit(np.full((2, rows, columns), 7.0), (high, wide))
    np.testing.assert_allclose(flat, 7.0, rtol=1e-5)
    image = np.random.default_rng(rows).uniform(-3, 5, (rows, columns))
    resized = fit(image, (high, wide))
    assert resized.shape == (high, wide)
    assert image.min() - 1e-5 <= resized.min() and resized.max() <= image.max() + 1e-5


@pytest.mark.parametrize("size", [(128, 128), (30, 200), (353, 274), (500, 600)])
def test_agrees_with_pillow(size):
    image = np.random.default_rng(0).uniform(0, 255, (353, 274)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
    np.testing.assert_allclose(fit(image, size), theirs, atol=0.02)


def test_labels_come_back_where_they_were():
    y, x = np.mgrid[:300, :240]
    truth = (((y - 150) / 60) ** 2 + ((x - 100) / 40) ** 2 <= 1).astype(np.uint8)
    truth += 2 * (((y - 60) / 30) ** 2 + ((x - 180) / 30) ** 2 <= 1).astype(np.uint8)
    back = fit_labels(fit_labels(truth[None], (128, 128)), (300, 240))[0]
    assert back.dtype == np.uint8 and set(np.unique(back)) == {0, 1, 2}
    for label in (1, 2):
        both = np.count_nonzero((back == label) & (truth == label))
        assert 2 * both / (np.count_nonzero(back == label) + np.count_nonzero(truth == label)) > 0.97


def test_an_even_split_is_background():
    assert fit_labels(np.array([[0, 3], [3, 0]], np.uint8), (1, 1)).tolist() == [[0]]


def test_a_resized_volume_counts_pixels():
    volume = Volume(np.ones((3, 8, 9)), Geometry((3, 8, 9), (2.5, 0.1, 0.2)), "1")
    assert fit_volume(volume, (4, 4)).geometry == Geometry((3, 4, 4), (2.5, 1.0, 1.0))
    flat = Volume(np.ones((1, 8, 9)), Geometry((1, 8, 9), (9.0, 0.1, 0.2)), "1")
    assert fit_volume(flat, (4, 4)).geometry.spacing == (1.0, 1.0, 1.0)


def test_nothing_to_resize_and_impossible_sizes():
    image = np.ones((4, 5), np.float32)
    assert fit(image, (4, 5)) is image
    assert weights(5, 5).tolist() == np.eye(5).tolist()
    with pytest.raises(GeometryError, match="two axes of at least one pixel"):
        fit(np.ones((4, 0)), (2, 2))


def test_the_same_bits_with_any_number_of_threads():
    """A study knows its data by their content: another machine's threads must not train it all anew."""
    code = (
        "import hashlib, numpy as np; from lesionlab.core.fit import fit;"
        "image = np.random.default_rng(3).uniform(0, 1, (2, 531, 765)).astype(np.float32);"
        "print(hashlib.sha256(fit(image, (320, 320)).tobytes()).hexdigest())"
    )
    hashes = set()
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        hashes.add(done.stdout)
    assert len(hashes) == 1
