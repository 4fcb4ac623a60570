"""One step against two, on patients that neither has seen: Dice, and seconds of prediction.

    python benchmarks/two_step.py --one WORKSPACE --two WORKSPACE [--two WORKSPACE] --fold 0 -o OUT

The workspaces were planned on the same patients with the same folds and seed, one with a recipe of one step,
the others with a cascade or one that locates, and the fold is trained in each. Networks are loaded before the
clock starts.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from road import dice, environment

from lesionlab.core.case import Case
from lesionlab.core.files import write_text
from lesionlab.core.workspace import open_workspace
from lesionlab.pipeline import open_standardised
from lesionlab.pipeline.training import fold_bundle
from lesionlab.predict import Bundle, predict


@dataclass(frozen=True)
class Measured:
    """What one bundle did on every case: Dice against the truth, seconds, its last note."""

    name: str
    dice: list[float]
    seconds: list[float]
    notes: list[str]


def measure(name: str, bundle: Bundle, cases: Iterable[Case]) -> Measured:
    """Predict every case with a truth; the first twice, counted once, so that the networks are loaded."""
    found = Measured(name, [], [], [])
    for number, case in enumerate(cases):
        if case.truth is None:
            continue
        for _ in range(2 if number == 0 else 1):
            start = time.perf_counter()
            prediction = predict(case, bundle, device="cpu")
            seconds = time.perf_counter() - start
        found.seconds.append(seconds)
        found.dice.append(dice(prediction.mask.array > 0, case.truth.array > 0))
        found.notes.append(prediction.notes[-1])
    return found


def table(results: list[Measured]) -> list[str]:
    """Rows of the table; ratios are to the first."""
    rows = ["| recipe | cases | mean Dice | least Dice | s per case | against the first |", "|" + "---|" * 6]
    first = float(np.mean(results[0].seconds))
    for found in results:
        seconds = float(np.mean(found.seconds))
        rows.append(
            f"| {found.name} | {len(found.dice)} | {np.mean(found.dice):.4f} | {min(found.dice):.4f} "
            f"| {seconds:.2f} | {first / seconds:.2f}x |"
        )
    return rows


def held_out(workspace: Path, fold: int) -> tuple[Bundle, list[tuple[str, Path]]]:
    """The bundle of a fold and the scans that it has not seen."""
    opened, recipe = open_workspace(workspace)
    names = json.loads((opened.preprocessed / "splits_final.json").read_text())[fold]["val"]
    sources = json.loads((workspace / "sources.json").read_text())["cases"]
    scans = [(sources[name]["case_id"], Path(sources[name]["source"])) for name in names]
    return fold_bundle(opened, recipe, fold), scans


def main() -> int:
    """Measure every workspace and write the table; 1 when they hold out other patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--one", type=Path, required=True, help="workspace of one step")
    parser.add_argument("--two", type=Path, action="append", required=True, help="workspace of two steps")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for two_step.md")
    options = parser.parse_args()
    results, scans = [], None
    for workspace in (options.one, *options.two):
        bundle, found = held_out(workspace, options.fold)
        if scans is not None and found != scans:
            sys.stderr.write(f"{workspace}: holds out other patients than {options.one}\n")
            return 1
        scans = found
        cases = (open_standardised(path, bundle.recipe, case_id=name) for name, path in scans)
        results.append(measure(bundle.recipe.name, bundle, cases))
    command = "Made by `python benchmarks/two_step.py --one ... --two ... -o benchmarks/results`."
    lines = ["# One step against two", "", command, f"{environment()}.", "", *table(results), ""]
    write_text(options.out / "two_step.md", "\n".join(lines))
    sys.stdout.write("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
