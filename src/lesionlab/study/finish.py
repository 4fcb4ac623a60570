"""From the runs of a study to its files: scores, table, page.

What can be made of what is there is made: variants that failed, or that are still to run, are listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from lesionlab.core.errors import LesionLabError
from lesionlab.core.files import write_json, writing
from lesionlab.core.tasks import Outcome, Progress, silent
from lesionlab.pipeline.record import part, versions
from lesionlab.report.study import write_study
from lesionlab.report.tables import write_csv
from lesionlab.study.bench import Bench, Finished, Run, runs_of
from lesionlab.study.load import Study
from lesionlab.study.log import LOG_FILE, logged, require_begun
from lesionlab.study.run import run_study
from lesionlab.study.scores import ALL, score_runs
from lesionlab.study.table import StudyTable, failures, table_record, tabulate


def run_and_report(
    study: Study, root: str | Path, out: str | Path, *, device: str = "auto", progress: Progress = silent
) -> StudyTable:
    """Run what is still to run, then write the tables; see `run_study` and `report_study`."""
    outcomes = run_study(study, root, device=device, progress=part(progress, 0.0, 0.9))
    return report_study(study, root, out, outcomes=outcomes, progress=part(progress, 0.9, 1.0))


def report_study(
    study: Study,
    root: str | Path,
    out: str | Path,
    *,
    outcomes: Sequence[Outcome[dict[str, Any]]] | None = None,
    progress: Progress = silent,
) -> StudyTable:
    """Write study.html, study.md, study.csv, cases.csv and study.json into `out` from the finished runs.

    `outcomes` are those of `run_study`; without them nothing is run, and what is not finished waits. Raises
    DatasetError for a folder without a study, and where no test fold is finished in all variants that did not
    fail.
    """
    root, out = Path(root), Path(out)
    if outcomes is None:
        require_begun(root)
    bench, runs = Bench(study, root), runs_of(study)
    if outcomes is None:
        outcomes = [kept_outcome(bench, run) for run in runs]
        failed = {}
    else:
        failed = failures(runs, outcomes)
    done = [(run, o.value) for run, o in zip(runs, outcomes, strict=True) if o.value is not None]
    with logged(root / LOG_FILE, progress) as (note, watched):
        note(f"scoring {len(done)} of {len(runs)} runs")
        scored = score_runs(bench, [run for run, _ in done], watched)
        failed = {**failures([run for run, _ in done], scored), **failed}
        finished = [
            Finished(run, cost, one.value)
            for (run, cost), one in zip(done, scored, strict=True)
            if one.value is not None
        ]
        table = tabulate(bench, finished, failed)
        _write(bench, table, finished, out)
        note(f"table written to {out}")
    return table


def kept_outcome(bench: Bench, run: Run) -> Outcome[dict[str, Any]]:
    """What an earlier run left of a run; neither value nor error where it has not finished."""
    try:
        value = bench.kept(run)
    except LesionLabError as error:
        return Outcome("run", None, str(error), 0.0)
    return Outcome("run", value, None, 0.0, reused=value is not None)


def _write(bench: Bench, table: StudyTable, finished: Sequence[Finished], out: Path) -> None:
    study = bench.study
    title = study.settings.description or study.settings.name
    write_study(out, title, {field.name: getattr(table, field.name) for field in fields(table)})
    record = table_record(table)
    settings = study.settings.model_dump(mode="json", exclude={"data"})
    recipes = {variant.name: variant.recipe.sha256 for variant in study.trained}
    write_json(
        out / "study.json", {"versions": versions(), "settings": settings, "recipes": recipes} | record
    )
    names = list(next(iter(finished[0].scores["cases"].values()))[ALL]) if finished else []
    rows = [
        [run.variant.name, run.seed, run.fold, case, whose.get(case), label, *(values.get(n) for n in names)]
        for run, whose, scores in ((f.run, bench.data(f.run.recipe).patients, f.scores) for f in finished)
        for case, labels in scores["cases"].items()
        for label, values in labels.items()
    ]
    with writing(out / "cases.csv") as temporary:
        write_csv(temporary, ["variant", "seed", "fold", "case", "patient", "label", *names], rows)
