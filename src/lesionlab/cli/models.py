"""Verbs around models: plan, train."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.scans import Scan, list_failures
from lesionlab.cli.terminal import (
    Debug,
    Device,
    Json,
    answer,
    answer_json,
    complain,
    progress_bar,
)

if TYPE_CHECKING:
    from lesionlab.pipeline.training import Planned


def plan(
    source: Scan,
    workspace: Annotated[
        Path,
        typer.Option(
            "--workspace", "-w", metavar="FOLDER", help="Where to plan and train.", show_default=False
        ),
    ],
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe", "-r", metavar="RECIPE", help="A recipe's name (`info` lists them) or TOML file."
        ),
    ] = "pet-small",
    duplicates: Annotated[
        str | None,
        typer.Option(
            metavar="HOW", help="Cases that look the same: refuse, drop or group, instead of the recipe's."
        ),
    ] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Read patients with contours and prepare training: folds by patient, network and patch size.

    INPUT is a folder of patients: scans with their contours, or what `convert` wrote; the folds that a data
    set comes with are kept. A case that cannot be used is left out and listed at the end (exit code 1).

    Example: `lesionlab plan dicom/ -r petct -w work/`
    """
    from lesionlab.core.registry import find_recipe
    from lesionlab.pipeline.training import plan_cohort

    with progress_bar() as progress:
        chosen = find_recipe(recipe)
        if duplicates is not None:
            chosen = chosen.changed(training={"duplicates": duplicates})
        planned = plan_cohort(source, chosen, workspace, progress=progress)
    _tell_planned(planned, chosen.training.folds, workspace, as_json)
    for reason in planned.failed.values():
        complain(reason)
    if planned.failed:
        raise typer.Exit(1)


def _tell_planned(planned: Planned, stated: int, workspace: Path, as_json: bool) -> None:
    """What was planned; `stated` is the recipe's number of folds."""
    from lesionlab.plan.leaks import told

    done = planned.plan
    if as_json:
        answer_json(
            {
                "workspace": workspace,
                "patients": done.patients,
                "folds": done.folds,
                "failed": planned.failed,
                "dropped": done.dropped,
                "look_the_same": [asdict(twin) for twin in done.twins],
            }
        )
    else:
        people = len(set(done.patients.values()))
        told_otherwise = len(done.folds) != stated
        whose = f" (the data set's own, not the recipe's {stated})" if told_otherwise else ""
        answer(
            f"planned {len(done.patients)} cases of {people} patients in {len(done.folds)} folds"
            f"{whose}: {workspace}"
        )
        if done.twins:
            answer(f"{told(done.twins)}; left out: {len(done.dropped)}")
        answer(f"next: lesionlab train {workspace} -o BUNDLE")


def train(
    workspace: Annotated[
        Path, typer.Argument(metavar="WORKSPACE", help="A folder that `plan` prepared.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Write the finished folds as a bundle here."),
    ] = None,
    fold: Annotated[
        list[str] | None,
        typer.Option(
            help="Train this fold (0, 1, ..., or all: one model on every patient); may be repeated."
        ),
    ] = None,
    validate: Annotated[
        bool, typer.Option(help="Afterwards try each fold on the patients that it has not seen.")
    ] = True,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train the planned network, try it on patients it has not seen, and write a bundle for `examine -m`.

    Interrupt it whenever you like: the same command goes on where it stopped. Cross-validated scores and
    reports go into WORKSPACE/crossvalidation.

    Example: `lesionlab train work/ -o models/mine`
    """
    from lesionlab.pipeline import training
    from lesionlab.predict.bundle import require_bundle_place
    from lesionlab.train import first_process

    folds = None if not fold else [_fold(text) for text in fold]
    if out is not None:
        require_bundle_place(out)
    with progress_bar() as progress:
        trained = training.train_folds(workspace, folds, device=device, progress=progress)
    if not first_process():
        return  # of several that torchrun started, one tries the folds and writes the bundle
    scores, failed, page = [], [], None
    if validate and any(path.name != "fold_all" for path in trained):
        with progress_bar() as progress:
            outcomes = training.cross_validate(
                workspace, workspace / "crossvalidation", device=device, progress=progress
            )
        scores = [outcome.value for outcome in outcomes if outcome.value is not None]
        failed = [outcome for outcome in outcomes if outcome.error is not None]
        page = workspace / "crossvalidation" / "report.html"
    bundle = None if out is None else training.finish(workspace, out, scores, whole=folds == ["all"])
    if as_json:
        cases = {s.case_id: dict(s.values) for s in scores}
        errors = {outcome.name: outcome.error for outcome in failed}
        answer_json({"folds": trained, "scores": cases, "failed": errors, "report": page, "bundle": bundle})
    else:
        crossed = f"cross-validated on {len(scores)} cases; report: {page}" if page else "not cross-validated"
        written = f"bundle: {bundle}" if bundle else "no bundle written (-o FOLDER writes one)"
        answer("\n".join([*(f"trained: {path}" for path in trained), crossed, written]))
    list_failures(failed)


def _fold(text: str) -> int | str:
    if text == "all" or text.isdigit():
        return text if text == "all" else int(text)
    raise typer.BadParameter(f"{text!r} is neither a number nor all", param_hint="--fold")
