"""The verb that compares masks with the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lesionlab.cli.scans import SHOWN_SCORES, list_failures
from lesionlab.cli.terminal import Debug, Json, answer, answer_json, complain, progress_bar, table

if TYPE_CHECKING:
    from lesionlab.core.results import Scores
    from lesionlab.core.tasks import Outcome
    from lesionlab.pipeline.evaluation import CaseResult
    from lesionlab.pipeline.loaded_pairs import Label
    from lesionlab.pipeline.pairs import Pair

Predictions = Annotated[
    Path,
    typer.Argument(
        metavar="PRED",
        help="A mask, a folder of masks, or a CSV file with columns prediction and truth.",
        show_default=False,
    ),
]
Truths = Annotated[
    Path | None,
    typer.Argument(
        metavar="TRUTH",
        help="The expert's mask, or a folder of masks or of scans with contours.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The scans: pictures of the worst cases, and a grid for contours."),
]
Probabilities = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Probability maps: calibration, Dice by threshold, FROC."),
]
ChosenLabel = Annotated[
    str | None,
    typer.Option("--label", metavar="N", help="The label to score, or all as one; needed where several are."),
]
Rule = Annotated[
    str,
    typer.Option(
        metavar="RULE", help="When a lesion is found: any (voxel shared), iou, or one-to-one (with --iou)."
    ),
]


def evaluate(
    predictions: Predictions,
    truths: Truths = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FOLDER", help="Where the tables and evaluation.html go."),
    ] = None,
    images: Images = None,
    probabilities: Probabilities = None,
    label: ChosenLabel = None,
    ignore: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="The truth's label of voxels that are not scored."),
    ] = None,
    rule: Rule = "any",
    iou: Annotated[
        float | None,
        typer.Option(help="The IoU that the rules iou and one-to-one ask for.", show_default="0.5"),
    ] = None,
    resample: Annotated[
        bool, typer.Option("--resample", help="Bring masks onto the truth's grid (nearest neighbour).")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare masks with the truth: overlap, volumes, surfaces and lesions, by case and over cases.

    Folders are paired by case id: the file's name, or the name of a folder with mask.nii.gz (from
    `examine`) or truth.nii.gz (from `convert`) in it; TRUTH may also hold the scans with their contours. One
    patient's results against one file or DICOM scan are one case, whatever they are called.
    Writes cases.csv, lesions.csv, summary.json and evaluation.html. A case without a prediction counts as one
    in which nothing was found; it and those that cannot be scored are listed at the end (exit code 1).

    Example: `lesionlab evaluate out/ nifti/ -o scores/`
    """
    from lesionlab import pipeline
    from lesionlab.evaluate import MatchRule

    kind = chosen_rule(rule)
    if kind == "any" and iou is not None:
        raise typer.BadParameter("the rule any asks for none; --rule iou or one-to-one", param_hint="--iou")
    matching = MatchRule(kind, 0.5 if iou is None else iou)  # type: ignore[arg-type]
    settings = pipeline.Settings(chosen_label(label), matching, resample, ignore)
    if out is not None:
        pipeline.require_no_results(out)
        pipeline.require_spared((out / name for name in ("cases.csv", "lesions.csv")), predictions)
    pairs = chosen_pairs(predictions, truths, images, probabilities)
    with progress_bar() as progress:
        outcomes = pipeline.evaluate_pairs(pairs, settings, progress=progress)
    if out is None:
        summary = pipeline.summary_of(outcomes, settings)
    else:
        title = predictions.name if predictions.is_dir() else predictions.stem.removesuffix(".nii")
        summary = pipeline.write_evaluation(outcomes, pairs, out, settings, title=title or "Masks")
    tell_evaluation(outcomes, summary, out, as_json)


def chosen_rule(rule: str) -> str:
    """A matching rule's name as given; bad arguments are told with the names there are."""
    if rule not in ("any", "iou", "one-to-one"):
        raise typer.BadParameter(f"{rule!r} is not any, iou or one-to-one", param_hint="--rule")
    return rule


def chosen_label(text: str | None) -> Label:
    """The label as given: a number above 0, all, or none."""
    if text is None:
        return None
    if text == "all":
        return "all"
    if not text.isdecimal() or int(text) == 0:
        raise typer.BadParameter(f"{text!r} is not a label above 0, or all", param_hint="--label")
    return int(text)


def chosen_pairs(
    predictions: Path, truths: Path | None, images: Path | None, probabilities: Path | None
) -> list[Pair]:
    """The pairs that the arguments name: by a CSV file alone, or by predictions and truths."""
    from lesionlab import pipeline

    if predictions.suffix.lower() == ".csv":
        if truths is not None or images is not None or probabilities is not None:
            words = "a CSV file names truths, images and probabilities itself"
            raise typer.BadParameter(words, param_hint="TRUTH")
        return pipeline.listed_pairs(predictions)
    if truths is None:
        raise typer.BadParameter("masks need a TRUTH", param_hint="TRUTH")
    return pipeline.pairs_of(predictions, truths, images=images, probabilities=probabilities)


def tell_evaluation(
    outcomes: Sequence[Outcome[CaseResult]], summary: Mapping[str, Any], out: Path | None, as_json: bool
) -> None:
    """Print the scores, how many masks were empty, and last what went wrong (exit code 1)."""
    done = [outcome.value.scores for outcome in outcomes if outcome.value is not None]
    if as_json:
        cases = [{"case_id": s.case_id, "scores": dict(s.values), "notes": s.notes} for s in done]
        answer_json({"summary": summary, "cases": cases})
    elif done:
        answer(score_table(done, summary["metrics"]))
        answer(
            f"\n{len(done)} scored: truth empty in {summary['empty_truth']}, prediction empty in "
            f"{summary['empty_prediction']}, both in {summary['both_empty']}"
        )
    if out is not None and not as_json:
        names = ("cases.csv", "lesions.csv", "summary.json")
        answer(f"all metrics: {', '.join(str(out / name) for name in names)}")
        answer(f"page: {out / 'evaluation.html'}")
    missing = [s.case_id for s in done if s.values["prediction_missing"] == 1.0]
    for case in missing:
        complain(f"case {case}: found no prediction; counted as one in which nothing was found")
    list_failures([outcome for outcome in outcomes if outcome.error is not None])
    if missing:
        raise typer.Exit(1)


def score_table(scores: Sequence[Scores], metrics: Mapping[str, Mapping[str, float]]) -> str:
    """The metrics worth a terminal's width by case, and over cases where there are several."""
    rows: list[list[object]] = [[s.case_id, *(s.values[name] for name in SHOWN_SCORES)] for s in scores]
    if len(scores) > 1:
        over = ("mean", "median")
        rows += [[one, *(metrics[name][one] for name in SHOWN_SCORES)] for one in over]
    return table(["case", *SHOWN_SCORES], rows)
