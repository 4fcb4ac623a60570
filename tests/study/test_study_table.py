"""The table of a study against numbers worked out by hand, and the files made of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from lesionlab.core.errors import DatasetError
from lesionlab.core.tasks import Outcome
from lesionlab.evaluate.statistics import holm
from lesionlab.report.study import study_markdown, write_study
from lesionlab.study import load_study
from lesionlab.study.bench import Finished, Run, runs_of
from lesionlab.study.table import StudyTable, failures, table_record, tabulate

TEXT = """
name = "s"
data = "."
amount = 10
folds = 2
seeds = [1, 2]
recipe = "pet-small"
[subgroups]
file = "cases.csv"
columns = ["scanner"]
[[variants]]
name = "good"
[[variants]]
name = "fair"
[[variants]]
name = "bad"
[[variants]]
name = "broken"
[[variants]]
name = "late"
"""
CASES = {0: ("a1", "a2", "b", "free"), 1: ("c", "d", "e")}
PATIENTS = {"a1": "a", "a2": "a", "b": "b", "free": "f", "c": "c", "d": "d", "e": "e"}
GOOD = {"a1": 0.9, "a2": 0.8, "b": 0.7, "c": 0.95, "d": 0.85, "e": 0.75}
BELOW = {"good": 0.0, "fair": 0.02, "bad": 0.3}


@dataclass
class Data:
    patients: Mapping[str, str]
    sources: Mapping[str, Mapping[str, str]]
    failed: Mapping[str, str]
    spacing_unknown: frozenset[str] = frozenset({"a1", "x"})


class FakeBench:
    unread: Mapping[str, str] = {}

    def __init__(self, root: Path, text: str = TEXT) -> None:
        (root / "study.toml").write_text(text)
        rows = "\n".join(f"{case},{'x' if case < 'c' else 'y'}" for case in PATIENTS)
        (root / "cases.csv").write_text(f"case,scanner\n{rows}\n")
        self.study = load_study(root / "study.toml")

    def data(self, recipe: object) -> Data:
        return Data(PATIENTS, {}, self.unread)


def scores(dice: float, empty: bool) -> dict[str, float]:
    if empty:
        nan = math.nan
        return {"dice": nan, "iou": nan, "lesion_sensitivity": nan, "fp_volume_ml": dice, "truth_ml": 0.0,
                "predicted_ml": dice}  # fmt: skip
    return {"dice": dice, "iou": dice / (2 - dice), "lesion_sensitivity": 1.0, "fp_volume_ml": 0.0,
            "truth_ml": 2.0, "predicted_ml": 2.0}  # fmt: skip


def finished(run: Run, labels: tuple[str, ...] = ("all",), below: Mapping[str, float] = BELOW) -> Finished:
    """Seed 2 is 0.1 worse than seed 1 where the variant is `fair`, and leaves the lesion-free case alone."""
    minus = below[run.variant.name] + 0.1 * (run.variant.name == "fair") * (run.seed == 2)
    cases = {
        case: {
            label: scores(GOOD[case] - minus, False) if case in GOOD else scores(float(run.seed == 1), True)
            for label in labels
        }
        for case in CASES[run.fold]
    }
    cost = {"minutes": 1.0 + run.fold, "epochs": 3, "patches": 30, "parameters": 2_500_000}
    cost |= {"seconds_per_case": 0.25 if run.fold else None, "failed": {}}
    choice = "largest component" if run.fold else "none"
    return Finished(run, cost, {"choice": choice, "cases": cases, "learnt_on": 3 * run.fold})


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> StudyTable:
    bench = FakeBench(tmp_path_factory.mktemp("table"))
    done = [finished(run) for run in runs_of(bench.study) if run.variant.name in BELOW]
    return tabulate(bench, done, {"broken": "fold 0, seed 1: found NaN; needed numbers"})


def test_the_numbers_of_the_table_by_hand(table: StudyTable) -> None:
    assert [row["variant"] for row in table.rows] == ["good", "fair", "bad"]
    good = np.array([GOOD[case] for case in ("a1", "a2", "b", "c", "d", "e")])
    values = {"good": good, "fair": good - 0.07, "bad": good - 0.3}  # the mean over the two seeds
    for row in table.rows:
        assert row["dice"] == pytest.approx(values[row["variant"]].mean())
        assert (row["cases"], row["dice_n"]) == (7, 6)
        assert row["dice_low"] < row["dice"] < row["dice_high"]
        # lesion-free: the second seed left it empty; the first's 1 ml is a false positive in 1 of 7 cases
        assert (row["lesion_free"], row["left_empty"], row["left_empty_share"]) == (2, 1, 0.5)
        assert row["fp_volume_ml"] == pytest.approx(0.5 / 7)
        assert row["minutes"] == 1.5
        assert row["seconds_per_case"] == 0.25
        assert row["post_processing"] in ("none (2x); largest component (2x)",)
    # patients: a (mean of two), b, c, d, e; every one of five differences has the same sign
    plain = stats.wilcoxon([-0.07, -0.07, -0.07, -0.07, -0.07], method="exact").pvalue
    assert [row["p_wilcoxon"] for row in table.rows[1:]] == pytest.approx([plain, plain])
    assert [row["p_holm"] for row in table.rows[1:]] == pytest.approx(holm([plain, plain]))
    assert math.isnan(table.rows[0]["p_holm"])
    assert [row["rank"] for row in table.rows] == [1.0, 2.0, 3.0]
    assert [row["first_share"] for row in table.rows] == [1.0, 0.0, 0.0]
    assert table.tau == 1.0
    assert [row["seed_sd"] for row in table.rows] == pytest.approx([0.0, 0.1 / math.sqrt(2), 0.0])


def test_subgroups_are_those_of_the_table_beside_the_data(table: StudyTable) -> None:
    found = {(g["variant"], g["value"]): g["dice"] for g in table.groups}
    assert found["good", "x"] == pytest.approx(0.8)
    assert found["good", "y"] == pytest.approx(0.85)
    assert {g["column"] for g in table.groups} == {"scanner"}


def test_what_failed_or_waits_is_listed(table: StudyTable) -> None:
    assert "; 6 of 12 runs still as the recipe says" in table.facts["post-processing"]
    assert table.failed == {"broken": "fold 0, seed 1: found NaN; needed numbers"}
    assert table.waiting == ("late",)
    assert table_record(table)["pairs"][0][0] != table_record(table)["pairs"][0][0]


def test_only_folds_that_all_have_finished_are_compared(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path)
    runs = [run for run in runs_of(bench.study) if run.variant.name in ("good", "bad")]
    # the bad one lacks a seed of fold 1
    done = [finished(run) for run in runs if (run.variant.name, run.fold, run.seed) != ("bad", 1, 2)]
    found = tabulate(bench, done, {})
    assert found.facts["test folds"] == "0 of 2 folds by patient"
    assert found.facts["lengths"].startswith("pixel spacing unknown in 1 of 4 cases: 1 mm was assumed")
    assert found.rows[0]["dice"] == pytest.approx(0.8)
    with pytest.raises(DatasetError, match=r"no test fold .* \(1 failed; broken: no\)"):
        tabulate(bench, done[:1], {"broken": "no"})


def test_an_ensemble_of_all_seeds_needs_one_run_a_fold_and_other_amounts_are_told(tmp_path: Path) -> None:
    text = TEXT.replace('name = "fair"', 'name = "fair"\namount = 20')
    bench = FakeBench(tmp_path, text + "[[ensembles]]\nname = 'mean'\nmembers = ['good', 'fair']\n")
    below = {**BELOW, "mean": -0.04}
    done = [finished(run, below=below) for run in runs_of(bench.study) if run.variant.name in below]
    assert sum(one.run.seed is None for one in done) == 2
    found = tabulate(bench, done, {})
    assert [row["variant"] for row in found.rows] == ["mean", "good", "fair", "bad"]
    assert found.rows[0]["dice"] == pytest.approx(np.mean(list(GOOD.values())) + 0.04)
    assert math.isnan(found.rows[0]["seed_sd"]) and found.waiting == ("broken", "late")
    protocol = "the same for every variant: 10 patches in each fold, but fair 20"
    assert found.facts["protocol"] == protocol
    assert found.facts["ensembles"].endswith("'mean' of 'good', 'fair', 2 seeds each")


def test_the_first_reason_of_a_variant_is_kept(tmp_path: Path) -> None:
    runs = runs_of(FakeBench(tmp_path).study)
    outcomes = [Outcome("run", None, f"reason {k}", 0.0) if r.variant.name == "bad" else
                Outcome("run", {}, None, 0.0) for k, r in enumerate(runs)]  # fmt: skip
    assert failures(runs, outcomes) == {"bad": "fold 0, seed 1: reason 2"}


def test_a_column_of_subgroups_that_is_not_there(tmp_path: Path) -> None:
    text = TEXT.replace('["scanner"]', '["colour"]')
    bench = FakeBench(tmp_path, text)
    done = [finished(run) for run in runs_of(bench.study) if run.variant.name == "good"]
    with pytest.raises(DatasetError, match="no column colour"):
        tabulate(bench, done, {})
    (tmp_path / "cases.csv").unlink()
    with pytest.raises(DatasetError, match="a CSV file with a column case"):
        tabulate(bench, done, {})


def test_page_markdown_and_csv_say_the_same(table: StudyTable, tmp_path: Path) -> None:
    parts = {field.name: getattr(table, field.name) for field in fields(table)}
    page = write_study(tmp_path / "out", "A <study>", parts).read_text(encoding="utf-8")
    assert "A &lt;study&gt;" in page
    assert page.count("<img") == 4
    for words in ("broken", "late", "not run yet", "1 of 2", "2.50 M", "largest component", "scanner"):
        assert words in page
    markdown = study_markdown("A", parts)
    assert "| good | 0.825 [" in markdown
    assert "- broken: fold 0, seed 1: found NaN" in markdown
    with (tmp_path / "out" / "study.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == ["good", "fair", "bad"]
    assert float(rows[1]["dice"]) == pytest.approx(table.rows[1]["dice"])
    assert (tmp_path / "out" / "subgroups.csv").is_file()
    assert not (tmp_path / "out" / "classes.csv").exists()


def test_a_single_variant_and_labels_of_their_own(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path)
    done = [finished(r, ("all", "core", "rim")) for r in runs_of(bench.study) if r.variant.name == "good"]
    found = tabulate(bench, done, {})
    assert [(c["label"], c["dice"]) for c in found.classes] == [
        ("core", pytest.approx(0.825)), ("rim", pytest.approx(0.825)),
    ]  # fmt: skip
    parts = {field.name: getattr(found, field.name) for field in fields(found)}
    page = write_study(tmp_path / "out", "one", parts).read_text(encoding="utf-8")
    assert page.count("<img") == 1
    assert "Per label" in page
    assert (tmp_path / "out" / "classes.csv").is_file()


def test_variants_are_compared_on_the_cases_that_all_could_read_in_whatever_order(tmp_path: Path) -> None:
    for names in (("good", "bad"), ("bad", "good")):
        text = "\n".join(TEXT.split("[[variants]]")[:1])
        bench = FakeBench(tmp_path, text + "".join(f'[[variants]]\nname = "{name}"\n' for name in names))
        bench.unread = {"x": "x: found no truth; needed one"}
        done = [finished(run) for run in runs_of(bench.study)]
        for one in done:
            if one.run.variant.name == "bad":
                # no CT of the best case; another one could not be predicted
                one.scores["cases"].pop("c", None)
                one.cost["failed"].update({"c": "gone"} if one.run.fold else {"b": "NaN"})
        found = tabulate(bench, done, {})
        assert [(row["variant"], row["cases"]) for row in found.rows] == [("good", 6), ("bad", 6)]
        assert found.rows[0]["dice"] == pytest.approx(np.mean([v for k, v in GOOD.items() if k != "c"]))
        assert [row["not_predicted"] for row in found.rows] == [0, 2]
        assert found.facts["tested"] == "6 cases of 5 patients"
        assert found.facts["left out"].endswith("so none is scored on them: c")
        assert found.facts["not read"] == "1 cases: x; the first reason: x: found no truth; needed one"
    for one in done:
        one.scores["cases"].clear() if one.run.variant.name == "bad" else None
    with pytest.raises(DatasetError, match="no case that every variant could read"):
        tabulate(bench, done, {})


def test_variants_may_have_other_labels(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path)
    labels = {"good": ("all", "tumour", "cyst"), "bad": ("all", "cyst", "vessel")}
    done = [finished(r, labels[r.variant.name]) for r in runs_of(bench.study) if r.variant.name in labels]
    found = [(one["label"], one["variant"]) for one in tabulate(bench, done, {}).classes]
    assert found == [("tumour", "good"), ("cyst", "good"), ("cyst", "bad"), ("vessel", "bad")]
