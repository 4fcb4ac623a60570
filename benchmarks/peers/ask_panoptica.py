"""Serves panoptica: components matched one to one at an IoU of 0.5, and Dice of the whole masks."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
from masks import pair_of
from panoptica import (
    ConnectedComponentsInstanceApproximator,
    InputType,
    NaiveThresholdMatching,
    Panoptica_Evaluator,
)
from panoptica.metrics import Metric
from protocol import Lesion, Measure, serve


def opener(case: Lesion) -> Measure:
    """Only the metrics that are compared are asked for."""
    mask, truth, spacing = (part for part in pair_of(case))
    sides = [array.astype(np.uint8) for array in (mask, truth)]
    evaluator = Panoptica_Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(),
        instance_matcher=NaiveThresholdMatching(matching_threshold=0.5),
        instance_metrics=[Metric.IOU],
        global_metrics=[Metric.DSC],
    )

    def lesions() -> dict[str, float]:
        found = evaluator.evaluate(*sides, result_all=False, voxelspacing=spacing)["ungrouped"]
        return {
            "dice": float(found.global_bin_dsc),
            "lesions_true": float(found.n_ref_instances),
            "lesions_predicted": float(found.n_pred_instances),
            "panoptic_quality": float(found.pq),
            "segmentation_quality": float(found.sq),
            "recognition_quality": float(found.rq),
        }

    return lesions


if __name__ == "__main__":
    serve("panoptica", version("panoptica"), opener)
