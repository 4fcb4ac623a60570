"""The verb of many recipes on one data set: `lesionlab study list`, `run`, `table` and `bundle`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.terminal import (
    Debug,
    Device,
    Json,
    answer,
    answer_json,
    complain,
    progress_bar,
    shown,
    table,
)

if TYPE_CHECKING:
    from lesionlab.study.table import StudyTable

study = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

StudyFile = Annotated[
    str,
    typer.Argument(
        metavar="STUDY",
        help="The study's TOML file, or the name of a shipped one (`lesionlab study list`).",
        show_default=False,
    ),
]
Work = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        metavar="FOLDER",
        help="Where everything is kept, to go on from.",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go; WORKSPACE/table by default."),
]
Data = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The patients, in place of what the study names.")
]


@study.callback()
def explained() -> None:
    """Compare many recipes on one data set: the same folds, the same effort, one table with intervals.

    A TOML file says what is compared (docs/tutorials/study.md); those of the published systems are shipped
    and have names.
    """


@study.command("list", short_help="Tell the shipped studies, what each compares and on which data.")
def listed(as_json: Json = False, debug: Debug = False) -> None:
    """Tell the studies that can be run by name: what they compare, on which data, and how many variants.

    Example: `lesionlab study list`
    """
    from lesionlab.core.registry import STUDIES
    from lesionlab.study import load_study

    found = [load_study(name) for name in STUDIES]
    rows = [
        {
            "name": one.settings.name,
            "compares": one.settings.description,
            "data": one.settings.dataset or one.settings.data,
            "variants": len(one.variants),
        }
        for one in found
    ]
    if as_json:
        answer_json({"studies": rows})
    else:
        answer(table(list(rows[0]), [[str(value) for value in row.values()] for row in rows]))


@study.command("run", short_help="Train and test every variant, and write the table.")
def run(
    file: StudyFile,
    workspace: Work,
    out: Out = None,
    data: Data = None,
    device: Device = "auto",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train every variant of a study on every fold, test it on patients it has not seen, write one table.

    Interrupt it whenever you like: the same command goes on where it stopped, also in the middle of a
    training. A variant that fails is listed with the reason and the others go on (exit code 1). What
    happens when is noted in WORKSPACE/study.log.

    Example: `lesionlab study run study.toml -w work/`, `lesionlab study run breastdm --data BreaDM/ -w work/`
    """
    from lesionlab.study import load_study, run_and_report

    chosen, target = load_study(file, data), out or workspace / "table"
    with progress_bar() as progress:
        found = run_and_report(chosen, workspace, target, device=device, progress=progress)
    _tell(found, target, as_json)


@study.command("table", short_help="Write the table of what is finished, without running anything.")
def tables(
    file: StudyFile,
    workspace: Work,
    out: Out = None,
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the table of the runs that are finished, on the folds that all variants have finished.

    Example: `lesionlab study table study.toml -w work/`
    """
    from lesionlab.study import load_study, report_study

    chosen, target = load_study(file, data), out or workspace / "table"
    with progress_bar() as progress:
        found = report_study(chosen, workspace, target, progress=progress)
    _tell(found, target, as_json)


@study.command("bundle", short_help="Write a variant or an ensemble as a bundle for `examine -m`.")
def bundle(
    file: StudyFile,
    variant: Annotated[
        str, typer.Argument(metavar="VARIANT", help="Its name, as in the table.", show_default=False)
    ],
    workspace: Work,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="The bundle's folder.", show_default=False)
    ],
    data: Data = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write the finished folds of a variant or an ensemble as a bundle, for `examine -m`.

    Its post-processing is chosen on every held-out prediction, and written into the bundle's recipe. Its
    model card says how good the variant was on patients it had not seen.

    Example: `lesionlab study bundle study.toml "residual, longer" -w work/ -o models/mine`
    """
    from lesionlab.study import load_study, write_variant

    with progress_bar() as progress:
        written = write_variant(load_study(file, data), workspace, variant, out, progress=progress)
    if as_json:
        answer_json({"bundle": written})
    else:
        answer(f"bundle: {written}")


def _tell(found: StudyTable, target: Path, as_json: bool) -> None:
    if as_json:
        from lesionlab.study.table import table_record

        answer_json({**table_record(found), "page": target / "study.html"})
    else:
        head = ["variant", "Dice", "low", "high", "IoU", "p (Holm)", "rank", "s per case"]
        keys = ["variant", "dice", "dice_low", "dice_high", "iou", "p_holm", "rank", "seconds_per_case"]
        answer(table(head, [[shown(row[key]) for key in keys] for row in found.rows]))
        if found.waiting:
            answer(f"not run yet: {', '.join(found.waiting)}")
        answer(f"tables and page: {target / 'study.html'}")
    for name, reason in found.failed.items():
        complain(f"{name}: {reason}")
    if found.failed:
        raise typer.Exit(1)
