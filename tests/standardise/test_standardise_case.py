"""The case that a recipe asks for: channels in order, one grid, SUVbw, truth."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_phantoms import PET_GRID, edit_all, pet_volume, write_ct, write_pet
from lesionlab.core.case import Case
from lesionlab.core.errors import DatasetError, GeometryError, SuvError
from lesionlab.core.recipe import Recipe, parse_recipe
from lesionlab.core.units import HOUNSFIELD, ONE, STORED, SUVBW
from lesionlab.core.volume import Geometry, Volume
from lesionlab.demo.dicom_contours import write_rtstruct
from lesionlab.demo.dicom_series import StudyFacts
from lesionlab.read import open_case
from lesionlab.standardise import standardise
from lesionlab.standardise.align import align_image, align_labels
from phantoms import pet_case

GRID = Geometry((6, 8, 10), (3.0, 4.0, 4.5))


def recipe(*channels: str, reference: str = "suv", optional: tuple[str, ...] = ()) -> Recipe:
    data = {"name": "test", "channels": {c: {} for c in channels}, "reference": reference}
    return parse_recipe({**data, "optional_channels": list(optional)}, "test")


def ramp(grid: Geometry, unit: str) -> Volume:
    """10 x + 3 y - 2 z in LPS mm: linear, so trilinear interpolation is exact inside."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), -1)
    return Volume((grid.to_world(index) @ np.array([10.0, 3.0, -2.0])).astype(np.float32), grid, unit)


@pytest.mark.parametrize("units", ["BQML", "GML"])
@pytest.mark.parametrize("beds", [1, 3])
def test_dicom_pet_becomes_the_suv_that_was_written(tmp_path: Path, units: str, beds: int) -> None:
    from lesionlab.demo.dicom_series import write_pet_series

    study = StudyFacts(weight_kg=63.0, dose_bq=2.1e8, uptake_s=4000.0, beds=beds)
    write_pet_series(tmp_path / "PT", pet_volume(), study, units=units)  # type: ignore[arg-type]
    write_rtstruct(tmp_path / "rs.dcm", Volume(np.ones(PET_GRID.shape, np.uint8), PET_GRID, ONE), study)
    case = standardise(open_case(tmp_path), recipe("suv"))
    suv, expected = case.channels["suv"], pet_volume().array
    assert (suv.unit, case.reference) == (SUVBW, "suv")
    assert suv.array.dtype == np.float32
    assert (np.abs(suv.array - expected) <= expected.max(axis=(1, 2), keepdims=True) / 32000).all()
    assert case.truth is not None
    assert case.truth.array.all()
    assert list(case.facts.channels) == ["suv"]
    assert any(note.startswith(f"SUVbw by Units {units}") for note in case.notes)


def test_pet_and_ct_meet_on_the_pet_grid_in_recipe_order(tmp_path: Path) -> None:
    write_pet(tmp_path)
    write_ct(tmp_path)
    case = standardise(open_case(tmp_path), recipe("ct", "suv"))
    assert list(case.channels) == ["ct", "suv"]
    assert all(v.geometry.matches(PET_GRID) for v in case.channels.values())
    assert case.channels["ct"].unit == HOUNSFIELD
    assert any(n.startswith("ct brought onto the reference grid (linear)") for n in case.notes)


def test_images_are_linear_and_air_or_nothing_outside() -> None:
    small = Geometry((4, 6, 8), (3.5, 4.5, 5.0), (2.0, 3.0, 4.0))
    case = pet_case(np.ones(GRID.shape), GRID, ct=ramp(small, HOUNSFIELD), mr=ramp(small, STORED))
    found = standardise(case, recipe("suv", "ct", "mr"))
    expected = ramp(GRID, HOUNSFIELD).array
    inner = (slice(2, 4), slice(2, 5), slice(2, 6))
    for name, outside in (("ct", -1024.0), ("mr", 0.0)):
        np.testing.assert_allclose(found.channels[name].array[inner], expected[inner], atol=1e-3)
        assert found.channels[name].array[0, 0, 0] == outside
    assert (found.channels["suv"].array == 1).all()


def test_truth_follows_the_reference_by_nearest_neighbour() -> None:
    truth = np.zeros(GRID.shape, np.uint8)
    truth[2:4, 3:6, 4:7] = 2
    fine = Geometry((12, 16, 20), (1.5, 2.0, 2.25), (-1.125, -1.0, -0.75))
    case = pet_case(np.ones(GRID.shape), GRID, ct=ramp(fine, HOUNSFIELD))
    case = Case(case.id, case.patient_id, case.channels, "suv", Volume(truth, GRID, ONE))
    found = standardise(case, recipe("ct", reference="ct"))
    assert found.reference == "ct"
    assert list(found.channels) == ["ct"]
    np.testing.assert_array_equal(found.truth.array, truth.repeat(2, 0).repeat(2, 1).repeat(2, 2))  # type: ignore[union-attr]
    assert any("truth brought" in n for n in found.notes)


def test_optional_channels_come_when_they_are_there() -> None:
    case = pet_case(np.ones(GRID.shape), GRID)
    wanted = recipe("suv", optional=("ct",))
    assert list(standardise(case, wanted).channels) == ["suv"]
    with_ct = pet_case(np.ones(GRID.shape), GRID, ct=ramp(GRID, HOUNSFIELD), mr=ramp(GRID, STORED))
    assert list(standardise(with_ct, wanted).channels) == ["suv", "ct"]


def test_a_missing_channel_is_named_with_those_present() -> None:
    case = pet_case(np.ones(GRID.shape), GRID, mr=ramp(GRID, STORED))
    with pytest.raises(DatasetError, match=r"^P1: found channels suv, mr; needed channel ct \(recipe test\)"):
        standardise(case, recipe("suv", "ct"))
    unnamed = Case("P1", "P1", {"image": ramp(GRID, STORED)}, "image")
    with pytest.raises(DatasetError, match=r"recipe test\); a file is the channel .*: NAME_suv\.nii\.gz$"):
        standardise(unnamed, recipe("suv"))


@pytest.mark.parametrize("what", ["channel ct", "truth"])
def test_a_channel_or_truth_somewhere_else_is_refused(what: str) -> None:
    away = Geometry(GRID.shape, GRID.spacing, (900.0, 0.0, 0.0))
    ct = ramp(away if what == "channel ct" else GRID, HOUNSFIELD)
    case = pet_case(np.ones(GRID.shape), GRID, ct=ct)
    truth = Volume(np.ones(away.shape, np.uint8), away if what == "truth" else GRID, ONE)
    case = Case(case.id, case.patient_id, case.channels, "suv", truth)
    with pytest.raises(GeometryError, match=f"P1, {what}: .*overlap"):
        standardise(case, recipe("suv", "ct"))


def test_pet_without_a_header_has_no_suv() -> None:
    pet = Volume(np.ones(GRID.shape), GRID, "Bq/ml")
    with pytest.raises(SuvError, match="no DICOM header"):
        standardise(Case("P1", "P1", {"pet": pet}, "pet"), recipe("suv"))


def test_the_case_is_named_when_its_header_has_no_rule(tmp_path: Path) -> None:
    edit_all(write_pet(tmp_path), DecayCorrection="OTHER")
    case = open_case(tmp_path, case_id="P77")
    with pytest.raises(SuvError, match=r"^P77: found DecayCorrection OTHER"):
        standardise(case, recipe("suv"))


def test_the_given_case_is_left_as_it_was(tmp_path: Path) -> None:
    write_pet(tmp_path)
    case = open_case(tmp_path)
    before = case.channels["pet"].array.copy()
    standardise(case, recipe("suv"))
    assert list(case.channels) == ["pet"]
    np.testing.assert_array_equal(case.channels["pet"].array, before)


def test_an_enhanced_pet_gives_the_same_suv_as_its_classic_series(tmp_path: Path) -> None:
    legacy = pytest.importorskip("highdicom.legacy")
    files = write_pet(tmp_path / "classic", study=StudyFacts(beds=3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced = legacy.LegacyConvertedEnhancedPETImage(
            [pydicom.dcmread(f) for f in files],
            series_instance_uid="1.2.3",
            series_number=7,
            sop_instance_uid="1.2.3.4",
            instance_number=1,
        )
        enhanced.save_as(tmp_path / "enhanced.dcm")
    found = standardise(open_case(tmp_path / "enhanced.dcm"), recipe("suv"))
    classic = standardise(open_case(tmp_path / "classic"), recipe("suv"))
    np.testing.assert_allclose(found.channels["suv"].array, classic.channels["suv"].array, rtol=1e-4)


def test_a_truth_that_loses_every_lesion_is_no_case_without_lesions() -> None:
    coarse = Geometry((4, 4, 4), (5.0, 5.0, 5.0), (2.0, 2.0, 2.0))
    drawn = np.zeros((20, 20, 20), np.uint8)
    drawn[5, 5, 5] = 1
    fine = Geometry(drawn.shape, (1.0, 1.0, 1.0))
    with pytest.raises(
        GeometryError, match=r"P1, truth: found 0.001 ml that reach no voxel, on grid 20 x 20"
    ):
        align_labels("P1", Volume(drawn, fine, ONE), coarse)
    drawn[7, 7, 7] = 1
    moved, note = align_labels("P1", Volume(drawn, fine, ONE), coarse)
    assert moved.array.sum() == 1 and note.endswith("0.002 ml became 0.125 ml")
    empty, note = align_labels("P1", Volume(np.zeros_like(drawn), fine, ONE), coarse)
    assert not empty.array.any() and note.endswith("0 ml became 0 ml")


def sitk_image(volume: Volume) -> sitk.Image:
    image = sitk.GetImageFromArray(volume.array)
    image.SetSpacing(volume.geometry.spacing[::-1])
    image.SetOrigin(volume.geometry.origin)
    image.SetDirection(volume.geometry.matrix[:, ::-1].ravel().tolist())
    return image


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_the_edges_of_a_channel_are_those_of_simpleitk(degrees: float) -> None:
    """Water to the last slice: the outer half of an edge voxel is no mixture with the air beyond."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    grid = Geometry((34, 44, 44), (1.0, 1.0, 1.0), (-2.5, -2.5, -4.0), (0, s, c, 0, c, -s, 1, 0, 0))
    source = Geometry((6, 20, 20), (5.0, 2.0, 2.0))
    water = Volume(np.full(source.shape, 50.0, np.float32), source, HOUNSFIELD)
    moved, _ = align_image("P1", "ct", water, grid)
    assert set(np.unique(moved.array)) == {-1024.0, 50.0}
    like = sitk_image(Volume(np.zeros(grid.shape, np.float32), grid, HOUNSFIELD))
    peer = sitk.Resample(sitk_image(water), like, sitk.Transform(), sitk.sitkLinear, -1024.0)
    assert np.array_equal(moved.array, sitk.GetArrayFromImage(peer))
    noise = np.random.default_rng(1).integers(0, 4, source.shape).astype(np.uint8)
    labels, _ = align_labels("P1", Volume(noise, source, ONE), grid)
    nearest = sitk.Resample(
        sitk_image(Volume(noise, source, ONE)), like, sitk.Transform(), sitk.sitkNearestNeighbor, 0
    )
    assert np.array_equal(labels.array, sitk.GetArrayFromImage(nearest))
