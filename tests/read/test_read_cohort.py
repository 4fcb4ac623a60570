"""Which paths below a folder are cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_phantoms import PET_GRID, edit_all, write_ct, write_pet
from lesionlab.core.errors import ReadError
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import find_cases, open_case
from lesionlab.read.folders import files_below
from lesionlab.report import save_volume


def _dicom_patient(folder: Path, number: int) -> Path:
    study = StudyFacts(patient_id=f"P{number}", seed=number)
    write_pet(folder / "PT", study=study)
    write_ct(folder / "CT", study=study)
    write_rtstruct(folder / "RS" / "rs.dcm", Volume(np.ones(PET_GRID.shape, np.uint8), PET_GRID, ONE), study)
    return folder


def _nifti(path: Path) -> Path:
    return save_volume(Volume(np.ones(PET_GRID.shape, np.float32), PET_GRID, ONE), path) or path


def test_one_patient_is_one_case(tmp_path: Path) -> None:
    folder = _dicom_patient(tmp_path / "one", 1)
    assert find_cases(folder) == [folder]
    assert find_cases(folder / "PT") == [folder / "PT"]
    assert find_cases(folder / "PT" / "pt_0000.dcm") == [folder / "PT" / "pt_0000.dcm"]
    _nifti(tmp_path / "two" / "pet.nii.gz")
    _nifti(tmp_path / "two" / "pet_mask.nii.gz")
    _nifti(tmp_path / "two" / "ct.nii.gz")
    assert find_cases(tmp_path / "two") == [tmp_path / "two"]
    assert find_cases(str(tmp_path / "two")) == [tmp_path / "two"]


def test_dicom_among_many_other_files_is_found(tmp_path: Path) -> None:
    patients = [_dicom_patient(tmp_path / f"p{number}", number) for number in (1, 2)]
    for folder in (patients[0] / name for name in ("PT", "CT", "RS")):
        for number in range(12):
            (folder / f"{number:02d}.txt").write_text("notes of a reader")
        (folder / "zz.log").write_text("and of a machine")
    assert find_cases(patients[0] / "PT") == [patients[0] / "PT"]
    assert find_cases(tmp_path) == patients


def test_a_mixture_of_patients(tmp_path: Path) -> None:
    dicom = [_dicom_patient(tmp_path / f"dicom{n}", n) for n in (1, 2)]
    flat = tmp_path / "flat"
    study = StudyFacts(patient_id="flat", seed=7)
    write_pet(flat, study=study)
    write_ct(flat, study=study)
    files = tmp_path / "files"
    _nifti(files / "suv.nii.gz")
    nested = tmp_path / "site" / "patient"
    _nifti(nested / "image" / "scan.nii.gz")
    _nifti(nested / "mask" / "mask.nii.gz")
    (tmp_path / "empty").mkdir()
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "table.csv").write_text("a,b")
    (tmp_path / ".hidden").mkdir()
    _nifti(tmp_path / ".hidden" / "suv.nii.gz")
    found = find_cases(tmp_path)
    assert found == sorted([*dicom, files, flat, nested])
    assert [open_case(p).id for p in found] == ["dicom1", "dicom2", "files", "flat", "patient"]


def test_two_studies_of_one_patient_are_two_cases(tmp_path: Path) -> None:
    for seed, name in ((1, "before"), (2, "after")):
        write_pet(tmp_path / name, study=StudyFacts(seed=seed))
    assert find_cases(tmp_path) == [tmp_path / "after", tmp_path / "before"]


def test_patients_that_share_uids_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_pet(tmp_path / name / "PT")
        write_ct(tmp_path / name / "CT")
    assert find_cases(tmp_path) == [tmp_path / "a", tmp_path / "b"]


def test_two_reconstructions_in_sub_folders_are_one_case(tmp_path: Path) -> None:
    write_pet(tmp_path / "AC")
    edit_all(write_pet(tmp_path / "NAC"), SeriesInstanceUID="1.2.3")
    assert find_cases(tmp_path) == [tmp_path]


def test_pictures_are_a_case_each_and_their_masks_none(tmp_path: Path) -> None:
    for number in range(3):
        for folder, name in (("Images", "bus"), ("Masks", "mask")):
            path = tmp_path / folder / f"{name}_{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.zeros((4, 5), np.uint8)).save(path)
    assert find_cases(tmp_path) == [tmp_path / "Images" / f"bus_{n}.png" for n in range(3)]


def test_files_named_by_patient_are_a_case_each(tmp_path: Path) -> None:
    for name in ("anna", "bert"):
        _nifti(tmp_path / f"{name}.nii.gz")
    assert find_cases(tmp_path) == [tmp_path / "anna.nii.gz", tmp_path / "bert.nii.gz"]


def test_a_damaged_file_is_still_a_case(tmp_path: Path) -> None:
    good = _dicom_patient(tmp_path / "good", 1)
    bad = write_pet(tmp_path / "bad", study=StudyFacts(seed=3))
    for path in bad:
        path.write_bytes(path.read_bytes()[:170])
    assert find_cases(tmp_path) == [tmp_path / "bad", good]


def test_nothing_and_nowhere(tmp_path: Path) -> None:
    assert find_cases(tmp_path) == []
    with pytest.raises(ReadError, match="no such file or folder"):
        find_cases(tmp_path / "nowhere")


def test_links_to_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    real = _dicom_patient(tmp_path / "real", 1)
    linked = tmp_path / "cohort" / "p7"
    linked.mkdir(parents=True)
    for name in ("CT", "PT"):
        (linked / name).symlink_to(real / name)
    (linked / "again").symlink_to(linked)
    assert find_cases(linked) == [linked]
    assert set(open_case(linked).channels) == {"pet", "ct"}
    other = _nifti(tmp_path / "cohort" / "p8" / "suv.nii.gz").parent
    (tmp_path / "cohort" / "all").symlink_to(tmp_path / "cohort")
    assert find_cases(tmp_path / "cohort") == [linked, other]


def test_image_and_mask_in_linked_folders_are_one_case(tmp_path: Path) -> None:
    for name in ("image", "mask"):
        _nifti(tmp_path / "real" / name / f"{name}.nii.gz")
        (tmp_path / "one").mkdir(exist_ok=True)
        (tmp_path / "one" / name).symlink_to(tmp_path / "real" / name)
    assert find_cases(tmp_path / "one") == [tmp_path / "one"]
    # the folder itself counts before a link to it
    (tmp_path / "real" / "a_link").symlink_to(tmp_path / "real" / "image")
    files = [path.relative_to(tmp_path / "real").as_posix() for path in files_below(tmp_path / "real")]
    assert files == ["image/image.nii.gz", "mask/mask.nii.gz"]
