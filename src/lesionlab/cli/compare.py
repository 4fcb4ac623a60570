"""The verb that tests several models against each other on one truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lesionlab.cli.scans import list_failures
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, say, shown, table

if TYPE_CHECKING:
    from lesionlab.evaluate.bootstrap import Interval
    from lesionlab.evaluate.comparison import ModelComparison

Models = Annotated[
    list[str],
    typer.Argument(
        metavar="MODEL...",
        help="Folders of masks, or cases.csv files of `evaluate`; NAME=PATH to name one.",
        show_default=False,
    ),
]


def compare(
    models: Models,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go.", show_default=False)
    ],
    truth: Annotated[
        Path | None,
        typer.Option("--truth", "-t", metavar="TRUTH", help="The expert's masks; not needed for CSV files."),
    ] = None,
    metrics: Annotated[
        str, typer.Option(metavar="NAMES", help="What is tested, with commas between.", show_default=False)
    ] = "",
    cases: Annotated[
        Path | None,
        typer.Option(metavar="CSV", help="A row per case: case, and if wished patient and what --by names."),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Subgroups: a column of --cases, or a metric such as truth_ml."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare several models on one truth: means with intervals, differences with tests, subgroups.

    A case that a model has no mask for counts as one in which it found nothing. Every pair of models is
    tested in dice, fp_volume_ml and fn_volume_ml (or --metrics), p values corrected over all by Holm. One
    model alone gets its intervals and subgroups.

    Example: `lesionlab compare unet/ threshold/ --truth nifti/ -o compared/`
    """
    from lesionlab import pipeline
    from lesionlab.evaluate.bootstrap import Bootstrap
    from lesionlab.pipeline import comparison as work

    named = work.model_names(models)
    pipeline.require_spared((out / name for name in work.TABLES), cases, *named.values())
    known = work.NOTHING_KNOWN if cases is None else work.case_table(cases)
    tested = [name.strip() for name in metrics.split(",") if name.strip()] or None
    with progress_bar() as progress:
        found = work.compare_files(
            named,
            truth,
            work.Wanted(tested, by or (), known),
            settings=Bootstrap(seed=seed),
            progress=progress,
        )
    written = work.write_compared(found, out)
    for note in found.notes:
        say(f"note: {note}")
    if as_json:
        answer_json({**work.comparison_of(found), "page": str(written)})
    else:
        tell(found.result)
        answer(f"\npage: {written}; tables beside it: means.csv, differences.csv, groups.csv, cases.csv")
    list_failures(work.failures(found))


def tell(found: ModelComparison) -> None:
    """Print means, differences and subgroups, and how many cases each rests on."""
    from lesionlab.pipeline import comparison as work

    patients = len(set(found.patients))
    answer(f"{len(found.cases)} cases of {patients} patients; [95 % interval], n = cases with a value\n")
    rows: list[list[object]] = [
        [model, *(_cell(found.mean(model, m)) for m in found.tested), found.missing[model]]
        for model in found.models
    ]
    answer(table(["model", *found.tested, "missing"], rows))
    for model, cases in found.absent.items():
        if cases:
            answer(f"{model}: not scored, and in none of its numbers: {', '.join(cases)}")
    if found.tests:
        rows = [
            [
                *(t.metric, f"{t.second} - {t.first}", _cell(t.difference)),
                *(work.p_words(p) for p in (t.p_signed_rank, t.p_sign_flip, t.p_holm)),
            ]
            for t in found.tests
        ]
        head = ["metric", "difference", "mean", "signed rank p", "sign flip p", "Holm p"]
        answer("\n" + table(head, rows))
    if found.groups:
        parts = list(dict.fromkeys((one.group.column, one.group.value, one.model) for one in found.groups))
        cells = {(o.group.column, o.group.value, o.model, o.group.metric): o.group.mean for o in found.groups}
        rows = [[*part, *(_cell(cells[(*part, m)]) for m in found.tested)] for part in parts]
        answer("\n" + table(["column", "value", "model", *found.tested], rows))


def _cell(one: Interval) -> str:
    return f"{shown(one.estimate)} [{shown(one.low)}, {shown(one.high)}] n={one.n}"
