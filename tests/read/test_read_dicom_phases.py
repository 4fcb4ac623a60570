"""Phases within one MR series: how they are told apart, and what cannot be."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_phantoms import edit, edit_all, mr_volume, write_mr
from lesionlab.core.errors import ReadError
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case


def write_phases(folder: Path, count: int = 3) -> tuple[list[Volume], list[list[Path]]]:
    """One series of `count` phases in blocks of InstanceNumber, without any time that differs."""
    volumes, files = [mr_volume(seed=s) for s in range(count)], []
    for phase, volume in enumerate(volumes):
        written = write_mr(folder / str(phase), volume, StudyFacts(seed=phase))
        edit_all(
            written, SeriesInstanceUID="1.2.3.99", FrameOfReferenceUID="1.2.3.4", StudyInstanceUID="1.2.3"
        )
        for index, path in enumerate(written):
            edit(path, lambda d, i=index, p=phase: setattr(d, "InstanceNumber", p * 6 + i + 1))
        files.append(written)
    return volumes, files


def assert_phases(folder: Path, volumes: list[Volume], words: str) -> None:
    case = open_case(folder)
    assert list(case.channels) == ["pre", *(f"post{k}" for k in range(1, len(volumes)))]
    for name, volume in zip(case.channels, volumes, strict=True):
        np.testing.assert_array_equal(case.channels[name].array, volume.array)
    assert any(words in n for n in case.notes)


def test_blocks_of_instance_numbers(tmp_path: Path) -> None:
    volumes, files = write_phases(tmp_path)
    assert_phases(tmp_path, volumes, "3 phases of 6 slices, ordered by InstanceNumber")
    # Numbered position by position instead of phase by phase.
    for phase, written in enumerate(files):
        for index, path in enumerate(written):
            edit(path, lambda d, i=index, p=phase: setattr(d, "InstanceNumber", i * 3 + p + 1))
    assert_phases(tmp_path, volumes, "ordered by InstanceNumber")


@pytest.mark.parametrize(
    ("keyword", "values"),
    [
        ("TemporalPositionIdentifier", (3, 1, 2)),
        ("TriggerTime", ("90000", "0", "45000")),
        ("AcquisitionTime", ("101000", "100000", "100500")),
    ],
)
def test_an_attribute_of_time_goes_before_numbers(tmp_path: Path, keyword: str, values: tuple) -> None:
    volumes, files = write_phases(tmp_path)
    for written, value in zip(files, values, strict=True):
        edit_all(written, **{keyword: value})
    assert_phases(tmp_path, [volumes[1], volumes[2], volumes[0]], f"ordered by {keyword}")


@pytest.mark.parametrize("name", ["Acquisition", "Content"])
def test_phases_over_midnight(tmp_path: Path, name: str) -> None:
    volumes, files = write_phases(tmp_path, 2)
    for written, date, time in zip(files, ("20240101", "20240102"), ("235930", "000100"), strict=True):
        edit_all(written, **{f"{name}Date": date, f"{name}Time": time})
        if name == "Content":
            for path in written:
                edit(path, lambda d: d.pop("AcquisitionTime", None))
    assert_phases(tmp_path, volumes, f"ordered by {name}Time")


def test_a_time_that_does_not_separate_phases_is_passed_over(tmp_path: Path) -> None:
    volumes, files = write_phases(tmp_path)
    for written in files:
        for index, path in enumerate(written):
            edit(path, lambda d, i=index: setattr(d, "AcquisitionTime", f"1000{i:02d}"))
    assert_phases(tmp_path, volumes, "ordered by InstanceNumber")


@pytest.mark.parametrize("content_times", [False, True])
def test_water_and_fat_are_no_phases(tmp_path: Path, content_times: bool) -> None:
    volumes, files = write_phases(tmp_path, 2)
    for written, kind, time in zip(files, ("W", "F"), ("100000", "100001"), strict=True):
        edit_all(written, ImageType=["ORIGINAL", "PRIMARY", "DIXON", kind], AcquisitionTime="095900")
        if content_times:
            edit_all(written, ContentTime=time)
    with pytest.raises(
        ReadError, match=r"several ImageType in MR .*: ORIGINAL/PRIMARY/DIXON/F and .*/W; needed"
    ):
        open_case(tmp_path)
    # Acquired one after the other they are phases, whatever the scanner calls them.
    for written, time in zip(files, ("100000", "100130"), strict=True):
        edit_all(written, AcquisitionTime=time)
    assert_phases(tmp_path, volumes, "ordered by AcquisitionTime")


def test_phases_over_midnight_without_dates(tmp_path: Path) -> None:
    volumes, files = write_phases(tmp_path)
    for written, time in zip(files, ("235930", "000100", "000230"), strict=True):
        edit_all(written, AcquisitionTime=time)
        for path in written:
            edit(path, lambda d: d.pop("AcquisitionDate", None))
    assert_phases(tmp_path, volumes, "ordered by AcquisitionTime")


@pytest.mark.parametrize("keyword", ["EchoTime", "FlipAngle", "InversionTime"])
def test_images_acquired_otherwise_are_no_phases(tmp_path: Path, keyword: str) -> None:
    _, files = write_phases(tmp_path, 2)
    for written, value in zip(files, ("2", "15"), strict=True):
        edit_all(written, **{keyword: value})
    with pytest.raises(ReadError, match=f"found several {keyword} in MR .*; needed one {keyword} per series"):
        open_case(tmp_path)


def test_a_phase_with_a_missing_slice_is_refused(tmp_path: Path) -> None:
    _, files = write_phases(tmp_path)
    files[1][2].unlink()
    with pytest.raises(ReadError, match="6 positions with 2 to 3 images each in MR series") as caught:
        open_case(tmp_path)
    assert "as many images at every position as there are phases" in str(caught.value)


def test_copies_are_no_phases(tmp_path: Path) -> None:
    for path in write_mr(tmp_path / "a"):
        shutil.copyfile(path, path.with_name(f"copy_{path.name}"))
    with pytest.raises(ReadError, match=r"duplicate slices: copy_mr_0000\.dcm and mr_0000\.dcm"):
        open_case(tmp_path)


def multi_frame(files: list[list[Path]]) -> pydicom.Dataset:
    """All files as the frames of one, phase after phase."""
    legacy = pytest.importorskip("highdicom.legacy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return legacy.LegacyConvertedEnhancedMRImage(
            [pydicom.dcmread(f) for written in files for f in written],
            series_instance_uid="1.2.3.4",
            series_number=7,
            sop_instance_uid="1.2.3.4.5",
            instance_number=1,
        )


def test_a_multi_frame_file_is_split_too(tmp_path: Path) -> None:
    volumes, files = write_phases(tmp_path / "classic", 2)
    for written, time in zip(files, ("100000", "100130"), strict=True):
        edit_all(written, AcquisitionTime=time)
    multi_frame(files).save_as(tmp_path / "enhanced")
    assert_phases(tmp_path / "enhanced", volumes, "2 phases of 6 slices")


def test_echoes_of_a_multi_frame_file_are_no_phases(tmp_path: Path) -> None:
    _, files = write_phases(tmp_path / "classic", 2)
    enhanced = multi_frame(files)
    for number, group in enumerate(enhanced.PerFrameFunctionalGroupsSequence):
        echo = pydicom.Dataset()
        echo.EffectiveEchoTime = 2.3 if number < 6 else 4.6
        group.MREchoSequence = [echo]
    enhanced.save_as(tmp_path / "enhanced")
    with pytest.raises(ReadError, match="found several EffectiveEchoTime in MR series"):
        open_case(tmp_path / "enhanced")
