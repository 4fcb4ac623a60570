"""`evaluate` on one patient's own files: results of `examine`, a DICOM scan with contours, DICOM masks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_phantoms import PET_GRID, write_pet
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.read import is_dicom_scan, load_mask
from lesionlab.report import save_volume


@pytest.fixture
def eva(run, tmp_path: Path) -> Path:
    """The results of a patient with two lesions, the second above the first."""
    mask = np.zeros(PET_GRID.shape, np.uint8)
    mask[1:4, 1:5, 1:5] = 1
    mask[4:6, 5:8, 6:10] = 1
    hot = Volume(np.where(mask > 0, 8.0, 1.0), PET_GRID, SUVBW)
    write_pet(tmp_path / "scans" / "eva", hot)
    out = tmp_path / "out" / "eva"
    result = run("examine", tmp_path / "scans" / "eva", "-o", out, "--dicom", "seg,rtstruct")
    assert result.exit_code == 0, result.output
    assert json.loads((out / "patient.json").read_text())["lesion_count"] == 2
    return out


def below(folder: Path, planes: int) -> None:
    """Keep what the folder's mask has in its first planes only."""
    mask = load_mask(folder / "mask.nii.gz")
    left = mask.array.copy()
    left[planes:] = 0
    save_volume(Volume(left, mask.geometry, mask.unit), folder / "mask.nii.gz")


def one(result) -> tuple[str, dict]:
    """The only case's id and scores."""
    assert result.exit_code == 0, result.output
    (case,) = json.loads(result.stdout)["cases"]
    return case["case_id"], case["scores"]


@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_results_and_the_scan_with_its_contours(run, eva: Path, tmp_path: Path, kind: str) -> None:
    scan = tmp_path / "scans" / "eva"
    shutil.copy(eva / "dicom" / f"{kind}.dcm", scan / f"a_{kind}.dcm")  # before the images by name
    below(eva, 4)
    (eva / "patient.json").unlink()  # run.json names the case as well
    for predictions, truths in (
        (eva, scan),
        (eva.parent, scan.parent),  # the folders above each
        (eva / "mask.nii.gz", scan),
        (eva, scan.parent),
    ):
        name, scores = one(run("evaluate", predictions, truths, "--json"))
        assert name == "eva"
        assert (scores["lesions_missed"], scores["lesions_false"]) == (1.0, 0.0)
    pages = tmp_path / "scores"
    assert one(run("evaluate", eva, scan, "--images", scan.parent, "-o", pages, "--json"))[0] == "eva"
    assert "data:image/png" in (pages / "evaluation.html").read_text()


def test_results_and_a_mask_of_any_name(run, eva: Path, tmp_path: Path) -> None:
    drawn = tmp_path / "reader 1.nii.gz"
    shutil.copy(eva / "mask.nii.gz", drawn)
    for other in (drawn, eva / "dicom" / "rtstruct.dcm"):
        assert one(run("evaluate", eva, other, "--json"))[1]["dice"] == 1.0
    assert one(run("evaluate", drawn, eva, "--json"))[0] == "eva"


def test_a_segmentation_of_some_slices_is_a_truth_among_all(run, eva: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.dcm"
    shutil.copy(eva / "dicom" / "seg.dcm", whole)
    drawn = tmp_path / "drawn.nii.gz"
    shutil.copy(eva / "mask.nii.gz", drawn)
    below(eva, 4)
    assert run("report", eva, "--dicom", "seg,rtstruct").exit_code == 0
    partial = eva / "dicom" / "seg.dcm"
    assert load_mask(partial).geometry.shape[0] < load_mask(whole).geometry.shape[0]
    for prediction in (drawn, whole):
        scores = one(run("evaluate", prediction, partial, "--json"))[1]
        assert (scores["sensitivity"], scores["lesions_false"]) == (1.0, 1.0), prediction
    assert one(run("evaluate", partial, whole, "--json"))[1]["lesions_missed"] == 1.0


def test_contours_beyond_the_slices_of_a_segmentation_count(run, eva: Path, tmp_path: Path) -> None:
    contours = tmp_path / "both.dcm"
    shutil.copy(eva / "dicom" / "rtstruct.dcm", contours)
    below(eva, 4)
    assert run("report", eva, "--dicom", "seg").exit_code == 0
    partial, scan = eva / "dicom" / "seg.dcm", tmp_path / "scans" / "eva"
    for sides in ((contours, partial), (partial, contours)):
        refused = run("evaluate", *sides)
        assert refused.exit_code == 1
        assert "needed the image that they were drawn on (--images)" in refused.stderr
    scores = one(run("evaluate", contours, partial, "--images", scan, "--json"))[1]
    assert (scores["lesions_missed"], scores["lesions_false"]) == (0.0, 1.0)
    scores = one(run("evaluate", partial, contours, "--images", scan, "--json"))[1]
    assert (scores["lesions_missed"], scores["lesions_false"]) == (1.0, 0.0)


def test_no_part_of_contours_is_lost_to_a_mask_of_a_part_of_the_scan(run, eva: Path, tmp_path: Path) -> None:
    mask = load_mask(eva / "mask.nii.gz")
    grid = Geometry((4, *PET_GRID.shape[1:]), PET_GRID.spacing, PET_GRID.origin)
    part = tmp_path / "part.nii.gz"
    save_volume(Volume(mask.array[:4], grid, mask.unit), part)
    contours, scan = eva / "dicom" / "rtstruct.dcm", tmp_path / "scans" / "eva"
    for pair in ((part, contours), (contours, part)):
        alone = run("evaluate", *pair)
        assert alone.exit_code == 1
        assert "contours that reach beyond the grid 4 x 8 x 10" in alone.stderr
    beside = run("evaluate", part, contours, "--images", scan)
    assert beside.exit_code == 1 and "needed grid 6 x 8 x 10" in beside.stderr
    _, scores = one(run("evaluate", part, contours, "--images", scan, "--resample", "--json"))
    assert (scores["lesions_true"], scores["lesions_missed"]) == (2.0, 1.0)
    assert one(run("evaluate", eva / "mask.nii.gz", contours, "--json"))[1]["dice"] == 1.0


@pytest.mark.parametrize(("kind", "what"), [("rtstruct", "ROIs"), ("seg", "segments")])
def test_what_measure_unites_is_told(run, eva: Path, tmp_path: Path, kind: str, what: str) -> None:
    """A planning system's file holds the body and the organs too."""
    result = run("measure", tmp_path / "scans" / "eva", eva / "dicom" / f"{kind}.dcm", "--json")
    assert result.exit_code == 0, result.output
    notes = json.loads(result.stdout)["notes"]
    assert f"{what} united: Lesion 1, Lesion 2" in notes
    assert not any("moved" in note for note in notes)


def test_contours_of_another_examination_are_not_measured(run, eva: Path, tmp_path: Path) -> None:
    contours = pydicom.dcmread(eva / "dicom" / "rtstruct.dcm")
    contours.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = "1.2.3.4"
    for roi in contours.StructureSetROISequence:
        roi.ReferencedFrameOfReferenceUID = "1.2.3.4"
    contours.save_as(tmp_path / "other.dcm")
    result = run("measure", tmp_path / "scans" / "eva", tmp_path / "other.dcm")
    assert result.exit_code == 1
    assert "found ROIs in another frame of reference: Lesion 1, Lesion 2" in result.stderr


def test_a_folder_of_dicom_masks_is_no_scan(eva: Path, tmp_path: Path) -> None:
    assert is_dicom_scan(tmp_path / "scans" / "eva") and is_dicom_scan(tmp_path / "scans")
    assert not is_dicom_scan(eva / "dicom")
    assert not is_dicom_scan(eva)
    assert not is_dicom_scan(eva / "mask.nii.gz")
