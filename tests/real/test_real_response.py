"""A sarcoma patient, and a follow-up made of the same scan: moved, turned, with less uptake in the tumour."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from lesionlab import find_recipe, open_case, save_volume
from lesionlab.core.grid import resample
from lesionlab.core.recipe import BiomarkerSettings
from lesionlab.core.rigid import Rigid
from lesionlab.core.volume import Volume
from lesionlab.measure import measure
from lesionlab.measure.robustness import intraclass_correlation
from lesionlab.pipeline.response import Scan, compare
from lesionlab.pipeline.robustness import contoured, summary_of, vary_cohort
from lesionlab.read import find_cases
from lesionlab.standardise import standardise

pytestmark = pytest.mark.real

RECIPE = find_recipe("pet-threshold")
UPTAKE = 0.55
"""The tumour's uptake at follow-up, of that at baseline."""


@pytest.fixture(scope="module")
def sarcomas(shared_data):
    folder = shared_data / "sts"
    if not folder.is_dir():
        pytest.skip(f"real data is absent: no folder {folder}")
    return folder


@pytest.mark.parametrize("name", ["STS_010", "STS_031"])
def test_a_simulated_follow_up(sarcomas, tmp_path, name):
    case = standardise(open_case(sarcomas / name), RECIPE)
    suv, truth = case.channels["suv"], case.truth
    turn = Rotation.from_euler("xyz", [4, -3, 6], degrees=True).as_matrix()
    middle = suv.geometry.to_world(np.asarray(suv.geometry.shape) / 2)
    shift = middle + np.array([12.0, -8.0, 15.0]) - turn @ middle
    motion = Rigid(tuple(turn.ravel()), tuple(shift))
    later = np.where(truth.array > 0, suv.array * UPTAKE, suv.array)
    for when, array, grid in (
        ("before", suv.array, suv.geometry),
        ("after", later, motion.moved(suv.geometry)),
    ):
        image, mask = Volume(array, grid, suv.unit), Volume(truth.array, grid, "1")
        if when == "after":
            # onto the scanner's own axes again, as a second scan would be
            image = resample(image, suv.geometry, outside=0.0)
            mask = resample(mask, suv.geometry, order=0, outside=0.0)
        (tmp_path / when).mkdir()
        save_volume(image, tmp_path / when / "suv.nii.gz")
        save_volume(mask, tmp_path / when / "truth.nii.gz")
    found = compare(
        Scan(tmp_path / "before", body="75,178,M"), Scan(tmp_path / "after", body="75,178,M"), RECIPE
    )
    tumour = truth.geometry.to_world(np.argwhere(truth.array > 0)[::20])
    left = np.linalg.norm(found.motion.apply(motion.apply(tumour)) - tumour, axis=1)
    assert left.mean() < 4.0  # less than a voxel of 5.5 mm, though half of the image has changed
    main = found.response.changes[0]
    assert main.match.baseline[0] == 1
    assert main.followup["MTV"] == pytest.approx(main.baseline["MTV"], rel=0.05)
    assert main.percent["SUVpeak"] == pytest.approx(100 * (UPTAKE - 1), abs=6)
    assert main.percent["TLG"] == pytest.approx(100 * (UPTAKE - 1), abs=6)
    assert not any(change.match.kind == "new" for change in found.response.changes)
    assert found.response.percist.category == "PMR"


def test_delineations_of_real_tumours(sarcomas):
    asked = BiomarkerSettings(delineations=("fixed", "41", "50"), volume_at_suv=(4.0,), suv_at_share=(0.5,))
    for path in find_cases(sarcomas)[:6]:
        case = standardise(open_case(path), RECIPE)
        suv = case.channels["suv"].array
        row = measure(case, case.truth, asked).rows[0]
        lesion = suv[measure(case, case.truth, asked).labels.array == 1]
        ml = case.geometry.voxel_ml
        assert row["MTV_41"] == pytest.approx((lesion >= 0.41 * lesion.max()).sum() * ml)
        assert row["MTV_50"] <= row["MTV_41"] <= row["MTV"]
        assert row["MTV_fixed"] == row["V_suv4"] == pytest.approx((lesion >= 4).sum() * ml)
        assert row["I_50"] == pytest.approx(np.median(lesion), rel=0.02)


def test_simple_uptake_is_robust_over_patients(sarcomas):
    pairs = [pair for pair in contoured(sarcomas) if pair.case_id in ("STS_002", "STS_004", "STS_010")]
    outcomes = vary_cohort(pairs, RECIPE)
    assert all(outcome.error is None for outcome in outcomes)
    found = {r.feature: r for r in summary_of(outcomes)}
    assert found["SUVmean"].icc > 0.9
    values = [lesion["MTV"] for o in outcomes for lesion in o.value.values()]
    assert found["MTV"].icc == intraclass_correlation(np.array(values))[0]
    assert 0.02 < found["MTV"].cv < 0.2
