"""The verb that compares two timepoints of one patient."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from lesionlab.cli.bundles import NO_MODEL
from lesionlab.cli.scans import Out, with_unit
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, progress_bar, shown, table

if TYPE_CHECKING:
    from lesionlab.core.response import Comparison
    from lesionlab.pipeline.response import Formula

POINT = "x,y,z in mm (LPS) or label:N of the mask. Once: the baseline's, carried over. Twice: of each scan."


LiverPlaces = Annotated[list[str] | None, typer.Option(metavar="PLACE", help=f"Liver: {POINT}")]
BloodPlaces = Annotated[list[str] | None, typer.Option(metavar="PLACE", help="Blood pool (aorta), likewise.")]
Bodies = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KG,CM,SEX", help="Where the header lacks it: 71.5,174,F. Once: both scans; or twice."
    ),
]
Masks = Annotated[
    tuple[Path, Path] | None,
    typer.Option("--masks", metavar="MASK MASK", help="Lesions of baseline and follow-up."),
]
Drawer = Annotated[
    str | None,
    typer.Option("--model", "-m", metavar="BUNDLE", help="Draws the lesions where they are not given."),
]
Before = Annotated[
    Path,
    typer.Argument(
        metavar="BASELINE", help="A folder from `examine`, or a scan (with lesions).", show_default=False
    ),
]
After = Annotated[
    Path, typer.Argument(metavar="FOLLOWUP", help="The same patient, later.", show_default=False)
]
Lean = Annotated[str, typer.Option(metavar="FORMULA", help="Of SUL: james128, janmahasatian or morgan.")]
Align = Annotated[
    str, typer.Option(metavar="CHANNEL", help="What the rigid alignment looks at: auto, suv, ct or none.")
]
Within = Annotated[
    float, typer.Option(min=0.0, help="Lesions without overlap are the same up to this distance.")
]
What = Annotated[
    str, typer.Option("--recipe", "-r", metavar="RECIPE", help="What is measured, on which channel.")
]


def response(
    baseline: Before,
    followup: After,
    out: Out,
    masks: Masks = None,
    model: Drawer = None,
    recipe: What = NO_MODEL,
    liver: LiverPlaces = None,
    blood: BloodPlaces = None,
    body: Bodies = None,
    lean_body_mass: Lean = "james128",
    align: Align = "auto",
    within_mm: Within = 15.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare two timepoints of one patient: every lesion's change, and the response by PERCIST 1.0.

    The lesions are those of `examine`, of --masks, of contours found with the scans, or drawn by -m. The
    scans are aligned rigidly, lesions matched by overlap, then by distance. PERCIST needs SUL (weight, height
    and sex from the header or --body); give the liver so that measurability and comparability can be told.

    Example: `lesionlab response out/before out/after --liver=-70,-20,-310 -o out/response`
    """
    from lesionlab import pipeline
    from lesionlab.core.response import CATEGORY_WORDS
    from lesionlab.pipeline.response import Formula, Rules, Scan, compare
    from lesionlab.predict import load_bundle
    from lesionlab.report.response import response_record, write_comparison

    if lean_body_mass not in get_args(Formula):
        raise typer.BadParameter(f"{lean_body_mass!r} is no formula", param_hint="--lean-body-mass")
    livers, bloods = _two(liver, "--liver", False), _two(blood, "--blood", False)
    bodies, drawn = _two(body, "--body", True), masks or (None, None)
    scans = [
        Scan(source, drawn[k], pipeline.Places(livers[k], bloods[k]), bodies[k])
        for k, source in enumerate((baseline, followup))
    ]
    if model is not None and recipe != NO_MODEL:
        raise typer.BadParameter("a model says itself what is measured", param_hint="--recipe")
    method: Any = pipeline.recipe_of(recipe) if model is None else load_bundle(model)
    rules = Rules(align, within_mm, cast("Formula", lean_body_mass))
    pipeline.require_no_results(out)
    for source in (baseline, followup):
        if not (source / "run.json").is_file():
            pipeline.require_apart(out, source)
    with progress_bar() as progress:
        comparison = compare(scans[0], scans[1], method, rules, progress=progress)
        page = write_comparison(comparison, out)
    if as_json:
        answer_json({**response_record(comparison), "report": str(page)})
        return
    verdict = comparison.response.percist
    answer(changes_table(comparison))
    category = f"{verdict.category}, " if verdict.category else ""
    answer(f"\nPERCIST 1.0: {category}{CATEGORY_WORDS[verdict.category]} ({verdict.reason})")
    for note in comparison.notes:
        answer(f"note: {note}")
    answer(f"\nreport: {page}")


def _two(given: list[str] | None, name: str, same: bool) -> tuple[str, str]:
    """Words for baseline and follow-up; given once, the follow-up's are `same` or left open."""
    words = given or [""]
    if len(words) > 2:
        raise typer.BadParameter("at most two: baseline and follow-up", param_hint=name)
    return words[0], words[1] if len(words) == 2 else words[0] if same else ""


def changes_table(comparison: Comparison) -> str:
    """A row per match and one for all lesions: kind, and what changed from what to what."""
    from lesionlab.core.results import Column
    from lesionlab.report.response_figures import peak_name

    result = comparison.response
    names = ["SUVmax", peak_name(result), "MTV", "TLG"]
    head = [with_unit(Column(name, result.quantities[name], "")) for name in names]
    rows: list[list[object]] = []
    for change, words in [*((c, c.match.words) for c in result.changes), (result.totals, "all")]:
        kind = "" if words == "all" else change.match.kind
        cells = [
            f"{shown(change.baseline[n])} → {shown(change.followup[n])} ({_percent(change.percent[n])})"
            for n in names
        ]
        rows.append([words, kind, *cells])
    return table(["lesions", "", *head], rows)


def _percent(value: float) -> str:
    return "-" if value != value else f"{value:+.0f} %"
