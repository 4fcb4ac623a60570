"""Do the quality flags, which need no truth, follow the true Dice? On a cross-validated workspace.

Every patient is examined by the fold that has not seen him: as usual (mirrored and averaged), and once per
mirroring, which gives the masks whose disagreement is a flag. Volume and position are compared with the
truths that this fold was trained on. Folds that are not trained are left out.

    python benchmarks/quality_correlation.py WORKSPACE -o benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
import io
import itertools
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.recipe import Recipe
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import Workspace, open_workspace
from lesionlab.evaluate import score_case
from lesionlab.evaluate.correlation import spearman
from lesionlab.evaluate.quality import Quality, TrainingLesions, quality, training_lesions
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.training import SOURCES_FILE, fold_bundle, is_trained
from lesionlab.predict import Bundle, predict
from lesionlab.read import load_mask
from lesionlab.refine import refine

COMMAND = "python benchmarks/quality_correlation.py WORKSPACE -o benchmarks/results"
FLIPS = tuple(axes for n in range(4) for axes in itertools.combinations(range(3), n))
"""Every choice of axes to mirror, none first."""
WORDS = {
    "disagreement": "1 - mean pairwise Dice of the eight mirrorings",
    "doubt": "1 - Dice expected by the network's own probabilities",
    "volume": "outlier in log volume against the fold's training truths",
    "position": "outlier in the centroid's place in the image, likewise",
    "border": "share of the mask on the image's border",
    "score": "largest value over threshold of all flags",
}


def flipped(case: Case, axes: tuple[int, ...]) -> Case:
    """The case with its arrays mirrored, on the same grid."""
    channels = {
        name: volume.with_array(np.ascontiguousarray(np.flip(volume.array, axes)))
        for name, volume in case.channels.items()
    }
    return replace(case, channels=channels, truth=None)


def one_way(case: Case, bundle: Bundle, axes: tuple[int, ...]) -> Volume:
    """The probability of one mirroring alone, mirrored back."""
    found = predict(flipped(case, axes), bundle, device="cpu", probability=True).probability
    assert found is not None  # noqa: S101 (networks give one)
    return found.with_array(np.ascontiguousarray(np.flip(found.array, axes)))


def trained_on(workspace: Workspace, names: Sequence[str]) -> TrainingLesions:
    """The truths of a fold's training cases, as they were planned with."""
    folder = workspace.raw / "labelsTr"
    return training_lesions(load_mask(folder / f"{name}.nii.gz") for name in names)


def judged(root: Path) -> Iterator[tuple[int, str, Quality, float]]:
    """Fold, case, flags and true Dice of every case of a finished fold."""
    workspace, recipe = open_workspace(root)
    sources = json.loads((root / SOURCES_FILE).read_text(encoding="utf-8"))["cases"]
    splits = json.loads((workspace.preprocessed / "splits_final.json").read_text())
    for fold, split in enumerate(splits):
        if not is_trained(workspace, recipe, fold):
            continue
        training, bundle = trained_on(workspace, split["train"]), fold_bundle(workspace, recipe, fold)
        single = replace(bundle, recipe=recipe.changed(prediction={"mirror": False}))
        cases = [
            open_standardised(sources[name]["source"], recipe, case_id=sources[name]["case_id"])
            for name in sorted(split["val"])
        ]
        # one bundle after the other, because only the last used one stays loaded
        members = [[one_way(case, single, axes) for axes in FLIPS] for case in cases]
        for case, ways in zip(cases, members, strict=True):
            yield fold, case.id, *judge(case, bundle, ways, training)


def judge(
    case: Case, bundle: Bundle, ways: Sequence[Volume], training: TrainingLesions
) -> tuple[Quality, float]:
    """Flags and true Dice of the mask that a user would get."""
    prediction = refine(predict(case, bundle, device="cpu", probability=True), case, bundle.recipe)
    found = quality(prediction.mask, members=ways, probability=prediction.probability, training=training)
    assert case.truth is not None  # noqa: S101 (planned cases have one)
    return found, score_case(case.id, prediction.mask, case.truth).values["dice"]


def values_of(found: Quality) -> dict[str, float]:
    """The flags' values and the summary score by name; `empty` is left out, it has no degrees."""
    return {flag.name: flag.value for flag in found.flags if flag.name in WORDS} | {"score": found.score}


def verdict(low: float, high: float) -> str:
    """What an interval says: a flag that works falls when Dice rises."""
    if math.isnan(low):
        return "does not vary: nothing can be said"
    if high < 0.0:
        return "follows Dice"
    return "rises with Dice: misleading here" if low > 0.0 else "not shown to follow Dice"


def correlation_table(rows: Sequence[tuple[int, str, Quality, float]]) -> list[str]:
    """A row per flag: how often it was raised, Dice with and without, and the correlation."""
    dice = np.array([row[3] for row in rows])
    lines = [
        "| flag | value | threshold | raised | mean Dice raised / not | Spearman (95 %) | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    limits = {flag.name: flag.threshold for flag in rows[0][2].flags} | {"score": 1.0}
    for name, words in WORDS.items():
        values = np.array([values_of(row[2])[name] for row in rows])
        up = np.array([bool(row[2].raised) for row in rows]) if name == "score" else values > limits[name]
        rho = spearman(values, dice)
        means = [f"{dice[part].mean():.3f}" if part.any() else "-" for part in (up, ~up)]
        interval = "-" if math.isnan(rho.low) else f"{rho.estimate:+.2f} ({rho.low:+.2f} to {rho.high:+.2f})"
        lines.append(
            f"| {name} | {words} | {limits[name]:g} | {up.sum()} of {rho.n} | {' / '.join(means)} "
            f"| {interval} | {verdict(rho.low, rho.high)} |"
        )
    return lines


def case_table(rows: Sequence[tuple[int, str, Quality, float]]) -> str:
    """Every case's flags and Dice as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "fold", "dice", *WORDS, "raised"])
    for fold, name, found, dice in rows:
        numbers = [f"{value:.4f}" for value in values_of(found).values()]
        writer.writerow([name, fold, f"{dice:.4f}", *numbers, " ".join(found.raised)])
    return text.getvalue()


def page(rows: Sequence[tuple[int, str, Quality, float]], recipe: Recipe, note: str) -> str:
    """The committed table with what it was made from, and what it does not show."""
    folds = ", ".join(str(fold) for fold in sorted({row[0] for row in rows}))
    facts = [
        "# Quality flags without truth beside the true Dice: sarcoma patients, cross-validated",
        "",
        f"Made by `{COMMAND}`.",
        f"Recipe {recipe.name} ({recipe.sha256[:12]}); {len(rows)} patients, each examined by the fold "
        f"that has not seen him (folds {folds} of {recipe.training.folds}). {note}".rstrip(),
        "",
        *correlation_table(rows),
        "",
        "A flag that works has a negative correlation. Intervals are percentile bootstraps over patients "
        "(10,000 resamples), not corrected for their number. The thresholds were set before these numbers "
        "were known, and were not changed afterwards.",
        "",
        "What this does not show: disagreement among folds, because all other folds were trained on the "
        "patient; and how position and border behave on whole-body scans, because these images are cropped "
        "5 cm around the tumour, so that the true lesion is in the middle and never at the border.",
        "",
        "Values per patient: `quality_correlation.csv`.",
    ]
    return "\n".join(facts) + "\n"


def main() -> int:
    """Run; exit 1 when no fold is trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workspace", type=Path, help="a workspace with trained folds")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence for the table, e.g. on the machine")
    options = parser.parse_args()
    rows = []
    for row in judged(options.workspace):
        rows.append(row)
        print(f"{row[1]}: fold {row[0]}, Dice {row[3]:.3f}, score {row[2].score:.2f}", file=sys.stderr)
    if not rows:
        print("no trained fold", file=sys.stderr)
        return 1
    text = page(rows, open_workspace(options.workspace)[1], options.note)
    write_text(options.out / "quality_correlation.csv", case_table(rows))
    write_text(options.out / "quality_correlation.md", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
