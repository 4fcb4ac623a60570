"""Serves MONAI: its surface metrics between border voxels; for the part `elements`, surface Dice by area."""

from __future__ import annotations

from importlib.metadata import version

import torch
from masks import pair_of
from monai.metrics import (
    compute_average_surface_distance,
    compute_dice,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from protocol import Lesion, Measure, serve


def opener(case: Lesion) -> Measure:
    """Masks become tensors (batch, channel, z, y, x) before the clock starts."""
    mask, truth, spacing = pair_of(case)
    sides = [torch.from_numpy(array)[None, None] for array in (mask, truth)]
    common = {"include_background": True, "spacing": spacing}

    def surface() -> dict[str, float]:
        found = {
            "hd_mm": compute_hausdorff_distance(*sides, **common),
            "hd95_mm": compute_hausdorff_distance(*sides, percentile=95, **common),
            "assd_mm": compute_average_surface_distance(*sides, symmetric=True, **common),
            "nsd_2mm": compute_surface_dice(
                *sides, [2.0], use_subvoxels=case["part"] == "elements", **common
            ),
        }
        return {name: float(value) for name, value in found.items()}

    def overlap() -> dict[str, float]:
        return {"dice": float(compute_dice(*sides))}

    return overlap if case["part"] == "overlap" else surface


if __name__ == "__main__":
    serve("monai", version("monai"), opener)
