from __future__ import annotations

import csv
import io
import json
import math

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.results import Scores
from lesionlab.core.volume import Geometry, Volume
from lesionlab.evaluate import cases_csv, score_case, score_missing, score_rows, summarise, write_scores
from lesionlab.evaluate.statistics import bootstrap_interval

GRID = Geometry((1, 10, 100), (10.0, 10.0, 10.0))  # 1 ml per voxel


def line(voxels, start=0, row=0):
    array = np.zeros(GRID.shape, np.uint8)
    array[0, row, start : start + voxels] = 1
    return Volume(array, GRID, "1")


def five():
    """Dice 0.5, 0.8 and 0 (missing), an empty truth, and one where both are empty."""
    return [
        score_case("A", line(10), line(10, start=5)),
        score_case("B", line(40), line(60)),
        score_missing("C", line(20)),
        score_case("D", line(3), line(0)),
        score_case("E", line(0), line(0)),
    ]


def test_each_metric_is_described_over_the_cases_where_it_is_defined():
    summary = summarise(five())
    dice = summary["metrics"]["dice"]
    interval = bootstrap_interval([0.5, 0.8, 0.0])
    assert 0.0 <= interval.low < (0.5 + 0.8) / 3 < interval.high <= 0.8
    assert dice == pytest.approx(
        {
            "mean": (0.5 + 0.8) / 3,
            "mean_low": interval.low,
            "mean_high": interval.high,
            "sd": np.std([0.5, 0.8, 0.0], ddof=1),
            "median": 0.5,
            "min": 0.0,
            "max": 0.8,
            "n": 3,
            "undefined": 2,
        }
    )
    assert summary["metrics"]["fp_volume_ml"]["n"] == 5
    assert summary["metrics"]["ppv"]["undefined"] == 2


def test_the_intervals_say_how_they_were_found_and_draw_patients():
    alone = summarise(five())
    assert alone["intervals"] == {
        "method": "bca",
        "resamples": 10_000,
        "confidence": 0.95,
        "seed": 0,
        "of": "mean",
        "unit": "patient",
        "patients": 5,
    }
    together = summarise(five(), {"A": "P", "B": "P", "D": "P", "E": "P"})  # C stays a patient of its own
    assert together["intervals"]["patients"] == 2
    assert together["metrics"]["dice"]["mean"] == alone["metrics"]["dice"]["mean"]
    assert together["metrics"]["dice"]["mean_high"] == pytest.approx((0.5 + 0.8) / 2)
    one = summarise([five()[0]])["metrics"]["dice"]
    assert (one["mean"], one["mean_low"], one["mean_high"]) == (0.5, None, None)


def test_cases_are_counted_by_what_was_empty():
    summary = summarise(five())
    counted = ("cases", "empty_truth", "empty_prediction", "both_empty", "missing_predictions")
    assert [summary[name] for name in counted] == [5, 1, 1, 1, 1]


def test_pooled_figures_take_all_voxels_as_one_volume():
    pooled = summarise(five())["pooled"]
    assert pooled["dice"] == pytest.approx(2 * 45 / (53 + 90))
    assert pooled["iou"] == pytest.approx(45 / (53 + 90 - 45))
    assert pooled["ppv"] == pytest.approx(45 / 53)
    assert pooled["sensitivity"] == pytest.approx(45 / 90)


def test_what_cannot_be_had_is_none_and_json():
    one = summarise([score_case("E", line(0), line(0))])
    assert one["metrics"]["dice"]["mean"] is None
    assert one["metrics"]["dice"]["undefined"] == 1
    assert one["metrics"]["predicted_ml"]["sd"] is None
    assert one["metrics"]["predicted_ml"]["mean"] == 0.0
    assert one["pooled"] == {"dice": None, "iou": None, "ppv": None, "sensitivity": None}
    assert json.loads(json.dumps(one, allow_nan=False)) == one


def test_no_scores_are_a_summary_too():
    summary = summarise([])
    assert summary["cases"] == 0
    assert summary["metrics"] == {}


def test_a_case_twice_and_an_iou_above_its_dice_are_refused():
    with pytest.raises(DatasetError, match="A: found this case twice among the scores"):
        summarise([five()[0], five()[0]])
    with pytest.raises(DatasetError, match=r"X: found IoU 0.751 above Dice 0.665; needed both of one mask"):
        summarise([Scores("X", {"dice": 0.665, "iou": 0.751})])


def test_rows_hold_every_metric_of_any_case():
    rows = score_rows([*five(), Scores("F", {"TMTV_error": 2.5})])
    assert [row["case"] for row in rows] == ["A", "B", "C", "D", "E", "F"]
    assert rows[5]["TMTV_error"] == 2.5
    assert rows[5]["dice"] is None
    assert rows[3]["dice"] is None
    assert rows[2]["notes"].startswith("no prediction")
    assert len({tuple(row) for row in rows}) == 1


def test_csv_reads_back_with_empty_cells_for_undefined():
    rows = list(csv.DictReader(io.StringIO(cases_csv(five()))))
    assert [row["case"] for row in rows] == ["A", "B", "C", "D", "E"]
    assert float(rows[0]["dice"]) == 0.5
    assert rows[4]["dice"] == ""
    assert rows[4]["predicted_ml"] == "0.0"
    assert cases_csv([]) == "case,notes\n"


def test_both_files_are_written(tmp_path):
    summary = write_scores(five(), tmp_path / "out", method="threshold")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cases.csv", "summary.json"]
    assert (tmp_path / "out" / "cases.csv").read_text() == cases_csv(five())
    stored = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert stored == summary
    assert stored["method"] == "threshold"
    assert not any(isinstance(v, float) and math.isnan(v) for v in stored["metrics"]["dice"].values())
