"""The metrics of one case, with their units, and the written rule for empty masks.

Only the table. `docs/reference/evaluation.md` shows the same table to users; a test holds the two together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from lesionlab.core import units

UNDEFINED: Final = math.nan
COMPUTED: Final = "computed"
"""The metric's own formula holds; nothing special happens."""
GRID: Final = "grid"
"""The longest distance that the whole grid could hold, its diagonal: what a missed case is charged."""
Rule = float | str


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: name, unit, meaning, and its value when the truth, the prediction or both are empty.

    `higher_is_better` is None for what is neither good nor bad (volumes, counts).
    """

    name: str
    unit: str
    meaning: str
    truth_empty: Rule
    prediction_empty: Rule
    both_empty: Rule
    higher_is_better: bool | None = None


_ML = units.MILLILITRE
_MM = units.MILLIMETRE
_1 = units.ONE

METRICS: Final = (
    # name, unit, meaning, truth empty, prediction empty, both empty, higher is better
    Metric("dice", _1, "voxel-wise 2 TP / (2 TP + FP + FN)", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("iou", _1, "voxel-wise TP / (TP + FP + FN)", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("ppv", _1, "voxel-wise TP / (TP + FP)", 0.0, UNDEFINED, UNDEFINED, True),
    Metric("sensitivity", _1, "voxel-wise TP / (TP + FN)", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("specificity", _1, "voxel-wise TN / (TN + FP), over the whole grid", COMPUTED, 1.0, 1.0, True),
    Metric(
        "volumetric_similarity",
        _1,
        "1 - abs(P - T) / (P + T), of volumes P and T",
        UNDEFINED,
        0.0,
        UNDEFINED,
        True,
    ),
    Metric("predicted_ml", _ML, "volume of the prediction", COMPUTED, 0.0, 0.0),
    Metric("truth_ml", _ML, "volume of the truth", 0.0, COMPUTED, 0.0),
    Metric("overlap_ml", _ML, "volume in both", 0.0, 0.0, 0.0),
    Metric("volume_error_ml", _ML, "predicted minus true volume", COMPUTED, COMPUTED, 0.0),
    Metric("volume_error_percent", "%", "volume error / true volume", UNDEFINED, -100.0, UNDEFINED),
    Metric("lesions_true", _1, "lesions in the truth", 0.0, COMPUTED, 0.0),
    Metric("lesions_predicted", _1, "lesions in the prediction", COMPUTED, 0.0, 0.0),
    Metric("lesions_found", _1, "true lesions with a partner", 0.0, 0.0, 0.0, True),
    Metric("lesions_missed", _1, "true lesions without one", 0.0, COMPUTED, 0.0, False),
    Metric("lesions_false", _1, "predicted lesions without one", COMPUTED, 0.0, 0.0, False),
    Metric("lesion_sensitivity", _1, "lesions found / true lesions", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("lesion_ppv", _1, "1 - false / predicted lesions", 0.0, UNDEFINED, UNDEFINED, True),
    Metric("lesion_f1", _1, "harmonic mean of the two", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("panoptic_quality", _1, "the product of the next two", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("segmentation_quality", _1, "mean IoU of the pairs", UNDEFINED, UNDEFINED, UNDEFINED, True),
    Metric("recognition_quality", _1, "2 pairs / lesions of both", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("fp_volume_ml", _ML, "volume of predicted lesions that touch none", COMPUTED, 0.0, 0.0, False),
    Metric("fn_volume_ml", _ML, "volume of untouched true lesions", UNDEFINED, COMPUTED, UNDEFINED, False),
    Metric("hd_mm", _MM, "longest distance between the surfaces", UNDEFINED, GRID, UNDEFINED, False),
    Metric("hd95_mm", _MM, "95th percentile of surface distances", UNDEFINED, GRID, UNDEFINED, False),
    Metric("assd_mm", _MM, "average symmetric surface distance", UNDEFINED, GRID, UNDEFINED, False),
    Metric("nsd_2mm", _1, "share of surfaces within 2 mm", UNDEFINED, 0.0, UNDEFINED, True),
    Metric("prediction_missing", _1, "1 where the method gave no mask", COMPUTED, COMPUTED, COMPUTED, False),
)


def apply_rule(values: dict[str, float], truth_empty: bool, prediction_empty: bool) -> list[str]:
    """Put the rule's values into `values`; notes name what is undefined and what is charged the diagonal."""
    if not (truth_empty or prediction_empty):
        return []
    undefined, charged = [], []
    for metric in METRICS:
        both = truth_empty and prediction_empty
        rule = metric.both_empty if both else metric.truth_empty if truth_empty else metric.prediction_empty
        if not isinstance(rule, str):
            values[metric.name] = rule
            if math.isnan(rule):
                undefined.append(metric.name)
        elif rule == GRID:
            charged.append(metric.name)
    what = " and ".join(
        name for name, empty in (("truth", truth_empty), ("prediction", prediction_empty)) if empty
    )
    notes = [f"empty {what}: {', '.join(undefined)} undefined"] if undefined else [f"empty {what}"]
    return [*notes, f"{', '.join(charged)} charged with the grid's diagonal"] if charged else notes
