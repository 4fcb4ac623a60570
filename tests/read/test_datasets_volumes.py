"""Data sets of volumes: BreastDM, autoPET, MAMA-MIA, STS, and stacks with several observers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

import dataset_phantoms
import dicom_phantoms
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read.datasets import DATASETS
from lesionlab.read.datasets.autopet import patient_of
from lesionlab.report import save_volume


def listed(name: str, root: Path, classes: bool = False):
    return DATASETS[name].find(root, classes)


def test_breastdm_becomes_phases_without_blank_slices(tmp_path):
    found = listed("breastdm", dataset_phantoms.breastdm(tmp_path), classes=True)
    names = [item.id for item in found.items]
    assert names == ["BreaDM-Be-1801", "BreaDM-Ma-1802", "BreaDM-Ma-1803", "BreaDM-Be-1805"]
    assert found.notes == ("BreaDM-Be-1801 lies in test too, and is left where it was first",)
    assert found.folds is not None and found.folds.test == ("BreaDM-Be-1805",)
    assert found.folds.splits[0].train == ("BreaDM-Be-1801", "BreaDM-Ma-1802")
    case = found.items[1].read()
    assert sorted(case.channels) == ["post2", "pre", "sub2"]
    assert case.geometry.shape == (5, 20, 22) and case.diagnosis == "malignant"
    assert "3 blank slices of 8 removed" in case.notes
    assert not case.spacing_known
    assert case.truth is not None and set(np.unique(case.truth.array)) == {0, 2}
    assert np.argwhere(case.truth.array).min(axis=0).tolist() == [2, 8, 9]
    assert found.items[1].peek() == {2} and listed("breastdm", tmp_path).items[1].peek() == {1}


def test_breastdm_says_what_is_wrong_with_a_patient(tmp_path):
    root = dataset_phantoms.breastdm(tmp_path)
    images, labels = (root / "seg3D" / "train" / kind for kind in ("images", "labels"))
    (images / "BreaDM-Be-1801" / "VIBRANT.npy").unlink()
    (labels / "BreaDM-Ma-1802" / "VIBRANT+C2.npy").unlink()
    (images / "BreaDM-odd").mkdir()
    found = listed("breastdm", root)
    assert "BreaDM-Be-1801: found no VIBRANT.npy" in found.missing
    assert "BreaDM-Ma-1802: found no VIBRANT+C2.npy in labels" in found.missing
    assert any("needed BreaDM-Be-NNNN" in line for line in found.missing)
    # the copy in the test folder is the patient's only complete one now
    patient = next(item for item in found.items if item.id == "BreaDM-Ma-1802")
    other = np.load(labels / "BreaDM-Ma-1802" / "SUB2.npy")
    other[0, 0, 0] = 255
    np.save(labels / "BreaDM-Ma-1802" / "SUB2.npy", other)
    assert "the masks of sub2 differ from the one taken" in patient.read().notes
    np.save(images / "BreaDM-Ma-1802" / "SUB2.npy", np.ones((3, 3, 3)))
    with pytest.raises(ReadError, match=r"\(3, 3, 3\) \(z, y, x\); needed \(8, 20, 22\) as in VIBRANT"):
        patient.read()
    np.save(labels / "BreaDM-Ma-1802" / "VIBRANT.npy", np.arange(8).reshape(2, 2, 2))
    with pytest.raises(ReadError, match="0 and one other value"):
        patient.peek()
    np.save(labels / "BreaDM-Ma-1802" / "VIBRANT.npy", np.zeros((2, 2)))
    with pytest.raises(ReadError, match=r"found an array of shape \(2, 2\); needed \(y, x, z\)"):
        patient.read()
    with pytest.raises(ReadError, match="found no train/images; needed BreastDM"):
        listed("breastdm", images)


def test_breastdm_blank_throughout_and_damaged(tmp_path):
    root = dataset_phantoms.breastdm(tmp_path)
    folder = root / "seg3D" / "val" / "images" / "BreaDM-Ma-1803"
    for file in folder.glob("*.npy"):
        np.save(file, np.zeros((20, 22, 8), np.uint8))
    item = next(i for i in listed("breastdm", root).items if i.id == "BreaDM-Ma-1803")
    with pytest.raises(ReadError, match="blank slices only"):
        item.read()
    (folder / "VIBRANT.npy").write_bytes(b"no array")
    with pytest.raises(ReadError, match="a complete image file"):
        item.read()


def test_autopet_as_nifti(tmp_path):
    found = listed("autopet", dataset_phantoms.autopet_nifti(tmp_path))
    assert [item.patient_id for item in found.items] == ["PETCT_aa", "PETCT_aa", "PETCT_bb"]
    assert [item.peek() for item in found.items] == [frozenset(), {1}, {1}]
    assert found.items[1].id == "PETCT_aa_03-23-2003-NA-PET-CT Ganzkoerper  primaer mit KM-10445"
    case = found.items[1].read()
    assert case.reference == "suv" and list(case.channels) == ["suv", "ct"]
    assert case.channels["ct"].array.min() < -200 and case.channels["suv"].unit == "g/ml{SUVbw}"
    # as the downloader of TCIA leaves it
    (tmp_path / "manifest-1647440690095").mkdir()
    shutil.move(tmp_path / "FDG-PET-CT-Lesions", tmp_path / "manifest-1647440690095")
    assert [item.id for item in listed("autopet", tmp_path).items] == [item.id for item in found.items]
    shutil.move(tmp_path / "manifest-1647440690095" / "FDG-PET-CT-Lesions", tmp_path)
    shutil.rmtree(tmp_path / "FDG-PET-CT-Lesions" / "PETCT_bb" / "1")
    (tmp_path / "FDG-PET-CT-Lesions" / "PETCT_bb" / "1").mkdir()
    missing = listed("autopet", tmp_path).missing
    assert missing[0] == "PETCT_bb_1: found no SUV.nii.gz" and len(missing) == 3
    with pytest.raises(ReadError, match=r"found no imagesTr and no PETCT_\*/STUDY; needed autoPET"):
        listed("autopet", tmp_path / "FDG-PET-CT-Lesions" / "PETCT_aa")


@pytest.mark.parametrize("order", [("ct", "suv"), ("suv", "ct")])
def test_autopet_channels_are_told_by_their_values(tmp_path, order):
    found = listed("autopet", dataset_phantoms.autopet_nnunet(tmp_path, order))
    case = found.items[0].read()
    assert case.channels["suv"].array.min() >= 0 > case.channels["ct"].array.min()
    assert [item.patient_id for item in found.items] == ["fdg_aa", "fdg_aa", "psma_bb"]
    assert [item.diagnosis for item in found.items] == ["fdg", "fdg", "psma"]
    assert found.labels == {"tumor": 1}
    assert found.folds is not None and len(found.folds.splits) == 2


def test_autopet_channels_that_tell_nothing_and_files_that_lack(tmp_path):
    root = dataset_phantoms.autopet_nnunet(tmp_path, ("suv", "suv"))
    item = listed("autopet", root).items[0]
    with pytest.raises(ReadError, match=r"needed one image below -200 \(CT\) and one with nothing below 0"):
        item.read()
    (root / "labelsTr" / "fdg_aa_2001-01-01.nii.gz").unlink()
    assert listed("autopet", root).missing == (
        "fdg_aa_2001-01-01: found no labelsTr/fdg_aa_2001-01-01.nii.gz",
    )
    (root / "splits_final.json").write_text("[1]")
    with pytest.raises(ReadError, match="no list of train and val"):
        listed("autopet", root)
    (root / "dataset.json").write_text("{}")
    with pytest.raises(ReadError, match="no labels as whole numbers"):
        listed("autopet", root)
    assert patient_of("PETCT_0123_05-06-2003-NA") == "PETCT_0123" and patient_of("alone") == "alone"


def test_mama_mia_takes_phases_in_order_and_keeps_test_patients_out(tmp_path):
    root = dataset_phantoms.mama_mia(tmp_path)
    found = listed("mama-mia", root)
    assert [(item.id, item.diagnosis) for item in found.items] == [
        ("DUKE_001", "DUKE"),
        ("ISPY2_100899", "ISPY2"),
    ]
    case = found.items[1].read()
    assert list(case.channels) == ["pre", "post1", "post2"] and case.truth is not None
    np.testing.assert_array_equal(case.channels["post2"].array, dataset_phantoms.speckle(12, (6, 10, 12)))
    assert found.folds is not None and not found.folds.splits and found.folds.test == ("ISPY2_100899",)
    (root / "images" / "DUKE_001" / "DUKE_001_0001.nii.gz").unlink()
    (root / "segmentations" / "expert" / "ispy2_100899.nii.gz").unlink()
    (root / "images" / "OTHER_1").mkdir()
    assert listed("mama-mia", root).missing == (
        "DUKE_001: found phases [0, 2]; needed 0000, 0001 and so on",
        "ISPY2_100899: found no segmentations/expert/ISPY2_100899.nii.gz",
        "OTHER_1: found no collection's name; needed DUKE, ISPY1, ISPY2, NACT",
    )
    with pytest.raises(ReadError, match="found no images and segmentations/expert; needed MAMA-MIA"):
        listed("mama-mia", root / "images")


def test_sts_reads_what_each_patient_has(tmp_path):
    suv, ct = dataset_phantoms._pet_ct(0)
    mask = dataset_phantoms._lesion()
    for name, volume in (("pet", suv), ("ct", ct), ("pet_mask", mask), ("ct_mask", mask)):
        save_volume(volume, tmp_path / "STS_001" / f"{name}.nii.gz")
    save_volume(suv, tmp_path / "STS_002" / "pet.nii.gz")
    found = listed("sts", tmp_path)
    assert found.missing == ("STS_002: found no pet_mask.nii.gz",)
    assert [item.patient_id for item in found.items] == ["STS_001"]
    case = found.items[0].read()
    assert case.reference == "suv" and sorted(case.channels) == ["ct", "suv"] and found.items[0].peek() == {1}
    with pytest.raises(ReadError, match="found no folder STS_NNN"):
        listed("sts", tmp_path / "STS_001")


def test_stacks_keep_every_reader_and_the_specimen_together(tmp_path):
    found = listed("stacks", dataset_phantoms.stacks(tmp_path))
    assert [(item.id, item.patient_id) for item in found.items] == [
        ("S1-first", "S1"),
        ("S1-second", "S1"),
        ("S2", "S2"),
    ]
    case = found.items[0].read()
    assert list(case.channels) == ["us", "pa"] and list(case.observers) == ["anna", "bert"]
    assert case.truth is None and case.geometry.spacing == (0.2, 0.1, 0.1)
    assert case.observers["anna"].array.sum() - case.observers["bert"].array.sum() == 7 * 8
    assert found.items[0].peek() == {1}


def test_two_cases_of_one_name_are_refused(tmp_path):
    root = dataset_phantoms.stacks(tmp_path)
    shutil.copytree(root / "S2", root / "S1-first")
    with pytest.raises(
        ReadError, match=r"two cases called S1-first: .*us.tif and .*us.tif; needed names that"
    ):
        listed("stacks", root)


def test_stacks_without_spacing_say_so_and_faults_are_named(tmp_path):
    root = dataset_phantoms.stacks(tmp_path, spacing=False)
    items = listed("stacks", root).items
    assert not items[0].read().spacing_known and items[0].read().geometry.spacing == (1.0, 1.0, 1.0)
    (root / "S2" / "us.json").write_text(json.dumps({"spacing_mm": [0.3, 0.1, 0.1]}))
    assert items[2].read().geometry.spacing == (0.3, 0.1, 0.1)
    tifffile.imwrite(root / "S2" / "mask_bert.tif", np.ones((2, 20, 24), np.uint8))
    with pytest.raises(GeometryError, match=r"a mask of \(2, 20, 24\) \(z, y, x\)"):
        items[2].read()
    (root / "S2" / "mask_bert.tif").unlink()
    assert listed("stacks", root).missing == ("S2: found no mask_bert.tif",)
    (root / "S2" / "mask_anna.tif").unlink()
    assert "S2: found no mask_READER.tif" in listed("stacks", root).missing
    tifffile.imwrite(root / "S1" / "second" / "pa.tif", np.ones((7, 20, 24), np.uint8))
    with pytest.raises(GeometryError, match=r"a stack of \(7, 20, 24\) \(z, y, x\); needed \(5, 20, 24\)"):
        items[1].read()
    tifffile.imwrite(root / "S1" / "first" / "pa.tif", np.ones((2, 5, 20, 24), np.uint8))
    with pytest.raises(ReadError, match="pages of one 3D stack"):
        items[0].read()
    (root / "spacing.json").write_text('{"spacing_mm": [0.2, 0, 0.1]}')
    with pytest.raises(
        ReadError, match=r"spacing.json: found spacing_mm \[0.2, 0.0, 0.1\]; needed three positive"
    ):
        listed("stacks", root)
    (root / "spacing.json").write_text("[]")
    with pytest.raises(ReadError, match="found no spacing; needed"):
        listed("stacks", root)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(ReadError, match=r"found no SPECIMEN/us\.tif or pa\.tif"):
        listed("stacks", tmp_path / "nothing")


def test_autopet_follows_links_and_passes_by_files(tmp_path):
    """Series are often linked, not copied; archives and notes may lie among the patients."""
    dicom_phantoms.write_pet(tmp_path / "archive" / "PET")
    root = tmp_path / "root"
    (root / "PETCT_aa" / "study").mkdir(parents=True)
    (root / "PETCT_aa" / "study" / "PET").symlink_to(tmp_path / "archive" / "PET")
    (root / "PETCT_aa.zip").write_bytes(b"")
    found = listed("autopet", root)
    assert [(item.id, len(item.files)) for item in found.items] == [("PETCT_aa_study", 6)]
    nnunet = dataset_phantoms.autopet_nnunet(tmp_path / "nnunet")
    expected = [item.id for item in listed("autopet", nnunet).items]
    for file in (*nnunet.glob("imagesTr/*"), *nnunet.glob("labelsTr/*")):
        (file.with_name(f"._{file.name}")).write_bytes(b"other")
    assert [item.id for item in listed("autopet", nnunet).items] == expected


def test_autopet_as_dicom(tmp_path):
    study = tmp_path / "PETCT_aa" / "study"
    grid = dicom_phantoms.PET_GRID
    mask = np.zeros(grid.shape, np.uint8)
    mask[2:4, 3:5, 4:7] = 1
    dicom_phantoms.write_pet(study / "PET")
    dicom_phantoms.write_ct(study / "CT")
    item = listed("autopet", tmp_path).items[0]
    with pytest.raises(ReadError, match="found PET and CT without SEG"):
        item.read()
    write_rtstruct(study / "SEG" / "mask.dcm", Volume(mask, grid, ONE), StudyFacts())
    case = item.read()
    assert (case.id, case.patient_id, case.reference) == ("PETCT_aa_study", "PETCT_aa", "pet")
    assert case.truth is not None and item.peek() == {1}
    np.testing.assert_array_equal(case.truth.array, mask)
