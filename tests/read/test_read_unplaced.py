"""Files that say less than their format could: without voxel spacing, or with greys that compression made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.units import STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read import load_mask, open_case
from lesionlab.read.datasets import DATASETS
from lesionlab.report import save_volume

GRID = Geometry((4, 7, 8), (3.0, 1.5, 1.5), (10.0, -20.0, 30.0))
UNKNOWN = "pixel spacing unknown: 1 mm assumed"


def values() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 200, GRID.shape).astype(np.uint8)


def labels() -> np.ndarray:
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1:3, 2:5, 3:7] = 1
    return mask


def write_nrrd(path: Path, array: np.ndarray, *lines: str) -> Path:
    """Raw NRRD of bytes with these header lines beside those that every file has."""
    sizes = " ".join(str(n) for n in array.shape[::-1])
    head = ["NRRD0004", "type: uint8", "dimension: 3", f"sizes: {sizes}", "encoding: raw", *lines]
    path.write_bytes("\n".join(head).encode() + b"\n\n" + array.astype(np.uint8).tobytes())
    return path


def write_mha(path: Path, array: np.ndarray, *lines: str) -> Path:
    """Raw MHA of bytes, likewise."""
    sizes = " ".join(str(n) for n in array.shape[::-1])
    head = ["ObjectType = Image", "NDims = 3", "BinaryData = True", *lines, f"DimSize = {sizes}"]
    head += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL\n"]
    path.write_bytes("\n".join(head).encode() + array.astype(np.uint8).tobytes())
    return path


@pytest.mark.parametrize("write", [write_nrrd, write_mha])
def test_a_volume_without_spacing_says_so(tmp_path: Path, write) -> None:
    case = open_case(write(tmp_path / f"scan.{write.__name__[6:]}", values()))
    assert case.geometry.spacing == (1.0, 1.0, 1.0) and not case.spacing_known
    assert any(UNKNOWN in note for note in case.notes)


@pytest.mark.parametrize(
    ("write", "line"),
    [
        (write_nrrd, "spacings: 1.5 1.5 3"),
        (write_nrrd, "space: LPS\nspace directions: (1.5,0,0) (0,1.5,0) (0,0,3)\nspace origin: (0,0,0)"),
        (write_mha, "ElementSpacing = 1.5 1.5 3"),
        (write_mha, "ElementSize = 1.5 1.5 3"),
    ],
)
def test_a_volume_with_spacing_says_nothing(tmp_path: Path, write, line: str) -> None:
    case = open_case(write(tmp_path / f"scan.{write.__name__[6:]}", values(), line))
    assert case.geometry.spacing == (3.0, 1.5, 1.5) and case.spacing_known


def test_a_spacing_that_is_no_number_is_unknown(tmp_path: Path) -> None:
    assert not open_case(write_nrrd(tmp_path / "scan.nrrd", values(), "spacings: nan nan nan")).spacing_known


def test_a_mask_without_spacing_takes_the_grid_of_its_image(tmp_path: Path) -> None:
    save_volume(Volume(values(), GRID, STORED), tmp_path / "scan.nii.gz")
    write_nrrd(tmp_path / "mask.nrrd", labels())
    case = open_case(tmp_path)
    assert case.truth is not None and case.truth.geometry.matches(GRID) and case.spacing_known
    np.testing.assert_array_equal(case.truth.array, labels())
    write_nrrd(tmp_path / "mask.nrrd", labels()[:3])
    with pytest.raises(GeometryError, match=r"shape \(3, 7, 8\) .* without spacing; needed the image's"):
        open_case(tmp_path)


@pytest.mark.parametrize("suffix", [".npy", ".tif", ".nrrd"])
def test_masks_without_spacing_in_a_data_set_folder(tmp_path: Path, suffix: str) -> None:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    save_volume(Volume(values(), GRID, STORED), tmp_path / "images" / "a.nii.gz")
    file = tmp_path / "masks" / f"a{suffix}"

    def write(array: np.ndarray) -> None:
        if suffix == ".npy":
            np.save(file, array)
        elif suffix == ".tif":
            tifffile.imwrite(file, array, photometric="minisblack")
        else:
            write_nrrd(file, array)

    write(labels())
    (item,) = DATASETS["folder"].find(tmp_path, False).items
    truth = item.read().truth
    assert item.peek() == {1} and truth is not None and truth.geometry.matches(GRID)
    np.testing.assert_array_equal(truth.array, labels())
    write(labels()[:3])
    with pytest.raises(GeometryError, match=r"a mask of \(3, 7, 8\) \(z, y, x\); needed the image's \(4, 7"):
        item.read()


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_jpeg_in_black_and_white_is_one_label(tmp_path: Path, quality: int) -> None:
    drawn = np.hypot(*np.ogrid[-40:40, -50:50]) < 22
    Image.fromarray(drawn.astype(np.uint8) * 255).save(tmp_path / "mask.jpg", quality=quality)
    mask = load_mask(tmp_path / "mask.jpg").array[0]
    assert set(np.unique(mask)) == {0, 1}
    assert np.count_nonzero(mask != drawn) <= 0.01 * drawn.sum()


def test_a_jpeg_of_greys_is_no_mask(tmp_path: Path) -> None:
    grey = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    Image.fromarray(grey).save(tmp_path / "mask.jpg")
    with pytest.raises(ReadError, match=r"a JPEG mask of \d+ grey values, most of them not near white"):
        load_mask(tmp_path / "mask.jpg")


def test_grey_beside_an_alpha_channel_is_grey(tmp_path: Path) -> None:
    both = np.random.default_rng(0).integers(0, 255, (5, 6, 2), dtype=np.uint8)
    tifffile.imwrite(
        tmp_path / "us.tif",
        both,
        photometric="minisblack",
        planarconfig="contig",
        extrasamples=["unassalpha"],
    )
    case = open_case(tmp_path / "us.tif")
    np.testing.assert_array_equal(case.channels["us"].array[0], both[..., 0])
    assert not any("luminance" in note for note in case.notes)
