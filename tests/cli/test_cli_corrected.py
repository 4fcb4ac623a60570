"""A mask that was corrected by hand outlives every later run into its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lesionlab.core.volume import Volume
from lesionlab.read import load_mask
from lesionlab.report import save_volume


def correct(folder: Path, plane: int) -> np.ndarray:
    """Write one lesion's plane away, as with a viewer's eraser; returns the mask as it is now."""
    mask = load_mask(folder / "mask.nii.gz")
    drawn = mask.array.copy()
    drawn[: plane + 1] = 0
    save_volume(Volume(drawn, mask.geometry, mask.unit), folder / "mask.nii.gz")
    return drawn


def planes(folder: Path) -> np.ndarray:
    """The numbers of the planes with lesion in a folder's mask."""
    return np.flatnonzero(load_mask(folder / "mask.nii.gz").array.any(axis=(1, 2)))


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("mask_corrected*"))


def test_one_patient_examined_again(run, patient: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    examine = ("examine", patient, "-o", out)
    assert run(*examine).exit_code == run(*examine).exit_code == 0
    assert copies(out) == []  # nobody touched the mask
    first = correct(out, planes(out)[2])  # and never reported on it
    again = run(*examine)
    kept = out / "mask_corrected.nii.gz"
    assert f"note: the corrected mask that stood there is kept: {kept}" in again.stderr
    np.testing.assert_array_equal(load_mask(kept).array, first)
    assert load_mask(out / "mask.nii.gz").array.sum() > first.sum()
    assert "is kept" not in run(*examine).stderr and copies(out) == [kept.name]

    second = correct(out, planes(out)[4])
    reported = run("report", out)
    assert reported.exit_code == 0 and "is kept" not in reported.stderr
    assert run("report", out).exit_code == 0 and copies(out) == [kept.name]  # it stands there itself
    told = run(*examine).stderr
    assert f"is kept: {out / 'mask_corrected_2.nii.gz'}" in told and str(kept) not in told
    np.testing.assert_array_equal(load_mask(out / "mask_corrected_2.nii.gz").array, second)
    np.testing.assert_array_equal(load_mask(kept).array, first)


def test_a_cohort_examined_again_with_other_options(run, cohort: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("examine", cohort, "-o", out).exit_code == 1  # dora's file is broken
    drawn = correct(out / "berta", planes(out / "berta")[2])
    assert run("report", out / "berta").exit_code == 0
    again = run("examine", cohort, "-o", out, "--also", "nrrd")
    kept = out / "berta" / "mask_corrected.nii.gz"
    assert f"is kept: {kept}" in again.stderr
    np.testing.assert_array_equal(load_mask(kept).array, drawn)
    assert copies(out) == [kept.name]


def test_a_given_mask_takes_the_place_of_a_corrected_one(run, patient: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("examine", patient, "-o", out).exit_code == 0
    given = tmp_path / "given.nii.gz"
    given.write_bytes((out / "mask.nii.gz").read_bytes())
    drawn = correct(out, planes(out)[2])
    result = run("report", patient, "--mask", given, "-o", out)
    assert f"is kept: {out / 'mask_corrected.nii.gz'}" in result.stderr
    np.testing.assert_array_equal(load_mask(out / "mask_corrected.nii.gz").array, drawn)
