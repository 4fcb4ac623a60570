"""The synthetic torso: its answers must be exact before the scanner blurs them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from lesionlab.core.volume import Geometry
from lesionlab.demo.anatomy import draw_anatomy
from lesionlab.demo.lesions import CLEARANCE_MM, LEAST_CONTRAST, SITES, SUV_RANGE, place_lesions
from lesionlab.demo.phantom import CT_GRID, PET_GRID, Phantom, torso
from lesionlab.demo.scanner import FWHM_PER_SIGMA, Scanner, scan_ct, scan_pet
from lesionlab.demo.shapes import Ellipsoid, Trunk, coverage


@pytest.fixture(scope="module")
def patients() -> list[Phantom]:
    return [torso(np.random.default_rng([5, number]), lesions=4) for number in range(4)]


@pytest.mark.parametrize("tilt_deg", [0.0, 35.0])
def test_coverage_of_an_ellipsoid_gives_its_volume_and_centre(tilt_deg: float) -> None:
    grid = Geometry((40, 44, 48), (5.0, 4.0, 4.0), (-95.0, -85.0, -98.0))
    solid = Ellipsoid((3.3, -7.1, 11.7), (9.0, 7.0, 12.0), tilt_deg)
    region, share = coverage(solid, grid, samples=8)
    assert share.sum() * grid.voxel_ml == pytest.approx(solid.volume_ml, rel=0.01)
    image = np.zeros(grid.shape)
    image[region] = share
    centre = grid.to_world(ndimage.center_of_mass(image))
    assert centre == pytest.approx(solid.centre_mm, abs=0.1)
    assert share.min() == 0.0 and share.max() == 1.0


def test_coverage_finds_every_voxel_that_the_surface_crosses() -> None:
    grid = Geometry((30, 30, 30), (5.0, 4.0, 4.0), (-58.0, -58.0, -72.5))
    solid = Ellipsoid((1.0, 2.0, -3.0), (14.0, 8.0, 21.0), 20.0)
    region, share = coverage(solid, grid, samples=4)
    fine = Geometry((120, 120, 120), (1.25, 1.0, 1.0), (-59.5, -59.5, -74.375))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in fine.shape], indexing="ij"), -1)
    x, y, z = np.moveaxis(fine.to_world(index), -1, 0)
    expected = (solid.radius(x, y, z) <= 1).reshape(30, 4, 30, 4, 30, 4).mean(axis=(1, 3, 5))
    image = np.zeros(grid.shape)
    image[region] = share
    assert np.abs(image - expected).max() < 0.05  # rounding of points right on the surface
    assert image.sum() == pytest.approx(expected.sum(), rel=1e-3)


def test_coverage_outside_the_grid_is_empty() -> None:
    _, share = coverage(Ellipsoid((900.0, 0.0, 0.0), (9.0, 9.0, 9.0)), Geometry((4, 4, 4), (4.0, 4.0, 4.0)))
    assert share.size == 0 or share.max() == 0.0


def test_cylinder_and_trunk_cross_sections() -> None:
    grid = Geometry((3, 101, 101), (2.0, 2.0, 2.0), (-100.0, -100.0, 0.0))
    _, disc = coverage(Ellipsoid((0.0, 0.0, 0.0), (30.0, 20.0, 500.0), power=16.0), grid)
    assert disc.sum(axis=(1, 2)) * 4.0 == pytest.approx([np.pi * 600.0] * 3, rel=0.01)
    _, ellipse = coverage(Trunk((-4.0, 8.0), (30.0, 60.0), (30.0, 30.0), power=2.0), grid)
    assert ellipse.sum(axis=(1, 2)) * 4.0 == pytest.approx(
        [np.pi * 30 * width for width in (40, 45, 50)], rel=0.02
    )


def test_lesion_volumes_and_uptake_are_exact_before_blur(patients: list[Phantom]) -> None:
    for phantom in patients:
        assert len(phantom.lesions) == 4
        for lesion in phantom.lesions:
            region, share = coverage(lesion.solid, PET_GRID, 8)
            full = phantom.activity.array[region][share == 1.0]
            assert full.size > 0
            assert full == pytest.approx(lesion.suv, rel=1e-4)
            assert share.sum() * PET_GRID.voxel_ml == pytest.approx(lesion.volume_ml, rel=0.01)
            mask = phantom.labels.array == lesion.number
            assert np.array_equal(mask[region], share >= 0.5)
            assert mask.sum() == (share >= 0.5).sum()
            assert mask.sum() * PET_GRID.voxel_ml == pytest.approx(lesion.volume_ml, rel=0.15)
            centre = PET_GRID.to_world(ndimage.center_of_mass(mask))
            assert centre == pytest.approx(lesion.centre_mm, abs=1.5)


def test_lesions_stand_out_from_all_that_is_near(patients: list[Phantom]) -> None:
    for phantom in patients:
        for lesion in phantom.lesions:
            assert lesion.site in SITES
            assert SUV_RANGE[0] <= lesion.suv <= SUV_RANGE[1]
            assert lesion.contrast >= LEAST_CONTRAST
            region, near = coverage(lesion.solid.grown(CLEARANCE_MM), PET_GRID, samples=1)
            labels = phantom.labels.array[region][near > 0]
            assert set(np.unique(labels)) == {0, lesion.number}
            # voxels that hold a part of the lesion itself are excluded
            own = coverage(lesion.solid.grown(5.0), PET_GRID, samples=1)
            around = near.copy()
            inner = np.zeros(PET_GRID.shape, bool)
            inner[own[0]] = own[1] > 0
            around[inner[region]] = 0
            assert phantom.activity.array[region][around > 0].max() <= lesion.suv / LEAST_CONTRAST + 1e-4


def test_physiological_uptake_is_hotter_than_a_fixed_threshold(patients: list[Phantom]) -> None:
    for phantom in patients:
        assert (phantom.suv.array[phantom.labels.array == 0] >= 4.0).sum() * PET_GRID.voxel_ml > 20.0


def test_scan_recovers_plausibly(patients: list[Phantom]) -> None:
    for phantom in patients:
        for lesion in phantom.lesions:
            seen = phantom.suv.array[phantom.labels.array == lesion.number]
            assert 0.45 * lesion.suv < seen.mean() < 1.05 * lesion.suv
            assert 0.55 * lesion.suv < seen.max() < 1.6 * lesion.suv
        total = phantom.activity.array.sum()
        assert phantom.suv.array.sum() == pytest.approx(total, rel=0.01)
        assert phantom.suv.array.min() >= 0.0


def test_point_spread_has_the_stated_width() -> None:
    scanner = Scanner(counts_per_suv_ml=1e9)
    point = np.zeros((41, 41, 41), np.float32)
    point[20, 20, 20] = 1000.0
    image = scan_pet(point, (1.5, 1.5, 1.5), scanner, np.random.default_rng(0)).astype(float)
    offset = (np.arange(41) - 20) * 1.5
    for axis in range(3):
        profile = image.sum(axis=tuple(a for a in range(3) if a != axis))
        sigma = np.sqrt((profile * offset**2).sum() / profile.sum())
        assert sigma * FWHM_PER_SIGMA == pytest.approx(scanner.fwhm_mm, rel=0.02)
    assert scanner.fwhm_mm == pytest.approx(6.02, abs=0.01)


def test_noise_follows_the_counts() -> None:
    flat = np.full((40, 40, 40), 2.0, np.float32)
    raw = Scanner(filter_fwhm_mm=0.01)
    noisy = scan_pet(flat, (5.0, 4.0, 4.0), raw, np.random.default_rng(0))[5:-5, 5:-5, 5:-5]
    counts = 2.0 * raw.counts_per_suv_ml * 0.08
    assert noisy.mean() == pytest.approx(2.0, rel=0.01)
    assert noisy.std() / noisy.mean() == pytest.approx(counts**-0.5, rel=0.03)
    filtered = scan_pet(flat, (5.0, 4.0, 4.0), Scanner(), np.random.default_rng(0))[5:-5, 5:-5, 5:-5]
    assert 0.05 < filtered.std() / filtered.mean() < 0.13


def test_ct_shows_air_lung_fat_and_bone(patients: list[Phantom]) -> None:
    for phantom in patients:
        ct = phantom.ct.array
        assert ct.shape == CT_GRID.shape and ct.min() >= -1024.0
        assert np.median(ct[:, :3, :]) == pytest.approx(-1000.0, abs=15.0)
        assert ((ct > -850) & (ct < -700)).mean() > 0.02
        assert (ct > 150).mean() > 0.003


def test_ct_noise_is_as_stated() -> None:
    ct = scan_ct(np.zeros((20, 40, 40), np.float32), Scanner(), np.random.default_rng(3))
    assert ct.std() == pytest.approx(12.0, rel=0.03)


def test_the_same_seed_gives_the_same_patient_and_another_seed_another() -> None:
    first, again, other = (torso(np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.suv.array, again.suv.array)
    assert np.array_equal(first.ct.array, again.ct.array)
    assert first.lesions == again.lesions
    assert not np.array_equal(first.suv.array, other.suv.array)


def test_patients_differ_in_size_place_and_uptake() -> None:
    drawn = [draw_anatomy(np.random.default_rng(seed)) for seed in range(12)]
    bladders = [anatomy.organ("bladder") for anatomy in drawn]
    assert np.ptp([organ.suv for organ in bladders]) > 5.0
    assert (
        np.ptp([organ.solid.centre_mm[2] for organ in bladders if isinstance(organ.solid, Ellipsoid)]) > 5.0
    )
    assert np.ptp([anatomy.scale[0] for anatomy in drawn]) > 0.05


def test_no_lesion_is_placed_where_everything_is_hot() -> None:
    rng = np.random.default_rng(2)
    hot = np.full(PET_GRID.shape, 20.0, np.float32)
    assert place_lesions(rng, draw_anatomy(rng), hot, PET_GRID, 3) == ()


def test_a_patient_without_lesions() -> None:
    phantom = torso(np.random.default_rng(1), lesions=0)
    assert phantom.lesions == () and not phantom.truth.array.any()
    assert set(np.unique(phantom.truth.array)) == {0}
    assert phantom.suv.array.max() > 4.0
