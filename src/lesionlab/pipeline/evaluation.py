"""Evaluation of mask files: every pair scored, then cases.csv, lesions.csv, summary.json and evaluation.html.

Metrics are `evaluate/`'s, the page is `report/evaluation.py`, finding the files `pairs.py`, reading
them `loaded_pairs.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lesionlab.core.case import SPACING_UNKNOWN, spacing_words
from lesionlab.core.errors import DatasetError, LesionLabError, WriteError
from lesionlab.core.files import write_text
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Volume
from lesionlab.evaluate import (
    METRICS,
    Calibration,
    DiceCurve,
    FrocCase,
    Matching,
    MatchRule,
    calibration,
    dice_by_threshold,
    froc,
    froc_case,
    lesion_records,
    lesions_csv,
    mean_curve,
    near_box,
    pooled,
    probabilities_of,
    score_lesions,
    sensitivity_of_records,
    summarise,
    write_scores,
)
from lesionlab.pipeline.checklists import checklists_of
from lesionlab.pipeline.files import require_none_of
from lesionlab.pipeline.loaded_pairs import Label, load_image, load_pair, load_probabilities
from lesionlab.pipeline.pairs import NAMES, Pair, pairs_of, patient_of, spacing_notes
from lesionlab.report import (
    ModelResults,
    Pictured,
    Worst,
    case_picture,
    worst_cases,
    write_evaluation_page,
)

PICTURED = 8
"""So many bad cases are in the page."""


@dataclass(frozen=True)
class Settings:
    """How pairs are read and scored: which label, by which matching rule, whether grids may differ.

    Where the truth has the label `ignored`, nothing is scored.
    """

    label: Label = None
    rule: MatchRule = field(default_factory=MatchRule)
    resampled: bool = False
    ignored: int | None = None


@dataclass(frozen=True, eq=False)
class Probed:
    """What a case's probability map adds: calibration near the lesions and overall, Dice curve."""

    near: Calibration
    everywhere: Calibration
    dice: DiceCurve


@dataclass(frozen=True, eq=False)
class CaseResult:
    """One case: its scores, a record per lesion, and what its probabilities add where it has some.

    `froc` is None for predicted lesions without a probability; a case without any needs none. `labels` are
    those of both masks, where one of them was asked for; `patient` is "" where nothing tells.
    """

    scores: Scores
    lesions: tuple[Mapping[str, Any], ...]
    probed: Probed | None = None
    froc: FrocCase | None = None
    labels: frozenset[int] = frozenset()
    patient: str = ""


def evaluate_files(
    predictions: str | Path, truths: str | Path, *, progress: Progress = silent
) -> list[Outcome[Scores]]:
    """The scores of mask files against truth files: one against one, or two folders paired by case id.

    As `evaluate_pairs` of `pairs_of`, with all labels as one foreground and the scores alone.
    """
    pairs = pairs_of(Path(predictions), Path(truths))
    return scores_of(evaluate_pairs(pairs, Settings(label="all"), progress=progress))


def scores_of(outcomes: Sequence[Outcome[CaseResult]]) -> list[Outcome[Scores]]:
    """The same outcomes with the scores alone."""
    return [
        Outcome(o.name, None if o.value is None else o.value.scores, o.error, o.seconds) for o in outcomes
    ]


def evaluate_pairs(
    pairs: Sequence[Pair], settings: Settings | None = None, *, progress: Progress = silent
) -> list[Outcome[CaseResult]]:
    """Score every pair; one that cannot be scored keeps its reason, the others go on.

    A case without a prediction is scored as one in which nothing was found, and marked so. Raises
    DatasetError where masks have labels, but none of them the one asked for.
    """
    chosen = settings or Settings()
    tasks = [Task(pair.case_id, lambda pair=pair: evaluate_pair(pair, chosen)) for pair in pairs]
    outcomes = run_tasks(tasks, progress=progress)
    labels = {label for o in outcomes if o.value is not None for label in o.value.labels}
    if isinstance(chosen.label, int) and labels and chosen.label not in labels:
        found = f"label {', '.join(map(str, sorted(labels)))}"
        raise DatasetError("masks", found, f"label {chosen.label} in one at least, or another --label")
    return outcomes


def evaluate_pair(pair: Pair, settings: Settings) -> CaseResult:
    """Score one case. Raises what `load_pair` and the metrics raise."""
    loaded = load_pair(pair, label=settings.label, resampled=settings.resampled, ignored=settings.ignored)
    missing = loaded.mask is None
    mask = loaded.truth.with_array(loaded.truth.array * 0) if loaded.mask is None else loaded.mask
    scores, matching = score_lesions(pair.case_id, mask, loaded.truth, rule=settings.rule)
    notes = (*loaded.notes, *spacing_notes(pair.truth, pair.prediction), *scores.notes)
    if missing:
        notes = ("no prediction: scored as an empty one", *notes)
        scores = replace(scores, values={**scores.values, "prediction_missing": 1.0})
    scores = replace(scores, notes=notes)
    records = lesion_records(pair.case_id, matching, loaded.truth.geometry)
    volume = load_probabilities(pair, loaded.truth.geometry)
    if volume is not None and loaded.counted is not None:
        volume = volume.with_array(np.where(loaded.counted, volume.array, 0))  # as sure background
    probed = None if volume is None else _probed(pair, volume, loaded.truth)
    whose = patient_of(pair.truth, pair.prediction)
    return CaseResult(scores, tuple(records), probed, _froc_case(matching, volume), loaded.labels, whose)


def _probed(pair: Pair, volume: Volume, truth: Volume) -> Probed:
    probability, true = probabilities_of(str(pair.probability), volume), truth.array > 0
    return Probed(
        near=calibration(probability, true, box=near_box(probability, true)),
        everywhere=calibration(probability, true),
        dice=dice_by_threshold(probability, true),
    )


def _froc_case(matching: Matching, probability: Volume | None) -> FrocCase | None:
    """The case for FROC; where nothing was predicted all lesions are missed, whatever a map would say."""
    if probability is not None:
        return froc_case(matching, probability.array)
    return None if len(matching.false) else FrocCase((-math.inf,) * len(matching.found), ())


def summary_of(outcomes: Sequence[Outcome[CaseResult]], settings: Settings) -> dict[str, Any]:
    """What summary.json holds: how it was counted, metrics over cases, lesions by size, probabilities."""
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    return {**_facts(outcomes, settings), **summarise([one.scores for one in done], _patients(done))}


def _patients(done: Sequence[CaseResult]) -> dict[str, str]:
    """Case to patient, of the cases whose patient is known."""
    return {one.scores.case_id: one.patient for one in done if one.patient}


def _facts(outcomes: Sequence[Outcome[CaseResult]], settings: Settings) -> dict[str, Any]:
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    records = [record for one in done for record in one.lesions]
    bins = [{**asdict(item), "sensitivity": item.sensitivity} for item in sensitivity_of_records(records)]
    facts: dict[str, Any] = {
        "failed": failures(outcomes),
        "label": settings.label,
        "matching": settings.rule.words,
        "ignored": "nothing" if settings.ignored is None else f"where the truth has label {settings.ignored}",
        "resampling": "nearest neighbour where grids differ" if settings.resampled else "none",
        "sensitivity_by_size": bins,
    }
    if words := spacing_of([one.scores for one in done]):
        facts["spacing"] = words
    if any(one.probed is not None for one in done):
        facts["probabilities"] = _probabilities(done)
    return facts


def spacing_of(scores: Sequence[Scores]) -> str:
    """What is to be said of lengths where cases' notes say that their pixel spacing is unknown; else ""."""
    return spacing_words(sum(SPACING_UNKNOWN in "; ".join(one.notes) for one in scores), len(scores))


def split(outcomes: Sequence[Outcome[Scores]]) -> tuple[list[Scores], dict[str, str]]:
    """The scores there are, and the reasons of those there are not by case."""
    return [outcome.value for outcome in outcomes if outcome.value is not None], failures(outcomes)


def failures(outcomes: Sequence[Outcome[Any]]) -> dict[str, str]:
    """The reason of each case that could not be scored."""
    return {outcome.name: outcome.error for outcome in outcomes if outcome.error is not None}


def _probabilities(done: Sequence[CaseResult]) -> dict[str, Any]:
    probed, scans = _with_probabilities(done)
    near, everywhere = pooled(p.near for p in probed), pooled(p.everywhere for p in probed)
    curve = froc(scans)
    dice = mean_curve([p.dice for p in probed])
    threshold, best = dice.best
    return {
        "cases": len(probed),
        "bins": len(near.voxels),
        "ece_near": near.ece,
        "brier_near": near.brier,
        "ece_all_voxels": everywhere.ece,
        "brier_all_voxels": everywhere.brier,
        "best_threshold": threshold,
        "best_mean_dice": best,
        "froc_cases": len(scans),
        "froc_sensitivity": curve.at,
        "froc_mean_sensitivity": curve.mean,
    }


def _with_probabilities(done: Sequence[CaseResult]) -> tuple[list[Probed], list[FrocCase]]:
    """What the cases' maps add, and the cases of which FROC can tell."""
    probed = [one.probed for one in done if one.probed is not None]
    return probed, [one.froc for one in done if one.froc is not None]


def require_no_results(folder: Path) -> None:
    """Raise WriteError for a folder with results of `examine` or `measure`, whose tables or page would go.

    So would a summary.json of another program, such as nnU-Net's beside the masks of its validation.
    """
    require_none_of(folder, ("run.json", "cohort.json"))
    file = folder / "summary.json"
    try:
        ours = not file.exists() or "metrics" in json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise WriteError(file, "a summary of another program", "another folder (-o)")


def write_evaluation(
    outcomes: Sequence[Outcome[CaseResult]],
    pairs: Sequence[Pair],
    folder: str | Path,
    settings: Settings | None = None,
    *,
    title: str = "Masks",
) -> dict[str, Any]:
    """Write cases.csv, lesions.csv, summary.json, evaluation.html and checklists; returns the summary."""
    chosen, out = settings or Settings(), Path(folder)
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    summary = write_scores([one.scores for one in done], out, _patients(done), **_facts(outcomes, chosen))
    write_text(out / "lesions.csv", lesions_csv([record for one in done for record in one.lesions]))
    drawn = [pair.prediction for pair in pairs if pair.prediction is not None]
    checklists_of([path.parent for path in drawn if path.name == NAMES[0]], out, summary)
    facts = {
        "lesions": "18-connected components (a report's lesions join corners too, 26 neighbours); "
        f"{chosen.rule.words}",
        "grids": f"resampling: {summary['resampling']}",
        "ignored": str(summary["ignored"]),
        "label": "the only one there is" if chosen.label is None else str(chosen.label),
        **({"lengths": summary["spacing"]} if "spacing" in summary else {}),
        "files": "cases.csv, lesions.csv and summary.json beside this page",
    }
    model = model_results(title, outcomes, pairs, summary, chosen)
    write_evaluation_page(out / "evaluation.html", [model], METRICS, title=title, facts=facts)
    return summary


def write_scored(
    outcomes: Sequence[Outcome[Scores]], folder: str | Path, patients: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Write cases.csv and summary.json (cases that failed with their reason in it); returns the summary.

    `patients` as for `evaluate.summarise`.
    """
    done, failed = split(outcomes)
    return write_scores(done, Path(folder), patients, failed=failed)


def model_results(
    name: str,
    outcomes: Sequence[Outcome[CaseResult]],
    pairs: Sequence[Pair],
    summary: Mapping[str, Any],
    settings: Settings,
) -> ModelResults:
    """One model as the page shows it, its worst cases read again and drawn."""
    done = [outcome.value for outcome in outcomes if outcome.value is not None]
    scores = [one.scores for one in done]
    by_id = {pair.case_id: pair for pair in pairs}
    worst = worst_cases(scores)[:PICTURED]
    return ModelResults(
        name=name,
        scores=scores,
        summary=summary,
        failed=failures(outcomes),
        probabilities=_curves(done),
        gallery=[_picture(by_id[one.case_id], one, settings) for one in worst],
    )


def _picture(pair: Pair, worst: Worst, settings: Settings) -> Pictured:
    loaded = load_pair(pair, label=settings.label, resampled=settings.resampled, ignored=settings.ignored)
    mask = loaded.truth.with_array(loaded.truth.array * 0) if loaded.mask is None else loaded.mask
    note = ""
    try:
        image = load_image(pair, loaded.truth.geometry)
    except LesionLabError as error:
        # The numbers stand without the scan, and so does a picture of the masks.
        image, note = None, f" The scan could not be read: {error}"
    png, words = case_picture(loaded.truth, mask, image)
    return Pictured(worst, png, words + note)


def _curves(done: Sequence[CaseResult]) -> dict[str, Any]:
    probed, scans = _with_probabilities(done)
    if not probed:
        return {}
    facts = _probabilities(done)
    near, curve = pooled(p.near for p in probed), froc(scans)
    dice = mean_curve([p.dice for p in probed])
    x, y = near.reliability
    text = (
        f"{facts['cases']} cases. Near lesions: ECE {facts['ece_near']:.4f} ({facts['bins']} bins), Brier "
        f"{facts['brier_near']:.4f}; over all voxels: {facts['ece_all_voxels']:.5f} and "
        f"{facts['brier_all_voxels']:.5f}. Mean Dice is highest, {_three(facts['best_mean_dice'])}, at a "
        f"threshold of {_three(facts['best_threshold'])}. FROC over {facts['froc_cases']} cases: a predicted "
        "lesion's score is the highest probability in it."
    )
    points = list(zip(curve.false_per_scan.tolist(), curve.sensitivity.tolist(), strict=True))
    return {
        "text": text,
        "reliability": list(zip(x.tolist(), y.tolist(), strict=True)),
        "dice": list(zip(dice.thresholds.tolist(), dice.dice.tolist(), strict=True)),
        "froc": [point for point in points if not math.isnan(point[1])],
    }


def _three(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"
