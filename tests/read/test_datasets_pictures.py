"""Data sets of pictures: BUS-BRA, BUSI, and a folder of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import dataset_phantoms
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.read.datasets import DATASETS


def listed(name: str, root: Path, classes: bool = False):
    return DATASETS[name].find(root, classes)


def test_bus_bra_keeps_patients_kinds_and_official_folds(tmp_path):
    found = listed("bus-bra", dataset_phantoms.bus_bra(tmp_path / "BUSBRA").parent, classes=True)
    assert len(found.items) == 12 and not found.missing
    assert {item.patient_id for item in found.items} == {f"BUS-BRA-{n}" for n in range(1, 7)}
    first = found.items[0]
    case = first.read()
    assert (case.id, case.patient_id, case.diagnosis) == ("bus_0001-l", "BUS-BRA-1", "malignant")
    assert case.truth is not None and set(np.unique(case.truth.array)) == {0, 2}
    assert first.peek() == {2} == found.items[0].peek()
    np.testing.assert_array_equal(case.channels["us"].array[0], dataset_phantoms.speckle(2))
    assert case.geometry.spacing == (1.0, 1.0, 1.0) and not case.spacing_known
    assert found.folds is not None and len(found.folds.splits) == 3
    assert found.folds.splits[0].val == ("bus_0001-l", "bus_0001-r", "bus_0004-l", "bus_0004-r")
    assert listed("bus-bra", tmp_path).items[0].peek() == {1}


def test_bus_bra_names_what_is_missing(tmp_path):
    root = dataset_phantoms.bus_bra(tmp_path)
    (root / "Masks" / "mask_0002-r.png").unlink()
    (root / "5-fold-cv.csv").unlink()
    found = listed("bus-bra", root)
    assert found.missing == ("bus_0002-r: found no Masks/mask_0002-r.png",)
    assert found.folds is None and len(found.items) == 11
    (root / "bus_data.csv").write_text("ID,Patient\nbus_0001-l,1\n")
    with pytest.raises(ReadError, match="no column 'Case'; needed columns ID, Case, Pathology"):
        listed("bus-bra", root)
    with pytest.raises(ReadError, match=r"found no bus_data.csv; needed BUS-BRA as it is published: https"):
        listed("bus-bra", root / "Images")
    with pytest.raises(ReadError, match=r"found no such folder; needed BUS-BRA as it is published: https"):
        listed("bus-bra", tmp_path / "nowhere")


def test_a_mask_of_another_size_is_refused(tmp_path):
    root = dataset_phantoms.bus_bra(tmp_path)
    dataset_phantoms.picture(root / "Masks" / "mask_0001-l.png", dataset_phantoms.disc((20, 20)))
    item = listed("bus-bra", root).items[0]
    with pytest.raises(GeometryError, match=r"a mask of \(20, 20\) pixels \(y, x\)"):
        item.read()


def test_bus_bra_of_a_kind_that_is_neither(tmp_path):
    root = dataset_phantoms.bus_bra(tmp_path)
    table = (root / "bus_data.csv").read_text().replace("bus_0001-l,1,malignant", "bus_0001-l,1,Malignant")
    (root / "bus_data.csv").write_text(table)
    found = listed("bus-bra", root, classes=True)
    assert found.missing == ("bus_0001-l: found Pathology 'Malignant'; needed benign or malignant",)
    assert len(found.items) == 11 and len(listed("bus-bra", root).items) == 12


def test_hidden_files_are_no_cases_and_no_readers(tmp_path):
    """Other systems leave files such as ._c0.png beside the real ones."""
    root = dataset_phantoms.folder(tmp_path / "own")
    for file in (*root.glob("images/*"), *root.glob("masks/*")):
        (file.with_name(f"._{file.name}")).write_bytes(b"other")
    (root / "masks" / ".checkpoints").mkdir()
    found = listed("folder", root)
    assert [item.id for item in found.items] == ["c0", "c1", "c2", "c3"] and not found.missing
    busi = dataset_phantoms.busi(tmp_path / "busi")
    expected = [item.id for item in listed("busi", busi).items]
    for file in list(busi.glob("*/*.png")):
        (file.with_name(f"._{file.name}")).write_bytes(b"other")
    assert [item.id for item in listed("busi", busi).items] == expected


def test_busi_merges_masks_and_has_normal_images(tmp_path):
    dataset_phantoms.busi(tmp_path / "Dataset_BUSI_with_GT")
    found = listed("busi", tmp_path, classes=True)
    cases = {item.id: item.read() for item in found.items}
    assert list(cases) == ["benign-0001", "malignant-0001", "normal-0001"]
    benign = cases["benign-0001"].truth
    both = dataset_phantoms.disc(centre=(10, 10)) | dataset_phantoms.disc(centre=(30, 40))
    assert benign is not None
    np.testing.assert_array_equal(benign.array[0], both)
    assert [item.peek() for item in found.items] == [{1}, {2}, frozenset()]
    assert cases["normal-0001"].diagnosis == "normal"
    assert found.notes == ("patients are not told: every image counts as a patient of its own",)
    (tmp_path / "Dataset_BUSI_with_GT" / "normal" / "normal (1)_mask.png").unlink()
    assert listed("busi", tmp_path).missing == ("normal (1): found no normal (1)_mask.png",)


def test_busi_images_of_one_number_are_refused(tmp_path):
    root = dataset_phantoms.busi(tmp_path)
    image = min((root / "benign").glob("*).png"))
    for file in (image, image.with_name(f"{image.stem}_mask.png")):
        copied = file.name.replace(image.stem, f"{image.stem} copy")
        file.with_name(copied).write_bytes(file.read_bytes())
    with pytest.raises(ReadError, match=r"two cases called benign-0001: .* and .* copy\.png"):
        listed("busi", root)


def test_busi_masks_of_two_sizes_are_refused(tmp_path):
    root = dataset_phantoms.busi(tmp_path)
    mask = dataset_phantoms.disc((20, 20)).astype(np.uint8)
    dataset_phantoms.picture(root / "benign" / "benign (1)_mask_1.png", mask)
    with pytest.raises(ReadError, match=r"a mask of \(20, 20\) pixels; needed \(40, 50\) as in benign"):
        listed("busi", root).items[0].peek()
    with pytest.raises(ReadError, match="no folder benign, malignant, normal; needed BUSI"):
        listed("busi", tmp_path / "benign")


def test_a_folder_with_patients_folds_and_kinds(tmp_path):
    found = listed("folder", dataset_phantoms.folder(tmp_path))
    assert found.labels == {"benign": 1, "malignant": 2}
    assert [(item.id, item.patient_id) for item in found.items] == [
        ("c0", "p1"),
        ("c1", "p1"),
        ("c2", "p2"),
        ("c3", "p3"),
    ]
    assert [item.peek() for item in found.items] == [{1}, {1}, {2}, {2}]
    assert found.folds is not None and found.folds.test == ("c3",)
    assert [split.val for split in found.folds.splits] == [("c0", "c1"), ("c2",)]
    case = found.items[2].read()
    assert case.reference == "us" and case.diagnosis == "malignant" and case.truth is not None


def test_a_folder_with_masks_of_several_readers(tmp_path):
    root = dataset_phantoms.folder(tmp_path)
    for reader, radius in (("anna", 6), ("bert", 8)):
        for number in range(4):
            mask = dataset_phantoms.disc(radius=radius).astype(np.uint8)
            dataset_phantoms.picture(root / "masks" / reader / f"c{number}.png", mask)
    (root / "masks" / "bert" / "c3.png").unlink()
    found = listed("folder", root)
    assert found.missing == ("c3: found no masks/bert/c3",)
    case = found.items[0].read()
    assert case.truth is None
    assert list(case.observers) == ["anna", "bert"]
    assert case.observers["anna"].array.sum() < case.observers["bert"].array.sum()


def test_what_a_folder_may_not_be(tmp_path):
    root = dataset_phantoms.folder(tmp_path)
    (root / "cases.csv").write_text("case,patient\nc0,p1\nc9,p9\n")
    assert listed("folder", root).missing == (
        "c9: found no image; named in cases.csv",
        "c1: found no row in cases.csv",
        "c2: found no row in cases.csv",
        "c3: found no row in cases.csv",
    )
    (root / "labels.json").write_text('{"benign": 2}')
    with pytest.raises(ReadError, match="labels numbered 1, 2 and so on"):
        listed("folder", root)
    (root / "labels.json").write_text('["benign"]')
    with pytest.raises(ReadError, match="no names of labels"):
        listed("folder", root)
    (root / "cases.csv").write_text("case,patient\nc0,p1\nc0,p2\n")
    with pytest.raises(ReadError, match=r"cases.csv: found two rows of case c0; needed one row per case"):
        listed("folder", root)
    (root / "cases.csv").write_text('case,patient\n"c0,' + "x" * 200_000)
    with pytest.raises(ReadError, match=r"found field larger than .*; needed a readable CSV file"):
        listed("folder", root)
    (root / "cases.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ReadError, match="a readable CSV file"):
        listed("folder", root)
    (root / "cases.csv").unlink()
    (root / "images" / "c0.jpg").write_bytes((root / "images" / "c1.png").read_bytes())
    with pytest.raises(ReadError, match="two files called c0; needed one file per case"):
        listed("folder", root)
    with pytest.raises(ReadError, match="no images and masks; needed a folder of images and masks: your own"):
        listed("folder", root / "images")


def test_a_table_that_may_not_be_read(tmp_path, monkeypatch):
    root = dataset_phantoms.folder(tmp_path)
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path.name == "cases.csv":
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ReadError, match=r"cases.csv: found Permission denied; needed a readable CSV file"):
        listed("folder", root)


def test_a_folder_without_a_table_and_a_mask_of_another_size(tmp_path):
    root = dataset_phantoms.folder(tmp_path)
    (root / "cases.csv").unlink()
    (root / "labels.json").unlink()
    np.save(root / "masks" / "c0.npy", np.zeros((1, 7, 7), np.uint8))
    (root / "masks" / "c0.json").write_text('{"spacing_mm": [1, 1, 1]}')
    (root / "masks" / "c0.png").unlink()
    found = listed("folder", root)
    assert found.labels == {"lesion": 1} and found.items[1].patient_id == "c1" and found.folds is None
    with pytest.raises(GeometryError, match=r"a mask of \(1, 7, 7\) \(z, y, x\); needed the image's"):
        found.items[0].read()
