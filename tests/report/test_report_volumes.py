from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from lesionlab.core.errors import WriteError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.report import save_volume, volumes

OBLIQUE = Geometry(
    (3, 4, 5),
    (6.0, 2.0, 1.5),
    (-10.0, 20.0, -300.0),
    # columns: array axes z, y, x in LPS; y and x turned by 30 degrees in the axial plane
    (0.0, -0.5, np.sqrt(0.75), 0.0, np.sqrt(0.75), 0.5, 1.0, 0.0, 0.0),
)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_every_voxel_lies_where_the_geometry_says(tmp_path: Path, suffix: str) -> None:
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    path = save_volume(Volume(array, OBLIQUE, "1"), tmp_path / f"volume{suffix}")
    image = sitk.ReadImage(str(path))
    for index in [(0, 0, 0), (2, 0, 0), (0, 3, 0), (0, 0, 4), (2, 3, 4)]:
        xyz = index[::-1]
        assert image.GetPixel(*xyz) == array[index]
        place = image.TransformIndexToPhysicalPoint(xyz)
        assert np.allclose(place, OBLIQUE.to_world(index), atol=1e-4)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([0, 1], bool), np.uint8),
        (np.array([0, 255], np.int32), np.uint8),
        (np.array([0, 256], np.int64), np.uint16),
        (np.array([-1000, 3000], np.int32), np.int16),
        (np.array([0, 70000], np.int64), np.int32),
        (np.array([0, 5_000_000_000], np.int64), np.float32),
        (np.array([0.5, 2.0]), np.float32),
    ],
)
def test_voxels_take_the_smallest_type_that_holds_them(
    tmp_path: Path, values: np.ndarray, kind: type
) -> None:
    volume = Volume(values.reshape(1, 1, 2), Geometry((1, 1, 2), (1.0, 1.0, 1.0)), "1")
    read = sitk.GetArrayFromImage(sitk.ReadImage(str(save_volume(volume, tmp_path / "v.nii.gz"))))
    assert read.dtype == kind
    assert np.array_equal(read.ravel(), values.astype(kind))


def test_a_volume_with_nan_is_written(tmp_path: Path) -> None:
    array = np.array([[[np.nan, 1.0]]])
    path = save_volume(Volume(array, Geometry((1, 1, 2), (1.0, 1.0, 1.0)), "1"), tmp_path / "v.nii")
    # ITK reads NaN as 0, so the file's own last eight bytes are looked at.
    voxels = np.frombuffer(path.read_bytes()[-8:], "<f4")
    assert np.array_equal(voxels, [np.nan, 1.0], equal_nan=True)


def test_an_unknown_suffix_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    volume = Volume(np.zeros((1, 1, 2)), Geometry((1, 1, 2), (1.0, 1.0, 1.0)), "1")
    for name, found in (("v.wrong", "the suffix .wrong"), ("v.png", "the suffix .png"), ("v", "no suffix")):
        with pytest.raises(WriteError) as caught:
            save_volume(volume, tmp_path / name)
        needed = "a file name ending in .nii.gz, .nii, .mha, .nrrd"
        assert str(caught.value) == f"{tmp_path / name}: found {found}; needed {needed}"
    assert list(tmp_path.iterdir()) == []


def test_a_file_truncated_by_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # ITK's NIfTI writer reports no error on a full disk; it leaves what fitted.
    real = sitk.WriteImage

    def short(image: sitk.Image, name: str, **settings: bool) -> None:
        real(image, name, **settings)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: len(content) // 2])

    monkeypatch.setattr(volumes.sitk, "WriteImage", short)
    noise = np.random.default_rng(0).normal(size=(8, 16, 16))
    volume = Volume(noise, Geometry(noise.shape, (1.0, 1.0, 1.0)), "1")
    with pytest.raises(WriteError, match=r"v\.nii\.gz"):
        save_volume(volume, tmp_path / "v.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_survives_a_failed_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.nii.gz"
    path.write_text("before")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(volumes.sitk, "WriteImage", full)
    volume = Volume(np.zeros((1, 1, 2)), Geometry((1, 1, 2), (1.0, 1.0, 1.0)), "1")
    with pytest.raises(WriteError, match="No space left on device"):
        save_volume(volume, path)
    assert path.read_text() == "before"
    assert [item.name for item in tmp_path.iterdir()] == ["v.nii.gz"]
