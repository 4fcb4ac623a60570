"""Serves the plain way to autoPET's FP and FN volumes: one component of 18-connectivity after the other."""

from __future__ import annotations

from importlib.metadata import version

import cc3d
import numpy as np
from masks import pair_of
from protocol import Lesion, Measure, serve


def opener(case: Lesion) -> Measure:
    """Volumes in ml of the components that share no voxel with the other mask."""
    mask, truth, spacing = pair_of(case)
    voxel_ml = float(np.prod(spacing)) / 1000.0

    def apart(ours: np.ndarray, theirs: np.ndarray) -> float:
        numbers = cc3d.connected_components(ours.astype(np.uint8), connectivity=18)
        voxels = 0
        for number in range(1, int(numbers.max()) + 1):
            one = numbers == number
            if not (one & theirs).any():
                voxels += int(one.sum())
        return voxels * voxel_ml

    return lambda: {"fp_volume_ml": apart(mask, truth), "fn_volume_ml": apart(truth, mask)}


if __name__ == "__main__":
    serve("component_loop", version("connected-components-3d"), opener)
