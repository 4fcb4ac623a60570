"""Pairs of masks from files: DICOM SEG of a few slices, grids that do not fit, scores without the verb."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_phantoms import PET_GRID, pet_volume, write_pet
from lesionlab import pipeline
from lesionlab.core.errors import GeometryError, ReadError
from lesionlab.core.volume import Geometry, Volume
from lesionlab.pipeline.loaded_pairs import load_pair
from lesionlab.pipeline.measured import paired
from lesionlab.pipeline.observers import read_cases
from lesionlab.pipeline.pairs import NAMES, PROBABILITY_NAMES, Pair, called_as, mask_files, pairs_of
from lesionlab.pipeline.quality import judge_files
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


def test_a_seg_is_measured_on_its_own_voxels_alone(seg, drawn, tmp_path: Path) -> None:
    recipe = pipeline.recipe_of("pet-threshold")
    measured = pipeline.findings_of_mask(tmp_path / "PT", seg, recipe)
    np.testing.assert_array_equal(measured.prediction.mask.array, drawn)
    finer = Geometry((6, 16, 20), (3.0, 2.0, 2.25), (-21.125, -16.0, 100.0))
    shorter = Geometry(
        (3, 8, 10), PET_GRID.spacing, PET_GRID.origin
    )  # without the segmentation's second slice
    for number, grid in enumerate((finer, shorter)):
        write_pet(tmp_path / str(number), pet_volume(grid))
        with pytest.raises(GeometryError, match=r"found grid 2 x 8 x 10 .* needed grid"):
            pipeline.findings_of_mask(tmp_path / str(number), seg, recipe)


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


def test_results_of_a_patient_with_a_space_in_the_name_are_that_patients(tmp_path: Path) -> None:
    """`examine` and `predict` call what they write of `Patient 01` `Patient_01`."""
    scan = Volume(np.ones((3, 4, 5), np.float32), Geometry((3, 4, 5), (2.0, 2.0, 2.0)), "1")
    mask = scan.with_array((scan.array > 0).astype(np.uint8))
    for folder in ("scans", "truth", "reader"):
        save_volume(scan if folder == "scans" else mask, tmp_path / folder / "Patient 01.nii.gz")
    save_volume(mask, tmp_path / "out" / "Patient_01" / "mask.nii.gz")
    save_volume(scan, tmp_path / "out" / "Patient_01" / "probability.nii.gz")

    [pair] = pairs_of(
        tmp_path / "out", tmp_path / "truth", images=tmp_path / "scans", probabilities=tmp_path / "out"
    )
    assert pair.case_id == "Patient 01", "the truth's, which is the same whichever model is scored"
    assert pair.prediction == tmp_path / "out" / "Patient_01" / "mask.nii.gz"
    assert pair.probability == tmp_path / "out" / "Patient_01" / "probability.nii.gz"
    assert pair.image == tmp_path / "scans" / "Patient 01.nii.gz"
    save_volume(scan, tmp_path / "scans" / "Patient 02.nii.gz")
    drawn = paired(tmp_path / "scans", tmp_path / "truth")[0]
    assert (drawn.case_id, drawn.mask) == ("Patient_01", tmp_path / "truth" / "Patient 01.nii.gz")
    readers = {"anna": tmp_path / "truth", "bert": tmp_path / "reader"}
    [read] = read_cases(readers, tmp_path / "out")
    assert read.value is not None and read.value.pairs["dice"].model == {"anna": 1.0, "bert": 1.0}
    [judged] = judge_files(tmp_path / "truth", members=[tmp_path / "out", tmp_path / "reader"])
    assert judged.value is not None
    assert {flag.name: flag.value for flag in judged.value.flags}["disagreement"] == 0.0


def test_a_name_that_could_mean_two_cases_means_none() -> None:
    files = {"A 1": Path("a"), "A:1": Path("b")}
    assert called_as(["A_1"], files) == files
    assert called_as(["A 1", "A_1"], {"A_1": Path("c")}) == {"A_1": Path("c")}
    assert called_as(["A 1", "A:1"], {"A_1": Path("c")}) == {"A_1": Path("c")}
    assert called_as(["A 1"], {"A_1": Path("c")}) == {"A 1": Path("c")}
