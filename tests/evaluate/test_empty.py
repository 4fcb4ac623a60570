from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import score_case
from lesionlab.evaluate.empty import COMPUTED, METRICS
from lesionlab.evaluate.empty import GRID as GRID_RULE

GRID = Geometry((6, 8, 10), (5.0, 2.0, 2.0))  # 0.02 ml per voxel
DIAGONAL = math.sqrt(30.0**2 + 16.0**2 + 20.0**2)
COLUMNS = ("truth_empty", "prediction_empty", "both_empty")

WRITTEN = {
    # metric: truth empty (prediction of 8 + 1 voxels), prediction empty (truth likewise), both empty
    "dice": (math.nan, 0.0, math.nan),
    "iou": (math.nan, 0.0, math.nan),
    "ppv": (0.0, math.nan, math.nan),
    "sensitivity": (math.nan, 0.0, math.nan),
    "specificity": (471 / 480, 1.0, 1.0),
    "volumetric_similarity": (math.nan, 0.0, math.nan),
    "predicted_ml": (0.18, 0.0, 0.0),
    "truth_ml": (0.0, 0.18, 0.0),
    "overlap_ml": (0.0, 0.0, 0.0),
    "volume_error_ml": (0.18, -0.18, 0.0),
    "volume_error_percent": (math.nan, -100.0, math.nan),
    "lesions_true": (0.0, 2.0, 0.0),
    "lesions_predicted": (2.0, 0.0, 0.0),
    "lesions_found": (0.0, 0.0, 0.0),
    "lesions_missed": (0.0, 2.0, 0.0),
    "lesions_false": (2.0, 0.0, 0.0),
    "lesion_sensitivity": (math.nan, 0.0, math.nan),
    "lesion_ppv": (0.0, math.nan, math.nan),
    "lesion_f1": (math.nan, 0.0, math.nan),
    "panoptic_quality": (math.nan, 0.0, math.nan),
    "segmentation_quality": (math.nan, math.nan, math.nan),
    "recognition_quality": (math.nan, 0.0, math.nan),
    "fp_volume_ml": (0.18, 0.0, 0.0),
    "fn_volume_ml": (math.nan, 0.18, math.nan),
    "hd_mm": (math.nan, DIAGONAL, math.nan),
    "hd95_mm": (math.nan, DIAGONAL, math.nan),
    "assd_mm": (math.nan, DIAGONAL, math.nan),
    "nsd_2mm": (math.nan, 0.0, math.nan),
    "prediction_missing": (0.0, 0.0, 0.0),
}


def full():
    array = np.zeros(GRID.shape, np.uint8)
    array[1:3, 1:3, 1:3] = 1
    array[5, 7, 9] = 1
    return Volume(array, GRID, "1")


def nothing():
    return Volume(np.zeros(GRID.shape, np.uint8), GRID, "1")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
@pytest.mark.parametrize("column", range(3), ids=COLUMNS)
def test_empty_masks_follow_the_written_rule(metric, column):
    mask, truth = ((full(), nothing()), (nothing(), full()), (nothing(), nothing()))[column]
    scores = score_case("P1", mask, truth)
    value, expected = scores.values[metric.name], WRITTEN[metric.name][column]
    assert value == pytest.approx(expected, nan_ok=True)
    rule = getattr(metric, COLUMNS[column])
    if rule not in (COMPUTED, GRID_RULE):
        assert value == pytest.approx(rule, nan_ok=True)
    if math.isnan(expected):
        assert metric.name in scores.notes[0]


def test_every_metric_is_in_the_written_rule():
    assert [metric.name for metric in METRICS] == list(WRITTEN)


def test_the_notes_say_what_is_empty():
    assert score_case("P1", full(), full()).notes == ()
    assert score_case("P1", nothing(), full()).notes == (
        "empty prediction: ppv, lesion_ppv, segmentation_quality undefined",
        "hd_mm, hd95_mm, assd_mm charged with the grid's diagonal",
    )
    assert score_case("P1", full(), nothing()).notes[0].startswith("empty truth: dice, iou, sensitivity")
    assert score_case("P1", nothing(), nothing()).notes[0].startswith("empty truth and prediction: dice")


def test_the_documentation_shows_the_same_table():
    page = Path(__file__).parents[2] / "docs" / "reference" / "evaluation.md"
    text = page.read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]

    def cell(rule):
        if isinstance(rule, str):
            return {COMPUTED: "as usual", GRID_RULE: "grid's diagonal"}[rule]
        return "-" if math.isnan(rule) else f"{rule:g}"

    assert rows == [
        f"| `{m.name}`: {m.meaning} | {m.unit} | "
        + " | ".join(cell(getattr(m, column)) for column in COLUMNS)
        + " |"
        for m in METRICS
    ]
