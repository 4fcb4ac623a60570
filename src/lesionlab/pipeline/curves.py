"""The training curves of a fold as a picture: beside its weights, and for reports.

Recording them is `train/curves.py`, drawing them `report/figures.py`.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lesionlab.core.files import writing
from lesionlab.report import training_curves
from lesionlab.train import first_process, read_curves

PICTURE = "curves.png"


def curves_picture(folder: Path) -> bytes | None:
    """The training curves of a fold as PNG; None where it left none."""
    rows = read_curves(folder)
    return training_curves([asdict(row) for row in rows]) if rows else None


def leave_curves(folder: Path) -> None:
    """Write `curves.png` into a fold's folder; of several processes that train together, one does."""
    picture = curves_picture(folder) if first_process() else None
    if picture is not None:
        with writing(folder / PICTURE) as temporary:
            temporary.write_bytes(picture)


def all_curves(model: Path) -> dict[str, bytes]:
    """The training curves of every fold of a model folder by caption."""
    folders = sorted(path for path in model.glob("fold_*") if path.is_dir())
    pictures = {f"Training of {path.name.replace('_', ' ')}": curves_picture(path) for path in folders}
    return {caption: picture for caption, picture in pictures.items() if picture is not None}
