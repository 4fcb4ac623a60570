"""Contours of an RTSTRUCT: which slices they reach, edges through voxel centres, and what they may not be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path as Outline
from pydicom.dataelem import RawDataElement

from dicom_phantoms import edit
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import load_mask
from lesionlab.read.masks import Target, read_mask
from lesionlab.read.rtstruct import fill
from phantoms import OBLIQUE

GRID = Geometry((30, 24, 20), (3.0, 2.0, 2.5), (-20.0, -15.0, 100.0))


def slabs(*slices: int, grid: Geometry = GRID) -> Volume:
    """The same square on each of some slices."""
    labels = np.zeros(grid.shape, np.uint8)
    labels[list(slices), 5:15, 5:15] = 1
    return Volume(labels, grid, ONE)


def filled(path: Path, grid: Geometry = GRID) -> list[int]:
    return np.flatnonzero(load_mask(path, grid).array.any(axis=(1, 2))).tolist()


@pytest.mark.parametrize("slices", [(3, 20), (3, 10, 20, 21), (3,), (4, 5, 6, 11)])
def test_lesions_far_apart_in_one_roi_stay_on_their_slices(tmp_path: Path, slices: tuple[int, ...]) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(*slices), StudyFacts())
    assert filled(path) == list(slices)


def test_every_second_slice_outlined_fills_those_between(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(4, 6, 8), StudyFacts())
    assert filled(path) == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("drawn_mm", [0.75, 1.0, 5.0])
def test_thin_and_thick_slices_keep_their_volume(tmp_path: Path, drawn_mm: float) -> None:
    """Contours reach half a slice of their own beyond the outermost, not half a slice of the grid."""
    found_mm = []
    for start in np.arange(107.05, 110.0, 0.3):
        drawn = Geometry(GRID.shape, (drawn_mm, 2.0, 2.5), (-20.0, -15.0, start))
        path = write_rtstruct(tmp_path / "rs.dcm", slabs(*range(4, 14), grid=drawn), StudyFacts())
        found_mm.append(len(filled(path)) * 3.0)
    assert np.mean(found_mm) == pytest.approx(10 * drawn_mm, abs=0.3)


@pytest.mark.parametrize("offset", [0.5, 0.005, 0.995])
def test_planes_between_slices_take_one_each(tmp_path: Path, offset: float) -> None:
    """Every contour lies a little off its plane, as rounded coordinates do; holes stay holes."""
    drawn = Geometry(GRID.shape, GRID.spacing, (-20.0, -15.0, 100.0 + 3.0 * offset))
    labels = slabs(7, 8, 9, grid=drawn).array.copy()
    labels[7:10, 8:10, 8:10] = 0
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, drawn, ONE), StudyFacts())

    def jitter(dataset: pydicom.Dataset) -> None:
        for index, contour in enumerate(dataset.ROIContourSequence[0].ContourSequence):
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            points[:, 2] += 0.0001 if index % 2 else -0.0001
            contour.ContourData = [f"{v:.4f}" for v in points.ravel()]

    found = load_mask(edit(path, jitter), GRID).array
    assert found.sum(axis=(1, 2))[found.any(axis=(1, 2))].tolist() == [96, 96, 96]


@pytest.mark.parametrize("off_mm", [0.0, 0.04, 0.09])
def test_an_island_whose_height_was_rounded_otherwise_stays_on_its_slice(
    tmp_path: Path, off_mm: float
) -> None:
    labels = slabs(*range(4, 9)).array.copy()
    labels[6, 18:22, 2:4] = 1
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, GRID, ONE), StudyFacts())

    def lift(dataset: pydicom.Dataset) -> None:
        lifted = 0
        for contour in dataset.ROIContourSequence[0].ContourSequence:
            points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
            if points[:, 1].max() > 18.0:
                points[:, 2] += off_mm
                contour.ContourData = [f"{v:.4f}" for v in points.ravel()]
                lifted += 1
        assert lifted == 1

    np.testing.assert_array_equal(load_mask(edit(path, lift), GRID).array, labels)


def test_a_keyhole_leaves_no_trace() -> None:
    """The way to the hole and back runs through voxel centres, where rounding must not open it."""
    outer = np.array([[0, 0], [0, 20], [20, 20], [20, 0]]) + 0.5
    for y, x in np.random.default_rng(0).uniform(8.0, 11.0, (300, 2)).round(1):
        hole = np.array([[y, x], [y + 3, x], [y + 3, x + 3], [y, x + 3]])
        keyhole = np.vstack([outer, outer[:1], hole, hole[:1]])
        np.testing.assert_array_equal(fill([keyhole], (24, 24)), fill([outer, hole], (24, 24)))


def test_contours_through_voxel_centres_keep_their_area() -> None:
    """Positions in mm come back with the noise of their computing: all sides of a square must fall alike."""
    rng = np.random.default_rng(1)
    square = np.array([[2, 5, 5], [2, 5, 12], [2, 12, 12], [2, 12, 5]])
    for start in rng.uniform(-300, 300, (50, 3)):
        grid = Geometry((5, 30, 28), (3.0, 4.07283123, 4.07283123), tuple(start))
        index = grid.to_index(grid.to_world(square).round(7))
        assert fill([index[:, 1:]], (30, 28)).sum() == 49


@pytest.mark.parametrize("reversed_slices", [False, True])
def test_filling_agrees_with_points_in_polygons(tmp_path: Path, reversed_slices: bool) -> None:
    matrix = np.reshape(OBLIQUE, (3, 3)) * ([-1, 1, 1] if reversed_slices else [1, 1, 1])
    grid = Geometry(GRID.shape, GRID.spacing, GRID.origin, tuple(matrix.ravel()))
    rng = np.random.default_rng(3)
    contours, expected = [], np.zeros(grid.shape, dtype=int)
    centres = np.stack(np.meshgrid(*map(np.arange, grid.shape[1:]), indexing="ij"), -1).reshape(-1, 2)
    for height in (4, 5, 5, 6, 6, 6):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(3, 9, 9)
        corners = np.stack([11.3 + radii * np.sin(angles), 9.6 + radii * np.cos(angles)], -1)
        contours.append(grid.to_world(np.insert(corners, 0, height, axis=1)))
        inside = Outline(np.vstack([corners, corners[:1]]), closed=True).contains_points(centres)
        expected[height] += inside.reshape(grid.shape[1:])
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(3, grid=grid), StudyFacts())

    def draw(dataset: pydicom.Dataset) -> None:
        items = []
        for points in contours:
            items.append(pydicom.Dataset())
            items[-1].ContourGeometricType = "CLOSED_PLANAR"
            items[-1].ContourData = [f"{v:.6f}" for v in points.ravel()]
        dataset.ROIContourSequence[0].ContourSequence = pydicom.Sequence(items)

    np.testing.assert_array_equal(load_mask(edit(path, draw), grid).array, expected % 2)


def _two_frames(path: Path, uid: str) -> Callable[[pydicom.Dataset], None]:
    """The second ROI in another frame of reference, which the structure set lists."""

    def change(dataset: pydicom.Dataset) -> None:
        dataset.StructureSetROISequence[1].ReferencedFrameOfReferenceUID = uid
        other = pydicom.Dataset()
        other.FrameOfReferenceUID = uid
        dataset.ReferencedFrameOfReferenceSequence.append(other)

    return change


def test_rois_of_another_frame_of_reference_are_left_out(tmp_path: Path) -> None:
    labels = slabs(4, 5).array.copy()
    labels[8:10, 5:9, 5:9] = 2
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, GRID, ONE), StudyFacts(), names=("GTV", "plan"))
    edit(path, _two_frames(path, "1.2.3.77"))
    target = Target(GRID, StudyFacts().frame_of_reference)
    mask, notes = read_mask(path, target)
    np.testing.assert_array_equal(mask.array, labels == 1)
    assert notes == ["ROIs in another frame of reference left out: plan"]
    with pytest.raises(GeometryError, match="found ROIs in another frame of reference: plan; needed"):
        read_mask(path, target, names=["plan"])

    def stale(dataset: pydicom.Dataset) -> None:
        dataset.ReferencedFrameOfReferenceSequence.pop()

    np.testing.assert_array_equal(read_mask(edit(path, stale), target)[0].array, labels > 0)


def test_an_roi_that_reaches_no_voxel_is_noted(tmp_path: Path) -> None:
    labels = slabs(4, 5).array.copy()
    labels[25, 5:9, 5:9] = 2
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, GRID, ONE), StudyFacts(), names=("GTV", "node"))
    short = Geometry((10, 24, 20), GRID.spacing, GRID.origin)
    mask, notes = read_mask(path, Target(short))
    assert mask.array.sum() == 200
    assert "the contours of ROI node reach no voxel" in notes


CONTOURS = {
    "not finite": (b"inf\\1\\2\\3\\4\\5\\6\\7\\8 ", "found ContourData .*needed 9 numbers"),
    "words": (b"a\\1\\2\\3\\4\\5\\6\\7\\8 ", "found ContourData .*needed 9 numbers"),
    "one number": (b"1 ", "found a contour of 1 numbers"),
    "nothing": (b"", "found a contour of 0 numbers"),
}


@pytest.mark.parametrize("name", CONTOURS)
def test_malformed_contours(tmp_path: Path, name: str) -> None:
    stored, message = CONTOURS[name]
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(4), StudyFacts())

    def change(dataset: pydicom.Dataset) -> None:
        contour = dataset.ROIContourSequence[0].ContourSequence[0]
        tag = pydicom.tag.Tag("ContourData")
        contour._dict[tag] = RawDataElement(tag, "DS", len(stored), stored, 0, False, True)

    with pytest.raises(ReadError, match=rf"rs.dcm: {message}"):
        load_mask(edit(path, change), GRID)


def test_a_contour_that_is_stored_twice_counts_once(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(4, 5), StudyFacts())

    def repeat(dataset: pydicom.Dataset) -> None:
        contours = dataset.ROIContourSequence[0].ContourSequence
        contours.append(contours[0])

    assert filled(edit(path, repeat)) == [4, 5]


def test_rois_without_a_number(tmp_path: Path) -> None:
    path = write_rtstruct(tmp_path / "rs.dcm", slabs(4), StudyFacts())
    with pytest.raises(ReadError, match="found ROIs none; needed at least one ROI"):
        load_mask(edit(path, lambda d: delattr(d.StructureSetROISequence[0], "ROINumber")), GRID)
