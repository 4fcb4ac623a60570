"""CLAIM and CLEAR, filled in as far as run records and an evaluation's summary know; the rest stays open.

An author copies a checklist into a paper's supplement and completes it. Only what the program itself decided
or counted is filled; a part that is known is told in an open item. Items are in `checklist_items.py`; what
runs say is in `checklist_runs.py`. Nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from lesionlab.core.files import writing
from lesionlab.report.checklist_items import CLAIM_ITEMS, CLEAR_ITEMS
from lesionlab.report.checklist_runs import Record, claim_of_run, clear_of_run, recipe_of_run
from lesionlab.report.ibsi_checklist import MOST_LISTED, Answer, write_table
from lesionlab.report.ibsi_items import Item, Said, State, filled, unknown

CLAIM_FILE: Final = "claim_checklist.csv"
CLEAR_FILE: Final = "clear_checklist.csv"
PERFORMANCE: Final = ("dice", "iou", "ppv", "sensitivity", "volume_error_percent", "nsd_2mm", "hd95_mm")
DIAGNOSTIC: Final = ("lesion_sensitivity", "lesion_ppv", "lesion_f1")


@dataclass(frozen=True)
class Study:
    """What is known: run.json of each case, the evaluation's summary, and the plan of a cross-validation.

    `patients` maps case to patient of a planned workspace whose cases were each examined by the fold that had
    not seen the patient; None where this was no cross-validation by us. `official` names the data set's own
    folds, and counts them, where those were taken.
    """

    runs: Sequence[Record] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    patients: Mapping[str, str] | None = None
    official: tuple[str, int] | None = None


def claim(study: Study) -> tuple[Answer, ...]:
    """All 44 items of CLAIM's 2024 update."""
    known = _over_runs([claim_of_run(run) for run in study.runs])
    return _answers(CLAIM_ITEMS, known | _counted(study) | _partitions(study, claim=True))


def clear(study: Study) -> tuple[Answer, ...]:
    """All 58 items of CLEAR."""
    known = _over_runs([clear_of_run(run) for run in study.runs])
    return _answers(CLEAR_ITEMS, known | _partitions(study, claim=False))


def clear_wanted(study: Study) -> bool:
    """Whether a run computed features of the image biomarker standard, so that CLEAR concerns it."""
    recipes = (recipe_of_run(run) for run in study.runs)
    return any(recipe is not None and recipe.radiomics.families for recipe in recipes)


def write_checklists(study: Study, folder: Path) -> list[Path]:
    """Write claim_checklist.csv and, after radiomics, clear_checklist.csv; returns their paths.

    Raises WriteError.
    """
    tables = {CLAIM_FILE: claim(study)} | ({CLEAR_FILE: clear(study)} if clear_wanted(study) else {})
    for name, answers in tables.items():
        with writing(folder / name) as temporary:
            write_table(answers, temporary)
    return [folder / name for name in tables]


def _answers(items: Sequence[Item], known: Mapping[str, Said]) -> tuple[Answer, ...]:
    found = []
    for item in items:
        said = known.get(item.number) or unknown("")
        parts = [said.text] if said.text else []
        parts += [f"to add: {item.add}"] if said.state == "open" else []
        found.append(Answer(item.number, item.section, item.topic, "", "; ".join(parts), said.state))
    return tuple(found)


def _over_runs(runs: Sequence[Mapping[str, Said]]) -> dict[str, Said]:
    """One answer per item over all runs; those that differ are told apart with their numbers of cases."""
    return {number: _merge([run.get(number) for run in runs]) for run in runs for number in run}


def _merge(said: Sequence[Said | None]) -> Said:
    """An item is open where any run leaves it open."""
    known = [one for one in said if one is not None]
    states = {one.state for one in known}
    state: State = (
        "open"
        if "open" in states or len(known) < len(said)
        else "filled"
        if "filled" in states
        else "not applicable"
    )
    counts: dict[str, int] = {}
    for one in known:
        counts[one.text] = counts.get(one.text, 0) + 1
    if len(counts) == 1 and len(known) == len(said):
        return Said(state, next(iter(counts)))
    often = sorted(counts.items(), key=lambda item: -item[1])
    parts = [f"{text} ({count} of {len(said)} cases)" for text, count in often[:MOST_LISTED]]
    parts += [f"{len(often) - MOST_LISTED} more"] if len(often) > MOST_LISTED else []
    return Said(state, "differs between cases: " + "; or ".join(parts) if len(parts) > 1 else parts[0])


def _partitions(study: Study, *, claim: bool) -> dict[str, Said]:
    """Items on folds and testing that a planned cross-validation answers."""
    recipe = next((r for r in map(recipe_of_run, study.runs) if r is not None), None)
    if study.patients is None or recipe is None:
        return {}
    people, cases, training = len(set(study.patients.values())), len(study.patients), recipe.training
    drawn = (
        f"drawn at random by patient with seed {training.seed}, balanced in patients with and without lesions"
    )
    count = training.folds
    if study.official is not None:
        drawn, count = f"the data set's own ({study.official[0]})", study.official[1]
    assigned = f"{cases} cases of {people} patients in {count} folds, {drawn}"
    inside = (
        f"cross-validation with {count} folds: each case examined by the fold that had not seen its patient"
    )
    if not claim:
        return {"15": unknown(f"of the segmentation model: {assigned}")}
    return {
        "19": filled(assigned),
        "20": filled("by patient: all cases of a patient are in one fold"),
        "32": filled(inside),
    }


def _counted(study: Study) -> dict[str, Said]:
    """CLAIM's items that the summary answers, wholly or in part."""
    summary, metrics = study.summary, study.summary.get("metrics")
    if not isinstance(metrics, Mapping):
        return {}
    cases, failed = summary.get("cases", 0), len(summary.get("failed", {}))
    missing = summary.get("missing_predictions", 0)
    answers = {
        "12": unknown(
            f"{missing} cases without a prediction were scored as if nothing had been found; {failed} that "
            "could not be scored are left out and listed in summary.json"
        ),
        "21": unknown(f"{cases} cases were evaluated"),
        "28": filled(f"{', '.join(metrics)}: defined in docs/reference/evaluation.md; say why these"),
        "35": unknown(f"{cases} cases scored, {failed} could not be"),
        "39": unknown("cases.csv has every case's scores; missed and false lesions are counted there"),
    }
    intervals = summary.get("intervals")
    if isinstance(intervals, Mapping):
        answers["29"] = filled(
            f"{intervals.get('confidence', 0):.0%} bootstrap intervals of means ({intervals.get('method')}, "
            f"{intervals.get('resamples')} resamples, the {intervals.get('unit')} being the unit)"
        )
    for number, names in (("37", PERFORMANCE), ("38", DIAGNOSTIC)):
        told = [_told(name, metrics[name]) for name in names if name in metrics]
        if told:
            answers[number] = filled("; ".join(told))
    return answers


def _told(name: str, values: Mapping[str, Any]) -> str:
    """A metric's mean with its interval and number of cases."""
    mean, low, high = (values.get(key) for key in ("mean", "mean_low", "mean_high"))
    if mean is None:
        return f"{name} undefined in all cases"
    interval = "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"
    return f"{name} mean {mean:.3f}{interval}, {values.get('n', 0)} cases"
