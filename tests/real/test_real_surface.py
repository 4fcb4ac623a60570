"""Surface distances of tumour contours moved by known vectors, and by another road."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from lesionlab.core.components import foreground_box
from lesionlab.evaluate.surface import element_sizes, surface_distances
from lesionlab.read.nifti import load_volume

pytestmark = pytest.mark.real
PATIENTS = ("STS_004", "STS_010", "STS_026")


def tumour(shared_data, patient):
    volume = load_volume(shared_data / "sts" / patient / "pet_mask.nii.gz")
    array = volume.array > 0
    return np.pad(array[foreground_box(array)], 4), volume.geometry.spacing


@pytest.mark.parametrize("patient", PATIENTS)
def test_a_tumour_moved_along_an_axis_is_as_far_as_it_was_moved(shared_data, patient):
    truth, spacing = tumour(shared_data, patient)
    for axis, steps in ((0, 1), (1, 3), (2, -2)):
        found = surface_distances(np.roll(truth, steps, axis), truth, spacing)
        moved = abs(steps) * spacing[axis]
        assert found.hd_mm == pytest.approx(moved)
        assert 0.0 < found.assd_mm <= found.hd95_mm <= found.hd_mm
        assert found.nsd(moved) == 1.0
        assert found.nsd(0.0) < 1.0


@pytest.mark.parametrize("patient", PATIENTS)
def test_a_tumour_moved_aslant_is_within_the_vector(shared_data, patient):
    truth, spacing = tumour(shared_data, patient)
    steps = (1, -2, 3)
    parts = [abs(n) * step for n, step in zip(steps, spacing, strict=True)]
    found = surface_distances(np.roll(truth, steps, (0, 1, 2)), truth, spacing)
    assert max(parts) <= found.hd_mm * (1 + 1e-12)
    assert found.hd_mm <= math.hypot(*parts) * (1 + 1e-12)
    assert found.nsd(math.hypot(*parts)) == 1.0


def test_a_distance_transform_of_the_cells_gives_the_same(shared_data):
    truth, spacing = tumour(shared_data, "STS_004")
    mask = np.roll(truth, (1, 2, -1), (0, 1, 2))
    mask[4:7] = False
    numbers = []
    for array in (mask, truth):
        padded = np.pad(array, 1).astype(np.uint8)
        cells = [slice(None, -1), slice(1, None)]
        numbers.append(
            sum(
                padded[cells[dz], cells[dy], cells[dx]].astype(int) << (4 * dx + 2 * dz + dy)
                for dz in (0, 1)
                for dy in (0, 1)
                for dx in (0, 1)
            )
        )
    cut = [(number > 0) & (number < 255) for number in numbers]
    found = surface_distances(mask, truth, spacing)
    expected = distance_transform_edt(~cut[1], sampling=spacing)[cut[0]]
    assert found.to_truth_mm == pytest.approx(expected, rel=1e-9)
    assert found.mask_sizes == pytest.approx(element_sizes(spacing)[numbers[0][cut[0]]])
    area = found.mask_sizes.sum() + found.truth_sizes.sum()
    back = distance_transform_edt(~cut[0], sampling=spacing)[cut[1]]
    total = expected @ found.mask_sizes + back @ found.truth_sizes
    assert found.assd_mm == pytest.approx(total / area)
