"""Readers' masks on file: pairing them by case, their agreement, their consensus, and a model among them.

The numbers are `evaluate/observers.py`'s; finding mask files is `pairs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from lesionlab.core.consensus import BoolArray, majority, staple
from lesionlab.core.errors import DatasetError
from lesionlab.core.files import write_json, writing
from lesionlab.core.grid import require_same_grid
from lesionlab.core.tasks import Outcome, Progress, Task, run_tasks, silent
from lesionlab.core.volume import Volume
from lesionlab.evaluate import refuse_probabilities
from lesionlab.evaluate.bootstrap import STANDARD, Bootstrap, Interval, bootstrap_interval
from lesionlab.evaluate.observers import (
    AgainstObservers,
    CaseAgreement,
    Score,
    against_observers,
    dice,
    pairwise,
)
from lesionlab.evaluate.surface import surface_scores
from lesionlab.pipeline.pairs import NAMES, called_as, mask_files, patient_of
from lesionlab.read import OBSERVERS, load_mask
from lesionlab.report import save_volume
from lesionlab.report.tables import write_csv

SCORES: Final = ("dice", "nsd_2mm")
Consensus = Literal["none", "majority", "staple"]
MODEL: Final = "model"


@dataclass(frozen=True)
class Read:
    """One case: agreement of every two readers by score, and of the model with each, where there is one.

    `patient` is the case itself where nothing tells.
    """

    case_id: str
    patient: str
    pairs: Mapping[str, CaseAgreement]
    notes: tuple[str, ...]


def read_cases(
    readers: Mapping[str, Path],
    model: Path | None = None,
    *,
    consensus: Consensus = "none",
    out: Path | None = None,
    progress: Progress = silent,
) -> list[Outcome[Read]]:
    """Compare the readers' masks case by case; with `consensus`, write it to `out`/consensus/CASE.nii.gz.

    Readers are folders of masks (or single masks) by name; a single folder is one of converted cases that
    keep their readers' masks (`CASE/observers/`). A case that not all drew fails with that reason, as do
    masks on two grids; the others go on. A case that the model lacks is one in which it found nothing. Raises
    DatasetError below two readers and ReadError where a folder holds no mask.
    """
    files = kept_readers(next(iter(readers.values()))) if len(readers) == 1 else {}
    if len(readers) < 2 and len(files) < 2:
        found = f"{max(len(readers), len(files))} of them"
        raise DatasetError("readers", found, "two or more folders of masks, or one of cases with observers/")
    files = files or {name: mask_files(path, NAMES[::-1]) for name, path in readers.items()}
    alone = all(path.is_file() for path in readers.values())
    if alone:  # single masks are of one case, whatever their names
        case = next(iter(next(iter(files.values()))))
        files = {name: {case: next(iter(found.values()))} for name, found in files.items()}
    cases = sorted({case for found in files.values() for case in found})
    drawn = None if model is None else called_as(cases, mask_files(model, NAMES))
    if drawn is not None and alone and len(drawn) == 1:
        drawn = dict.fromkeys(files[next(iter(files))], next(iter(drawn.values())))

    def task(case: str) -> Task[Read]:
        return Task(case, lambda: _read(case, files, drawn, consensus, out))

    return run_tasks([task(case) for case in cases], progress=progress)


def kept_readers(folder: Path) -> dict[str, dict[str, Path]]:
    """The masks of converted cases by reader and case, as `convert` keeps them; empty without any."""
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(folder.glob(f"*/{OBSERVERS}/*.nii.gz")):
        found.setdefault(file.name.removesuffix(".nii.gz"), {})[file.parents[1].name] = file
    return found


def standing(
    outcomes: Sequence[Outcome[Read]], settings: Bootstrap = STANDARD
) -> dict[str, AgainstObservers]:
    """Where the model stands among the readers, by score; empty where no case has a model."""
    done = [o.value for o in outcomes if o.value is not None]
    if not done or not done[0].pairs[SCORES[0]].model:
        return {}
    whose = [one.patient for one in done]
    return {
        score: against_observers([one.pairs[score] for one in done], whose, settings=settings)
        for score in SCORES
    }


def observers_of(outcomes: Sequence[Outcome[Read]], settings: Bootstrap = STANDARD) -> dict[str, Any]:
    """What `write_observers` writes as observers.json: pairs of readers, and the model among them."""
    done = [o.value for o in outcomes if o.value is not None]
    pairs = [
        {"score": score, "first": a, "second": b, **asdict(mean)}
        for score in SCORES
        for (a, b), mean in pair_means(done, score, settings).items()
    ]
    return {
        "cases": len(done),
        "failed": {o.name: o.error for o in outcomes if o.error is not None},
        "notes": {one.case_id: list(one.notes) for one in done if one.notes},
        "intervals": asdict(settings),
        "pairs": pairs,
        "model": {s: {**asdict(f), "standing": f.standing} for s, f in standing(outcomes, settings).items()},
    }


def pair_means(
    done: Sequence[Read], score: str, settings: Bootstrap = STANDARD
) -> dict[tuple[str, str], Interval]:
    """The mean agreement of every two readers over cases, with its interval."""
    found: dict[tuple[str, str], list[float]] = {}
    for one in done:
        for pair in one.pairs[score].readers:
            found.setdefault((pair.first, pair.second), []).append(pair.value)
    whose = [one.patient for one in done]
    return {names: bootstrap_interval(values, whose, settings=settings) for names, values in found.items()}


def write_observers(
    outcomes: Sequence[Outcome[Read]], folder: str | Path, settings: Bootstrap = STANDARD
) -> Path:
    """Write observers.json and pairs.csv (a row per case and pair); returns the first.

    The model is called "model" there, or "(model)" where a reader is called so.
    """
    folder = Path(folder)
    rows: list[list[object]] = []
    for one in (o.value for o in outcomes if o.value is not None):
        first = one.pairs[SCORES[0]]
        for k, pair in enumerate(first.readers):
            rows.append(
                [one.case_id, pair.first, pair.second, *(one.pairs[s].readers[k].value for s in SCORES)]
            )
        own = f"({MODEL})" if MODEL in first.model else MODEL
        rows += [
            [one.case_id, own, name, *(one.pairs[s].model[name] for s in SCORES)] for name in first.model
        ]
    with writing(folder / "pairs.csv") as temporary:
        write_csv(temporary, ["case", "first", "second", *SCORES], rows)
    write_json(folder / "observers.json", observers_of(outcomes, settings))
    return folder / "observers.json"


def _read(
    case: str,
    files: Mapping[str, Mapping[str, Path]],
    drawn: Mapping[str, Path] | None,
    consensus: Consensus,
    out: Path | None,
) -> Read:
    lacking = [name for name, found in files.items() if case not in found]
    if lacking:
        raise DatasetError(f"case {case}", f"no mask by {', '.join(lacking)}", "a mask by every reader")
    volumes = {name: _mask(found[case]) for name, found in files.items()}
    grid = next(iter(volumes.values()))
    # apart from the readers, one of whom may be called "model"
    found = None if drawn is None or case not in drawn else _mask(drawn[case])
    for name, volume in (*volumes.items(), *([] if found is None else [(MODEL, found)])):
        require_same_grid(f"case {case}: {name}", grid, volume)
    masks = {name: volume.array > 0 for name, volume in volumes.items()}
    model = None if found is None else found.array > 0
    notes: list[str] = []
    if drawn is not None and model is None:
        model = np.zeros(grid.array.shape, dtype=bool)
        notes.append("no prediction: taken as an empty one")
    scores = _scores(grid)
    pairs = {
        name: CaseAgreement(
            case,
            {} if model is None else {who: _one(model, mask, score) for who, mask in masks.items()},
            pairwise(masks, score),
        )
        for name, score in scores.items()
    }
    if consensus != "none" and out is not None:
        agreed = majority(masks) if consensus == "majority" else staple(masks).mask
        save_volume(grid.with_array(agreed.astype(np.uint8)), out / "consensus" / f"{case}.nii.gz")
    whose = patient_of(*(found[case] for found in files.values()), (drawn or {}).get(case))
    return Read(case, whose or case, pairs, tuple(notes))


def _one(model: BoolArray, mask: BoolArray, score: Score) -> float:
    return pairwise({MODEL: model, "reader": mask}, score)[0].value


def _scores(grid: Volume) -> dict[str, Score]:
    flat = grid.array.shape[0] == 1

    def surface(first: BoolArray, second: BoolArray) -> float:
        if first.any() != second.any():
            return 0.0  # one of two found something: no surface in common
        return surface_scores(first, second, grid.geometry.spacing, flat=flat)["nsd_2mm"]

    return {"dice": dice, "nsd_2mm": surface}


def _mask(path: Path) -> Volume:
    volume = load_mask(path)
    refuse_probabilities(str(path), volume)
    return volume
