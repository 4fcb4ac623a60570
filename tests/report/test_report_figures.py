from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from lesionlab.core import units
from lesionlab.core.results import Findings
from lesionlab.core.volume import Geometry
from lesionlab.report import canvas, figures
from lesionlab.report.canvas import Layer, View, png
from lesionlab.report.display import Box, Window

MakeFindings = Callable[..., Findings]


def read(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def share_of(colour: str, data: bytes) -> int:
    """Pixels of nearly that colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(read(data) - wanted).sum(axis=2) < 60).sum())


def test_the_shown_projections_have_the_head_up_and_the_left_side_right(make_findings: MakeFindings) -> None:
    geometry = Geometry((20, 30, 40), (5.0, 4.0, 3.0))  # array axes towards S, P, L
    suv = np.full(geometry.shape, 1.0, np.float32)
    suv[18, 3, 36] = 9.0  # superior, anterior, left
    coronal, sagittal = figures.projections(make_findings(suv=suv, geometry=geometry)).axes
    for axes, column in ((coronal, 36), (sagittal, 3)):
        shown = np.asarray(axes.images[0].get_array())
        assert tuple(np.unravel_index(np.argmax(shown), shown.shape)) == (1, column)
        assert axes.images[0].get_clim() == (0.0, 10.0)
    letters = [text.get_text() for text in coronal.texts]
    assert letters[:3] == ["R", "L", "S"]
    assert [text.get_text() for text in sagittal.texts][:3] == ["A", "P", "S"]


def test_projections_have_true_proportions(make_findings: MakeFindings) -> None:
    geometry = Geometry((20, 30, 40), (5.0, 4.0, 3.0))
    findings = make_findings(suv=np.full(geometry.shape, 1.0, np.float32), geometry=geometry)
    figure = figures.projections(findings)
    width, height = figure.get_size_inches()
    coronal, sagittal = (axes.get_position() for axes in figure.axes)
    per_mm = coronal.height * height / (20 * 5.0)
    assert coronal.width * width == pytest.approx(40 * 3.0 * per_mm)
    assert sagittal.width * width == pytest.approx(30 * 4.0 * per_mm)
    assert sagittal.height * height == pytest.approx(coronal.height * height)


def test_each_lesion_is_numbered_on_each_projection(two_lesions: Findings) -> None:
    for axes in figures.projections(two_lesions).axes:
        texts = [text.get_text() for text in axes.texts]
        assert {"1", "2"} <= set(texts)


def test_truth_raw_and_refined_have_their_colours_and_words(two_lesions: Findings) -> None:
    figure = figures.projections(two_lesions)
    words = [text.get_text() for text in figure.texts]
    assert any("truth" in text for text in words)
    assert any("raw mask" in text for text in words)
    assert any("SUVbw 0 to 10 g/ml" in text for text in words)
    data = png(figure)
    for colour in (canvas.TRUTH, canvas.RAW, canvas.REFINED):
        assert share_of(colour, data) > 20


def test_a_raw_mask_that_refinement_left_alone_is_not_drawn_apart(make_findings: MakeFindings) -> None:
    mask = np.zeros((20, 30, 40), bool)
    mask[5, 5, 5] = True
    layers = figures.layers_of(make_findings(mask, raw=mask))
    assert [layer.colour for layer in layers] == [canvas.REFINED]


def test_an_empty_mask_draws_the_image_alone(make_findings: MakeFindings) -> None:
    data = png(figures.projections(make_findings()))
    # the line in the legend is all there is
    assert share_of(canvas.REFINED, data) < 300


def test_a_single_image_is_shown_as_stored_with_its_outline(make_findings: MakeFindings) -> None:
    geometry = Geometry((1, 60, 80), (1.0, 1.0, 1.0))
    mask = np.zeros(geometry.shape, bool)
    mask[0, 10:20, 30:50] = True
    image = np.arange(4800, dtype=np.uint8).reshape(geometry.shape)
    findings = make_findings(mask, geometry=geometry, suv=image, unit=units.STORED)
    (axes,) = figures.projections(findings).axes
    assert np.array_equal(np.asarray(axes.images[0].get_array()), image[0])
    texts = [text.get_text() for text in axes.texts]
    assert "1" in texts
    assert not {"R", "L", "S"} & set(texts)
    assert any(text.endswith(" px") for text in texts)  # no pixel size is claimed


def test_slices_hold_every_channel_and_mask(two_lesions: Findings) -> None:
    labels = two_lesions.lesions.labels.array
    figure = figures.region_slices(two_lesions, labels == 1)
    titles = [axes.texts[-1].get_text() for axes in figure.axes]
    assert titles == ["SUV", "truth", "raw mask", "refined mask"]
    data = png(figure)
    for colour in (canvas.TRUTH, canvas.RAW, canvas.REFINED):
        assert share_of(colour, data) > 20


def test_slices_show_the_lesion_in_their_middle(two_lesions: Findings) -> None:
    region = two_lesions.lesions.labels.array == 1
    axes = figures.region_slices(two_lesions, region).axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert shown.max() == 8.0
    rows, columns = np.nonzero(shown == 8.0)
    assert (rows.size, columns.size) == (12, 12)  # 3 x 4 voxels of one slice


def test_a_lesion_of_one_voxel_has_its_slices(two_lesions: Findings) -> None:
    region = two_lesions.lesions.labels.array == 2
    assert region.sum() == 1
    shown = np.asarray(figures.region_slices(two_lesions, region).axes[-1].images[0].get_array())
    assert (shown == 8.0).sum() == 1


def test_the_central_slice_is_one_that_the_lesion_reaches() -> None:
    mask = np.zeros((9, 3, 3), bool)
    mask[[1, 7], 1, 1] = True  # the centroid, slice 4, is empty
    assert figures.central_slice(mask, 0) in (1, 7)
    assert figures.central_slice(mask, 1) == 1


def test_parts_of_the_truth_without_any_voxel_of_the_mask_are_missed(two_lesions: Findings) -> None:
    parts, missed = figures.missed(two_lesions)
    assert len(missed) == 1
    assert np.argwhere(parts == missed[0]).tolist() == [[10, 25, 35]]


def test_nothing_is_missed_where_no_truth_is_known(make_findings: MakeFindings) -> None:
    assert figures.missed(make_findings())[1] == []


def test_an_outline_runs_along_the_voxel_edges() -> None:
    mask = np.zeros((10, 10), bool)
    mask[3, 6] = True
    view = View(np.zeros((10, 10)), (5.0, 2.0), Window(0, 1, True, ""))
    figure = canvas.blank(2, 2)
    axes = canvas.place(figure, 0, 0, (2, 2))
    canvas.outline(axes, Layer("one", mask, canvas.REFINED, 1.0), view.pixel_mm)
    (path,) = axes.collections[0].get_paths()
    low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
    assert low.tolist() == pytest.approx([12.0, 15.0])
    assert high.tolist() == pytest.approx([14.0, 20.0])


def test_numbers_are_spread_in_order_and_stay_inside() -> None:
    placed = canvas.spread({1: 50.0, 2: 51.0, 3: 99.0, 4: 100.0, 5: 0.0}, 10.0, 100.0)
    order = sorted(placed, key=lambda n: placed[n])
    assert order == [5, 1, 2, 3, 4]
    positions = [placed[n] for n in order]
    assert min(np.diff(positions)) >= 10.0 - 1e-9
    assert positions[0] >= 5.0
    assert positions[-1] <= 95.0


def test_where_a_margin_is_full_the_least_important_numbers_are_left_out() -> None:
    view = View(np.zeros((100, 100)), (1.0, 1.0), Window(0, 1, True, ""))
    figure = canvas.blank(2, 2)
    axes = canvas.place(figure, 0.5, 0.5, (1, 1))
    canvas.show(axes, view, [])
    boxes = {n: Box(n, n + 1, 10, 12) for n in range(1, 31)}
    written = canvas.number_lesions(axes, view, boxes)
    assert written == list(range(1, len(written) + 1))
    assert 3 <= len(written) <= 8


def test_line_colours_stay_exact_in_the_file_however_rare() -> None:
    figure = canvas.blank(4, 3)
    axes = canvas.place(figure, 0.5, 0.5, (3, 2))
    axes.imshow(np.random.default_rng(0).normal(size=(200, 300)), cmap="gray")
    colours = (canvas.TRUTH, canvas.RAW, canvas.REFINED)
    for row, colour in enumerate(colours):
        axes.plot([5, 9], [20 * row + 20] * 2, color=colour, linewidth=4)
    pixels = read(png(figure))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    for colour in colours:
        assert (pixels == canvas.to_rgb255(colour)).all(axis=2).sum() > 5


def test_a_picture_is_the_same_bytes_each_time(two_lesions: Findings) -> None:
    assert png(figures.projections(two_lesions)) == png(figures.projections(two_lesions))


def test_training_curves_take_gaps_single_epochs_and_none() -> None:
    rows = [{"epoch": 0, "train_loss": 1.0, "validation_loss": None, "dice": 0.1, "seconds": 10.0}]
    full = [*rows, {"epoch": 1, "train_loss": 0.5, "validation_loss": 0.7, "dice": 0.4, "seconds": 11.0}]
    pictures = [figures.training_curves(some) for some in ([], rows, full)]
    assert len({len(data) for data in pictures}) == 3
    assert share_of(canvas.REFINED, pictures[2]) > share_of(canvas.REFINED, pictures[0])
    # all values missing: the legend's sample is there, the curve is not
    missing = figures.training_curves([{"epoch": 0, "dice": ""}])
    assert share_of(canvas.TRUTH, missing) < share_of(canvas.TRUTH, pictures[1])


def test_a_thumbnail_is_small(two_lesions: Findings) -> None:
    data = figures.thumbnail(two_lesions)
    assert max(read(data).shape[:2]) <= 320
    assert len(data) < 60_000
