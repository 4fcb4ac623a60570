"""The verb that says which masks to look at when no truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lesionlab.cli.scans import list_failures
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, table

Masks = Annotated[
    Path,
    typer.Argument(metavar="MASKS", help="A mask, or a folder that `examine` wrote.", show_default=False),
]
Members = Annotated[
    list[Path] | None,
    typer.Option(
        "--member",
        metavar="FOLDER",
        help="The same cases drawn by one fold alone; repeat it for each fold.",
        show_default=False,
    ),
]
Probabilities = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Probability maps of the masks.")]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        metavar="BUNDLE",
        help="The bundle that drew them: outliers against its training set.",
    ),
]


def quality(
    masks: Masks,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="All flags of all cases as CSV.")
    ] = None,
    members: Members = None,
    probabilities: Probabilities = None,
    model: Model = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell which masks deserve a look, without truth: disagreement, doubt, outliers, border, nothing found.

    A case's score is 1 or more as soon as a flag is raised. A flag that cannot be known says why in the CSV.
    Flags are reasons to look, no measurement of quality. The highest score comes first.

    Example: `lesionlab quality out/ -m models/mine -o quality.csv`
    """
    from lesionlab.pipeline import quality as work
    from lesionlab.pipeline import require_spared

    if out is not None:
        require_spared([out], masks, probabilities, *(members or ()))
    training = None if model is None else work.training_of(model)
    with progress_bar() as progress:
        outcomes = work.judge_files(
            masks, members=members or (), probabilities=probabilities, training=training, progress=progress
        )
    if out is not None:
        work.write_quality(outcomes, out)
    done = {outcome.name: outcome.value for outcome in outcomes if outcome.value is not None}
    if as_json:
        answer_json({name: found.record() for name, found in done.items()})
    else:
        # a score that is not known (NaN) comes last
        order = sorted(done, key=lambda name: -done[name].score if done[name].score >= 0 else 1.0)
        rows: list[list[object]] = [
            [name, done[name].score, "; ".join(f.sentence for f in done[name].flags if f.raised) or "-"]
            for name in order
        ]
        answer(table(["case", "score", "look because"], rows))
        raised = sum(bool(found.raised) for found in done.values())
        answer(f"\n{raised} of {len(done)} with a flag")
        if out is not None:
            answer(f"all flags: {out}")
    list_failures([outcome for outcome in outcomes if outcome.error is not None])
