"""Files for research viewers: what 3D Slicer and BIDS expect to find, and the mask that comes back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import dicom_results as results
from dicom_phantoms import PET_GRID, pet_volume, write_pet
from lesionlab.core.errors import WriteError
from lesionlab.read import load_mask, load_volume
from lesionlab.report.research import bids_label, write_bids, write_segmentation


def test_a_seg_nrrd_names_colours_and_codes_its_segments(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    path = write_segmentation(findings, tmp_path / "lesions.seg.nrrd", finding="primary", region="breast")
    image = sitk.ReadImage(str(path))
    assert image.GetMetaData("Segmentation_MasterRepresentation") == "Binary labelmap"
    said = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys() if key.startswith("Segment1_")}
    assert said["Segment1_Name"] == "Lesion 2"
    assert said["Segment1_LabelValue"] == "2"
    assert said["Segment1_Layer"] == "0"
    assert said["Segment1_Extent"] == "8 9 1 1 4 5"  # x, y, z of the bar
    assert [float(part) for part in said["Segment1_Color"].split()] == pytest.approx(
        [60 / 255, 180 / 255, 75 / 255], 1e-4
    )
    context, category, kind, modifier, anatomy, region, region_modifier = (
        said["Segment1_Tags"].removeprefix("TerminologyEntry:").removesuffix("|").split("~")
    )
    assert context == "Segmentation category and type - DICOM master list"
    assert category == "SCT^49755003^Morphologically Abnormal Structure"
    assert kind == "SCT^372087000^Neoplasm, Primary"
    assert anatomy == "Anatomic codes - DICOM master list"
    assert region == "SCT^76752008^Breast"
    assert modifier == region_modifier == "^^"
    np.testing.assert_array_equal(load_volume(path).array, findings.lesions.labels.array)
    assert load_mask(path).geometry.matches(findings.case.geometry, 1e-6)


def test_a_seg_nrrd_without_lesions_has_no_segments(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan", np.zeros(PET_GRID.shape, np.uint8))
    image = sitk.ReadImage(str(write_segmentation(findings, tmp_path / "none.seg.nrrd")))
    assert not [key for key in image.GetMetaDataKeys() if key.startswith("Segment0")]
    assert not sitk.GetArrayFromImage(image).any()


def test_bids_derivatives(tmp_path: Path) -> None:
    write_pet(tmp_path / "scan", pet_volume())
    findings = results.findings_on(tmp_path / "scan", results.two_lesions(), probability=True)
    files = write_bids(findings, tmp_path / "bids")
    place = tmp_path / "bids" / "sub-PHANTOM001" / "pet"
    stem = "sub-PHANTOM001_desc-lesions"
    endings = ("dseg.nii.gz", "dseg.json", "dseg.tsv", "measurements.tsv", "probseg.nii.gz")
    assert {f.name for f in files[1:]} == {f"{stem}_{ending}" for ending in endings}
    assert all(f.parent == place for f in files[1:])
    described = json.loads((tmp_path / "bids" / "dataset_description.json").read_text())
    assert described["DatasetType"] == "derivative"
    np.testing.assert_array_equal(
        load_volume(place / f"{stem}_dseg.nii.gz").array, findings.lesions.labels.array
    )
    table = (place / f"{stem}_dseg.tsv").read_text().splitlines()
    assert table == [
        "index\tname\tcolor",
        "0\tbackground\t#000000",
        "1\tLesion 1\t#e6194b",
        "2\tLesion 2\t#3cb44b",
    ]
    head, *rows = [line.split("\t") for line in (place / f"{stem}_measurements.tsv").read_text().splitlines()]
    assert [float(row[head.index("MTV")]) for row in rows] == [r["MTV"] for r in findings.lesions.rows]
    assert json.loads((place / f"{stem}_dseg.json").read_text())["ReferenceChannel"] == "suv"


def test_subject_labels_hold_letters_and_digits_alone() -> None:
    assert bids_label("MC-1867/é 7") == "MC18677"
    assert bids_label("--") == "unknown"


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    findings = results.pet_findings(tmp_path / "scan")
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file: found a file; needed a folder"):
        write_segmentation(findings, tmp_path / "file" / "lesions.seg.nrrd")
    with pytest.raises(WriteError, match=r"lesions\.seg\.odd: found .*; needed a writable place"):
        write_segmentation(findings, tmp_path / "lesions.seg.odd")
