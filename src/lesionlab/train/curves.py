"""The training's course as rows, one per epoch, kept as CSV beside the checkpoints."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lesionlab.core.errors import TrainingError
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
    """The epochs of a training folder, none where it has not begun; TrainingError for a damaged file."""
    file = folder / CURVES_FILE
    if not file.is_file():
        return []
    names = [field.name for field in fields(EpochRow)]
    try:
        with file.open(encoding="utf-8", newline="") as lines:
            rows = [[row[name] for name in names] for row in csv.DictReader(lines)]
        return [EpochRow(int(epoch), *map(float, values)) for epoch, *values in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        found = f"{type(error).__name__}: {error}"
        raise TrainingError(file, found, "the table that training wrote") from None


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
    """True when stopping now is nearer to `minutes` than after another epoch like the last; never for None.

    Not like the mean: epochs grow where a training begins on smaller patches.
    """
    if minutes is None or not rows:
        return False
    return time_share(rows, minutes) + time_share(rows[-1:], minutes) / 2 >= 1.0
