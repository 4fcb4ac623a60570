"""From a study to a bundle: the networks of a variant, or of an ensemble, with the post-processing to use.

What is chosen here is for new patients, so it is learnt on every held-out prediction. The scores beside it
are those of the table, where no choice had seen its case.
"""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lesionlab.core.case import spacing_words
from lesionlab.core.errors import DatasetError
from lesionlab.core.recipe import Recipe
from lesionlab.core.results import Scores
from lesionlab.core.tasks import Progress, silent
from lesionlab.core.workspace import open_workspace
from lesionlab.evaluate import summarise
from lesionlab.pipeline.card import ensemble_card
from lesionlab.pipeline.quality import TRAINING_FILE
from lesionlab.pipeline.training import finish
from lesionlab.predict.bundle import MEMBERS, require_bundle_place, write_ensemble
from lesionlab.study.bench import Bench, Run, runs_of
from lesionlab.study.choose import OWN, Choice
from lesionlab.study.load import Study
from lesionlab.study.log import require_begun
from lesionlab.study.scores import ALL, chooser_of, owners_of, score_runs


def write_variant(
    study: Study, root: str | Path, name: str, target: str | Path, *, progress: Progress = silent
) -> Path:
    """Write the finished folds of a variant as a bundle for `examine -m`; an ensemble as one bundle.

    Of several seeds a variant takes the first, an ensemble all. Raises DatasetError for a folder without a
    study, for a name that is no network of it, and where no fold is finished.
    """
    require_begun(Path(root))
    require_bundle_place(Path(target))
    bench, target = Bench(study, Path(root)), Path(target)
    networks = [variant.name for variant in study.variants if variant.recipe.method == "network"]
    if name not in networks:
        found = f"no network named {name!r}"
        raise DatasetError(study.settings.name, found, f"one of {', '.join(map(repr, networks))}")
    first = study.settings.seeds[0]
    runs = [run for run in runs_of(study) if run.variant.name == name and run.seed in (first, None)]
    runs = [run for run in runs if bench.kept(run) is not None]
    if not runs:
        raise DatasetError(name, "no finished fold", "one; `lesionlab study run` makes them")
    progress(f"post-processing of {name}", 0.0)
    if not runs[0].members:
        return write_network(bench, runs, target)
    groups: dict[tuple[str, int | None], list[Run]] = {}
    for member in (member for run in runs for member in run.members):
        groups.setdefault((member.variant.name, member.seed), []).append(member)
    recipe, scores = settled(bench, runs)
    patients = whose(bench, runs[0])
    words = [f"{one[0].variant.name}, seed {one[0].seed}" for one in groups.values()]
    lengths = spacing_words(len(bench.data(runs[0].recipe).spacing_unknown), len(patients))
    card = ensemble_card(recipe, patients, words, {**summarise(scores, patients), "spacing": lengths})
    writers = [partial(write_network, bench, group) for group in groups.values()]
    write_ensemble(writers, recipe, card, target)
    shutil.copyfile(target / MEMBERS / "1" / TRAINING_FILE, target / TRAINING_FILE)
    return target


def write_network(bench: Bench, runs: Sequence[Run], target: Path) -> Path:
    """Write the finished folds of one variant and seed as a bundle."""
    recipe, scores = settled(bench, runs)
    return finish(bench.place(runs[0]), target, scores, patients=whose(bench, runs[0]), recipe=recipe)


def whose(bench: Bench, run: Run) -> dict[str, str]:
    """Case id to patient, of all cases."""
    data = bench.data(run.recipe)
    return {data.sources[name]["case_id"]: patient for name, patient in data.patients.items()}


def settled(bench: Bench, runs: Sequence[Run]) -> tuple[Recipe, list[Scores]]:
    """The recipe of a variant's runs with the post-processing for new patients, and its held-out scores."""
    run, settings = runs[0], bench.study.settings
    choice = Choice(run.variant.recipe.refine)
    owners = owners_of(bench, run, runs)
    if settings.post_processing.choose and owners:
        choice = chooser_of(bench, run, owners).choose(sorted(owners), choice.refine)[0]
    _, planned = open_workspace(bench.place((run.members or (run,))[0]))
    own, seeded = run.variant.recipe, run.seed is not None and len(settings.seeds) > 1
    title = run.variant.name + (f", seed {run.seed}" if seeded else "")
    decided: dict[str, Any] = {} if run.members else {"scales": own.prediction.scales}
    decided |= {} if choice.threshold == OWN else {"threshold": choice.threshold}
    recipe = planned.changed(
        name=re.sub(r"[^A-Za-z0-9_.-]+", "-", f"{settings.name}-{title}").strip("-"),
        description=f"{title}, of the study {settings.description or settings.name}",
        prediction=decided,
        refine=choice.refine.model_dump(mode="json"),
        biomarkers=own.biomarkers.model_dump(mode="json"),
        radiomics=own.radiomics.model_dump(mode="json"),
    )
    found = [outcome.value for outcome in score_runs(bench, runs) if outcome.value is not None]
    sources = bench.data(run.recipe).sources
    kept = {name: labels[ALL] for one in found for name, labels in one["cases"].items()}
    # what was kept as JSON has None for NaN
    known = {n: {m: math.nan if v is None else v for m, v in values.items()} for n, values in kept.items()}
    return recipe, [Scores(sources[name]["case_id"], values) for name, values in known.items()]
