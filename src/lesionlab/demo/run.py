"""The demo from end to end: cohort, plan, training, unseen patients, found against known.

Everything is done by the stages that any user's data go through; nothing here knows how they work.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lesionlab.core.errors import DatasetError, WriteError
from lesionlab.core.files import write_json
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Progress, silent
from lesionlab.demo.cohort import read_known, write_cohort
from lesionlab.demo.compare import MethodSummary, PatientMatch, compare_patient, summarise_method
from lesionlab.demo.figure import found_against_known
from lesionlab.demo.words import result_text
from lesionlab.evaluate import summarise
from lesionlab.pipeline import examine
from lesionlab.pipeline.curves import all_curves
from lesionlab.pipeline.record import part
from lesionlab.pipeline.training import finish, plan_cohort, train_folds
from lesionlab.predict import Bundle, load_bundle
from lesionlab.read import load_mask
from lesionlab.report import CohortEntry, cohort_entry, write_findings
from lesionlab.report import write_cohort as write_report

THRESHOLD = "pet-threshold"
SEED = 2024
MARKER = "demo.json"
PARTS = ("cohort", "work", "bundle", "unseen")


@dataclass(frozen=True, slots=True)
class DemoSize:
    """How many patients the demo writes: first those to learn from, then those to be examined."""

    training: int = 20
    unseen: int = 6


@dataclass(frozen=True)
class DemoResult:
    """What the demo found: a summary per method (the network first), every lesion, and where to look.

    `seconds` is wall-clock time by step, in order.
    """

    summaries: tuple[MethodSummary, ...]
    matches: Mapping[str, tuple[PatientMatch, ...]]
    seconds: Mapping[str, float]
    report: Path

    @property
    def text(self) -> str:
        """Found against known as tables for a terminal, ending with the report's path."""
        first = self.summaries[0].method
        return result_text(self.summaries, self.matches[first], self.seconds, self.report)

    def items(self) -> list[tuple[str, Any]]:
        """The result as JSON values by name."""
        return [
            ("summaries", [asdict(summary) for summary in self.summaries]),
            ("patients", {method: [asdict(m) for m in found] for method, found in self.matches.items()}),
            ("seconds", dict(self.seconds)),
            ("report", str(self.report)),
        ]


def run_demo(
    folder: str | Path,
    *,
    recipe: str | Path | Recipe = "demo",
    size: DemoSize | None = None,
    device: str = "auto",
    progress: Progress = silent,
) -> DemoResult:
    """Write a cohort, train on it, examine unseen patients with network and threshold, and compare.

    `recipe` is what is trained. Results go under `folder`, which is created, or emptied if an earlier demo
    made it: `cohort/`, `work/` (the training), `bundle/`, `unseen/METHOD/` (the reports) and `demo.json`.
    Raises WriteError for a folder that holds anything else; errors of any stage are raised as they come.
    """
    folder, size = Path(folder), size or DemoSize()
    chosen = recipe if isinstance(recipe, Recipe) else find_recipe(recipe)
    prepare(folder)
    steps = Steps(progress)
    training, unseen = folder / "cohort" / "training", folder / "cohort" / "unseen"
    steps.begin("writing patients", 0.08)
    write_patients = part(steps.progress, 0.0, 0.7)
    write_cohort(training, size.training, SEED, progress=write_patients)
    write_cohort(unseen, size.unseen, SEED, first=size.training + 1, progress=part(steps.progress, 0.7, 1.0))
    bundle, curves = train_on(training / "patients", folder, chosen, device, steps)
    methods = (("network", bundle), (THRESHOLD, load_bundle(THRESHOLD)))
    results: dict[str, Examined] = {}
    for (name, method), until in zip(methods, (0.89, 0.99), strict=True):
        steps.begin(f"examining: {name}", until)
        out = folder / "unseen" / name
        results[name] = examine_unseen(unseen, method, out, steps.progress, device=device)
    steps.begin("reporting", 1.0)
    matches = {name: examined.matches for name, examined in results.items()}
    figures = {"Found against known": found_against_known(matches), **curves}
    pages = [
        write_report(
            examined.entries,
            folder / "unseen" / name,
            title=f"Synthetic patients: {name}",
            summary=examined.summary,
            figures=figures,
        )
        for name, examined in results.items()
    ]
    summaries = tuple(summarise_method(name, found) for name, found in matches.items())
    result = DemoResult(summaries, matches, steps.finished(), pages[0])
    write_json(folder / MARKER, result)
    return result


@dataclass(frozen=True)
class Examined:
    """A cohort examined by one method: matches with the known lesions, report entries, scores over cases."""

    matches: tuple[PatientMatch, ...]
    entries: tuple[CohortEntry, ...]
    summary: Mapping[str, Any]


def examine_unseen(
    cohort: Path, bundle: Bundle, out: Path, progress: Progress, *, device: str = "auto"
) -> Examined:
    """Examine every patient of a cohort, report each into `out/PATIENT/`, and match lesions with known ones.

    Raises DatasetError for a folder without answers, and whatever a stage raises: in the demo no patient may
    fail.
    """
    known = read_known(cohort)
    matches: list[PatientMatch] = []
    entries: list[CohortEntry] = []
    scores: list[Scores] = []
    for number, (name, answers) in enumerate(known.items()):
        share = part(progress, number / len(known), (number + 1) / len(known), name)
        patient = cohort / "patients" / name
        findings = examine(patient, bundle, case_id=name, device=device, progress=share)
        page = write_findings(findings, out / name)
        entries.append(cohort_entry(findings, page.relative_to(out)))
        if findings.scores is not None:
            scores.append(findings.scores)
        labels = load_mask(cohort / "known" / f"{name}.nii.gz")
        matches.append(compare_patient(name, findings.lesions, labels, answers))
    return Examined(tuple(matches), tuple(entries), summarise(scores))


def train_on(
    patients: Path, folder: Path, recipe: Recipe, device: str, steps: Steps
) -> tuple[Bundle, dict[str, bytes]]:
    """Plan, train one fold and make a bundle of it; returns it with its training curves."""
    work = folder / "work"
    steps.begin("planning", 0.15)
    planned = plan_cohort(patients, recipe, work, progress=steps.progress)
    if planned.failed:
        raise DatasetError(patients, "; ".join(planned.failed.values()), "a cohort that reads without fault")
    steps.begin("training", 0.8)
    train_folds(work, [0], device=device, progress=steps.progress)
    bundle = load_bundle(finish(work, folder / "bundle"))
    return bundle, all_curves(planned.plan.workspace.model(recipe.network.configuration))


def prepare(folder: Path) -> None:
    """Create the demo's folder, or empty the one that an earlier demo made."""
    if folder.exists() and not (folder / MARKER).is_file() and (folder.is_file() or any(folder.iterdir())):
        raise WriteError(folder, "files that no demo made", "an empty folder or that of an earlier demo")
    try:
        for name in PARTS:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
    except OSError as error:
        raise WriteError(folder, error.strerror or str(error), "a folder that may be emptied") from error
    write_json(folder / MARKER, {"finished": False})


class Steps:
    """The demo's steps: each takes its part of the progress bar, and its seconds are kept."""

    def __init__(self, progress: Progress) -> None:
        self.outer, self.progress = progress, progress
        self.seconds: dict[str, float] = {}
        self.name, self.done, self.start = "", 0.0, time.perf_counter()

    def begin(self, name: str, until: float) -> None:
        """End the running step and begin the next, which fills the bar up to `until`."""
        self._end()
        self.progress = part(self.outer, self.done, until, name)
        self.name, self.done = name, until

    def finished(self) -> dict[str, float]:
        """Seconds of every step, in order."""
        self._end()
        self.outer("done", 1.0)
        return self.seconds

    def _end(self) -> None:
        now = time.perf_counter()
        if self.name:
            self.seconds[self.name] = round(now - self.start, 1)
        self.start = now
