"""From patients with contours to a bundle: plan, train every fold, try each on patients it has not seen.

Everything is kept in a workspace folder and goes on where an interrupted run stopped. nnU-Net's part is in
`plan/`, `train/` and `predict/`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lesionlab.core.case import Case, spacing_words
from lesionlab.core.errors import DatasetError, LesionLabError, ReadError, RecipeError, TrainingError
from lesionlab.core.files import require_folder, write_json
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Scores
from lesionlab.core.splits import read_folds
from lesionlab.core.tasks import Outcome, Progress, silent
from lesionlab.core.volume import Volume
from lesionlab.core.workspace import Workspace, nothing_left, open_workspace, persons_of
from lesionlab.evaluate import summarise
from lesionlab.pipeline.card import model_card
from lesionlab.pipeline.checklists import checklists_of
from lesionlab.pipeline.cohort import case_name, report_cohort
from lesionlab.pipeline.curves import all_curves, leave_curves
from lesionlab.pipeline.datasets import require_labels
from lesionlab.pipeline.evaluation import write_scored
from lesionlab.pipeline.kept import Examined, examined_task, run_examined
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.quality import remember_training
from lesionlab.pipeline.record import part
from lesionlab.pipeline.steps import steps_bundle, train_first_step
from lesionlab.plan import (
    DRAWN,
    Gathered,
    OwnFolds,
    Plan,
    among,
    gather_dataset,
    nnunet_id,
    plan_gathered,
    require_fit,
)
from lesionlab.predict import Bundle, write_bundle
from lesionlab.predict.bundle import finished
from lesionlab.read import find_cases
from lesionlab.report import save_volume
from lesionlab.train import train_fold

SOURCES_FILE = "sources.json"
FINAL = "checkpoint_final.pth"
Fold = int | str
FIRST_SHARE = 0.4
"""Share of the progress bar for the first of two networks."""


@dataclass(frozen=True)
class Planned:
    """A planned workspace, and the cases that could not be used: their name and the reason."""

    plan: Plan
    failed: Mapping[str, str]


def plan_cohort(
    source: str | Path, recipe: Recipe, root: str | Path, *, progress: Progress = silent
) -> Planned:
    """Read every patient under `source` and plan training in the workspace `root`.

    Patients come as scans with contours, or as `convert_cohort` wrote them. A case that cannot be read, or
    has no truth, is left out and listed. Raises DatasetError when too few are left for the recipe's folds,
    RecipeError for a network that does not fit and for a recipe without one. A new workspace that is refused
    is not left behind.
    """
    require_network(recipe)
    with nothing_left(Path(root)):
        found = gather_cohort(source, recipe, root, progress=part(progress, 0.0, 0.6))
        share = part(progress, 0.6, 1.0)
        plans = plan_gathered(found.workspace, recipe, list(found.patients), share)
    progress("planned", 1.0)
    return Planned(found.planned(plans), found.failed)


def require_network(recipe: Recipe) -> None:
    """Raise RecipeError for a recipe that trains no network."""
    if recipe.method != "network":
        raise RecipeError(recipe.name, f"method = {recipe.method!r}", "a recipe with a network to train")


def gather_cohort(
    source: str | Path,
    recipe: Recipe,
    root: str | Path,
    *,
    folds: OwnFolds | None = None,
    progress: Progress = silent,
) -> Gathered:
    """The first half of `plan_cohort`: patients read, raw folder, fingerprint and folds, no network yet.

    The test cases of a data set with official folds are left alone. `folds` are taken instead of those or of
    drawn ones.
    """
    root = Path(root)
    require_folder(root)
    require_fit(recipe)
    require_labels(Path(source), recipe)
    official = read_folds(Path(source)) if recipe.training.official_folds else None
    test = frozenset() if official is None else frozenset(official.test)
    named = [(case_name(path, Path(source)), path) for path in find_cases(Path(source))]
    if not named:
        raise ReadError(source, "no scan in it", "a folder of patients with contours")
    named = [(name, path) for name, path in named if name not in test]
    failed: dict[str, str] = {}
    sources: dict[str, dict[str, str]] = {}

    def cases() -> Iterator[Case]:
        for number, (name, path) in enumerate(named):
            progress(f"reading {name}", number / len(named))
            try:
                case = open_standardised(path, recipe, case_id=name)
            except LesionLabError as error:
                failed[name] = str(error)
                continue
            sources[nnunet_id(name)] = {"case_id": name, "source": str(path.absolute())}
            yield case

    try:
        found = gather_dataset(cases(), recipe, root, _save, official=folds or official)
    except DatasetError as error:
        raise among(error, failed) from None
    failed.update(found.failed)
    sources = {name: item for name, item in sources.items() if name in found.patients}
    write_json(root / SOURCES_FILE, {"cases": sources, "failed": failed})
    return replace(found, failed=failed)


def train_folds(
    root: str | Path,
    folds: Sequence[Fold] | None = None,
    *,
    device: str = "auto",
    progress: Progress = silent,
) -> list[Path]:
    """Train folds one after another (all of the recipe's when None); returns their folders.

    Of a recipe with two steps, every fold of the first network comes before, for the second needs them all.
    Finished folds are kept, an interrupted one goes on from its last checkpoint. Curves are left in each
    folder as curves.csv and curves.png.
    """
    workspace, recipe = open_workspace(Path(root))
    require_network(recipe)
    wanted = list(range(workspace.folds)) if folds is None else list(folds)
    trained = []
    first = train_first_step(root, device=device, progress=part(progress, 0, FIRST_SHARE))
    begun = FIRST_SHARE if first else 0.0
    for number, fold in enumerate(wanted):
        share = part(part(progress, begun, 1), number / len(wanted), (number + 1) / len(wanted))
        folder = train_fold(Path(root), fold, device=device, progress=share)
        leave_curves(folder)
        trained.append(folder)
    progress("trained", 1.0)
    return trained


def cross_validate(
    root: str | Path, out: str | Path, *, device: str = "auto", progress: Progress = silent
) -> list[Outcome[Scores]]:
    """Examine every case with the fold that has not seen its patient, and score it against its truth.

    Folds that are not trained are left out. Each case's report goes into `out/CASE/`; cases.csv,
    summary.json, checklists and a cohort report with the training curves into `out`. Cases that an earlier
    run finished with the same weights are kept. Raises TrainingError when no fold is finished.
    """
    workspace, recipe = open_workspace(Path(root))
    out, splits = Path(out), json.loads((workspace.preprocessed / "splits_final.json").read_text())
    held_out = {
        name: fold
        for fold, split in enumerate(splits)
        for name in split["val"]
        if is_trained(workspace, recipe, fold)
    }
    if not held_out:
        raise TrainingError(root, "no finished fold", "at least one; train first")
    sources = json.loads((Path(root) / SOURCES_FILE).read_text(encoding="utf-8"))["cases"]
    bundles = {fold: fold_bundle(workspace, recipe, fold) for fold in set(held_out.values())}
    # fold by fold, so that each network is loaded once
    names = sorted(held_out, key=lambda name: (held_out[name], name))
    tasks = []
    for number, name in enumerate(names):
        scan, case_id = Path(sources[name]["source"]), sources[name]["case_id"]
        share = part(progress, number / len(names), (number + 1) / len(names), name)
        bundle = bundles[held_out[name]]
        tasks.append(examined_task(scan, bundle, out, name=case_id, device=device, progress=share))
    done = dict(zip(names, run_examined(tasks, out, progress=progress), strict=True))
    outcomes = [done[name] for name in sorted(names)]
    scored = [_scored(outcome) for outcome in outcomes]
    record = json.loads(workspace.cases_file.read_text(encoding="utf-8"))
    persons = persons_of(record)
    summary = write_scored(scored, out, _patients_of_cases(Path(root), persons))
    own = record.get("folds", DRAWN)
    official = None if own == DRAWN else (own, workspace.folds)
    checklists_of([out / outcome.name for outcome in outcomes], out, summary, persons, official)
    curves = {
        caption if name == recipe.steps[-1] else f"{caption} (first step)": picture
        for name in reversed(recipe.steps)
        for caption, picture in all_curves(workspace.model(name)).items()
    }
    report_cohort(outcomes, out, title=f"{recipe.name}: cross-validation by patient", figures=curves)
    return scored


def _scored(outcome: Outcome[Examined]) -> Outcome[Scores]:
    """The scores of an examined case; a case that has lost its truth since it was planned has failed."""
    scores, error = outcome.value.scores if outcome.value else None, outcome.error
    if scores is None and error is None:
        error = f"{outcome.name}: found no truth any more; needed the contours it was planned with"
    return Outcome(outcome.name, scores, error, outcome.seconds, outcome.reused)


def finish(
    root: str | Path,
    target: str | Path,
    scores: Sequence[Scores] = (),
    *,
    patients: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    whole: bool = False,
) -> Path:
    """Write the bundle of all finished folds with recipe and model card; `scores` are held-out ones.

    `whole` takes the network of all patients, which otherwise counts only where there is no other. `patients`
    maps their cases to patients where the workspace does not tell. `recipe` replaces the workspace's own,
    with other decisions and clean-up for the same network.
    """
    workspace, planned = open_workspace(Path(root))
    recipe = recipe or planned
    model = workspace.model(recipe.network.configuration)
    record = json.loads(workspace.cases_file.read_text(encoding="utf-8"))
    folds = [file.parent.name.removeprefix("fold_") for file in finished(model, whole=whole)]
    if scores and patients is None:
        patients = _patients_of_cases(Path(root), persons_of(record))
    lengths = spacing_words(len(record.get("spacing_unknown", ())), len(persons_of(record)))
    summary = {**summarise(scores, patients), "spacing": lengths} if scores else None
    card = model_card(recipe, persons_of(record), folds, summary)
    earlier = workspace.model(recipe.steps[0]) if len(recipe.steps) > 1 else None
    bundle = write_bundle(model, recipe, card, Path(target), earlier=earlier, whole=whole)
    remember_training(workspace, bundle)
    return bundle


def _patients_of_cases(root: Path, patients: Mapping[str, str]) -> dict[str, str]:
    """Case id to patient; `patients` is the plan's, by nnU-Net's names."""
    sources = json.loads((root / SOURCES_FILE).read_text(encoding="utf-8"))["cases"]
    return {sources[name]["case_id"]: patient for name, patient in patients.items() if name in sources}


def _save(volume: Volume, path: Path) -> None:
    save_volume(volume, path)


def is_trained(workspace: Workspace, recipe: Recipe, fold: Fold) -> bool:
    """True when a fold has its final checkpoint."""
    return (workspace.model(recipe.network.configuration) / f"fold_{fold}" / FINAL).is_file()


def fold_bundle(workspace: Workspace, recipe: Recipe, fold: Fold) -> Bundle:
    """One finished fold of a workspace as a bundle, with all steps, without copying it."""
    return steps_bundle(workspace, recipe, fold)
