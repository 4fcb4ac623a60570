"""Quality flags for masks on file, and what a bundle keeps of its training set so that outliers show.

The flags are `evaluate/quality.py`'s; which files belong together is decided as for `evaluate`, by case id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from lesionlab.core.errors import ReadError, reason
from lesionlab.core.files import write_json, writing
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Geometry, Volume
from lesionlab.core.workspace import Workspace
from lesionlab.evaluate import probabilities_of
from lesionlab.evaluate.quality import Quality, TrainingLesions, quality, training_lesions
from lesionlab.pipeline.pairs import NAMES, PROBABILITY_NAMES, called_as, mask_files
from lesionlab.read import load_mask, load_volume
from lesionlab.report.tables import write_csv

TRAINING_FILE = "training_lesions.json"
"""In a bundle: total volume and position of the training truths, without names."""


def remember_training(workspace: Workspace, bundle: Path) -> None:
    """Write what the training truths of a planned workspace looked like into a bundle's folder.

    Where slices were resized for the network, volume and position are those in the patient.
    """
    record = json.loads(workspace.cases_file.read_text(encoding="utf-8"))
    places = record.get("places", {})

    def truth(name: str) -> Volume:
        drawn = load_mask(workspace.raw / "labelsTr" / f"{name}.nii.gz")
        return Volume(drawn.array, Geometry(**places[name]), drawn.unit) if name in places else drawn

    write_json(bundle / TRAINING_FILE, training_lesions(map(truth, record["patients"])).record())


def training_of(bundle: Path) -> TrainingLesions | None:
    """What a bundle keeps of its training truths; None where it keeps nothing.

    Raises ReadError for what is no folder and for a damaged file, DatasetError for one without the wanted
    fields.
    """
    if not bundle.is_dir():
        raise ReadError(bundle, "no such folder", "the bundle that drew the masks")
    file = bundle / TRAINING_FILE
    if not file.is_file():
        return None
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(file, reason(error), "the JSON that `train` wrote") from None
    return TrainingLesions.from_record(record if isinstance(record, Mapping) else {})


def judge_files(
    masks: str | Path,
    *,
    members: Sequence[str | Path] = (),
    probabilities: str | Path | None = None,
    training: TrainingLesions | None = None,
    progress: Progress = silent,
) -> list[Outcome[Quality]]:
    """Flags of every mask of a folder (or of one file).

    `members` are folders (or files) with the same cases drawn by single folds or flips; `probabilities` one
    with probability maps. A case that lacks one of them is judged without it; one that cannot be read fails,
    the others go on. Raises ReadError where a folder holds no mask.
    """
    drawn = mask_files(Path(masks), NAMES)
    others = [called_as(drawn, mask_files(Path(member), NAMES)) for member in members]
    maps = {} if probabilities is None else mask_files(Path(probabilities), PROBABILITY_NAMES)
    maps = called_as(drawn, maps)
    alone = Path(masks).is_file()

    def of_case(files: Mapping[str, Path], name: str) -> Path | None:
        # a single file against a single file: their names need not agree
        return next(iter(files.values()), None) if alone and len(files) == 1 else files.get(name)

    def task(name: str, path: Path) -> Task[Quality]:
        found = [one for one in (of_case(files, name) for files in others) if one is not None]
        chances = of_case(maps, name)

        def run() -> Quality:
            probability = None if chances is None else load_volume(chances)
            if probability is not None:
                probabilities_of(str(chances), probability)  # refuses what is none
            drawings = [load_mask(one) for one in found]
            return quality(load_mask(path), members=drawings, probability=probability, training=training)

        return Task(name, run)

    return run_tasks([task(name, path) for name, path in drawn.items()], progress=progress)


def write_quality(outcomes: Sequence[Outcome[Quality]], path: str | Path) -> Path:
    """Write a row per case and flag as CSV, the summary score among them; returns the path."""
    rows: list[list[object]] = []
    for outcome in outcomes:
        if outcome.value is None:
            continue
        score, up = outcome.value.score, int(bool(outcome.value.raised))
        rows.append([outcome.name, "score", score, 1.0, up, "largest value over threshold"])
        rows += [
            [outcome.name, flag.name, flag.value, flag.threshold, int(flag.raised), flag.sentence]
            for flag in outcome.value.flags
        ]
    with writing(Path(path)) as temporary:
        write_csv(temporary, ("case_id", "flag", "value", "threshold", "raised", "sentence"), rows)
    return Path(path)
