"""Checklists come with an evaluation: from the run.json of the cases that `examine` wrote."""

from __future__ import annotations

import csv
from pathlib import Path

import phantoms
from lesionlab import examine
from lesionlab.pipeline.checklists import study_of
from lesionlab.pipeline.evaluation import evaluate_pairs, write_evaluation
from lesionlab.pipeline.pairs import pairs_of
from lesionlab.report import write_findings


def test_evaluate_writes_claim_with_what_the_runs_know(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scan = phantoms.write_pet_patient(tmp_path / "scans" / name, [((60.0, 60.0, 40.0), 14.0, 8.0)])
        write_findings(examine(scan, "pet-threshold", case_id=name), tmp_path / "out" / name)
    pairs = pairs_of(tmp_path / "out", tmp_path / "scans")
    write_evaluation(evaluate_pairs(pairs), pairs, tmp_path / "scores")
    with (tmp_path / "scores" / "claim_checklist.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    assert rows["22"]["answer"] == "automatic: threshold of SUVbw 4"
    assert rows["37"]["answer"].startswith("dice mean 1.000")
    assert rows["29"]["state"] == "filled"
    assert rows["44"]["state"] == "open"


def test_a_damaged_or_missing_record_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    (tmp_path / "list").mkdir()
    (tmp_path / "list" / "run.json").write_text("[]", encoding="utf-8")
    assert study_of([tmp_path, tmp_path / "list", tmp_path / "none"], {}).runs == []
