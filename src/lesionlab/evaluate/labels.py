"""Agreement label by label, where a recipe has several: tumour types, or tumour and breast.

What each metric means is `overlap.py`'s; that of all labels together stands beside these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from lesionlab.core.results import Scores
from lesionlab.core.volume import Volume
from lesionlab.evaluate.overlap import score_case

OF_EACH: Final = (
    "dice",
    "iou",
    "ppv",
    "sensitivity",
    "predicted_ml",
    "truth_ml",
    "volume_error_ml",
    "hd95_mm",
    "lesion_sensitivity",
    "lesion_ppv",
)
"""The metrics that are given for every label."""


def score_labels(case_id: str, mask: Volume, truth: Volume, labels: Mapping[str, int]) -> Scores:
    """The metrics `OF_EACH` of every label by itself, named LABEL_METRIC (`malignant_dice`).

    A voxel of one label where the truth has another is false in both. Undefined metrics are NaN, with a note
    that names the label; one label, or none, gives no values. Raises what `score_case` raises.
    """
    values: dict[str, float] = {}
    notes: list[str] = []
    for name, number in labels.items() if len(labels) > 1 else ():
        scores = score_case(case_id, mask, truth, label=number)
        values |= {f"{name.replace(' ', '_')}_{metric}": scores.values[metric] for metric in OF_EACH}
        notes += [f"{name}: {note}" for note in scores.notes]
    return Scores(case_id, values, tuple(notes))
