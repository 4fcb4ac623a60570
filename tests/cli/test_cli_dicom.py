"""`examine` and `report` with --dicom and --also: files for other tools, recorded in run.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_phantoms import PET_GRID, write_pet
from lesionlab.core.files import sha256_of
from lesionlab.core.units import SUVBW
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import load_mask
from lesionlab.report import save_volume


def lesions() -> np.ndarray:
    """Two lesions, both large enough to survive clean-up."""
    mask = np.zeros(PET_GRID.shape, np.uint8)
    mask[1:4, 2:6, 1:6] = 1
    mask[4:6, 6:8, 6:10] = 1
    return mask


def hot(mask: np.ndarray) -> Volume:
    """SUVbw 8 in a mask, 1 elsewhere."""
    return Volume(np.where(mask > 0, 8.0, 1.0), PET_GRID, SUVBW)


def recorded(folder: Path) -> list[str]:
    """The exports that run.json lists, each checked against its file."""
    listed = json.loads((folder / "run.json").read_text())["exports"]
    assert all(item["sha256"] == sha256_of([folder / item["file"]]) for item in listed)
    return [item["file"] for item in listed]


def test_one_patient(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "eva", hot(lesions()))
    out = tmp_path / "out"
    result = run("examine", tmp_path / "eva", "-o", out, "--dicom", "seg, sr,sc", "--also", "nrrd,bids")
    assert result.exit_code == 0, result.output
    files = recorded(out)
    assert files[:4] == ["dicom/seg.dcm", "dicom/sr.dcm", "dicom/sc.dcm", "lesions.seg.nrrd"]
    assert files[4:] and all(name.startswith("bids/") for name in files[4:])
    assert all(str(out / name) in result.stdout for name in files)
    grid = load_mask(out / "mask.nii.gz").geometry
    np.testing.assert_array_equal(load_mask(out / "dicom" / "seg.dcm", grid).array, lesions())


def test_a_corrected_mask_is_written_anew(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "eva", hot(lesions()))
    out = tmp_path / "out"
    assert run("examine", tmp_path / "eva", "-o", out, "--dicom", "seg", "--also", "nrrd").exit_code == 0
    corrected = lesions()
    corrected[4:] = 0
    grid = load_mask(out / "mask.nii.gz").geometry
    save_volume(Volume(corrected, grid, "1"), out / "mask.nii.gz")
    result = run("report", out, "--dicom", "seg,rtstruct", "--finding", "primary", "--json")
    assert result.exit_code == 0, result.output
    assert f"note: still of the mask before, not written anew: {out / 'lesions.seg.nrrd'}" in result.stderr
    assert json.loads(result.stdout)["exports"] == [
        str(out / "dicom" / f"{k}.dcm") for k in ("seg", "rtstruct")
    ]
    assert recorded(out) == ["dicom/seg.dcm", "dicom/rtstruct.dcm"]
    np.testing.assert_array_equal(load_mask(out / "dicom" / "seg.dcm", grid).array, corrected)
    (segment,) = pydicom.dcmread(out / "dicom" / "seg.dcm").SegmentSequence
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm, Primary"
    assert segment.SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_no_lesion_and_a_pseudonym(run, tmp_path: Path) -> None:
    write_pet(tmp_path / "eva", hot(np.zeros(PET_GRID.shape)))
    out = tmp_path / "out"
    command = (
        "examine",
        tmp_path / "eva",
        "-o",
        out,
        "--dicom",
        "seg,sr",
        "--also",
        "bids",
        "--pseudonym",
        "P07",
    )
    assert run(*command).exit_code == 0
    assert {path.name for path in (out / "dicom").iterdir()} == {"sr.dcm"}
    assert pydicom.dcmread(out / "dicom" / "sr.dcm").PatientID == "P07"
    assert (out / "bids" / "sub-P07" / "pet").is_dir()
    assert run(*command, "--empty-seg", "--keep-uids").exit_code == 0
    seg = pydicom.dcmread(out / "dicom" / "seg.dcm")
    assert not seg.pixel_array.any()
    assert seg.FrameOfReferenceUID == pydicom.dcmread(tmp_path / "eva" / "pt_0000.dcm").FrameOfReferenceUID


@pytest.mark.parametrize("kind", ["rtstruct", "seg"])
def test_what_a_given_mask_calls_its_lesions_stays_out_of_results_under_a_pseudonym(
    run, tmp_path: Path, kind: str
) -> None:
    write_pet(tmp_path / "eva", hot(lesions()))
    out, given = tmp_path / "out", tmp_path / "mueller.dcm"
    assert run("examine", tmp_path / "eva", "-o", out, "--dicom", kind).exit_code == 0
    drawn = pydicom.dcmread(out / "dicom" / f"{kind}.dcm")
    for item in drawn.get("StructureSetROISequence", []):
        item.ROIName = "Mueller"
    for item in drawn.get("SegmentSequence", []):
        item.SegmentLabel = item.TrackingID = "Mueller"
    drawn.save_as(given)
    wanted = ("--dicom", "seg,labelmap,sr,rtstruct,sc", "--also", "nrrd,bids", "--pseudonym", "P07")
    result = run("report", tmp_path / "eva", "--mask", given, "-o", tmp_path / "new", *wanted)
    assert result.exit_code == 0, result.output
    files = [tmp_path / "new" / name for name in recorded(tmp_path / "new")]
    assert len(files) > 6
    assert not [file.name for file in files if b"mueller" in file.read_bytes().lower()]


def test_a_cohort_has_them_for_each_patient(run, tmp_path: Path) -> None:
    for name in ("eva", "frida"):
        write_pet(tmp_path / "scans" / name, hot(lesions()), StudyFacts(patient_id=name))
    out = tmp_path / "out"
    command = ("examine", tmp_path / "scans", "-o", out, "--json")
    assert run(*command).exit_code == 0
    assert not (out / "eva" / "dicom").exists()
    assert run(*command, "--dicom", "seg", "--also", "nrrd").exit_code == 0  # not what was kept: written anew
    for name in ("eva", "frida"):
        assert recorded(out / name) == ["dicom/seg.dcm", "lesions.seg.nrrd"]
        image = sitk.ReadImage(str(out / name / "lesions.seg.nrrd"))
        assert image.GetMetaData("Segment0_Name") == "Lesion 1"
    refused = run(*command, "--dicom", "seg", "--pseudonym", "P07")
    assert refused.exit_code == 2
    assert "--pseudonym belongs to a single patient" in refused.stderr
    without = run(*command, "--again")
    stale = [out / name / file for name in ("eva", "frida") for file in ("dicom/seg.dcm", "lesions.seg.nrrd")]
    told = f"note: still of the mask before, not written anew: {', '.join(map(str, stale))}"
    assert without.exit_code == 0 and told in without.stderr, without.stderr


def test_the_page_over_all_patients_takes_up_a_corrected_mask(run, tmp_path: Path) -> None:
    for name in ("eva", "frida"):
        write_pet(tmp_path / "scans" / name, hot(lesions()), StudyFacts(patient_id=name))
    out = tmp_path / "out"
    command = ("examine", tmp_path / "scans", "-o", out, "--json")
    assert run(*command).exit_code == 0
    drawn, grid = lesions(), load_mask(out / "eva" / "mask.nii.gz").geometry
    drawn[4:] = 0
    save_volume(Volume(drawn, grid, "1"), out / "eva" / "mask.nii.gz")
    corrected = run("report", out / "eva")
    assert corrected.exit_code == 0
    told = f"note: {out / 'report.html'} still has what was before; the same examine takes this up"
    assert told in corrected.stderr
    assert run(*command).exit_code == 0
    np.testing.assert_array_equal(load_mask(out / "eva" / "mask.nii.gz").array, drawn)
    rows = (out / "patients.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["eva", "frida"]
    volumes = [float(row["TMTV"]) for row in csv.DictReader(rows)]
    assert 0 < volumes[0] < volumes[1]


def test_what_cannot_be(run, patient: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for option, value, known in (
        ("--dicom", "seg,dose", "'dose' is none of seg, labelmap"),
        ("--also", "mgz", "'mgz' is none of nrrd, bids"),
    ):
        result = run("examine", patient, "-o", out, option, value)
        assert result.exit_code == 2
        assert known in " ".join(result.stderr.split())
    result = run("examine", patient, "-o", out, "--dicom", "seg", "--finding", "wart")
    assert result.exit_code == 2
    result = run("examine", patient, "-o", out, "--dicom", "seg")  # NIfTI: no DICOM to refer to
    assert result.exit_code == 1
    assert "anna: found a scan that is not DICOM" in result.stderr
    assert not out.exists()
    for options, words in (
        (("--pseudonym", "P07"), "--pseudonym without --dicom changes nothing"),
        (("--keep-uids", "--dicom", "seg"), "--keep-uids without --pseudonym changes nothing"),
        (("--finding", "wart", "--also", "nrrd"), "'wart' is none of"),
    ):
        result = run("examine", patient, "-o", out, *options)
        assert result.exit_code == 2 and words in " ".join(result.stderr.replace("│", " ").split())
    assert run("examine", patient, "-o", out, "--also", "nrrd").exit_code == 0
    assert recorded(out) == ["lesions.seg.nrrd"]


def test_a_folder_without_exports_has_none(tmp_path: Path) -> None:
    from lesionlab.pipeline import exported

    assert exported(tmp_path) == []
    (tmp_path / "run.json").write_text("[]")
    assert exported(tmp_path) == []
    (tmp_path / "run.json").write_text('{"exports": [{"file": "gone.dcm"}, {"file": "run.json"}]}')
    assert exported(tmp_path) == [tmp_path / "run.json"]
