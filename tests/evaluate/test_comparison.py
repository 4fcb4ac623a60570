from __future__ import annotations

import math

import numpy as np
import pytest

from lesionlab.core.errors import DatasetError
from lesionlab.core.files import jsonable
from lesionlab.core.results import Scores
from lesionlab.evaluate.bootstrap import Bootstrap, bootstrap_interval
from lesionlab.evaluate.comparison import COMPARED, comparison, comparison_record, thirds
from lesionlab.evaluate.statistics import holm, sign_flip

QUICK = Bootstrap(resamples=500)


def scores(dice, fp=None, missing=()):
    fp = fp if fp is not None else [1.0] * len(dice)
    return [
        Scores(f"case{k}", {"dice": d, "fp_volume_ml": f, "prediction_missing": float(k in missing)})
        for k, (d, f) in enumerate(zip(dice, fp, strict=True))
    ]


def models():
    a = [0.8, 0.7, 0.9, 0.6, math.nan, 0.75]
    b = [0.6, 0.65, 0.7, 0.0, math.nan, 0.7]
    return {"unet": scores(a), "threshold": scores(b, missing=(3,))}


def test_means_differences_and_what_they_rest_on():
    found = comparison(models(), settings=QUICK)
    assert (found.models, found.tested) == (("unet", "threshold"), ("dice", "fp_volume_ml"))
    assert set(found.tested) < set(COMPARED)
    mean = found.mean("unet", "dice")
    assert mean == bootstrap_interval([0.8, 0.7, 0.9, 0.6, math.nan, 0.75], settings=QUICK)
    assert (mean.n, mean.undefined) == (5, 1)
    test = found.tests[0]
    assert (test.metric, test.first, test.second) == ("dice", "unet", "threshold")
    # the missing prediction counts with its 0, not as a gap
    assert test.difference.estimate == pytest.approx((-0.2 - 0.05 - 0.2 - 0.6 - 0.05) / 5)
    assert test.p_sign_flip == sign_flip([-0.2, -0.05, -0.2, -0.6, -0.05]) == 2 / 32
    assert [t.p_holm for t in found.tests] == holm([t.p_sign_flip for t in found.tests])
    assert found.missing == {"unet": 0, "threshold": 1}
    with pytest.raises(KeyError):
        found.mean("unet", "hd_mm")


def test_cases_that_a_model_has_no_score_of_are_named_and_left_out_of_differences():
    some = models()
    some["threshold"] = some["threshold"][1:]
    found = comparison(some, settings=QUICK)
    assert found.absent == {"unet": (), "threshold": ("case0",)}
    assert len(found.cases) == 6
    assert (found.tests[0].difference.n, found.tests[0].difference.undefined) == (4, 2)


def test_patients_and_subgroups():
    patients = {f"case{k}": f"P{k // 2}" for k in range(6)}
    scanner = {f"case{k}": "ABB"[k % 3] for k in range(5)}
    found = comparison(models(), patients=patients, columns={"scanner": scanner}, settings=QUICK)
    assert found.patients == ("P0", "P0", "P1", "P1", "P2", "P2")
    assert found.mean("unet", "dice").patients == 3
    parts = {
        (one.model, one.group.value): one.group.mean for one in found.groups if one.group.metric == "dice"
    }
    assert parts["unet", "A"].estimate == pytest.approx(0.7)  # case 0 and 3
    assert (parts["unet", "B"].n, parts["unet", "B"].undefined) == (2, 1)
    assert parts["threshold", "(unknown)"].estimate == 0.7  # case 5 is in no row of the column


def test_one_model_alone_has_means_and_no_test():
    found = comparison({"unet": models()["unet"]}, tested=["dice"], settings=QUICK)
    assert found.tests == ()
    assert found.mean("unet", "dice").n == 5


def test_numbers_of_many_kinds_become_thirds():
    named = thirds([str(v) for v in range(9)] + [""])
    assert named[:9] == ["1: up to 2.667"] * 3 + ["2: 2.667 to 5.333"] * 3 + ["3: above 5.333"] * 3
    assert named[9] == "(unknown)"
    assert thirds(["3", "1", "2", "3"]) == ["3", "1", "2", "3"]
    assert thirds([*map(str, range(9)), "benign"]) == [*map(str, range(9)), "benign"]
    months = [f"2021_{month:02}" for month in range(1, 9)]
    assert thirds(months) == months  # which Python would read as numbers


def test_the_record_is_json_and_says_its_rule():
    record = jsonable(comparison_record(comparison(models(), settings=QUICK)))
    assert (record["cases"], record["patients"]) == (6, 6)
    assert record["missing_predictions"] == {"unet": 0, "threshold": 1}
    assert record["intervals"]["resamples"] == 500
    assert "scored as an empty one" in record["rule"]
    row = record["tests"][0]
    assert (row["n"], row["undefined"], row["higher_is_better"]) == (5, 1, True)
    assert record["tests"][1]["higher_is_better"] is False
    means = {(r["model"], r["metric"]): r["mean"] for r in record["means"]}
    assert means["threshold", "dice"] == pytest.approx(np.mean([0.6, 0.65, 0.7, 0.0, 0.7]))


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(DatasetError, match="found 0 models and no case"):
        comparison({})
    with pytest.raises(DatasetError, match="found no metric DICE; needed some of dice, fp_volume_ml"):
        comparison(models(), tested=["DICE"])
    with pytest.raises(DatasetError, match="unet: case0: found this case twice; needed every case once"):
        comparison({"unet": [*models()["unet"], models()["unet"][0]]})
