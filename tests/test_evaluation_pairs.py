"""Pairs of masks from files: DICOM SEG of a few slices, grids that do not fit, scores without the verb."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_phantoms import PET_GRID, write_pet
from lesionlab import pipeline
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.loaded_pairs import load_pair
from lesionlab.pipeline.pairs import NAMES, PROBABILITY_NAMES, Pair, mask_files
from lesionlab.read import open_case
from lesionlab.report import save_volume


@pytest.fixture
def drawn(tmp_path: Path) -> np.ndarray:
    mask = np.zeros(PET_GRID.shape, np.uint8)
    mask[2:4, 2:5, 3:6] = 1
    return mask


@pytest.fixture
def seg(tmp_path: Path, drawn: np.ndarray) -> Path:
    """A DICOM SEG that holds the two slices with something in them."""
    import highdicom as hd
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentationTypeValues, SegmentDescription

    sources = [pydicom.dcmread(path) for path in write_pet(tmp_path / "PT")]
    code = hd.sr.CodedConcept("49755003", "SCT", "Morphologically abnormal structure")
    segment = SegmentDescription(1, "lesion", code, code, SegmentAlgorithmTypeValues.MANUAL)
    binary = SegmentationTypeValues.BINARY
    facts = ("1.2.3.4.5", 9, "1.2.3.4.5.6", 1, "LesionLab", "test", "1", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = hd.seg.Segmentation(sources, drawn, binary, [segment], *facts)
        path = tmp_path / "p1.dcm"
        made.save_as(path)
    return path


@pytest.fixture
def grid(seg: Path, tmp_path: Path) -> Geometry:
    return open_case(tmp_path / "PT").geometry


def test_a_seg_of_some_slices_lies_among_the_others(seg, grid, drawn, tmp_path: Path) -> None:
    truth = save_volume(Volume(drawn, grid, "1"), tmp_path / "truth.nii.gz")
    loaded = load_pair(Pair("p1", seg, truth))
    assert loaded.mask is not None
    assert loaded.notes == ()
    np.testing.assert_array_equal(loaded.mask.array, drawn)
    # and as the truth of a prediction that holds as few slices
    turned = load_pair(Pair("p1", seg, seg))
    assert turned.mask is not None
    assert turned.truth.array.sum() == turned.mask.array.sum() == drawn.sum()


@pytest.mark.parametrize("moved_mm", [1.0, 1000.0])
def test_a_seg_on_another_lattice_is_an_error_with_both_grids(
    seg, grid, drawn, tmp_path: Path, moved_mm: float
) -> None:
    origin = tuple(v + moved_mm for v in grid.origin)
    other = Geometry(grid.shape, grid.spacing, origin, grid.direction)
    truth = save_volume(Volume(drawn, other, "1"), tmp_path / "truth.nii.gz")
    with pytest.raises(GeometryError, match=r"p1.dcm: found grid .*; needed grid .*--resample"):
        load_pair(Pair("p1", seg, truth))


def test_python_scores_all_labels_as_one(tmp_path: Path) -> None:
    grid = Geometry((3, 4, 5), (2.0, 2.0, 2.0))
    array = np.zeros(grid.shape, np.uint8)
    array[1, 1, 1:3] = 1, 2
    for side in ("pred", "truth"):
        (tmp_path / side).mkdir()
        save_volume(Volume(array, grid, "1"), tmp_path / side / "p1.nii.gz")
    outcomes = pipeline.evaluate_files(tmp_path / "pred", tmp_path / "truth")
    assert [o.value.values["dice"] for o in outcomes] == [1.0]
    pairs = pipeline.pairs_of(tmp_path / "pred", tmp_path / "truth")
    assert "found 2 labels (1, 2)" in pipeline.evaluate_pairs(pairs)[0].error


@pytest.mark.parametrize(
    ("record", "text", "name"),
    [
        ("patient.json", '{"case_id": "STS_010"}', "STS_010"),
        ("case.json", '{"case_id": "STS_010"}', "STS_010"),
        ("patient.json", "{", "best"),
        ("run.json", "{}", "best"),
    ],
)
def test_what_was_written_for_one_patient_is_one_case(
    tmp_path: Path, record: str, text: str, name: str
) -> None:
    folder = tmp_path / "best"
    empty = Volume(np.zeros((3, 4, 5), np.uint8), Geometry((3, 4, 5), (2.0, 2.0, 2.0)), "1")
    for file in ("mask.nii.gz", "lesions.nii.gz"):
        save_volume(empty, folder / file)
    assert set(mask_files(folder, NAMES)) == {"mask", "lesions"}
    (folder / record).write_text(text)
    assert mask_files(folder, NAMES) == {name: folder / "mask.nii.gz"}
    with pytest.raises(ReadError, match=r"found no mask; needed .*CASE/probability.nii.gz"):
        mask_files(folder, PROBABILITY_NAMES)
    save_volume(empty, folder / PROBABILITY_NAMES[0])
    assert mask_files(folder, PROBABILITY_NAMES) == {name: folder / PROBABILITY_NAMES[0]}
