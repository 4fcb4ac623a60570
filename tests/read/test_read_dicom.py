"""DICOM folders and files to channels: order, choice of series, facts, what is left out."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file

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
from lesionlab.core.errors import LesionLabError, ReadError
from lesionlab.core.units import ACTIVITY, HOUNSFIELD, STORED
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case
from phantoms import OBLIQUE


def test_pet_and_ct_in_one_folder_with_strange_names_come_back(tmp_path: Path) -> None:
    study = StudyFacts()
    files = write_pet(tmp_path) + write_ct(tmp_path)
    order = np.random.default_rng(0).permutation(len(files))
    for number, index in enumerate(order):
        files[index].rename(tmp_path / f"I{number:05d}")
    (tmp_path / "notes.txt").write_text("no image")
    case = open_case(tmp_path)
    assert (case.reference, case.patient_id, case.id) == ("pet", "PHANTOM-001", tmp_path.name)
    pet, ct = case.channels["pet"], case.channels["ct"]
    assert (pet.unit, ct.unit) == (ACTIVITY, HOUNSFIELD)
    assert pet.geometry.matches(PET_GRID, 1e-6)
    assert ct.geometry.matches(CT_GRID, 1e-6)
    expected = pet_volume().array
    limit = expected.max(axis=(1, 2), keepdims=True) / 65000
    assert (np.abs(pet.array * study.suv_per_bq_ml - expected) < limit).all()
    np.testing.assert_array_equal(ct.array, ct_volume().array)


@pytest.mark.parametrize("write", [write_pet, write_mr, write_ct])
def test_an_oblique_series_keeps_every_voxel_at_its_place(tmp_path: Path, write: object) -> None:
    grid = Geometry((5, 7, 6), (3.0, 1.5, 2.0), (12.5, -80.25, 300.125), OBLIQUE)
    volume = {write_pet: pet_volume, write_mr: mr_volume, write_ct: ct_volume}[write](grid)  # type: ignore[index]
    write(tmp_path, volume)  # type: ignore[operator]
    found = next(iter(open_case(tmp_path).channels.values()))
    index = np.array([1, 5, 2])
    at = np.rint(found.geometry.to_index(grid.to_world(index))).astype(int)
    assert np.abs(found.geometry.to_world(at) - grid.to_world(index)).max() < 1e-4
    scale = found.array.max() / volume.array.max()
    assert found.array[tuple(at)] == pytest.approx(volume.array[tuple(index)] * scale, rel=1e-3, abs=0.6)


def test_a_left_handed_grid_is_turned_not_mirrored(tmp_path: Path) -> None:
    grid = Geometry((4, 5, 6), (3.0, 2.0, 2.0), (0, 0, 50), (0, 0, 1, 0, 1, 0, -1, 0, 0))
    volume = mr_volume(grid)
    write_mr(tmp_path, volume)
    found = open_case(tmp_path).channels["mr"]
    np.testing.assert_array_equal(found.array, volume.array[::-1])
    np.testing.assert_allclose(found.geometry.to_world((3, 0, 0)), grid.to_world((0, 0, 0)), atol=1e-6)


def test_facts_hold_the_header_by_keyword_and_no_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    write_pet(tmp_path, study=StudyFacts(patient_id="ID7", beds=2))
    case = open_case(tmp_path)
    facts = case.facts.channels["pet"]
    assert facts.modality == "PT"
    assert facts.header["RadionuclideTotalDose"] == 3.5e8
    assert facts.header["RadionuclideCode"] == "C-111A1"
    assert facts.header["CorrectedImage"] == ("DECY", "ATTN", "SCAT", "DTIM", "RAN", "NORM")
    assert facts.header["PatientWeight"] == 70.0
    assert len(facts.slices) == 6
    assert facts.slices[0]["ActualFrameDuration"] == 120000.0
    assert facts.slices[0]["AcquisitionTime"] < facts.slices[5]["AcquisitionTime"]
    assert facts.slices[2]["ImagePositionPatient"][2] == 106.0
    assert len(facts.files) == 6
    everything = repr((facts, case.notes)) + caplog.text
    assert "Phantom^" not in everything


def test_the_hash_follows_content_not_names(tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        write_pet(tmp_path / name)
        hashes.append(open_case(tmp_path / name).facts.channels["pet"].sha256)
    write_pet(tmp_path / "c", pet_volume(seed=9))
    assert hashes[0] == hashes[1] != open_case(tmp_path / "c").facts.channels["pet"].sha256


def test_a_single_slice_file_is_its_own_case(tmp_path: Path) -> None:
    files = write_ct(tmp_path)
    case = open_case(files[3])
    assert case.channels["ct"].array.shape == (1, 16, 20)
    assert case.geometry.spacing == (2.0, 2.0, 2.25)
    np.testing.assert_array_equal(case.channels["ct"].array[0], ct_volume().array[3])


@pytest.mark.parametrize("kind", ["PET", "CT", "MR"])
def test_enhanced_multiframe_equals_the_classic_series(tmp_path: Path, kind: str) -> None:
    legacy = pytest.importorskip("highdicom.legacy")
    files = {"PET": write_pet, "CT": write_ct, "MR": write_mr}[kind](tmp_path / "classic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced = getattr(legacy, f"LegacyConvertedEnhanced{kind}Image")(
            [pydicom.dcmread(f) for f in reversed(files)],
            series_instance_uid="1.2.3.4",
            series_number=7,
            sop_instance_uid="1.2.3.4.5",
            instance_number=1,
        )
        enhanced.save_as(tmp_path / "enhanced")
    classic, found = open_case(tmp_path / "classic"), open_case(tmp_path / "enhanced")
    assert found.geometry.matches(classic.geometry, 1e-6)
    np.testing.assert_array_equal(
        found.channels[found.reference].array, classic.channels[classic.reference].array
    )


def test_the_attenuation_corrected_pet_is_chosen_and_the_other_named(tmp_path: Path) -> None:
    write_pet(tmp_path / "a")
    raw = write_pet(tmp_path / "b", pet_volume(seed=8), StudyFacts(seed=1))
    frame = StudyFacts().frame_of_reference
    edit_all(raw, CorrectedImage=["DECY", "SCAT"], SeriesDescription="NAC", FrameOfReferenceUID=frame)
    case = open_case(tmp_path)
    assert case.channels["pet"].array.max() * StudyFacts().suv_per_bq_ml == pytest.approx(
        pet_volume().array.max(), rel=1e-3
    )
    assert any("'NAC'" in note and "ATTN" in note for note in case.notes)


def test_two_alike_pet_series_are_refused_by_name(tmp_path: Path) -> None:
    edit_all(write_pet(tmp_path / "a"), SeriesDescription="OSEM")
    edit_all(write_pet(tmp_path / "b", study=StudyFacts(seed=1)), SeriesDescription="PSF")
    with pytest.raises(ReadError, match=r"'OSEM'.*and.*'PSF'"):
        open_case(tmp_path)


def test_the_longer_ct_is_chosen_and_equals_are_refused(tmp_path: Path) -> None:
    write_pet(tmp_path / "p")
    write_ct(tmp_path / "whole")
    frame = StudyFacts().frame_of_reference
    short = Geometry((5, 16, 20), *_rest(CT_GRID))
    edit_all(
        write_ct(tmp_path / "part", ct_volume(short), StudyFacts(seed=2)),
        FrameOfReferenceUID=frame,
        SeriesDescription="chest",
    )
    case = open_case(tmp_path)
    assert case.channels["ct"].array.shape[0] == 9
    assert any("'chest'" in note and "shorter" in note for note in case.notes)
    edit_all(write_ct(tmp_path / "again", study=StudyFacts(seed=5)), FrameOfReferenceUID=frame)
    with pytest.raises(ReadError, match="CT series"):
        open_case(tmp_path)


def _rest(grid: Geometry) -> tuple[object, ...]:
    return grid.spacing, grid.origin, grid.direction


def test_a_ct_in_another_frame_of_reference_is_left_out_with_a_note(tmp_path: Path) -> None:
    write_pet(tmp_path)
    edit_all(write_ct(tmp_path), FrameOfReferenceUID="1.2.3", SeriesDescription="old CT")
    case = open_case(tmp_path)
    assert list(case.channels) == ["pet"]
    assert any("'old CT'" in note and "frame of reference" in note for note in case.notes)


def test_scouts_and_derived_series_and_reports_are_left_out_with_notes(tmp_path: Path) -> None:
    write_ct(tmp_path / "ct")
    scout = write_ct(tmp_path / "scout", study=StudyFacts(seed=1))
    for path in scout[1:]:
        path.unlink()
    edit_all(scout[:1], SeriesDescription="topogram")
    derived = write_ct(tmp_path / "mpr", study=StudyFacts(seed=2))
    edit_all(derived, ImageType=["DERIVED", "SECONDARY", "REFORMATTED"], SeriesDescription="coronal")
    localiser = write_ct(tmp_path / "loc", study=StudyFacts(seed=3))
    edit_all(localiser, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesDescription="3 planes")
    edit_all(write_ct(tmp_path / "other", study=StudyFacts(seed=4))[:1], Modality="OT")
    for path in sorted((tmp_path / "other").iterdir())[1:]:
        path.unlink()
    case = open_case(tmp_path)
    text = "\n".join(case.notes)
    assert list(case.channels) == ["ct"]
    for words in ("'topogram'", "a single image", "'coronal'", "derived", "'3 planes'", "localiser", "of OT"):
        assert words in text


def test_mr_phases_of_one_series_become_pre_and_post(tmp_path: Path) -> None:
    volumes = [mr_volume(seed=s) for s in (1, 2, 3)]
    uid = "1.2.3.99"
    for phase, volume in enumerate(volumes):
        files = write_mr(tmp_path / str(phase), volume, StudyFacts(seed=phase))
        edit_all(files, SeriesInstanceUID=uid, ContentTime=f"1010{phase}0", FrameOfReferenceUID="1.2.3.4")
        for index, path in enumerate(files):
            edit(path, lambda d, i=index, p=phase: setattr(d, "InstanceNumber", p * 6 + i + 1))
    case = open_case(tmp_path)
    assert list(case.channels) == ["pre", "post1", "post2"]
    for name, volume in zip(case.channels, volumes, strict=True):
        np.testing.assert_array_equal(case.channels[name].array, volume.array)
    assert any("3 phases" in n and "ContentTime" in n for n in case.notes)
    edit_all([p for p in tmp_path.rglob("*.dcm")], ContentTime="101000")
    again = open_case(tmp_path)
    assert any("InstanceNumber" in n for n in again.notes)
    np.testing.assert_array_equal(again.channels["post1"].array, volumes[1].array)


def test_several_echoes_at_one_position_are_refused(tmp_path: Path) -> None:
    for echo in (1, 2):
        files = write_mr(tmp_path / str(echo), mr_volume(seed=echo))
        edit_all(files, EchoTime=str(echo), SOPInstanceUID=f"1.2.{echo}")
    with pytest.raises(ReadError, match="EchoTime"):
        open_case(tmp_path)


def test_mr_series_get_a_channel_each_named_by_description(tmp_path: Path) -> None:
    edit_all(write_mr(tmp_path / "1"), SeriesDescription="T1 VIBE")
    second = write_mr(tmp_path / "2", mr_volume(seed=9), StudyFacts(seed=1))
    edit_all(second, SeriesDescription="T2-TSE", FrameOfReferenceUID=StudyFacts().frame_of_reference)
    assert sorted(open_case(tmp_path).channels) == ["mr_t1_vibe", "mr_t2_tse"]


def _ultrasound(path: Path, **values: object) -> Path:
    edit_all([path], Modality="US", ImagePositionPatient=None, ImageOrientationPatient=None, **values)
    return path


def test_an_ultrasound_picture_takes_its_calibration_or_says_so(tmp_path: Path) -> None:
    path = _ultrasound(write_mr(tmp_path)[0], PixelSpacing=None)
    for other in sorted(tmp_path.iterdir())[1:]:
        other.unlink()
    plain = open_case(path)
    assert plain.channels["us"].unit == STORED
    assert plain.geometry.spacing == (1.0, 1.0, 1.0)
    assert any("spacing unknown" in note for note in plain.notes)
    region = pydicom.Dataset()
    region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = 3
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.01, 0.02
    edit_all([path], SequenceOfUltrasoundRegions=pydicom.Sequence([region]))
    assert open_case(tmp_path).geometry.spacing == pytest.approx((1.0, 0.2, 0.1))


def test_two_ultrasound_views_of_different_scale_are_not_measured_with_the_first_ones(tmp_path: Path) -> None:
    path = _ultrasound(write_mr(tmp_path / "scan")[0], PixelSpacing=None)
    regions = [pydicom.Dataset() for _ in range(3)]
    for region, unit, size in zip(regions, (3, 3, 4), (0.01, 0.004, 2.0), strict=True):
        region.PhysicalUnitsXDirection = region.PhysicalUnitsYDirection = unit
        region.PhysicalDeltaX = region.PhysicalDeltaY = size
    edit_all([path], SequenceOfUltrasoundRegions=pydicom.Sequence(regions))
    with pytest.raises(ReadError, match=r"0\.1 x 0\.1 mm and 0\.04 x 0\.04 mm; needed one size: crop"):
        open_case(path)
    regions[1].PhysicalDeltaX = regions[1].PhysicalDeltaY = -0.010001
    edit_all([path], SequenceOfUltrasoundRegions=pydicom.Sequence(regions))
    assert open_case(path).geometry.spacing == pytest.approx((1.0, 0.1, 0.1))
    edit_all([path], PixelSpacing=[0.3, 0.2], SequenceOfUltrasoundRegions=pydicom.Sequence(regions))
    assert open_case(path).geometry.spacing == pytest.approx((1.0, 0.3, 0.2))


def test_an_ultrasound_clip_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = _ultrasound(write_mr(tmp_path / "scan")[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.3.1")
    pixels = pydicom.dcmread(path).PixelData * 5
    edit_all([path], NumberOfFrames=5, PixelData=pixels)
    with pytest.raises(
        ReadError, match=r"5 pictures, no ImagePositionPatient .*; measure one of them, saved"
    ):
        open_case(path)


def test_several_ultrasound_pictures_are_refused(tmp_path: Path) -> None:
    files = write_mr(tmp_path)
    for number, path in enumerate(files):
        _ultrasound(path, SeriesInstanceUID=f"1.2.{number}")
    with pytest.raises(ReadError, match="6 ultrasound images"):
        open_case(tmp_path)


def test_colour_ultrasound_becomes_luminance(tmp_path: Path) -> None:
    path = tmp_path / "colour"
    path.write_bytes(Path(str(get_testdata_file("SC_rgb_small_odd.dcm"))).read_bytes())
    edit_all([path], Modality="US")
    volume = open_case(path).channels["us"]
    colour = pydicom.dcmread(path).pixel_array
    np.testing.assert_allclose(volume.array[0], colour @ np.array([0.299, 0.587, 0.114]), atol=0.51)


@pytest.mark.parametrize("bits", [8, 16])
def test_ultrasound_with_a_palette_becomes_luminance(tmp_path: Path, bits: int) -> None:
    """Stored values are numbers of colours, which need not grow with brightness."""
    path = _ultrasound(write_mr(tmp_path)[0])
    stored = np.random.default_rng(0).integers(0, 256, (8, 10), dtype=np.uint8)
    table = np.random.default_rng(1).integers(0, 256, (3, 256), dtype=np.uint8)

    def paint(header: pydicom.Dataset) -> None:
        header.PhotometricInterpretation = "PALETTE COLOR"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 8, 8, 7, 0
        header.PixelData = stored.tobytes()
        for name, values in zip(("Red", "Green", "Blue"), table, strict=True):
            entries = values if bits == 8 else values.astype(np.uint16) * 257
            header.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
            setattr(header, f"{name}PaletteColorLookupTableData", entries.tobytes())

    expected = np.moveaxis(table[:, stored], 0, -1) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(open_case(edit(path, paint)).channels["us"].array[0], expected, atol=0.51)


@pytest.mark.parametrize(
    "name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_implicit.dcm"]
)
def test_transfer_syntaxes_give_the_same_pixels(name: str) -> None:
    plain = open_case(str(get_testdata_file("MR_small.dcm"))).channels["mr"]
    np.testing.assert_array_equal(open_case(str(get_testdata_file(name))).channels["mr"].array, plain.array)


def test_jpeg_lossless_is_decoded_and_rescaled(tmp_path: Path) -> None:
    import SimpleITK as sitk

    path = write_ct(tmp_path)[0]
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetCompressor("JPEG")
    writer.UseCompressionOn()
    writer.SetFileName(str(tmp_path / "coded"))
    writer.Execute(sitk.GetImageFromArray(pydicom.dcmread(path).pixel_array[None]))
    coded = pydicom.dcmread(tmp_path / "coded")

    def swap(dataset: pydicom.Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = coded.file_meta.TransferSyntaxUID
        dataset["PixelData"] = coded["PixelData"]

    edit(path, swap)
    assert coded.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    case = open_case(path)
    np.testing.assert_array_equal(case.channels["ct"].array[0], ct_volume().array[0])


def test_a_header_without_preamble_is_still_dicom(tmp_path: Path) -> None:
    path = write_mr(tmp_path)[0]
    path.write_bytes(path.read_bytes()[132:])
    data = pydicom.dcmread(path, force=True)
    bare = tmp_path / "bare"
    del data.file_meta
    data.save_as(bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
    np.testing.assert_array_equal(open_case(bare).channels["mr"].array[0], mr_volume().array[0])


def test_pydicom_warnings_become_notes_without_their_values(tmp_path: Path) -> None:
    def shout(dataset: pydicom.Dataset) -> None:
        dataset.add(pydicom.DataElement(0x00081030, "LO", "x"))
        dataset["StudyDescription"]._value = "secret " * 12

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = write_ct(tmp_path)
        for path in files:
            edit(path, shout)
    case = open_case(tmp_path)
    notes = [n for n in case.notes if n.startswith("DICOM:")]
    assert len(notes) == 1
    assert "exceeds the maximum length" in notes[0]
    assert "secret" not in notes[0]


def test_errors_are_one_line_with_subject_found_and_needed(tmp_path: Path) -> None:
    files = write_pet(tmp_path)
    files[2].unlink()
    with pytest.raises(LesionLabError) as caught:
        open_case(tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(tmp_path) in text
    assert "found" in text
    assert "needed" in text


def test_volume_arrays_are_read_only(tmp_path: Path) -> None:
    write_ct(tmp_path)
    volume = open_case(tmp_path).channels["ct"]
    assert isinstance(volume, Volume)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
