from __future__ import annotations

import math

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lesionlab.core.errors import DatasetError, GeometryError
from lesionlab.core.results import LesionTable, Scores
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import merge_scores, score_biomarkers, score_case, score_missing
from lesionlab.evaluate.surface import surface_scores

GRID = Geometry((6, 12, 12), (5.0, 2.0, 2.0))  # 0.02 ml per voxel


def volume(array):
    return Volume(array, Geometry(array.shape, GRID.spacing), "1")


def example():
    """Truth: A (8 voxels), B (4), C (1). Prediction: 6 of A and 4 beside it, C and D (2) elsewhere."""
    truth, mask = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.uint8)
    truth[1:3, 1:3, 1:3] = 1
    truth[4, 1:3, 8:10] = 1
    truth[0, 11, 11] = 1
    mask[1:3, 1:3, 1:3] = 1
    mask[1, 1, 1] = mask[2, 2, 2] = 0
    mask[1:3, 1:3, 3] = 1
    mask[0, 11, 11] = 1
    mask[4, 8, 3:5] = 1
    return volume(mask), volume(truth)


def test_every_metric_of_an_example_worked_by_hand():
    mask, truth = example()
    values = score_case("P1", mask, truth).values
    surface = surface_scores(mask.array > 0, truth.array > 0, GRID.spacing)  # worked by hand in its own test
    expected = {
        "dice": 14 / 26,
        "iou": 7 / 19,
        "ppv": 7 / 13,
        "sensitivity": 7 / 13,
        "specificity": 845 / 851,
        "volumetric_similarity": 1.0,
        "predicted_ml": 0.26,
        "truth_ml": 0.26,
        "overlap_ml": 0.14,
        "volume_error_ml": 0.0,
        "volume_error_percent": 0.0,
        "lesions_true": 3,
        "lesions_predicted": 3,
        "lesions_found": 2,
        "lesions_missed": 1,
        "lesions_false": 1,
        "lesion_sensitivity": 2 / 3,
        "lesion_ppv": 2 / 3,
        "lesion_f1": 2 / 3,
        "panoptic_quality": 0.5,
        "segmentation_quality": 0.75,
        "recognition_quality": 2 / 3,
        "fp_volume_ml": 0.04,
        "fn_volume_ml": 0.08,
        # from the missed lesion B back to A: six cells of 2 mm along x and two of 5 mm along z
        "hd_mm": math.hypot(12.0, 10.0),
        **{name: surface[name] for name in ("hd95_mm", "assd_mm", "nsd_2mm")},
        "prediction_missing": 0.0,
    }
    assert values == pytest.approx(expected)
    assert list(values) == list(expected)


def test_a_perfect_prediction():
    _, truth = example()
    values = score_case("P1", truth, truth).values
    assert [values[n] for n in ("dice", "iou", "ppv", "sensitivity", "lesion_sensitivity", "lesion_ppv")] == [
        1.0
    ] * 6
    assert [values[n] for n in ("volume_error_ml", "fp_volume_ml", "fn_volume_ml")] == [0.0] * 3


def test_a_corner_does_not_join_lesions_and_an_edge_does():
    array = np.zeros(GRID.shape, bool)
    array[1, 1, 1] = array[2, 2, 2] = True  # corner
    array[4, 4, 4] = array[4, 5, 5] = True  # edge
    assert score_case("P1", volume(array), volume(array)).values["lesions_true"] == 3


def test_labels_count_as_one_foreground_unless_one_is_picked():
    truth = np.zeros(GRID.shape, np.uint8)
    truth[1, 1, 1:5] = 1
    truth[1, 1, 5:7] = 2
    mask = np.zeros(GRID.shape, np.uint8)
    mask[1, 1, 1:5] = 2
    mask[1, 1, 5:7] = 1
    assert score_case("P1", volume(mask), volume(truth)).values["dice"] == 1.0
    assert score_case("P1", volume(mask), volume(truth), label=1).values["dice"] == 0.0
    assert score_case("P1", volume(mask), volume(truth), label=2).values["truth_ml"] == pytest.approx(0.04)


def test_inputs_are_not_changed():
    mask, truth = example()
    before = mask.array.copy(), truth.array.copy()
    score_case("P1", mask, truth)
    assert np.array_equal(before[0], mask.array)
    assert np.array_equal(before[1], truth.array)


def test_two_grids_are_refused_by_both_names():
    mask, truth = example()
    moved = Volume(mask.array, Geometry(GRID.shape, GRID.spacing, (0.0, 0.0, 3.0)), "1")
    with pytest.raises(
        GeometryError,
        match=r"P5: prediction against truth: found grid .*\(0.0, 0.0, 3.0\) mm; needed grid .*0.0\) mm",
    ):
        score_case("P5", moved, truth)
    with pytest.raises(DatasetError, match="P5: found a mask of float64 voxels; needed integer labels"):
        score_case("P5", volume(np.ones(GRID.shape)), truth)


def test_a_missing_prediction_counts_as_an_empty_one():
    _, truth = example()
    scores = score_missing("P1", truth)
    assert scores.values["dice"] == 0.0
    assert scores.values["fn_volume_ml"] == pytest.approx(0.26)
    assert scores.values["prediction_missing"] == 1.0
    assert scores.notes[0] == "no prediction: scored as an empty one"


pairs = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6).flatmap(
    lambda shape: st.tuples(
        hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1])),
        hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 0, 1, 2])),
    )
)


@given(pairs)
def test_metrics_hold_together(pair):
    mask, truth = volume(pair[0]), volume(pair[1])
    values = score_case("P1", mask, truth).values
    if not math.isnan(values["dice"]):
        assert values["iou"] == pytest.approx(values["dice"] / (2 - values["dice"]))
        assert values["iou"] <= values["dice"] + 1e-12
    assert values["lesions_found"] + values["lesions_missed"] == values["lesions_true"]
    assert values["overlap_ml"] <= min(values["predicted_ml"], values["truth_ml"]) + 1e-12
    swapped = score_case("P1", truth, mask).values
    assert swapped["volume_error_ml"] == -values["volume_error_ml"]
    if pair[0].any() and pair[1].any():
        assert swapped["dice"] == values["dice"]
        assert swapped["ppv"] == values["sensitivity"]
        assert swapped["fp_volume_ml"] == values["fn_volume_ml"]
        assert swapped["lesions_false"] == values["lesions_missed"]


@given(pairs)
def test_fp_and_fn_volumes_are_those_of_the_autopet_loop(pair):
    """One component after the other, as the challenge's own script counts."""
    mask, truth = (array > 0 for array in pair)

    def alone(ours, theirs):
        numbers = cc3d.connected_components(ours.view(np.uint8), connectivity=18)
        each = [numbers == n for n in range(1, numbers.max() + 1)]
        return sum(int(one.sum()) for one in each if not (one & theirs).any()) * 0.02

    values = score_case("P1", volume(pair[0]), volume(pair[1])).values
    assert values["fp_volume_ml"] == pytest.approx(alone(mask, truth))
    if truth.any():
        assert values["fn_volume_ml"] == pytest.approx(alone(truth, mask))


def table(**totals):
    return LesionTable((), (), (), totals, volume(np.zeros((1, 1, 1), np.int32)))


def test_biomarker_errors_are_predicted_minus_true():
    scores = score_biomarkers(
        table(lesions=3.0, TMTV=120.0, TLG=600.0, SUVmax=12.0, Dmax=300.0),
        table(lesions=2.0, TMTV=100.0, TLG=800.0, SUVmax=12.0, Dmax=200.0),
        case_id="P1",
    )
    assert scores.values == pytest.approx(
        {
            "TMTV_error": 20.0,
            "TMTV_error_percent": 20.0,
            "TLG_error": -200.0,
            "TLG_error_percent": -25.0,
            "SUVmax_error": 0.0,
            "SUVmax_error_percent": 0.0,
            "Dmax_error": 100.0,
            "Dmax_error_percent": 50.0,
            "lesions_error": 1.0,
            "lesions_error_percent": 50.0,
        }
    )
    assert (scores.case_id, scores.notes) == ("P1", ())


def test_biomarker_errors_of_a_healthy_patient_have_no_percentage():
    healthy = table(lesions=0.0, TMTV=0.0, TLG=0.0, SUVmax=math.nan, Dmax=math.nan)
    scores = score_biomarkers(table(lesions=1.0, TMTV=5.0, TLG=15.0, SUVmax=4.0, Dmax=math.nan), healthy)
    assert scores.values["TMTV_error"] == 5.0
    undefined = [name for name, value in scores.values.items() if math.isnan(value)]
    assert undefined == [
        "TMTV_error_percent",
        "TLG_error_percent",
        "SUVmax_error",
        "SUVmax_error_percent",
        "Dmax_error",
        "Dmax_error_percent",
        "lesions_error_percent",
    ]
    assert all(name in scores.notes[0] for name in undefined)


def test_tables_without_suv_have_no_suv_errors():
    general = table(lesions=1.0, volume=3.0, max=90.0, Dmax=math.nan)
    assert set(score_biomarkers(general, general).values) == {
        "Dmax_error",
        "Dmax_error_percent",
        "lesions_error",
        "lesions_error_percent",
    }


def test_scores_merge_under_the_first_name():
    merged = merge_scores(Scores("P1", {"dice": 0.5}, ("a",)), Scores("", {"TMTV_error": 3.0}, ("b",)))
    assert merged == Scores("P1", {"dice": 0.5, "TMTV_error": 3.0}, ("a", "b"))
