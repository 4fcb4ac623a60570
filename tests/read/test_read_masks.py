"""Contours of every kind become labels on the reference grid, or one line says why not."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from PIL import Image
from pydicom.dataelem import RawDataElement

from dicom_phantoms import (
    CT_GRID,
    PET_GRID,
    ct_volume,
    edit,
    edit_all,
    mr_volume,
    pet_volume,
    write_ct,
    write_mr,
    write_pet,
)
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.units import ONE
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import load_mask, open_case
from lesionlab.read.rtstruct import fill
from lesionlab.report import save_volume
from phantoms import OBLIQUE, ball_mask


def ring(grid: Geometry) -> Volume:
    """A ball with a hollow: the hole must survive contours."""
    centre = tuple(grid.to_world(np.asarray(grid.shape) // 2))
    size = min(np.array(grid.shape) * grid.spacing) / 2.2
    mask = ball_mask(grid, centre, size) & ~ball_mask(grid, centre, size / 2.5)  # type: ignore[arg-type]
    return Volume(mask.astype(np.uint8), grid, ONE)


BIG = Geometry((12, 30, 28), (3.0, 2.0, 2.5), (-20.0, -15.0, 100.0))


@pytest.mark.parametrize("direction", [BIG.direction, OBLIQUE], ids=["axial", "oblique"])
def test_rtstruct_with_holes_comes_back_exactly(tmp_path: Path, direction: tuple[float, ...]) -> None:
    grid = Geometry(BIG.shape, BIG.spacing, BIG.origin, direction)
    mask = ring(grid)
    path = write_rtstruct(tmp_path / "rs.dcm", mask, StudyFacts())
    np.testing.assert_array_equal(load_mask(path, grid).array, mask.array)


def test_rois_are_united_unless_named(tmp_path: Path) -> None:
    labels = np.zeros(BIG.shape, np.uint8)
    labels[2:4, 3:9, 3:9], labels[6:8, 12:20, 5:9] = 1, 2
    path = write_rtstruct(
        tmp_path / "rs", Volume(labels, BIG, ONE), StudyFacts(), names=("GTV", "node", "none")
    )
    np.testing.assert_array_equal(load_mask(path, BIG).array, labels > 0)
    np.testing.assert_array_equal(load_mask(path, BIG, names=["node"]).array, labels == 2)
    assert not load_mask(path, BIG, names=["none"]).array.any()
    with pytest.raises(ReadError, match=r"rs: found ROIs GTV, node, none; needed an ROI named 'liver'"):
        load_mask(path, BIG, names=["liver"])


def test_fill_counts_centres_and_splits_abutting_polygons() -> None:
    left = np.array([[0, 0], [0, 3], [4, 3], [4, 0]], dtype=float)
    right = left + np.array([0.0, 3.0])
    both = fill([left], (6, 8)) + fill([right], (6, 8))
    np.testing.assert_array_equal(both[:4, :6], 1)
    assert both.sum() == 24
    triangle = np.array([[0.5, 0.5], [0.5, 4.5], [4.5, 0.5]])
    assert fill([triangle], (6, 6)).sum() == 3 + 2 + 1
    assert not fill([], (6, 6)).any()


def test_contours_between_slices_reach_the_nearest_ones(tmp_path: Path) -> None:
    fine = Geometry((24, 30, 28), (1.5, 2.0, 2.5), BIG.origin)
    labels = np.zeros(BIG.shape, np.uint8)
    labels[3:6, 5:15, 5:15] = 1
    path = write_rtstruct(tmp_path / "rs", Volume(labels, BIG, ONE), StudyFacts())
    found = load_mask(path, fine).array
    filled = np.flatnonzero(found.any(axis=(1, 2)))
    assert filled.min() in (5, 6)
    assert len(filled) == 6
    assert (np.diff(filled) == 1).all()


def _contour(path: Path, data: list[float], kind: str = "CLOSED_PLANAR") -> Path:
    def change(dataset: pydicom.Dataset) -> None:
        dataset.ROIContourSequence[0].ContourSequence[0].ContourData = data
        dataset.ROIContourSequence[0].ContourSequence[0].ContourGeometricType = kind

    return edit(path, change)


def test_contours_that_cannot_be_filled(tmp_path: Path) -> None:
    labels = np.zeros(BIG.shape, np.uint8)
    labels[3, 5:15, 5:15] = 1
    path = write_rtstruct(tmp_path / "rs.dcm", Volume(labels, BIG, ONE), StudyFacts())
    with pytest.raises(ReadError, match="without a grid"):
        load_mask(path)
    with pytest.raises(GeometryError, match="reach no voxel"):
        load_mask(path, Geometry(BIG.shape, BIG.spacing, (500.0, 0.0, 0.0)))
    sagittal = Geometry((28, 12, 30), (2.5, 3.0, 2.0), BIG.origin, (1, 0, 0, 0, 0, 1, 0, 1, 0))
    with pytest.raises(GeometryError, match="parallel to the slices"):
        load_mask(path, sagittal)
    with pytest.raises(ReadError, match="contour of 4 numbers"):
        load_mask(_contour(path, [0.0, 1.0, 2.0, 3.0]), BIG)
    assert not load_mask(_contour(path, [0.0, 1.0, 2.0], "POINT"), BIG).array.any()
    edit(path, lambda d: setattr(d, "StructureSetROISequence", pydicom.Sequence()))
    with pytest.raises(ReadError, match="at least one ROI"):
        load_mask(path, BIG)


def test_the_rtstruct_drawn_on_the_reference_becomes_truth(tmp_path: Path) -> None:
    study = StudyFacts()
    pet, ct = write_pet(tmp_path / "PT"), write_ct(tmp_path / "CT")
    for name, files, grid in (("on_pet", pet, PET_GRID), ("on_ct", ct, CT_GRID)):
        path = write_rtstruct(tmp_path / f"{name}.dcm", ring(grid), study)
        uid = pydicom.dcmread(files[0]).SeriesInstanceUID
        edit(path, lambda d, uid=uid: _refer(d, uid))
    case = open_case(tmp_path)
    np.testing.assert_array_equal(case.truth.array, ring(PET_GRID).array)  # type: ignore[union-attr]
    assert "truth from on_pet.dcm" in case.notes
    ct_case = open_case(tmp_path, reference="ct")
    np.testing.assert_array_equal(ct_case.truth.array, ring(CT_GRID).array)  # type: ignore[union-attr]
    other = open_case(tmp_path, truth=tmp_path / "on_ct.dcm")
    assert other.truth is not None
    assert other.truth.geometry.matches(PET_GRID)
    assert any("nearest neighbour" in n for n in other.notes)
    shutil.copy(tmp_path / "on_pet.dcm", tmp_path / "second.dcm")
    with pytest.raises(ReadError, match=r"masks on_pet.dcm, second.dcm.*truth="):
        open_case(tmp_path)


def test_what_is_drawn_on_a_series_of_phases_is_the_truth_of_them_all(tmp_path: Path) -> None:
    study = StudyFacts()
    for name, uid in (("pre", "1.2.3.5"), ("post", "1.2.3.5"), ("t2", "1.2.3.6")):
        files = write_mr(tmp_path / name, mr_volume(seed=len(name)), study)
        times = {"AcquisitionTime": "100000" if name == "pre" else "100130"}
        edit_all(files, SeriesInstanceUID=uid, SeriesDescription=uid, **times)
        for index, path in enumerate(files):
            edit(path, lambda d, n=f"{name}.{index}": setattr(d, "SOPInstanceUID", f"1.2.{len(n)}.{n[-1]}"))
    for name, uid in (("on_dce", "1.2.3.5"), ("on_t2", "1.2.3.6")):
        path = write_rtstruct(tmp_path / f"{name}.dcm", ring(PET_GRID), study)
        edit(path, lambda d, uid=uid: _refer(d, uid))
    case = open_case(tmp_path)
    assert list(case.channels) == ["mr_1_2_3_5_pre", "mr_1_2_3_5_post1", "mr_1_2_3_6"]
    assert "truth from on_dce.dcm" in case.notes


def test_readers_may_draw_in_dicom(tmp_path: Path) -> None:
    write_pet(tmp_path / "PT")
    (tmp_path / "observers").mkdir()
    write_rtstruct(tmp_path / "observers" / "anna.dcm", ring(PET_GRID), StudyFacts())
    save_volume(ring(PET_GRID), tmp_path / "observers" / "bert.nii.gz")
    (tmp_path / "observers" / "._bert.nii.gz").write_bytes(b"other")
    (tmp_path / "observers" / "notes.txt").write_text("who drew what")
    case = open_case(tmp_path)
    assert list(case.observers) == ["anna", "bert"]
    for mask in case.observers.values():
        np.testing.assert_array_equal(mask.array, ring(PET_GRID).array)
    save_volume(ring(PET_GRID), tmp_path / "observers" / "bert.mha")
    with pytest.raises(
        ReadError, match=r"two masks of reader bert: bert.mha and bert.nii.gz; needed one mask"
    ):
        open_case(tmp_path)


def _refer(dataset: pydicom.Dataset, uid: str) -> None:
    series, study = pydicom.Dataset(), pydicom.Dataset()
    series.SeriesInstanceUID = uid
    study.RTReferencedSeriesSequence = pydicom.Sequence([series])
    dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence = pydicom.Sequence([study])


def test_contours_in_another_frame_of_reference(tmp_path: Path) -> None:
    write_pet(tmp_path / "PT")
    path = write_rtstruct(tmp_path / "rs.dcm", ring(PET_GRID), StudyFacts(seed=9))
    assert open_case(tmp_path).truth is None
    with pytest.raises(GeometryError, match=r"rs.dcm: found FrameOfReferenceUID"):
        open_case(tmp_path, truth=path)


def _segmentation(folder: Path, files: list[Path], masks: np.ndarray, kind: str = "BINARY") -> Path:
    """A DICOM SEG by highdicom, one segment per last axis, empty frames left out."""
    import highdicom as hd
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription

    sources = [pydicom.dcmread(f) for f in files]
    code = hd.sr.CodedConcept("49755003", "SCT", "Morphologically abnormal structure")
    descriptions = [
        SegmentDescription(n + 1, f"lesion {n + 1}", code, code, SegmentAlgorithmTypeValues.MANUAL)
        for n in range(masks.shape[-1])
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            sources,
            masks,
            SegmentationTypeValues[kind],
            descriptions,
            "1.2.3.4.5",
            9,
            "1.2.3.4.5.6",
            1,
            "LesionLab",
            "test",
            "1",
            "1",
        )
        path = folder / "seg.dcm"
        seg.save_as(path)
    return path


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_dicom_seg_becomes_truth(tmp_path: Path, kind: str) -> None:
    masks = np.zeros((*PET_GRID.shape, 2), np.uint8)
    masks[1:3, 2:5, 3:6, 0] = 1
    masks[4, 1:4, 5:9, 1] = 1
    stored = masks if kind == "BINARY" else masks.astype(np.float32)
    path = _segmentation(tmp_path, write_pet(tmp_path / "PT"), stored, kind)
    case = open_case(tmp_path)
    np.testing.assert_array_equal(case.truth.array, masks.any(axis=-1))  # type: ignore[union-attr]
    assert any("segments united: lesion 1, lesion 2" in n for n in case.notes)
    second = load_mask(path, case.geometry, names=["lesion 2"])
    np.testing.assert_array_equal(second.array, masks[..., 1])
    with pytest.raises(ReadError, match=r"needed a segment named 'liver'"):
        load_mask(path, names=["liver"])


def test_dicom_seg_of_images_that_state_no_frame_of_reference(tmp_path: Path) -> None:
    masks = np.zeros((*PET_GRID.shape, 1), np.uint8)
    masks[1:3, 2:5, 3:6, 0] = 1
    files = write_pet(tmp_path / "PT")
    _segmentation(tmp_path, files, masks)
    edit_all(files, FrameOfReferenceUID=None)
    truth = open_case(tmp_path).truth
    assert truth is not None
    np.testing.assert_array_equal(truth.array, masks[..., 0])


def test_dicom_seg_on_an_oblique_series(tmp_path: Path) -> None:
    grid = Geometry((6, 8, 10), (3.0, 4.0, 4.5), (5.0, 6.0, 7.0), OBLIQUE)
    files = write_pet(tmp_path / "PT", pet_volume(grid))
    masks = np.zeros((*grid.shape, 1), np.uint8)
    masks[2:4, 2:5, 3:6, 0] = 1
    _segmentation(tmp_path, files, masks)
    case = open_case(tmp_path)
    centre = case.geometry.to_world(np.argwhere(case.truth.array).mean(axis=0))  # type: ignore[union-attr]
    np.testing.assert_allclose(centre, grid.to_world([2.5, 3.0, 4.0]), atol=1e-3)


def test_broken_dicom_seg(tmp_path: Path) -> None:
    masks = np.zeros((*PET_GRID.shape, 1), np.uint8)
    masks[1:4, 2:5, 3:6, 0] = 1
    path = _segmentation(tmp_path, write_pet(tmp_path / "PT"), masks)

    def shift(dataset: pydicom.Dataset) -> None:
        place = dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0]
        place.ImagePositionPatient = [-20.0, -15.0, 104.6]

    edit(path, shift)
    with pytest.raises(GeometryError, match=r"seg.dcm.*uneven heights"):
        load_mask(path)


def test_frames_of_a_seg_may_lie_as_unevenly_as_scanners_round(tmp_path: Path) -> None:
    masks = np.zeros((*PET_GRID.shape, 1), np.uint8)
    masks[:, 2:5, 3:6, 0] = np.random.default_rng(1).integers(0, 2, (6, 3, 3))
    path = _segmentation(tmp_path, write_pet(tmp_path / "PT"), masks)

    def shift(dataset: pydicom.Dataset) -> None:
        for frame, off in zip(
            dataset.PerFrameFunctionalGroupsSequence, (0, 0.2, -0.2, 0.2, -0.2, 0), strict=True
        ):
            place = frame.PlanePositionSequence[0]
            x, y, z = (float(v) for v in place.ImagePositionPatient)
            place.ImagePositionPatient = [x, y, z + off]

    edit(path, shift)
    np.testing.assert_array_equal(load_mask(path, PET_GRID).array, masks[..., 0])


@pytest.mark.parametrize("off", [0.0007, 0.004, 0.1])
def test_segments_on_one_slice_may_differ_in_the_last_digits_of_its_place(tmp_path: Path, off: float) -> None:
    masks = np.zeros((*PET_GRID.shape, 2), np.uint8)
    masks[1:4, 2:5, 3:6, 0] = 1
    masks[2:6, 4:7, 5:9, 1] = 1
    path = _segmentation(tmp_path, write_pet(tmp_path / "PT"), masks)

    def shift(dataset: pydicom.Dataset) -> None:
        for frame in _frames_of(dataset):
            if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 2:
                place = frame.PlanePositionSequence[0]
                x, y, z = (float(v) for v in place.ImagePositionPatient)
                place.ImagePositionPatient = [x, y, z + off]

    edit(path, shift)
    assert load_mask(path).array.shape[0] == 5
    np.testing.assert_array_equal(load_mask(path, PET_GRID).array, masks.any(axis=-1))


def _frames_of(dataset: pydicom.Dataset) -> list[pydicom.Dataset]:
    return list(dataset.PerFrameFunctionalGroupsSequence)


def _sideways(dataset: pydicom.Dataset) -> None:
    place = _frames_of(dataset)[1].PlanePositionSequence[0]
    x, y, z = (float(v) for v in place.ImagePositionPatient)
    place.ImagePositionPatient = [x + 20, y, z]


def _mirrored(dataset: pydicom.Dataset) -> None:
    for index, frame in enumerate(_frames_of(dataset)):
        axes = pydicom.Dataset()
        axes.ImageOrientationPatient = [-1 if index == 1 else 1, 0, 0, 0, 1, 0]
        frame.PlaneOrientationSequence = pydicom.Sequence([axes])


def _raw(dataset: pydicom.Dataset, keyword: str, value: bytes) -> None:
    tag = pydicom.tag.Tag(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    dataset._dict[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _measures(dataset: pydicom.Dataset) -> pydicom.Dataset:
    return dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]


SEGS = {
    "a frame to the side": (_sideways, GeometryError, "20.0 mm sideways"),
    "a frame mirrored": (_mirrored, GeometryError, "another orientation"),
    "a frame without position": (
        lambda d: delattr(_frames_of(d)[1], "PlanePositionSequence"),
        GeometryError,
        "no ImagePositionPatient",
    ),
    "no segments": (lambda d: delattr(d, "SegmentSequence"), ReadError, "no numbered segment"),
    "a segment without number": (
        lambda d: delattr(d.SegmentSequence[0], "SegmentNumber"),
        ReadError,
        "no numbered segment",
    ),
    "a frame of no segment": (
        lambda d: delattr(
            d.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence[0], "ReferencedSegmentNumber"
        ),
        ReadError,
        "a frame without ReferencedSegmentNumber",
    ),
    "frames in words": (lambda d: _raw(d, "NumberOfFrames", b"many"), ReadError, "NumberOfFrames many"),
    "spacing in words": (
        lambda d: _raw(_measures(d), "SpacingBetweenSlices", b"wide"),
        ReadError,
        "SpacingBetweenSlices wide",
    ),
}


@pytest.mark.parametrize("name", SEGS)
def test_a_seg_that_cannot_be_placed(tmp_path: Path, name: str) -> None:
    change, error, message = SEGS[name]
    masks = np.zeros((*PET_GRID.shape, 1), np.uint8)
    masks[1:4, 2:5, 3:6, 0] = 1
    path = edit(_segmentation(tmp_path, write_pet(tmp_path / "PT"), masks), change)
    with pytest.raises(error, match=rf"seg.dcm: found .*{message}"):
        load_mask(path, PET_GRID)


def test_a_seg_that_states_no_spacing_has_that_of_its_frames(tmp_path: Path) -> None:
    masks = np.zeros((*PET_GRID.shape, 1), np.uint8)
    masks[1:4, 2:5, 3:6, 0] = 1
    path = _segmentation(tmp_path, write_pet(tmp_path / "PT"), masks)

    def forget(dataset: pydicom.Dataset) -> None:
        del _measures(dataset).SpacingBetweenSlices, _measures(dataset).SliceThickness

    mask = load_mask(edit(path, forget))
    assert mask.geometry.spacing == PET_GRID.spacing
    np.testing.assert_array_equal(mask.array, masks[1:4, ..., 0])


MASK_GRID = Geometry((4, 6, 5), (3.0, 2.0, 2.0), (10.0, 20.0, 30.0))


def _scan_with(
    folder: Path, mask: np.ndarray, grid: Geometry = MASK_GRID, name: str = "suv_mask.nii.gz"
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_volume(Volume(np.ones(MASK_GRID.shape, np.float32), MASK_GRID, ONE), folder / "suv.nii.gz")
    save_volume(Volume(mask, grid, ONE), folder / name)
    return folder


def test_labels_of_several_lesions_are_kept(tmp_path: Path) -> None:
    mask = np.zeros(MASK_GRID.shape, np.float32)
    mask[1, 2, 3], mask[2, 2, 2] = 1, 3
    truth = open_case(_scan_with(tmp_path, mask)).truth
    assert truth is not None
    assert truth.array.dtype == np.uint8
    np.testing.assert_array_equal(truth.array, mask)
    big = (mask * 1000).astype(np.int16)
    assert load_mask(_scan_with(tmp_path / "b", big) / "suv_mask.nii.gz").array.max() == 3000


BAD_LABELS = {
    "fraction": (0.5, "label 0.5 in 1 voxels"),
    "negative": (-1.0, "labels of 0 and above"),
    "nan": (np.nan, "NaN"),
    "huge": (1e12, "labels"),
}


@pytest.mark.parametrize("name", BAD_LABELS)
def test_labels_must_be_integers(tmp_path: Path, name: str) -> None:
    value, message = BAD_LABELS[name]
    mask = np.zeros(MASK_GRID.shape, np.float64 if name == "huge" else np.float32)
    mask[1, 1, 1] = value
    with pytest.raises(ReadError, match=rf"suv_mask.nii.gz.*{message}"):
        open_case(_scan_with(tmp_path, mask))


def test_a_mask_on_another_grid_is_moved_and_its_volume_told(tmp_path: Path) -> None:
    fine = Geometry((8, 12, 10), (1.5, 1.0, 1.0), (9.5, 19.5, 29.25))
    mask = np.zeros(fine.shape, np.uint8)
    mask[2:6, 4:8, 2:6] = 1
    case = open_case(_scan_with(tmp_path, mask, fine))
    expected = np.zeros(MASK_GRID.shape)
    expected[1:3, 2:4, 1:3] = 1
    np.testing.assert_array_equal(case.truth.array, expected)  # type: ignore[union-attr]
    assert any("0.096 ml became 0.096 ml" in n for n in case.notes)


def test_a_mask_somewhere_else_is_refused(tmp_path: Path) -> None:
    away = Geometry(MASK_GRID.shape, MASK_GRID.spacing, (500.0, 0.0, 0.0))
    with pytest.raises(
        GeometryError, match=r"suv_mask.nii.gz: found a mask on another place.*needed an overlap"
    ):
        open_case(_scan_with(tmp_path / "a", np.ones(away.shape, np.uint8), away))
    long = Geometry((40, 6, 5), MASK_GRID.spacing, MASK_GRID.origin)
    mask = np.zeros(long.shape, np.uint8)
    mask[30:] = 1
    with pytest.raises(GeometryError, match="reaches no voxel of the scan"):
        open_case(_scan_with(tmp_path / "b", mask, long))


def test_an_empty_mask_is_a_truth_and_no_mask_is_none(tmp_path: Path) -> None:
    case = open_case(_scan_with(tmp_path, np.zeros(MASK_GRID.shape, np.uint8)))
    assert case.truth is not None
    assert not case.truth.array.any()
    (tmp_path / "suv_mask.nii.gz").unlink()
    assert open_case(tmp_path).truth is None


def test_the_mask_of_the_reference_is_preferred(tmp_path: Path) -> None:
    def mask(value: int) -> np.ndarray:
        array = np.zeros(MASK_GRID.shape, np.uint8)
        array[1, 1, 1] = value
        return array

    _scan_with(tmp_path, mask(1), name="ct_mask.nii.gz")
    assert open_case(tmp_path).truth.array.max() == 1  # type: ignore[union-attr]
    _scan_with(tmp_path, mask(2), name="liver_seg.nii.gz")
    assert open_case(tmp_path).truth.array.max() == 2  # type: ignore[union-attr]
    _scan_with(tmp_path, mask(3), name="pet_mask.nii.gz")
    assert open_case(tmp_path).truth.array.max() == 3  # type: ignore[union-attr]
    (tmp_path / "pet_mask.nii.gz").unlink()
    _scan_with(tmp_path, mask(4), name="truth.nii.gz")
    with pytest.raises(ReadError, match=r"masks liver_seg.nii.gz, truth.nii.gz"):
        open_case(tmp_path)
    (tmp_path / "liver_seg.nii.gz").unlink()
    (tmp_path / "truth.nii.gz").unlink()
    _scan_with(tmp_path, mask(5), name="mr_mask.nii.gz")
    with pytest.raises(ReadError, match=r"ct_mask.nii.gz, mr_mask.nii.gz"):
        open_case(tmp_path)


def test_truth_may_be_given_as_file_or_folder(tmp_path: Path) -> None:
    _scan_with(tmp_path / "scan", np.zeros(MASK_GRID.shape, np.uint8))
    mask = np.ones(MASK_GRID.shape, np.uint8)
    save_volume(Volume(mask, MASK_GRID, ONE), tmp_path / "elsewhere" / "contour.mha")
    for truth in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "contour.mha"):
        assert open_case(tmp_path / "scan", truth=truth).truth.array.all()  # type: ignore[union-attr]
    with pytest.raises(ReadError, match="2 files"):
        open_case(tmp_path / "scan", truth=tmp_path / "scan")
    with pytest.raises(ReadError, match="no such file"):
        open_case(tmp_path / "scan", truth=tmp_path / "nothing.nii")


def test_what_is_no_mask(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ReadError, match=r"found a folder; needed a mask file"):
        load_mask(tmp_path)
    with pytest.raises(ReadError, match=r"a.txt: found a file that is no mask"):
        load_mask(tmp_path / "a.txt")
    path = write_mr(tmp_path / "mr")[0]
    with pytest.raises(ReadError, match="DICOM of modality MR"):
        load_mask(path)


def test_picture_masks_follow_their_picture(tmp_path: Path) -> None:
    picture = np.tile(np.arange(30, dtype=np.uint8), (20, 1))
    drawn = np.zeros((20, 30), np.uint8)
    drawn[5:9, 10:20] = 255
    Image.fromarray(picture).save(tmp_path / "bus_1.png")
    (tmp_path / "bus_1.json").write_text('{"spacing_mm": [1, 0.1, 0.2]}')
    Image.fromarray(drawn).save(tmp_path / "mask_1.png")
    case = open_case(tmp_path / "bus_1.png", truth=tmp_path / "mask_1.png")
    assert case.truth is not None
    assert case.truth.geometry.spacing == (1.0, 0.1, 0.2)
    np.testing.assert_array_equal(case.truth.array[0], drawn > 0)
    Image.fromarray(drawn > 0).save(tmp_path / "mask_1.png")
    np.testing.assert_array_equal(open_case(tmp_path).truth.array[0], drawn > 0)  # type: ignore[union-attr]
    Image.fromarray(drawn.astype(np.uint16) * 257).save(tmp_path / "mask_1.png")
    np.testing.assert_array_equal(open_case(tmp_path).truth.array[0], drawn > 0)  # type: ignore[union-attr]
    Image.fromarray(drawn[:10]).save(tmp_path / "mask_1.png")
    with pytest.raises(GeometryError, match=r"mask_1.png: found shape \(1, 10, 30\)"):
        open_case(tmp_path)


@pytest.mark.parametrize("mode", ["RGB", "P", "tiff"])
def test_masks_in_colour(tmp_path: Path, mode: str) -> None:
    """One colour is label 1, not its luminance; of several nobody knows which is which."""
    labels = np.zeros((20, 30), np.uint8)
    labels[5:9, 10:20] = 1
    palette = np.zeros((256, 3), np.uint8)
    palette[1:3] = (128, 0, 0), (0, 128, 0)

    def write(labels: np.ndarray) -> Path:
        path = tmp_path / ("mask.tif" if mode == "tiff" else "mask.png")
        if mode == "tiff":
            tifffile.imwrite(path, palette[labels], photometric="rgb")
        elif mode == "RGB":
            Image.fromarray(palette[labels]).save(path)
        else:
            picture = Image.fromarray(labels)
            picture.putpalette(palette.ravel().tolist())
            picture.save(path)
        return path

    np.testing.assert_array_equal(load_mask(write(labels)).array[0], labels)
    labels[1, 1] = 2
    with pytest.raises(ReadError, match=r"mask.\w+: found a mask in several colours; needed grey values"):
        load_mask(write(labels))
    palette[:] = np.arange(256)[:, None]
    np.testing.assert_array_equal(load_mask(write(labels)).array[0], labels)


def test_a_nifti_mask_beside_dicom_becomes_truth(tmp_path: Path) -> None:
    write_pet(tmp_path / "PT")
    (tmp_path / "mask").mkdir()
    save_volume(ring(PET_GRID), tmp_path / "mask" / "drawn.nii.gz")
    save_volume(ct_volume(), tmp_path / "old_ct.nii.gz")
    case = open_case(tmp_path)
    np.testing.assert_array_equal(case.truth.array, ring(PET_GRID).array)  # type: ignore[union-attr]
    assert list(case.channels) == ["pet"]
    assert any("ignored old_ct.nii.gz" in n for n in case.notes)
