"""DICOM that cannot be used: each kind gives one line that names the file or folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_phantoms import edit, edit_all, write_ct, write_mr, write_pet
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case


def _set(**values: object) -> Callable[[list[Path]], object]:
    """A change of the third file."""
    return lambda files: edit_all(files[2:3], **values)


def _all(**values: object) -> Callable[[list[Path]], object]:
    return lambda files: edit_all(files, **values)


def _shift(files: list[Path], mm: tuple[float, float, float], start: int = 3) -> None:
    for index, path in enumerate(files[start:], start=1):

        def move(dataset: pydicom.Dataset, factor: int = index) -> None:
            position = np.array(dataset.ImagePositionPatient, dtype=float)
            dataset.ImagePositionPatient = [float(v) for v in position + np.array(mm) * factor]

        edit(path, move)


def _smaller(files: list[Path]) -> None:
    def crop(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = dataset.pixel_array[:6].tobytes()
        dataset.Rows = 6

    edit(files[2], crop)


GEOMETRY = {
    "gap": (lambda f: f[2].unlink(), r"1 missing slice.*6 mm after pt_0001.dcm.*even steps of 3 mm"),
    "two gaps": (lambda f: [f[i].unlink() for i in (1, 3)], "2 missing slice.*6 mm after pt_0000"),
    "copied file": (
        lambda f: shutil.copy(f[2], f[2].with_name("copy.dcm")),
        "duplicate slices: copy.dcm and pt_0002",
    ),
    "same position": (_set(ImagePositionPatient=[-20, -15, 103]), "duplicate slices"),
    "other shape": (_smaller, "different shape or orientation"),
    "other orientation": (_set(ImageOrientationPatient=[1, 0, 0, 0, 0, 1]), "different shape or orientation"),
    "turned a little": (
        _set(ImageOrientationPatient=[0.999998, 0.002, 0, -0.002, 0.999998, 0]),
        "another orientation",
    ),
    "other pixel spacing": (_set(PixelSpacing=[4.0, 4.7]), r"pt_0002.dcm.*PixelSpacing"),
    "zero spacing": (_all(PixelSpacing=[0.0, 4.0]), "two positive spacings"),
    "negative spacing": (_all(PixelSpacing=[-4.0, 4.0]), "two positive spacings"),
    "no spacing": (_all(PixelSpacing=None), "no PixelSpacing"),
    "gantry tilt": (lambda f: _shift(f, (0, 1.0, 0), 1), r"5.0 mm sideways \(gantry tilt\)"),
    "uneven steps": (lambda f: _shift(f, (0, 0, 1.2), 3), "even steps"),
    "no orientation": (_all(ImageOrientationPatient=[1, 0, 0, 1, 0, 0]), "two directions"),
}


@pytest.mark.parametrize("name", GEOMETRY)
def test_impossible_stacks(tmp_path: Path, name: str) -> None:
    spoil, message = GEOMETRY[name]
    spoil(write_pet(tmp_path))  # type: ignore[operator]
    with pytest.raises(GeometryError, match=message) as caught:
        open_case(tmp_path)
    assert str(tmp_path) in str(caught.value)


READING = {
    "no rows": (_set(Rows="x"), "no Rows"),
    "malformed position": (_set(ImagePositionPatient=[1.0, 2.0]), "ImagePositionPatient"),
    "no pixels": (_set(PixelData=None), "pt_0002.dcm.*no PixelData"),
    "no slope": (_set(RescaleSlope=None), "pt_0002.dcm.*RescaleSlope None"),
    "zero slope": (_set(RescaleSlope="0"), "RescaleSlope 0"),
    "two patients": (_set(PatientID="someone else"), "2 patients"),
    "no position": (_all(ImagePositionPatient=None), "only PT series"),
    "no image": (_all(Modality="SR"), "only ignored 6 DICOM object"),
}


@pytest.mark.parametrize("name", READING)
def test_unusable_series(tmp_path: Path, name: str) -> None:
    spoil, message = READING[name]
    files = write_pet(tmp_path)
    if name == "no rows":

        def spoil(files: list[Path]) -> None:
            edit(files[2], lambda d: d.__delitem__("Columns"))

    spoil(files)  # type: ignore[operator]
    with pytest.raises(ReadError, match=message) as caught:
        open_case(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_a_single_image_without_position(tmp_path: Path) -> None:
    files = write_ct(tmp_path)
    edit_all(files[:1], ImagePositionPatient=None)
    with pytest.raises(GeometryError, match="no ImagePositionPatient"):
        open_case(files[0])


def test_a_single_slice_of_zero_thickness(tmp_path: Path) -> None:
    files = write_ct(tmp_path)
    edit_all(files[:1], SpacingBetweenSlices="0")
    with pytest.raises(GeometryError, match="a positive thickness"):
        open_case(files[0])


def test_a_repeated_enhanced_frame_count_must_fit(tmp_path: Path) -> None:
    path = write_mr(tmp_path)[0]
    group = pydicom.Dataset()
    edit_all([path], NumberOfFrames=3, PerFrameFunctionalGroupsSequence=pydicom.Sequence([group]))
    with pytest.raises(ReadError, match="1 per-frame groups for 3 frames"):
        open_case(path)


@pytest.mark.parametrize("keep", [0.6, 0.97])
def test_a_truncated_file_names_itself(tmp_path: Path, keep: float) -> None:
    grid = Geometry((3, 64, 64), (3.0, 4.0, 4.0))
    from dicom_phantoms import ct_volume

    files = write_ct(tmp_path, ct_volume(grid))
    data = files[1].read_bytes()
    files[1].write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(ReadError, match=r"ct_0001.dcm.*truncated"):
        open_case(tmp_path)


@pytest.mark.parametrize("size", [150, 200, 420, 700])
def test_a_file_that_ends_in_its_header_names_itself(tmp_path: Path, size: int) -> None:
    files = write_ct(tmp_path)
    files[1].write_bytes(files[1].read_bytes()[:size])
    with pytest.raises(ReadError, match=r"ct_0001.dcm"):
        open_case(tmp_path)


def test_a_frame_of_another_size_than_announced(tmp_path: Path) -> None:
    files = write_ct(tmp_path)
    from lesionlab.read.dicom_slices import Slice, read_header, slices_of
    from lesionlab.read.dicom_stack import voxels

    header = read_header(files[0])
    assert header is not None
    item = slices_of(files[0], header)[0]
    wrong = Slice(item.path, 4, header, (), item.shape, item.position, item.axes, item.spacing, 1.0, 0.0)
    with pytest.raises(ReadError, match="frames of shape"):
        voxels([wrong])


def test_an_unsupported_transfer_syntax_is_named(tmp_path: Path) -> None:
    files = write_ct(tmp_path)

    def compress(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8 no picture \xff\xd9"])
        dataset["PixelData"].is_undefined_length = True

    edit(files[0], compress)
    with pytest.raises(ReadError, match=r"ct_0000.dcm.*JPEG Lossless"):
        open_case(tmp_path)


def test_not_finite_pet_is_refused(tmp_path: Path) -> None:
    files = write_pet(tmp_path)
    edit_all(files, RescaleSlope="1e300")
    with pytest.raises(ReadError, match="NaN or infinite"), np.errstate(over="ignore"):
        open_case(tmp_path)


def test_only_contours_are_no_case(tmp_path: Path) -> None:
    from dicom_phantoms import PET_GRID
    from lesionlab.core.volume import Volume
    from lesionlab.demo.dicom_contours import write_rtstruct

    write_rtstruct(
        tmp_path / "rs.dcm", Volume(np.ones(PET_GRID.shape, np.uint8), PET_GRID, "1"), StudyFacts()
    )
    with pytest.raises(ReadError, match="only 1 RTSTRUCT"):
        open_case(tmp_path)
