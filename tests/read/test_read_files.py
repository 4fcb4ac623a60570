"""NIfTI, MHA, NRRD, arrays, TIFF stacks and pictures, alone and in folders."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from PIL import Image

from lesionlab.core.errors import GeometryError, LesionLabError, ReadError
from lesionlab.core.units import HOUNSFIELD, STORED, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read import load_volume, open_case
from phantoms import OBLIQUE

GRID = Geometry((3, 4, 5), (3.0, 2.0, 1.5), (10.0, -20.0, 30.0), OBLIQUE)


def volume(dtype: type = np.float32, seed: int = 1, grid: Geometry = GRID) -> Volume:
    return Volume(np.random.default_rng(seed).integers(0, 200, grid.shape).astype(dtype), grid, STORED)


def write_itk(path: Path, source: Volume) -> Path:
    """Through SimpleITK alone, so that our reader is checked against another writer."""
    image = sitk.GetImageFromArray(source.array)
    image.SetSpacing(source.geometry.spacing[::-1])
    image.SetOrigin(source.geometry.origin)
    image.SetDirection(source.geometry.matrix[:, ::-1].ravel().tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))
    return path


def patch(path: Path, offset: int, code: str, *values: float) -> Path:
    """Overwrite numbers of an uncompressed NIfTI header."""
    data = bytearray(path.read_bytes())
    data[offset : offset + struct.calcsize("<" + code)] = struct.pack("<" + code, *values)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_formats_with_geometry_come_back_whole(tmp_path: Path, suffix: str, dtype: type) -> None:
    found = load_volume(write_itk(tmp_path / f"x{suffix}", volume(dtype)))
    np.testing.assert_array_equal(found.array, volume(dtype).array)
    assert found.array.dtype == dtype
    assert found.geometry.matches(GRID, 1e-4)
    assert found.unit == STORED


def test_big_endian_nifti2_with_scaling_and_micrometres(tmp_path: Path) -> None:
    header = bytearray(544)
    values = volume(np.int16).array

    def put(offset: int, code: str, *numbers: float) -> None:
        header[offset : offset + struct.calcsize(">" + code)] = struct.pack(">" + code, *numbers)

    put(0, "i", 540)
    put(12, "hh", 4, 16)
    put(16, "8q", 3, 5, 4, 3, 1, 1, 1, 1)
    put(104, "8d", 1, 1500, 2000, 3000, 1, 1, 1, 1)
    put(168, "q", 544)
    put(176, "dd", 0.5, 10.0)
    put(348, "i", 1)
    put(400, "12d", 1500, 0, 0, 7000, 0, 2000, 0, 8000, 0, 0, 3000, 9000)
    put(500, "i", 3)
    path = tmp_path / "x.nii"
    path.write_bytes(bytes(header) + values.astype(">i2").tobytes())
    found = load_volume(path)
    np.testing.assert_allclose(found.array, values * 0.5 + 10.0)
    assert found.geometry.spacing == pytest.approx((3.0, 2.0, 1.5))
    np.testing.assert_allclose(found.geometry.to_world((0, 0, 1)), [-8.5, -8.0, 9.0], atol=1e-9)


def test_qform_alone_equals_sform_alone(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "x.nii", volume())
    by_sform = load_volume(patch(path, 252, "hh", 0, 1)).geometry
    by_qform = load_volume(patch(path, 252, "hh", 1, 0)).geometry
    assert by_sform.matches(by_qform, 1e-3)
    assert by_qform.matches(GRID, 1e-3)


def test_the_sform_wins_and_the_difference_is_noted(tmp_path: Path) -> None:
    path = patch(write_itk(tmp_path / "suv.nii", volume()), 268, "f", 500.0)
    case = open_case(path)
    assert case.geometry.matches(GRID, 1e-3)
    assert any("sform and qform differ" in n for n in case.notes)


def test_no_form_at_all_is_noted(tmp_path: Path) -> None:
    case = open_case(patch(write_itk(tmp_path / "ct.nii", volume()), 252, "hh", 0, 0))
    assert case.geometry.spacing == (3.0, 2.0, 1.5)
    assert any("neither sform nor qform" in n for n in case.notes)


@pytest.mark.parametrize(("shear", "word"), [(0.004, "axes not orthonormal"), (0.1, "sheared axes")])
def test_axes_that_are_not_orthonormal_are_repaired_and_noted(
    tmp_path: Path, shear: float, word: str
) -> None:
    grid = Geometry((3, 4, 5), (3.0, 2.0, 1.5))
    path = write_itk(tmp_path / "pet.nii", volume(grid=grid))
    patch(path, 280, "12f", -1.5, 2.0 * shear, 0, 0, 0, -2.0, 0, 0, 0, 0, 3.0, 0)
    patch(path, 252, "hh", 0, 1)
    case = open_case(path)
    assert any(word in n for n in case.notes)
    matrix = case.geometry.matrix
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(3), atol=1e-9)
    assert np.degrees(np.arccos(matrix[:, 2] @ np.array([1.0, 0, 0]))) < np.degrees(shear)


def test_sheared_mha_is_repaired(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "mr.mha", volume(grid=Geometry((3, 4, 5), (1.0, 1.0, 1.0))))
    head, _, data = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    lines = [
        b"TransformMatrix = 1 0 0 0.02 0.9998 0 0 0 1" if line.startswith(b"TransformMatrix") else line
        for line in head.splitlines()
    ]
    path.write_bytes(b"\n".join(lines) + b"\nElementDataFile = LOCAL\n" + data)
    assert any("not orthonormal" in n for n in open_case(path).notes)


def _broken(tmp_path: Path, kind: str) -> Path:
    path = write_itk(tmp_path / "suv.nii", volume())
    data = path.read_bytes()
    if kind == "gzip":
        path = tmp_path / "suv.nii.gz"
        path.write_bytes(gzip.compress(data)[:-20])
    elif kind == "voxels":
        path.write_bytes(data[:-7])
    elif kind == "header":
        path.write_bytes(data[:100])
    elif kind == "text":
        path.write_text("this is no image, however long it may be " * 20)
    elif kind == "mha":
        path = write_itk(tmp_path / "suv.mha", volume())
        path.write_bytes(path.read_bytes()[:-7])
    elif kind == "nrrd":
        path = tmp_path / "suv.nrrd"
        path.write_text("no image")
    return path


@pytest.mark.parametrize("kind", ["gzip", "voxels", "header", "text", "mha", "nrrd"])
def test_damaged_files_name_themselves(tmp_path: Path, kind: str) -> None:
    path = _broken(tmp_path, kind)
    with pytest.raises(ReadError, match=path.name):
        open_case(path)


HEADERS = {
    "zero spacing": (80, "f", (0.0,), GeometryError, "three positive spacings"),
    "negative spacing": (84, "f", (-2.0,), GeometryError, "three positive spacings"),
    "not a number": (88, "f", (np.nan,), GeometryError, "three positive spacings"),
    "flat sform": (280, "4f", (0.0, 0.0, 0.0, 0.0), GeometryError, "three independent axes"),
    "several volumes": (40, "8h", (4, 5, 2, 3, 2, 1, 1, 1), ReadError, "2 volumes in one file"),
    "no size": (40, "8h", (3, 5, 0, 3, 1, 1, 1, 1), ReadError, "positive sizes"),
    "colour": (70, "hh", (128, 24), ReadError, "NIfTI datatype 128"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_impossible_nifti_headers(tmp_path: Path, name: str) -> None:
    offset, code, values, error, message = HEADERS[name]
    path = patch(write_itk(tmp_path / "suv.nii", volume()), offset, code, *values)
    with pytest.raises(error, match=message) as caught:
        open_case(path)
    assert "suv.nii" in str(caught.value)


def test_swapped_axes_of_a_cube_are_a_difference_too(tmp_path: Path) -> None:
    """Its first and its last voxel stay where they are."""
    cube = Geometry((4, 4, 4), (2.0, 2.0, 2.0), direction=(0, 0, -1, 0, -1, 0, 1, 0, 0))
    path = write_itk(tmp_path / "suv.nii", volume(grid=cube))
    patch(path, 280, "12f", 0, 2, 0, 0, 2, 0, 0, 0, 0, 0, 2, 0)
    assert any("sform and qform differ by 6 mm" in n for n in open_case(path).notes)


def test_zero_sform_columns_are_no_spacing(tmp_path: Path) -> None:
    path = patch(write_itk(tmp_path / "suv.nii", volume()), 280, "12f", *([0.0] * 12))
    with pytest.raises(GeometryError, match="spacing"):
        load_volume(path)


def test_an_unreadable_path_is_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="No such file"):
        load_volume(tmp_path / "nothing.nii")


def test_colour_and_time_series_in_itk_formats(tmp_path: Path) -> None:
    vector = sitk.GetImageFromArray(np.zeros((3, 4, 5, 3), np.uint8), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "suv.nrrd"))
    with pytest.raises(ReadError, match="3 values per voxel"):
        open_case(tmp_path / "suv.nrrd")
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4, 5)), isVector=False), str(tmp_path / "suv.mha"))
    with pytest.raises(ReadError, match="4D"):
        open_case(tmp_path / "suv.mha")


def test_zero_spacing_in_mha(tmp_path: Path) -> None:
    path = write_itk(tmp_path / "suv.mha", volume())
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 1.5", b"ElementSpacing = 0.0"))
    with pytest.raises(GeometryError, match=r"suv.mha.*positive spacing"):
        open_case(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".mha", ".npy", ".tif"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_voxels_that_are_no_numbers(tmp_path: Path, suffix: str, bad: float) -> None:
    array = volume().array.copy()
    array[1, 2, 3] = bad
    path = tmp_path / f"suv{suffix}"
    if suffix == ".npy":
        np.save(path, array)
    elif suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    else:
        write_itk(path, Volume(array, GRID, STORED))
    (tmp_path / "suv.json").write_text(json.dumps({"spacing_mm": [1, 1, 1]}))
    with pytest.raises(ReadError, match=rf"suv{suffix}.*1 of 60 voxels NaN or infinite"):
        open_case(path)


def test_a_2d_nifti_is_one_slice(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(np.arange(20, dtype=np.int16).reshape(4, 5))
    sitk.WriteImage(image, str(tmp_path / "x.nii"))
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    assert (
        load_volume(tmp_path / "x.nii").array.shape
        == load_volume(tmp_path / "x.mha").array.shape
        == (1, 4, 5)
    )


def test_npy_with_sidecar(tmp_path: Path) -> None:
    np.save(tmp_path / "scan.npy", volume().array)
    sidecar = {"spacing_mm": [3, 2, 1.5], "unit": "Bq/ml", "channel": "pet", "origin": [1, 2, 3]}
    (tmp_path / "scan.json").write_text(json.dumps(sidecar | {"direction": list(OBLIQUE)}))
    case = open_case(tmp_path / "scan.npy")
    assert case.channels["pet"].unit == "Bq/ml"
    assert case.geometry.spacing == (3.0, 2.0, 1.5)
    assert case.geometry.origin == (1.0, 2.0, 3.0)
    assert case.geometry.direction == pytest.approx(OBLIQUE)
    assert len(case.facts.channels["pet"].files) == 2


SIDECARS = {
    "absent": (None, ReadError, r"no voxel spacing.*spacing_mm.*scan.json"),
    "not json": ("{", ReadError, "scan.json.*a JSON sidecar"),
    "unknown key": ('{"spacing": [1, 1, 1]}', ReadError, "unknown key 'spacing'.*spacing_mm"),
    "a list": ("[1]", ReadError, "scan.json"),
    "zero spacing": ('{"spacing_mm": [1, 0, 1]}', GeometryError, "spacing"),
    "negative spacing": ('{"spacing_mm": [1, 1, -1]}', GeometryError, "spacing"),
    "two numbers": ('{"spacing_mm": [1, 1]}', GeometryError, "spacing"),
    "words": ('{"spacing_mm": ["a", "b", "c"]}', GeometryError, "sidecar"),
    "one number": ('{"spacing_mm": 2}', ReadError, "scan.json: found spacing_mm 2; needed a list of numbers"),
    "nothing": ('{"spacing_mm": [1, 1, 1], "origin": null}', ReadError, "scan.json: found origin null"),
    "no name": ('{"spacing_mm": [1, 1, 1], "channel": null}', ReadError, "channel null; needed text"),
    "skew": (
        '{"spacing_mm": [1, 1, 1], "direction": [1, 1, 0, 0, 1, 0, 0, 0, 1]}',
        GeometryError,
        "orthonormal",
    ),
}


@pytest.mark.parametrize("name", SIDECARS)
@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_sidecars_that_do_not_help(tmp_path: Path, name: str, suffix: str) -> None:
    text, error, message = SIDECARS[name]
    path = tmp_path / f"scan{suffix}"
    if suffix == ".npy":
        np.save(path, volume().array)
    else:
        tifffile.imwrite(path, volume().array, photometric="minisblack")
    if text is not None:
        (tmp_path / "scan.json").write_text(text)
    with pytest.raises(error, match=message):
        open_case(path)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png", ".jpg"])
def test_damaged_stacks_name_themselves(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"suv{suffix}"
    path.write_bytes(b"nothing that anyone could read")
    with pytest.raises(ReadError, match=path.name):
        open_case(path)


def test_truncated_png_and_tiff(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "us.png")
    tifffile.imwrite(tmp_path / "us.tif", noise)
    for path in (tmp_path / "us.png", tmp_path / "us.tif"):
        path.write_bytes(path.read_bytes()[:-1500])
        with pytest.raises(ReadError, match=path.name):
            open_case(path)


def test_damaged_compressed_tiff_and_a_picture_beyond_all_sizes(tmp_path: Path) -> None:
    """Decoders have exception types of their own."""
    noise = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "us.tif", noise, compression="zlib")
    raw = bytearray((tmp_path / "us.tif").read_bytes())
    raw[-300:-200] = bytes(100)
    (tmp_path / "us.tif").write_bytes(bytes(raw))
    Image.fromarray(noise).save(tmp_path / "us.bmp")
    raw = bytearray((tmp_path / "us.bmp").read_bytes())
    raw[18:26] = struct.pack("<2i", 40000, 40000)
    (tmp_path / "us.bmp").write_bytes(bytes(raw))
    for path in (tmp_path / "us.tif", tmp_path / "us.bmp"):
        with pytest.raises(
            ReadError, match=rf"{path.name}: found \w+Error: .*; needed a complete image file"
        ):
            open_case(path)


def test_arrays_of_objects_and_of_four_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["x"]))
    with pytest.raises(ReadError, match="real numbers"):
        open_case(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ReadError, match=r"b.npy"):
        open_case(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.zeros((2, 2, 2, 2)))
    with pytest.raises(ReadError, match=r"shape \(2, 2, 2, 2\)"):
        open_case(tmp_path / "c.npy")


def test_imagej_stack_knows_its_spacing(tmp_path: Path) -> None:
    array = volume(np.uint16).array
    tifffile.imwrite(
        tmp_path / "us.tif",
        array,
        imagej=True,
        resolution=(1 / 0.25, 1 / 0.5),
        metadata={"spacing": 0.8, "unit": "mm", "axes": "ZYX"},
    )
    case = open_case(tmp_path / "us.tif")
    np.testing.assert_array_equal(case.channels["us"].array, array)
    assert case.geometry.spacing == pytest.approx((0.8, 0.5, 0.25))


def test_a_tiff_of_several_image_series(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "us.tif") as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        writer.write(np.zeros((9, 9), np.uint16))
    with pytest.raises(ReadError, match="2 image series"):
        open_case(tmp_path / "us.tif")


def test_colour_tiff_becomes_luminance(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (8, 9, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "us.tif", colour, photometric="rgb")
    found = open_case(tmp_path / "us.tif").channels["us"].array[0]
    np.testing.assert_allclose(found, colour @ np.array([0.299, 0.587, 0.114]), atol=0.51)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_pictures_are_one_slice_of_unknown_spacing(tmp_path: Path, suffix: str) -> None:
    grey = np.tile(np.arange(0, 240, 8, dtype=np.uint8), (20, 1))
    Image.fromarray(grey).save(tmp_path / f"P7{suffix}")
    case = open_case(tmp_path / f"P7{suffix}")
    assert list(case.channels) == ["us"]
    assert case.channels["us"].unit == STORED
    np.testing.assert_allclose(case.channels["us"].array[0].astype(int), grey, atol=3)
    assert any("pixel spacing unknown" in n for n in case.notes)
    (tmp_path / "P7.json").write_text('{"spacing_mm": [1, 0.1, 0.2]}')
    assert open_case(tmp_path / f"P7{suffix}").geometry.spacing == (1.0, 0.1, 0.2)


def test_a_colour_picture_becomes_luminance(tmp_path: Path) -> None:
    colour = np.zeros((6, 7, 3), np.uint8)
    colour[..., 1] = 200
    Image.fromarray(colour).save(tmp_path / "bus.png")
    assert set(np.unique(open_case(tmp_path / "bus.png").channels["us"].array)) == {117}


def test_a_folder_of_files_by_name(tmp_path: Path) -> None:
    write_itk(tmp_path / "P1_pet.nii.gz", volume())
    write_itk(tmp_path / "ct.mha", volume(np.int16, 2))
    write_itk(tmp_path / "mr_t1.nrrd", volume(seed=3))
    (tmp_path / "readme.txt").write_text("hello")
    case = open_case(tmp_path, case_id="first")
    assert set(case.channels) == {"suv", "ct", "mr_t1"}
    assert (case.id, case.patient_id, case.reference) == ("first", "first", "suv")
    assert case.channels["suv"].unit == SUVBW
    assert case.channels["ct"].unit == HOUNSFIELD
    assert any(SUVBW in n and "name" in n for n in case.notes)
    assert open_case(tmp_path, reference="ct").reference == "ct"
    assert open_case(tmp_path, reference="pet").reference == "suv"
    with pytest.raises(ReadError, match=r"channels .*suv.*reference channel 'us'"):
        open_case(tmp_path, reference="us")


def test_names_that_say_nothing(tmp_path: Path) -> None:
    write_itk(tmp_path / "a" / "patient-12.nii.gz", volume())
    assert list(open_case(tmp_path / "a").channels) == ["image"]
    write_itk(tmp_path / "a" / "Other One.nii.gz", volume())
    assert sorted(open_case(tmp_path / "a").channels) == ["other_one", "patient_12"]


def test_two_files_for_one_channel(tmp_path: Path) -> None:
    write_itk(tmp_path / "a_pet.nii.gz", volume())
    write_itk(tmp_path / "b_suv.nii.gz", volume())
    with pytest.raises(ReadError, match=r"two files for channel 'suv': a_pet.nii.gz and b_suv.nii.gz"):
        open_case(tmp_path)


def test_a_folder_of_patients_is_not_one_patient(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        write_itk(tmp_path / name / "ct.nii.gz", volume())
    with pytest.raises(ReadError, match=r"anna/ct.nii.gz and bert/ct.nii.gz; needed .* of one patient"):
        open_case(tmp_path)


def test_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="an empty folder"):
        open_case(tmp_path)
    with pytest.raises(ReadError, match="no such file or folder"):
        open_case(tmp_path / "nowhere")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ReadError, match=r"a.txt: found a file that is no image"):
        open_case(tmp_path / "a.txt")
    with pytest.raises(ReadError, match=r"found no scan in it, only a.txt; needed DICOM or a file ending in"):
        open_case(tmp_path)
    (tmp_path / "b.csv").write_text("1,2")
    with pytest.raises(ReadError, match="2 files of which none is an image"):
        open_case(tmp_path)
    write_itk(tmp_path / "pet_mask.nii.gz", volume(np.uint8))
    with pytest.raises(ReadError, match=r"1 mask\(s\) and no image"):
        open_case(tmp_path)


def test_read_errors_are_lesionlab_errors() -> None:
    assert issubclass(ReadError, LesionLabError)
