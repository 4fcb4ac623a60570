from __future__ import annotations

import csv
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lesionlab.core.errors import WriteError
from lesionlab.core.results import Findings, Scores
from lesionlab.core.tasks import Outcome
from lesionlab.pipeline.cohort import report_cohort
from lesionlab.pipeline.kept import Examined
from lesionlab.report import CohortEntry, cohort, cohort_entry, cohort_tables, write_cohort

MakeFindings = Callable[..., Findings]
SUMMARY = {
    "cases": 2,
    "metrics": {
        "dice": {"mean": 0.75, "sd": None, "n": 2},
        "lesions_false": {"mean": 0.5, "sd": 0.7, "n": 2},
    },
    "pooled": {"dice": 0.8},
}


def parsed(path: Path) -> ET.Element:
    return ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own output


def text_of(element: ET.Element) -> str:
    return " ".join(" ".join(element.itertext()).split())


@pytest.fixture
def entries(two_lesions: Findings, make_findings: MakeFindings) -> list[CohortEntry]:
    """One with lesions and truth, one failed, one without lesions."""
    return [
        cohort_entry(two_lesions, "case-1/report.html"),
        CohortEntry("case <2>", error="case <2>: found 3 slices; needed 4 & more"),
        cohort_entry(make_findings(case_id="case 3"), Path("case 3") / "report.html"),
    ]


def test_an_entry_keeps_numbers_and_no_volume(two_lesions: Findings) -> None:
    entry = cohort_entry(two_lesions, "a/report.html")
    assert entry.error is None
    assert entry.rows == two_lesions.lesions.rows
    assert dict(entry.scores) == dict(two_lesions.scores.values)  # type: ignore[union-attr]
    assert {column.name for column, _ in entry.headline} == {"TMTV", "Dmax", "SUVmax"}
    assert entry.thumbnail.startswith(b"\x89PNG")


def test_a_cohorts_page(entries: list[CohortEntry], tmp_path: Path) -> None:
    path = write_cohort(entries, tmp_path / "out", title="Trial & error", summary=SUMMARY)
    names = {item.name for item in path.parent.iterdir()}
    assert names == {"report.html", "lesions.csv", "patients.csv", "columns.csv", "cohort.json"}
    tree = parsed(path)
    text = text_of(tree)
    assert "2 cases examined 1 patient 1 failed" in text
    assert "1 failed" in text
    assert "2 lesions found" in text
    assert "1 without any lesion" in text
    assert "case <2> : case <2>: found 3 slices; needed 4 & more" in text
    assert (
        text.index("found 3 slices")
        < text.index("Agreement")
        < text.index("Patients")
        < text.index("Pictures")
    )
    assert "cases: 2" in text
    assert "Dice 0.750 – 2 0.800" in text  # mean, sd, n, pooled
    assert "lesions false 0.500 0.700 2 –" in text
    assert [a.get("href") for a in tree.iter("a")] == ["case-1/report.html", "case%203/report.html"] * 2
    assert all(image.attrib["src"].startswith("data:image/png") for image in tree.iter("img"))
    assert [image.get("alt") for image in tree.iter("img")] == [
        "Projection of case-1: 2 lesions",
        "Projection of case 3: no lesion found",
    ]
    assert not list(tree.iter("script"))


def test_two_ways_to_count_lesions_are_explained_where_both_are_shown(
    entries: list[CohortEntry], tmp_path: Path
) -> None:
    told = "scores of lesions join by faces and edges only (18, as in the autoPET challenge)"
    bare, scored = ([replace(e, scores=scores) for e in entries] for scores in ({}, {"lesions_false": 1.0}))
    assert told not in text_of(parsed(write_cohort(bare, tmp_path / "plain")))
    assert told in text_of(parsed(write_cohort(scored, tmp_path / "scored")))


def test_cohort_tables_read_back(entries: list[CohortEntry], two_lesions: Findings, tmp_path: Path) -> None:
    folder = write_cohort(entries, tmp_path / "out").parent
    with (folder / "patients.csv").open(encoding="utf-8", newline="") as file:
        patients = list(csv.DictReader(file))
    assert [row["case_id"] for row in patients] == ["case-1", "case <2>", "case 3"]
    assert [row["lesions"] for row in patients] == ["2", "", "0"]
    assert float(patients[0]["TMTV"]) == two_lesions.lesions.totals["TMTV"]
    assert patients[0]["dice"] == "0.8125"
    assert patients[0]["lesion_ppv"] == ""
    assert patients[1]["error"] == "case <2>: found 3 slices; needed 4 & more"
    assert patients[1]["TMTV"] == ""
    with (folder / "lesions.csv").open(encoding="utf-8", newline="") as file:
        lesions = list(csv.DictReader(file))
    assert [(row["case_id"], row["lesion"]) for row in lesions] == [("case-1", "1"), ("case-1", "2")]
    assert float(lesions[0]["SUVmax"]) == two_lesions.lesions.rows[0]["SUVmax"]


def test_cohort_json(entries: list[CohortEntry], tmp_path: Path) -> None:
    record = json.loads(
        (write_cohort(entries, tmp_path / "out", summary=SUMMARY).parent / "cohort.json").read_text()
    )
    assert [patient["lesion_count"] for patient in record["patients"]] == [2, 0]
    assert record["patients"][0]["units"]["TMTV"] == "ml"
    assert record["failed"] == [
        {"case_id": "case <2>", "reason": "case <2>: found 3 slices; needed 4 & more"}
    ]
    assert record["summary"] == SUMMARY


def test_the_patients_own_folders_stay(entries: list[CohortEntry], tmp_path: Path) -> None:
    page = tmp_path / "case-1" / "report.html"
    page.parent.mkdir()
    page.write_text("patient")
    write_cohort(entries, tmp_path)
    assert page.read_text() == "patient"


def test_cases_of_one_patient_count_once_and_shared_notes_are_told_once(
    two_lesions: Findings, tmp_path: Path
) -> None:
    one = replace(cohort_entry(two_lesions, None), patient_id="p", notes=("pixels", "sinister"))
    other = replace(one, case_id="case-2", notes=("pixels", "right"))
    path = write_cohort([one, other], tmp_path / "out")
    text = text_of(parsed(path))
    assert "2 cases examined 1 patient 0 failed" in text
    assert "Notes on every case pixels" in text
    assert "sinister" not in text
    scored = [
        Outcome(e.case_id, Examined(e, Scores(e.case_id, {"dice": d})), None, 0.0)
        for e, d in zip((one, other), (0.2, 0.8), strict=True)
    ]
    report_cohort(scored, tmp_path / "cohort", title="t")
    summary = json.loads((tmp_path / "cohort" / "cohort.json").read_text())["summary"]
    assert summary["intervals"]["patients"] == 1
    assert summary["metrics"]["dice"]["n"] == 2


def test_all_failed_and_none_at_all(tmp_path: Path) -> None:
    failed = write_cohort([CohortEntry("a", error="broken")], tmp_path / "failed")
    assert "no patient could be examined" in text_of(parsed(failed))
    none = write_cohort([], tmp_path / "none", title="Nobody")
    assert "0 patients examined" in text_of(parsed(none))
    assert (none.parent / "lesions.csv").read_text() == "case_id,lesion\n"


def test_a_full_disk_leaves_nothing(
    entries: list[CohortEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cohort_tables, "write_json", full_disk)
    with pytest.raises(WriteError, match="No space left on device"):
        write_cohort(entries, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    with pytest.raises(WriteError, match="No space left on device"):
        write_cohort(entries, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_many_pictures_are_cut_and_the_rest_named(
    entries: list[CohortEntry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort, "PICTURED", 1)
    tree = parsed(write_cohort(entries, tmp_path / "out"))
    assert len(list(tree.iter("img"))) == 1
    assert "The first 1 of 2 patients." in text_of(tree)
