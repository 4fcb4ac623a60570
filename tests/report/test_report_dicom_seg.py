"""Segmentations: the same mask comes back, from any grid; references, codes and refusals."""

from __future__ import annotations

import tempfile
import warnings
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import EnhancedMRImageStorage, EnhancedPETImageStorage

import dicom_results as results
from dicom_phantoms import (
    CT_GRID,
    PET_GRID,
    ct_volume,
    edit_all,
    mr_volume,
    pet_volume,
    write_ct,
    write_mr,
    write_pet,
)
from lesionlab.core.case import Case
from lesionlab.core.errors import ReadError, WriteError
from lesionlab.core.recipe import parse_recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Findings, Prediction
from lesionlab.core.units import ONE, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.measure import measure
from lesionlab.pipeline import write_dicom
from lesionlab.pipeline.dicom_sources import dicom_source
from lesionlab.read import load_mask
from lesionlab.report.dicom_files import dicom_objects
from lesionlab.report.dicom_settings import DicomSettings
from phantoms import OBLIQUE

ENHANCED = {"PET": EnhancedPETImageStorage, "MR": EnhancedMRImageStorage}
SIGNED = [
    np.eye(3)[list(order)] * np.array(signs)
    for order in permutations(range(3))
    for signs in product((1, -1), repeat=3)
]


def assert_same_lesions(path: Path, findings: Findings, form: str = "Lesion {}") -> None:
    """Every lesion comes back to the voxel, by its name, with its centroid within half a voxel."""
    labels = findings.lesions.labels
    for number, row in enumerate(findings.lesions.rows, start=1):
        found = load_mask(path, labels.geometry, names=[form.format(number)])
        np.testing.assert_array_equal(found.array > 0, labels.array == number)
        where = labels.geometry.to_world(np.argwhere(found.array).mean(axis=0))
        off = labels.geometry.to_index(where) - labels.geometry.to_index([row["x"], row["y"], row["z"]])
        assert np.abs(off).max() < 0.5


@settings(max_examples=6, deadline=None)
@given(
    axes=st.sampled_from(SIGNED),
    oblique=st.booleans(),
    spacing=st.tuples(*[st.floats(0.7, 6.0)] * 3),
    origin=st.tuples(*[st.floats(-900.0, 900.0)] * 3),
    seed=st.integers(0, 2**16),
)
def test_any_grid_gives_the_same_mask_back(
    axes: np.ndarray, oblique: bool, spacing: tuple[float, ...], origin: tuple[float, ...], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    turn = np.reshape(OBLIQUE, (3, 3)) if oblique else np.eye(3)
    grid = Geometry((6, 8, 10), spacing, origin, tuple((turn @ axes).ravel()))  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write_pet(folder / "scan", pet_volume(grid))
        for file, other in zip(files, rng.permutation(len(files)), strict=True):
            file.rename(file.with_name(f"{other}.dcm"))
        mask = (rng.random(grid.shape) < 0.2).astype(np.uint8)
        findings = results.findings_on(folder / "scan", mask)
        kinds = DicomSettings(kinds=("seg", "labelmap", "rtstruct"))
        written = write_dicom(findings, None, folder / "out", kinds)
        for path in written.values():
            assert_same_lesions(path, findings)


def test_each_frame_lies_on_the_image_that_it_refers_to(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    seg = pydicom.dcmread(write_dicom(findings, None, tmp_path / "out")["seg"])
    images = {}
    for file in (tmp_path / "scan").iterdir():
        header = pydicom.dcmread(file)
        images[header.SOPInstanceUID] = header
    assert len(seg.PerFrameFunctionalGroupsSequence) == 5  # 3 slices of one lesion, 2 of the other
    for frame in seg.PerFrameFunctionalGroupsSequence:
        image = images[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert frame.PlanePositionSequence[0].ImagePositionPatient == image.ImagePositionPatient
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == image.ImageOrientationPatient
    assert shared.PixelMeasuresSequence[0].PixelSpacing == image.PixelSpacing
    assert (seg.StudyInstanceUID, seg.FrameOfReferenceUID) == (
        image.StudyInstanceUID,
        image.FrameOfReferenceUID,
    )
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert len(seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 6


def test_segments_are_coded_and_tracked(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    edit_all(sorted((tmp_path / "scan").iterdir()), BodyPartExamined="BREAST")
    chosen = DicomSettings(kinds=("seg",), finding="secondary")
    path = write_dicom(findings, None, tmp_path / "out", chosen)["seg"]
    seg = pydicom.dcmread(path)
    assert seg.SegmentationType == "BINARY"
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Lesion 1", "Lesion 2"]
    for segment in seg.SegmentSequence:
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "14799000"
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "49755003"
        assert segment.AnatomicRegionSequence[0].CodeMeaning == "Breast"
        assert segment.SegmentAlgorithmType == "AUTOMATIC"
    assert len({s.TrackingUID for s in seg.SegmentSequence}) == 2
    assert results.validated(path) == []
    chest = replace(chosen, region="chest")
    again = dicom_objects(findings, dicom_source(findings), chest)["seg"]
    assert again.SegmentSequence[0].AnatomicRegionSequence[0].CodeValue == "816094009"
    assert again.SOPInstanceUID == seg.SOPInstanceUID  # one run, one object
    later = results.renamed(findings, started="2026-01-02T03:05:05+00:00")
    other = dicom_objects(later, dicom_source(later), chosen)["seg"]
    assert other.SOPInstanceUID != seg.SOPInstanceUID
    assert [s.TrackingUID for s in other.SegmentSequence] == [s.TrackingUID for s in seg.SegmentSequence]


@pytest.mark.parametrize(
    ("bundle", "note", "method"),
    [
        ("mask file", "mask as given in the file m.nii.gz", "MANUAL"),
        ("nets/pet", "mask as given in the file m.nii.gz", "SEMIAUTOMATIC"),
        ("nets/pet", "tiles outside the body left out", "AUTOMATIC"),
    ],
)
def test_how_the_mask_came_about(tmp_path: Path, bundle: str, note: str, method: str) -> None:
    findings = results.renamed(results.pet_findings(tmp_path), bundle=bundle, settings={"method": "network"})
    findings = replace(findings, prediction=replace(findings.prediction, notes=(note,)))
    segment = dicom_objects(findings, dicom_source(findings), DicomSettings())["seg"].SegmentSequence[0]
    assert segment.SegmentAlgorithmType == method
    family = segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmFamilyCodeSequence[0].CodeValue
    assert family == ("123110" if method == "AUTOMATIC" else "123109")


@pytest.mark.parametrize("kind", ["PET", "MR"])
def test_a_multi_frame_source_is_referred_to_by_frame(tmp_path: Path, kind: str) -> None:
    legacy = pytest.importorskip("highdicom.legacy")
    write, volume = (write_pet, pet_volume()) if kind == "PET" else (write_mr, mr_volume())
    files = write(tmp_path / "classic", volume)
    order = np.random.default_rng(3).permutation(len(files))
    (tmp_path / "scan").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced = getattr(legacy, f"LegacyConvertedEnhanced{kind}Image")(
            [pydicom.dcmread(files[i]) for i in order],
            series_instance_uid="1.2.3.4",
            series_number=7,
            sop_instance_uid="1.2.3.4.5",
            instance_number=1,
        )
        # As a scanner of today writes it: the validator does not know the legacy classes.
        enhanced.SOPClassUID = enhanced.file_meta.MediaStorageSOPClassUID = ENHANCED[kind]
        enhanced.save_as(tmp_path / "scan" / "enhanced.dcm")
    mr = {"name": "mr-drawn", "channels": {"mr": {}}, "reference": "mr", "method": "none"}
    recipe = find_recipe("pet-threshold") if kind == "PET" else parse_recipe(mr, "mr-drawn")
    findings = results.findings_on(tmp_path / "scan", results.two_lesions(), recipe=recipe)
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("seg", "sr", "rtstruct")))
    for form in ("seg", "rtstruct"):
        assert_same_lesions(written[form], findings)
    for form in ("seg", "sr"):
        assert results.validated(written[form]) == []
    # In contours, the validator knows no enhanced class as one with frames.
    unknown = "Error - Shall not be present for Referenced SOP Class that is not multi-frame"
    assert all(line.startswith(unknown) for line in results.validated(written["rtstruct"]))
    seg = pydicom.dcmread(written["seg"])
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPInstanceUID == "1.2.3.4.5"
        place = enhanced.PerFrameFunctionalGroupsSequence[int(source.ReferencedFrameNumber) - 1]
        ours, theirs = (p.PlanePositionSequence[0].ImagePositionPatient for p in (frame, place))
        np.testing.assert_allclose(np.array(ours, float), np.array(theirs, float), atol=1e-6)


@pytest.mark.parametrize("reference", ["pre", "post1"])
@pytest.mark.parametrize("timed", [True, False])
def test_the_frames_of_the_phase_that_was_read_are_referred_to(
    tmp_path: Path, reference: str, timed: bool
) -> None:
    legacy = pytest.importorskip("highdicom.legacy")
    files = []
    for phase, time in enumerate(("100000", "100130")):
        written = write_mr(tmp_path / "classic" / str(phase), mr_volume(seed=phase), StudyFacts(seed=phase))
        one = {"SeriesInstanceUID": "1.2.3.99", "FrameOfReferenceUID": "1.2.3.4", "StudyInstanceUID": "1.2.3"}
        edit_all(written, AcquisitionTime=time if timed else "100000", **one)
        files += written
    (tmp_path / "scan").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        legacy.LegacyConvertedEnhancedMRImage(
            [pydicom.dcmread(f) for f in files],
            series_instance_uid="1.2.3.5",
            series_number=7,
            sop_instance_uid="1.2.3.4.5",
            instance_number=1,
        ).save_as(tmp_path / "scan" / "enhanced.dcm")
    recipe = parse_recipe(
        {"name": "phase", "channels": {reference: {}}, "reference": reference, "method": "none"}, "phase"
    )
    findings = results.findings_on(tmp_path / "scan", results.two_lesions(), recipe=recipe)
    seg = pydicom.dcmread(write_dicom(findings, None, tmp_path / "out")["seg"])
    pixels = pydicom.dcmread(tmp_path / "scan" / "enhanced.dcm").pixel_array
    meant = mr_volume(seed=int(reference == "post1")).array
    frames = [
        int(frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber)
        for frame in seg.PerFrameFunctionalGroupsSequence
    ]
    assert len(set(frames)) == 5
    for z, frame in zip((1, 2, 3, 4, 5), sorted(frames), strict=True):
        np.testing.assert_array_equal(pixels[frame - 1], meant[z])


def test_slices_left_out_between_lesions_stay_empty(tmp_path: Path) -> None:
    mask = np.zeros(PET_GRID.shape, np.uint8)
    mask[0::2, 3:5, 3:5] = 1  # every second slice: the smallest step between frames is two slices
    findings = results.pet_findings(tmp_path / "scan", mask)
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("seg", "rtstruct")))
    for path in written.values():
        np.testing.assert_array_equal(load_mask(path, findings.case.geometry).array, mask)
        assert_same_lesions(path, findings)


def _on_grid(findings: Findings, geometry: Geometry, mask: np.ndarray) -> Findings:
    """The findings of a mask on a scan that has no DICOM of its own."""
    case = Case("n1", "n1", {"suv": Volume(np.ones(geometry.shape, np.float32), geometry, SUVBW)}, "suv")
    drawn = Volume(mask, geometry, ONE)
    lesions = measure(case, drawn, find_recipe("pet-threshold").biomarkers)
    return Findings(case, Prediction(drawn), lesions, findings.provenance)


def test_a_mask_whose_axes_are_swapped_and_reversed_goes_onto_the_images(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    grid = findings.case.geometry
    turned = results.two_lesions().transpose(2, 0, 1)[::-1, :, ::-1]
    matrix = grid.matrix[:, [2, 0, 1]] * np.array([-1.0, 1.0, -1.0])
    spacing = (grid.spacing[2], grid.spacing[0], grid.spacing[1])
    other = Geometry(turned.shape, spacing, tuple(grid.to_world((0, 7, 9))), tuple(matrix.ravel()))  # type: ignore[arg-type]
    drawn = _on_grid(findings, other, turned)
    path = write_dicom(drawn, tmp_path / "scan", tmp_path / "out", DicomSettings(kinds=("seg",)))["seg"]
    seg = pydicom.dcmread(path)
    assert (seg.Rows, seg.Columns) == (8, 10)
    assert seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence
    np.testing.assert_array_equal(load_mask(path, grid).array, results.two_lesions())


def test_a_mask_on_another_grid_keeps_it(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "pt")
    write_ct(tmp_path / "ct", ct_volume(CT_GRID))
    chosen = DicomSettings(kinds=("seg", "labelmap", "rtstruct", "sr"))
    written = write_dicom(findings, tmp_path / "ct", tmp_path / "out", chosen)
    for kind in ("seg", "labelmap", "rtstruct"):
        assert_same_lesions(written[kind], findings)
    assert results.validated(written["seg"]) == []
    seg = pydicom.dcmread(written["seg"])
    assert (seg.Rows, seg.Columns) == (8, 10)
    ct = pydicom.dcmread(tmp_path / "ct" / "ct_0000.dcm")
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == ct.SeriesInstanceUID
    assert seg.FrameOfReferenceUID == ct.FrameOfReferenceUID


def test_probability_and_label_map(tmp_path: Path) -> None:
    write_pet(tmp_path / "scan", pet_volume())
    mask = results.two_lesions()
    findings = results.findings_on(tmp_path / "scan", mask, probability=True)
    written = write_dicom(findings, None, tmp_path / "out", DicomSettings(kinds=("probability", "labelmap")))
    probability = pydicom.dcmread(written["probability"])
    assert (probability.SegmentationType, probability.SegmentationFractionalType) == (
        "FRACTIONAL",
        "PROBABILITY",
    )
    assert sorted(np.unique(probability.pixel_array)) == [32, 191]  # 0.125 and 0.75 of 255
    assert results.validated(written["probability"]) == []
    np.testing.assert_array_equal(load_mask(written["probability"], findings.case.geometry).array, mask)
    labelmap = pydicom.dcmread(written["labelmap"])
    assert labelmap.SegmentationType == "LABELMAP"
    assert sorted(np.unique(labelmap.pixel_array)) == [0, 1, 2]
    np.testing.assert_array_equal(load_mask(written["labelmap"], findings.case.geometry).array, mask)


def test_dcmqi_reads_the_same_voxels(tmp_path: Path) -> None:
    grid = replace(PET_GRID, direction=OBLIQUE)
    findings = results.pet_findings(tmp_path / "scan", grid=grid)
    path = write_dicom(findings, None, tmp_path / "out")["seg"]
    arguments = ("--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "--outputType", "nrrd")
    results.dcmqi("segimage2itkimage", *arguments)
    labels, geometry = findings.lesions.labels.array, findings.case.geometry
    found = np.zeros(labels.shape, int)
    for file in tmp_path.glob("*.nrrd"):
        image = sitk.ReadImage(str(file))
        array = sitk.GetArrayFromImage(image)
        for z, y, x in np.argwhere(array):
            place = image.TransformIndexToPhysicalPoint((int(x), int(y), int(z)))
            found[tuple(np.rint(geometry.to_index(place)).astype(int))] = array[z, y, x]
    np.testing.assert_array_equal(found, labels)


def test_without_lesions_there_is_no_segmentation_unless_asked_for(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    everything = DicomSettings(kinds=("seg", "labelmap", "sr", "rtstruct", "sc"))
    assert set(write_dicom(findings, None, tmp_path / "out", everything)) == set(everything.kinds)
    none = results.findings_on(tmp_path / "scan", np.zeros(PET_GRID.shape, np.uint8))
    assert set(write_dicom(none, None, tmp_path / "out", everything)) == {"sr", "sc"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sr.dcm", "sc.dcm"}
    written = write_dicom(
        none, None, tmp_path / "out", DicomSettings(kinds=("seg",), empty_segmentation=True)
    )
    assert results.validated(written["seg"]) == []
    assert not load_mask(written["seg"], none.case.geometry).array.any()


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    out = tmp_path / "out"
    with pytest.raises(WriteError, match=r"found the kind 'dose'; needed some of seg, labelmap"):
        write_dicom(findings, None, out, DicomSettings(kinds=("dose",)))  # type: ignore[arg-type]
    with pytest.raises(WriteError, match=r"found the finding 'wart'; needed one of neoplasm"):
        write_dicom(findings, None, out, DicomSettings(finding="wart"))
    with pytest.raises(WriteError, match=r"found the region 'toe'; needed one of ABDOMEN"):
        write_dicom(findings, None, out, DicomSettings(region="toe"))
    with pytest.raises(WriteError, match="no probability of this method"):
        write_dicom(findings, None, out, DicomSettings(kinds=("probability",)))
    with pytest.raises(ReadError, match="no such file or folder"):
        write_dicom(findings, tmp_path / "nowhere", out)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match=r"empty: found no image series"):
        write_dicom(findings, tmp_path / "empty", out)
    drawn = _on_grid(findings, PET_GRID, results.two_lesions())
    with pytest.raises(ReadError, match=r"n1: found a scan that is not DICOM"):
        write_dicom(drawn, None, out)
    files = sorted((tmp_path / "scan").iterdir())
    edit_all(files, StudyInstanceUID="")
    with pytest.raises(WriteError, match="no StudyInstanceUID in the source"):
        write_dicom(findings, None, out)
    files[2].unlink()
    with pytest.raises(ReadError, match=r"found its file .*pt_0002.dcm gone"):
        write_dicom(findings, None, out)
    assert not out.exists()
