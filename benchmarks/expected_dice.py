"""The mask with the largest expected Dice beside a cut at one half and beside rankseg, on held-out patients.

    pip install --no-deps --target PEERS rankseg==0.0.8
    python benchmarks/expected_dice.py --peers PEERS -o benchmarks/results --trained NAME WORKSPACE DATA

WORKSPACE is a trained one (of `lesionlab train`, or in the folder `trained` of a study), DATA the folder of
its cases; several may be given. Every case goes through the fold that has not seen its patient (of a study
that keeps patients from training for its choices, only these are taken); the three decisions then see the
same probabilities. rankseg is the package of the rule's authors, here with the solver that it takes by itself
(RMA). `make expected-dice` does all of it, in three minutes on two cores for 1,127 pictures and 36 volumes.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from road import dice, table

from lesionlab.core.errors import LesionLabError
from lesionlab.core.files import write_text
from lesionlab.core.workspace import open_workspace
from lesionlab.evaluate.bootstrap import bootstrap_interval
from lesionlab.networks.device import thread_count
from lesionlab.pipeline.patient import open_standardised
from lesionlab.pipeline.training import fold_bundle
from lesionlab.predict import predict
from lesionlab.predict.expected_dice import largest_expected_dice, levels

Decide = Callable[[NDArray[np.float32]], NDArray[np.bool_]]
HEAD = (
    "held out",
    "cases",
    "Dice at 0.5",
    "ours",
    "more by",
    "rankseg",
    "our mask in theirs: mean, lowest Dice",
)
HEAD += ("ms: ours", "rankseg", "ratio")


@dataclass(frozen=True)
class Seen:
    """Of one case: its patient, Dice of the three decisions, Dice between ours and the peer's, seconds."""

    patient: str
    half: float
    ours: float
    peer: float
    alike: float
    seconds: tuple[float, float]


def rankseg_decide() -> Decide:
    """The peer, from a probability (z, y, x) to a mask."""
    from rankseg import RankSEG

    solver = RankSEG(metric="dice", output_mode="multilabel")

    def decide(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
        found = solver.predict(torch.from_numpy(probability)[None, None])
        return np.asarray(found.numpy()[0, 0] > 0)

    return decide


def ours_decide(probability: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Ours."""
    return largest_expected_dice(levels(probability))


def timed(decide: Decide, probability: NDArray[np.float32]) -> tuple[NDArray[np.bool_], float]:
    """A mask, and the seconds that it took."""
    began = time.perf_counter()
    mask = decide(probability)
    return mask, time.perf_counter() - began


def held_out(root: Path, data: Path, peer: Decide) -> Iterator[Seen]:
    """Every case of a workspace by the fold that has not seen it."""
    workspace, recipe = open_workspace(root)
    patients = json.loads(workspace.cases_file.read_text())["patients"]
    for fold, split in enumerate(json.loads((workspace.preprocessed / "splits_final.json").read_text())):
        bundle = fold_bundle(workspace, recipe, fold)
        for name in split["val"]:
            case = open_standardised(data / name, recipe, case_id=name)
            found = predict(case, bundle, device="cpu", probability=True)
            if case.truth is None or found.probability is None:
                raise RuntimeError(f"{name}: found no truth or no probability; needed both")
            chance = np.array(found.probability.array, dtype=np.float32, order="C")
            true, half = case.truth.array > 0, chance > 0.5
            (ours, first), (theirs, second) = timed(ours_decide, chance), timed(peer, chance)
            scores = (dice(half, true), dice(ours, true), dice(theirs, true), dice(ours, theirs))
            yield Seen(patients[name], *scores, (first, second))


def row(name: str, seen: list[Seen]) -> list[str]:
    """One workspace's line."""
    half, ours, peer, alike = (
        np.array([getattr(one, key) for one in seen]) for key in ("half", "ours", "peer", "alike")
    )
    more = bootstrap_interval(ours - half, patients=[one.patient for one in seen])
    mine, theirs = (statistics.median(1e3 * one.seconds[n] for one in seen) for n in (0, 1))
    return [
        name,
        f"{len(seen)}",
        f"{half.mean():.4f}",
        f"{ours.mean():.4f}",
        f"{(ours - half).mean():+.4f} ({more.low:+.4f} to {more.high:+.4f})",
        f"{peer.mean():.4f}",
        f"{alike.mean():.5f}, {alike.min():.4f}",
        f"{mine:.2f}",
        f"{theirs:.2f}",
        f"{theirs / mine:.1f}x",
    ]


def main() -> int:
    """Predict, decide thrice, write expected_dice.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--trained", nargs=3, action="append", required=True, metavar=("NAME", "WORKSPACE", "DATA")
    )
    parser.add_argument("--peers", type=Path, required=True, help="folder with rankseg")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for expected_dice.md")
    options = parser.parse_args()
    sys.path.append(str(options.peers))
    torch.set_num_threads(thread_count())
    rows = []
    try:
        for name, root, data in options.trained:
            rows.append(row(name, list(held_out(Path(root), Path(data), rankseg_decide()))))
            print(rows[-1], file=sys.stderr, flush=True)
    except LesionLabError as error:
        print(error, file=sys.stderr)
        return 1
    lines = [
        "# The mask with the largest expected Dice, beside rankseg",
        "",
        f"Made by `make expected-dice` on {thread_count()} cores ({platform.machine()}), "
        f"torch {version('torch')}, rankseg {version('rankseg')} with its own choice of solver (RMA).",
        "",
        *table(HEAD, rows),
        "",
        "Dice: mean over cases. More by: ours less the cut at 0.5, 95 % interval by drawing patients.",
        "ms: from a case's probabilities to its mask, median over cases.",
    ]
    write_text(options.out / "expected_dice.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
