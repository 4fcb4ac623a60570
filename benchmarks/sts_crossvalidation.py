"""Cross-validate a PET model on the 36 soft-tissue-sarcoma patients, beside a clinic's thresholds.

Plans, trains every fold, examines each patient with the fold that has not seen him, and scores network and
thresholds on the same voxels. Interrupt it whenever you like: the same command goes on.

    python benchmarks/sts_crossvalidation.py DATA -w WORKSPACE -o benchmarks/results
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.recipe import Recipe
from lesionlab.core.registry import find_recipe
from lesionlab.core.results import Scores
from lesionlab.core.units import ONE
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import open_workspace
from lesionlab.evaluate import best_threshold, score_case
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.record import versions
from lesionlab.pipeline.training import SOURCES_FILE, cross_validate, finish, plan_cohort, train_folds
from lesionlab.train import read_curves

METRICS = ("dice", "iou", "ppv", "sensitivity", "volume_error_ml", "volume_error_percent")
COMMAND = "python benchmarks/sts_crossvalidation.py DATA -w WORKSPACE -o benchmarks/results"
NETWORK = "network (cross-validated)"


def fixed(suv: float) -> Callable[[Case], Volume]:
    """Every voxel at or above an SUVbw."""
    return lambda case: _mask(case, case.channels["suv"].array >= suv)


def share_of_maximum(share: float) -> Callable[[Case], Volume]:
    """Every voxel at or above a share of the image's maximum."""
    return lambda case: _mask(case, case.channels["suv"].array >= share * case.channels["suv"].array.max())


def best_known(case: Case) -> Volume:
    """The best threshold of this patient, picked with knowledge of the truth: a bound, not a method."""
    suv = case.channels["suv"]
    assert case.truth is not None  # noqa: S101 (every STS patient has a contour)
    return _mask(case, suv.array >= best_threshold(suv, case.truth, subject=case.id).threshold)


def _mask(case: Case, inside: np.ndarray) -> Volume:
    return case.channels["suv"].with_array(inside.astype(np.uint8), ONE)


THRESHOLDS: Mapping[str, Callable[[Case], Volume]] = {
    "SUVbw 2.5": fixed(2.5),
    "SUVbw 4.0": fixed(4.0),
    "41 % of image maximum": share_of_maximum(0.41),
    "best threshold per patient, truth known": best_known,
}


def threshold_scores(workspace: Path, recipe: Recipe) -> dict[str, list[Scores]]:
    """Every threshold on every planned patient."""
    sources = json.loads((workspace / SOURCES_FILE).read_text())["cases"]
    found: dict[str, list[Scores]] = {name: [] for name in THRESHOLDS}
    for item in sources.values():
        case = open_standardised(item["source"], recipe, case_id=item["case_id"])
        for name, method in THRESHOLDS.items():
            assert case.truth is not None  # noqa: S101
            found[name].append(score_case(case.id, method(case), case.truth))
    return found


def patient_rows(by_method: Mapping[str, Sequence[Scores]], fold_of: Mapping[str, int]) -> list[dict]:
    """One row per patient and method."""
    return [
        {
            "patient": one.case_id,
            "fold": fold_of[one.case_id],
            "method": method,
            **{name: f"{one.values[name]:.4f}" for name in METRICS},
        }
        for method, scores in by_method.items()
        for one in sorted(scores, key=lambda s: s.case_id)
    ]


def table(by_method: Mapping[str, Sequence[Scores]], fold_of: Mapping[str, int]) -> str:
    """Means over patients as Markdown: per method, and per fold for the network."""

    def line(name: str, scores: Sequence[Scores]) -> str:
        values = {m: np.array([s.values[m] for s in scores]) for m in METRICS}
        error = values["volume_error_ml"]
        return (
            f"| {name} | {len(scores)} | {values['dice'].mean():.3f} | {np.median(values['dice']):.3f} "
            f"| {values['dice'].min():.3f} | {values['iou'].mean():.3f} | {np.nanmean(values['ppv']):.3f} "
            f"| {values['sensitivity'].mean():.3f} | {error.mean():+.1f} | {np.abs(error).mean():.1f} "
            f"| {np.median(np.abs(values['volume_error_percent'])):.1f} |"
        )

    head = [
        "| method | patients | Dice mean | median | min | IoU | PPV | sensitivity "
        "| MTV error, ml: mean | mean absolute | median absolute, % |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows = [line(name, scores) for name, scores in by_method.items()]
    folds = sorted(set(fold_of.values()))
    per_fold = [
        line(f"network, fold {k}", [s for s in by_method[NETWORK] if fold_of[s.case_id] == k]) for k in folds
    ]
    return "\n".join([*head, *rows, *per_fold])


def training_cost(workspace: Path) -> str:
    """How long each fold trained, from its curves."""
    planned, recipe = open_workspace(workspace)
    folders = sorted(planned.model(recipe.network.configuration).glob("fold_*"))
    minutes = [sum(row.seconds for row in read_curves(f)) / 60 for f in folders]
    steps = recipe.training.epochs * recipe.training.iterations
    each = ", ".join(f"{m:.0f}" for m in minutes)
    return f"{steps} iterations per fold; minutes per fold: {each}; in all {sum(minutes):.0f}"


def main() -> int:
    """Run or go on; exit 1 when a patient failed or the network is no better than the best threshold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the 36 patients (pet.nii.gz, pet_mask.nii.gz)")
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    parser.add_argument("-r", "--recipe", default="pet-small")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--note", default="", help="a sentence for the table, e.g. on the machine")
    options = parser.parse_args()

    def progress(message: str, share: float) -> None:
        print(f"\r{share:6.1%}  {message:<70}", end="", file=sys.stderr, flush=True)

    if not (options.workspace / "recipe.toml").is_file():
        plan_cohort(options.data, find_recipe(options.recipe), options.workspace, progress=progress)
    workspace, recipe = open_workspace(options.workspace)
    train_folds(options.workspace, progress=progress)
    outcomes = cross_validate(options.workspace, options.workspace / "crossvalidation", progress=progress)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    scores = [outcome.value for outcome in outcomes if outcome.value is not None]
    finish(options.workspace, options.workspace / "bundle", scores)
    by_method = {NETWORK: scores, **threshold_scores(options.workspace, recipe)}
    splits = json.loads((workspace.preprocessed / "splits_final.json").read_text())
    fold_of = {case: fold for fold, split in enumerate(splits) for case in split["val"]}

    rows = patient_rows(by_method, fold_of)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(options.out / "sts_crossvalidation.csv", text.getvalue())
    made = versions()
    facts = [
        "# 36 soft-tissue sarcomas, FDG-PET: cross-validation by patient",
        "",
        f"Made by `{COMMAND} -r {recipe.name}`.",
        f"Recipe {recipe.name} ({recipe.sha256[:12]}), {recipe.training.folds} folds by patient, "
        f"{training_cost(options.workspace)}.",
        f"{platform.machine()}, {platform.python_implementation()} {made['python']}, "
        f"torch {made.get('torch', '?')}, nnunetv2 {made.get('nnunetv2', '?')}. {options.note}".rstrip(),
        "",
        table(by_method, fold_of),
        "",
        "Every patient counts once; PPV is over the patients with a prediction, it is undefined without one.",
        "Values per patient: `sts_crossvalidation.csv`.",
        *(f"Failed: {outcome.error}" for outcome in failed),
    ]
    write_text(options.out / "sts_crossvalidation.md", "\n".join(facts) + "\n")
    print("\n" + "\n".join(facts))
    means = {name: np.mean([s.values["dice"] for s in found]) for name, found in by_method.items()}
    bound = means["best threshold per patient, truth known"]
    return 1 if failed or means[NETWORK] <= bound else 0


if __name__ == "__main__":
    sys.exit(main())
