"""The verb that tells which features hold when lesions are drawn a little differently."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lesionlab.cli.bundles import NO_MODEL
from lesionlab.cli.masks import RecipeName, Scans, drawn_pairs
from lesionlab.cli.scans import list_failures
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, table


def robustness(
    image: Scans,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables go.", show_default=False)
    ],
    mask: Annotated[
        Path | None,
        typer.Argument(
            metavar="MASK",
            help="Lesions of the scan, or a folder of masks.",
            show_default="contours that come with the scans",
        ),
    ] = None,
    recipe: RecipeName = NO_MODEL,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Tell which features are stable: each lesion is redrawn, turned and made noisier, and measured again.

    Writes robustness.csv (per feature: ICC(1,1) with its 95 % interval, median variation) and variation.csv
    (per lesion and feature). Two lesions at least are needed for an ICC, and many for a narrow one.

    Example: `lesionlab robustness patients/ -r pet-radiomics -o robust/`
    """
    from lesionlab import pipeline
    from lesionlab.pipeline import robustness as work
    from lesionlab.pipeline.cohort import case_name
    from lesionlab.pipeline.measured import Drawn

    pairs = drawn_pairs(image, mask)
    if pairs is None:
        pairs = work.contoured(image) if mask is None else [Drawn(case_name(image, image), image, mask)]
    chosen = pipeline.recipe_of(recipe)
    with progress_bar() as progress:
        outcomes = work.vary_cohort(pairs, chosen, seed=seed, progress=progress)
    file = work.write_robustness(outcomes, out)
    found = work.summary_of(outcomes)
    if as_json:
        failed = [{"case_id": o.name, "error": o.error} for o in outcomes if o.error is not None]
        features = [{**asdict(r), "verdict": r.verdict} for r in found]
        answer_json({"features": features, "changes": work.changes_in_words(), "failed": failed})
    else:
        rows: list[list[object]] = [[r.feature, r.icc, r.low, r.high, r.verdict, r.cv] for r in found]
        answer(table(["feature", "ICC(1,1)", "low", "high", "verdict", "median CV"], rows))
        answer(f"\ntried: {work.changes_in_words()}\ntables: {file}, {out / 'variation.csv'}")
    list_failures([outcome for outcome in outcomes if outcome.error is not None])
