"""The training's course as rows, one per epoch, kept as CSV beside the checkpoints."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lesionlab.core.files import write_text

CURVES_FILE = "curves.csv"


@dataclass(frozen=True, slots=True)
class EpochRow:
    """One epoch: mean losses, validation Dice on patches (nnU-Net's pseudo Dice) and its moving average."""

    epoch: int
    train_loss: float
    validation_loss: float
    dice: float
    smoothed_dice: float
    learning_rate: float
    seconds: float


def write_curves(rows: Sequence[EpochRow], folder: Path) -> None:
    """Write all epochs to `folder/curves.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(EpochRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.6g}" for key, value in asdict(row).items()} for row in rows)
    write_text(folder / CURVES_FILE, text.getvalue())


def read_curves(folder: Path) -> list[EpochRow]:
    """The epochs of a training folder, none where it has not begun."""
    file = folder / CURVES_FILE
    if not file.is_file():
        return []
    with file.open(encoding="utf-8", newline="") as lines:
        return [
            EpochRow(int(row["epoch"]), *(float(row[field.name]) for field in fields(EpochRow)[1:]))
            for row in csv.DictReader(lines)
        ]


def smoothed(rows: Sequence[EpochRow], dice: float) -> float:
    """nnU-Net's moving average of the validation Dice, 0.9 of what it was and 0.1 of what comes.

    An epoch without a Dice (no lesion in its patches and none found, NaN) leaves it as it was.
    """
    before = rows[-1].smoothed_dice if rows else math.nan
    if math.isnan(before) or math.isnan(dice):
        return dice if math.isnan(before) else before
    return 0.9 * before + 0.1 * dice


def converged(rows: Sequence[EpochRow], patience: int | None, improvement: float) -> bool:
    """True when the smoothed Dice of the last `patience` epochs never beat what came before by `improvement`.

    None as patience never stops. At least `patience` + 1 epochs are needed; those before the first Dice
    (NaN: no lesion in their patches and none found) do not count.
    """
    scores = [row.smoothed_dice for row in rows if not math.isnan(row.smoothed_dice)]
    if patience is None or len(scores) <= patience:
        return False
    return max(scores[-patience:]) < max(scores[:-patience]) + improvement


def time_share(rows: Sequence[EpochRow], minutes: float) -> float:
    """The share of `minutes` that the epochs so far took, interruptions not counted."""
    return sum(row.seconds for row in rows) / (60.0 * minutes)


def out_of_time(rows: Sequence[EpochRow], minutes: float | None) -> bool:
    """True when stopping now is nearer to `minutes` than after another mean epoch; never for None."""
    if minutes is None or not rows:
        return False
    share = time_share(rows, minutes)
    return share + share / len(rows) / 2 >= 1.0
