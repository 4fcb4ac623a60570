"""The verbs about agreement: of two measurements in numbers, and of readers in masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from lesionlab.cli.scans import list_failures
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, say, shown, table

if TYPE_CHECKING:
    from lesionlab.evaluate.agreement import Agreement
    from lesionlab.evaluate.bootstrap import Interval
    from lesionlab.evaluate.observers import AgainstObservers
    from lesionlab.pipeline.observers import Consensus

Folder = Annotated[
    Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the files go.", show_default=False)
]
Measured = Annotated[
    Path,
    typer.Argument(
        metavar="MEASURED",
        help="patients.csv, or the folder of `measure` or `examine` with it.",
        show_default=False,
    ),
]
Reference = Annotated[
    Path, typer.Argument(metavar="REFERENCE", help="The same patients, measured otherwise.")
]
Readers = Annotated[
    list[str],
    typer.Argument(
        metavar="READER...", help="Folders of masks (or masks); NAME=PATH to name one.", show_default=False
    ),
]


def agree(
    measured: Measured,
    reference: Reference,
    out: Folder,
    biomarkers: Annotated[
        str, typer.Option(metavar="NAMES", help="Columns, with commas between.", show_default=False)
    ] = "",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell how far two measurements of the same patients agree: a model's against the expert's, two readers'.

    Bias and limits of agreement (Bland and Altman), ICC(2,1) and Lin's concordance correlation, each with its
    95 % interval, for lesion count, TMTV, TLG, SUVmax, SUVpeak and Dmax, and two pictures of each.

    Example: `lesionlab agree measured/model measured/expert -o agreement/`
    """
    from lesionlab.pipeline import agreement as work

    names = [name.strip() for name in biomarkers.split(",") if name.strip()] or None
    found = work.agree_files(measured, reference, names)
    written = work.write_agreement(found, out)
    if as_json:
        answer_json({**work.agreement_of(found), "written": str(written)})
        return
    answer(table(AGREEMENT_HEAD, [_agreement_row(row) for row in found.table]))
    answer("\nmeasured - reference; [95 % interval]; limits hold 95 % of normal differences")
    if found.alone:
        answer(f"in one of the two only, and so in no number: {', '.join(found.alone)}")
    answer(f"files: {written}, {out / 'agreement.csv'}, pictures beside them")


AGREEMENT_HEAD = ("biomarker", "pairs", "left out", "bias", "limits", "ICC(2,1)", "CCC")


def _agreement_row(row: Agreement) -> list[object]:
    limits = row.bland_altman
    return [
        row.name,
        row.n,
        row.undefined,
        f"{shown(limits.bias)} [{shown(limits.bias_interval[0])}, {shown(limits.bias_interval[1])}]",
        f"{shown(limits.lower)} to {shown(limits.upper)}",
        *(f"{shown(one.value)} [{shown(one.low)}, {shown(one.high)}]" for one in (row.icc, row.concordance)),
    ]


def observers(
    readers: Readers,
    out: Folder,
    model: Annotated[
        Path | None, typer.Option("--model", "-m", metavar="PRED", help="A model's masks of the same cases.")
    ] = None,
    consensus: Annotated[
        str, typer.Option(metavar="HOW", help="Also write consensus masks: majority or staple.")
    ] = "none",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two or more readers of the same cases with each other, and a model with all of them.

    Dice and surface Dice at 2 mm of every two readers with 95 % intervals; with --model, its agreement with
    the readers beside theirs with each other, their difference, and Williams' index (above 1: the model
    agrees with the readers better than they do). Cases that a reader lacks are listed. A single folder is one
    that `convert` wrote of a data set with several readers.

    Example: `lesionlab observers anna/ bert/ cora/ --model out/ --consensus staple -o observers/`
    """
    from lesionlab.pipeline import observers as work
    from lesionlab.pipeline.comparison import model_names

    if consensus not in get_args(work.Consensus):
        raise typer.BadParameter(f"{consensus!r} is none of majority, staple", param_hint="--consensus")
    how = cast("Consensus", consensus)
    with progress_bar() as progress:
        outcomes = work.read_cases(model_names(readers), model, consensus=how, out=out, progress=progress)
    written = work.write_observers(outcomes, out)
    for outcome in outcomes:
        for note in outcome.value.notes if outcome.value is not None else ():
            say(f"note: case {outcome.name}: {note}")
    if as_json:
        answer_json({**work.observers_of(outcomes), "written": str(written)})
    else:
        done = [outcome.value for outcome in outcomes if outcome.value is not None]
        pairs = [
            [s, f"{a} / {b}", _mean(m)] for s in work.SCORES for (a, b), m in work.pair_means(done, s).items()
        ]
        answer(table(["score", "readers", "mean"], pairs))
        found = work.standing(outcomes)
        if found:
            answer("\n" + table(STANDING_HEAD, [_standing_row(score, one) for score, one in found.items()]))
        answer(f"\nfiles: {written}, {out / 'pairs.csv'}")
    list_failures([outcome for outcome in outcomes if outcome.error is not None])


STANDING_HEAD = ("score", "model / readers", "readers / readers", "difference", "Williams' index", "model is")


def _standing_row(score: str, one: AgainstObservers) -> list[object]:
    means = (one.model, one.readers, one.difference, one.williams)
    return [score, *(_mean(mean) for mean in means), one.standing]


def _mean(one: Interval) -> str:
    return f"{shown(one.estimate)} [{shown(one.low)}, {shown(one.high)}] n={one.n}"
