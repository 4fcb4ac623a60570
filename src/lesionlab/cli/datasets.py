"""`convert` with the name of a data set: what it holds is told before anything is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lesionlab.cli.terminal import answer, answer_json, complain, progress_bar, say

if TYPE_CHECKING:
    from lesionlab.pipeline.datasets import Checked

NAMED = 10
"""Missing files that are listed one by one."""


def convert_dataset(
    name: str, source: Path, out: Path | None, *, classes: bool, go_on: tuple[bool, bool], as_json: bool
) -> None:
    """Check a data set, tell what it holds, and convert it.

    `go_on` says whether to stop after the check, and whether to go on where files are missing.
    """
    from lesionlab.pipeline.datasets import check_dataset, convert_dataset

    check, incomplete = go_on
    if out is None and not check:
        raise typer.BadParameter("missing", param_hint="--out")
    with progress_bar() as progress:
        checked = check_dataset(name, source, classes=classes, progress=progress)
    if not as_json:
        _tell(checked)
    stop = bool(checked.faults) and not incomplete
    outcomes = []
    if out is not None and not check and not stop:
        with progress_bar() as progress:
            outcomes = convert_dataset(checked, out, progress=progress)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if as_json:
        errors = [{"case_id": o.name, "error": o.error} for o in failed]
        written = [o.value for o in outcomes if o.value is not None]
        answer_json({**record(checked), "written": written, "failed": errors})
    elif outcomes:
        answer(f"converted {len(outcomes) - len(failed)} cases: {out}")
    for outcome in failed:
        complain(str(outcome.error))
    if stop:
        complain(f"{len(checked.faults)} faults: nothing written (--incomplete goes on without those cases)")
    if stop or failed:
        raise typer.Exit(1)


def record(checked: Checked) -> dict[str, Any]:
    """What the check found, for programs."""
    folds = checked.listing.folds
    return {
        "dataset": checked.dataset.title,
        "cases": checked.cases,
        "patients": checked.patients,
        "lesion_free": checked.lesion_free,
        "labels": checked.labels,
        "diagnoses": checked.counts,
        "folds": 0 if folds is None else len(folds.splits),
        "test": 0 if folds is None else len(folds.test),
        "faults": checked.faults,
        "notes": checked.listing.notes,
    }


def _tell(checked: Checked) -> None:
    dataset, folds = checked.dataset, checked.listing.folds
    answer(f"{dataset.title}: {checked.cases} cases of {checked.patients} patients")
    labels = ", ".join(f"{name} in {count}" for name, count in checked.labels.items())
    answer(f"labels: {labels}; lesion-free: {checked.lesion_free}")
    if set(checked.counts) != {"-"}:
        answer("diagnoses: " + ", ".join(f"{name} {count}" for name, count in sorted(checked.counts.items())))
    if folds is not None:
        answer(f"official folds: {len(folds.splits)} ({folds.name}), test cases: {len(folds.test)}")
    answer(f"licence: {dataset.licence}")
    for note in checked.listing.notes:
        say(f"note: {note}")
    for fault in checked.faults[:NAMED]:
        complain(fault)
    if len(checked.faults) > NAMED:
        complain(f"and {len(checked.faults) - NAMED} more")
