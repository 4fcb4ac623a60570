"""Agreement label by label, where there are several (tumour types, tumour and breast), and an ignored label.

What each metric means is `overlap.py`'s; that of all labels together stands beside these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

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


def without_ignored(mask: Volume, truth: Volume, ignored: int | None) -> tuple[Volume, Volume]:
    """Mask and truth on one grid with nothing where the truth has the label `ignored`.

    What nobody judged is then neither right nor wrong, as in nnU-Net's own evaluation. None, and a truth
    without that label, give both volumes back.
    """
    hidden = np.zeros(0, bool) if ignored is None else truth.array == ignored
    if not hidden.any():
        return mask, truth
    kept = ~hidden
    return mask.with_array(mask.array * kept), truth.with_array(truth.array * kept)
