"""Corners of DICOM reading: private tags, notes on small oddities, damaged headers, direct checks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_phantoms import PET_GRID, edit, edit_all, write_ct, write_mr, write_pet
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.private_tags import GE_DECAY_DATETIME, PHILIPS_SUV_FACTOR
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.read import find_cases, load_mask, load_volume, open_case
from lesionlab.read.dicom_masks import _read_seg
from lesionlab.read.dicom_slices import read_header, slices_of
from lesionlab.read.dicom_stack import stack
from lesionlab.report import save_volume


def test_private_attributes_of_suv_rules_are_kept_by_creator(tmp_path: Path) -> None:
    def add(dataset: pydicom.Dataset) -> None:
        dataset.private_block(0x0009, "GEMS_PETD_01", create=True).add_new(0x0D, "DT", "20240102093000.00")
        block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
        block.add_new(0x00, "UN", b"0.000551 ")

    for path in write_pet(tmp_path):
        edit(path, add)
    header = open_case(tmp_path).facts.channels["pet"].header
    assert header[GE_DECAY_DATETIME] == "20240102093000.00"
    assert float(header[PHILIPS_SUV_FACTOR]) == 0.000551


def test_a_directory_file_is_passed_by(tmp_path: Path) -> None:
    files = write_ct(tmp_path)

    def to_directory(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MediaStorageDirectoryStorage

    copy = tmp_path / "DICOMDIR"
    copy.write_bytes(files[0].read_bytes())
    edit(copy, to_directory)
    assert open_case(tmp_path).channels["ct"].array.shape[0] == 9


def test_small_oddities_are_noted(tmp_path: Path) -> None:
    ct = write_ct(tmp_path / "ct")
    edit_all(ct, RescaleSlope=None, RescaleIntercept=None)
    assert any("stored values taken as HU" in n for n in open_case(tmp_path / "ct").notes)
    pet = write_pet(tmp_path / "pet")
    edit_all(pet, NumberOfSlices=30)
    edit_all(pet[3:4], ImagePositionPatient=[-20.2, -15.0, 109.1])
    notes = " ".join(open_case(tmp_path / "pet").notes)
    for words in ("NumberOfSlices says 30, 6 are here", "0.1 mm off the even grid", "0.20 mm sideways"):
        assert words in notes
    lone = write_mr(tmp_path / "mr")[0]
    edit_all([lone], SliceThickness=None, SpacingBetweenSlices=None)
    case = open_case(lone)
    assert case.geometry.spacing[0] == 1.0
    assert any("slice thickness unknown" in n for n in case.notes)


def test_a_pet_with_repeated_positions_is_refused_as_duplicates(tmp_path: Path) -> None:
    write_pet(tmp_path / "a")
    for index, path in enumerate(write_pet(tmp_path / "b")):
        edit_all([path], SOPInstanceUID=f"1.2.{index}")
    with pytest.raises(GeometryError, match="duplicate slices"):
        open_case(tmp_path)


def test_slices_of_another_shape_are_refused_when_stacked(tmp_path: Path) -> None:
    paths = [write_mr(tmp_path / "mr")[0], write_ct(tmp_path / "ct")[0]]
    slices = [s for p in paths for s in slices_of(p, read_header(p))]  # type: ignore[arg-type]
    with pytest.raises(GeometryError, match=r"a slice of \(16, 20\) pixels.*\(8, 10\)"):
        stack(tmp_path, slices)


def test_malformed_numbers_name_the_attribute(tmp_path: Path) -> None:
    path = write_mr(tmp_path)[0]
    header = read_header(path)
    assert header is not None
    header["PixelSpacing"]._value = ["wide", "high"]
    with pytest.raises(ReadError, match=r"PixelSpacing .*2 numbers"):
        slices_of(path, header)


def test_an_infinite_integer_is_text_like_any_other_that_is_no_number(tmp_path: Path) -> None:
    paths = write_mr(tmp_path)
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.AcquisitionNumber = 123
        dataset.save_as(path)
        written = path.read_bytes()
        assert written.count(b"IS\x04\x00123 ") == 1
        path.write_bytes(written.replace(b"IS\x04\x00123 ", b"IS\x04\x00inf "))
    header = read_header(paths[0])
    with pytest.warns(UserWarning, match="VR IS"):
        assert header is not None and header.AcquisitionNumber == "inf"
    assert open_case(tmp_path).channels["mr"].geometry.shape[0] == len(paths)


def test_a_header_that_cannot_be_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_mr(tmp_path)[0]

    def fail(*_: object, **__: object) -> None:
        raise KeyError("broken")

    monkeypatch.setattr(pydicom, "dcmread", fail)
    with pytest.raises(ReadError, match=r"mr_0000.dcm: found a damaged DICOM header \(KeyError\)"):
        read_header(path)


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="No such file"):
        read_header(tmp_path / "gone")


def test_a_seg_with_fewer_pixels_than_frames(tmp_path: Path) -> None:
    path = write_mr(tmp_path)[0]
    header = read_header(path)
    assert header is not None
    segment, group, pixels = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    segment.SegmentNumber = 1
    pixels.PixelSpacing = [1.0, 1.0]
    group.PixelMeasuresSequence = pydicom.Sequence([pixels])
    header.SegmentSequence = pydicom.Sequence([segment])
    header.NumberOfFrames = 2
    header.PerFrameFunctionalGroupsSequence = pydicom.Sequence([group, group])
    with pytest.raises(ReadError, match="1 frames of pixels; needed 2 frames"):
        _read_seg(path, header, ())


def test_masks_in_a_folder_beside_the_series_belong_to_the_case(tmp_path: Path) -> None:
    write_pet(tmp_path / "P" / "PT")
    labels = Volume(np.ones(PET_GRID.shape, np.uint8), PET_GRID, ONE)
    save_volume(labels, tmp_path / "P" / "mask" / "drawn.nii.gz")
    assert find_cases(tmp_path / "P") == [tmp_path / "P"]
    assert open_case(tmp_path / "P").truth is not None


def test_dce_phases_by_file_name(tmp_path: Path) -> None:
    for name in ("P1_pre", "P1_post1", "P1_post2"):
        save_volume(Volume(np.ones(PET_GRID.shape, np.float32), PET_GRID, ONE), tmp_path / f"{name}.nii.gz")
    case = open_case(tmp_path)
    assert sorted(case.channels) == ["post1", "post2", "pre"]
    assert case.reference == "pre"


def test_a_fourth_axis_of_one_is_dropped(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    for name in ("x.mha", "x.nii"):
        sitk.WriteImage(sitk.GetImageFromArray(array, isVector=False), str(tmp_path / name))
        np.testing.assert_array_equal(load_volume(tmp_path / name).array, array[0])


def test_load_mask_without_a_grid_keeps_its_own(tmp_path: Path) -> None:
    save_volume(Volume(np.ones(PET_GRID.shape, np.uint8), PET_GRID, ONE), tmp_path / "m.nii.gz")
    assert load_mask(tmp_path / "m.nii.gz").geometry.matches(PET_GRID, 1e-3)
