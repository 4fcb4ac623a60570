"""Serves surface-distance: one computation of distances, then every figure that it offers from them."""

from __future__ import annotations

from importlib.metadata import version

import surface_distance as peer
from masks import pair_of
from protocol import Lesion, Measure, serve


def opener(case: Lesion) -> Measure:
    """HD, HD95, both directed averages and surface Dice at 2 mm."""
    mask, truth, spacing = pair_of(case)

    def measure() -> dict[str, float]:
        found = peer.compute_surface_distances(truth, mask, spacing)
        total = sum(float((found[d] * found[a]).sum()) for d, a in SIDES)
        return {
            "hd_mm": peer.compute_robust_hausdorff(found, 100),
            "hd95_mm": peer.compute_robust_hausdorff(found, 95),
            "assd_mm": total / sum(float(found[a].sum()) for _, a in SIDES),
            "nsd_2mm": peer.compute_surface_dice_at_tolerance(found, 2.0),
        }

    return measure


SIDES = (("distances_gt_to_pred", "surfel_areas_gt"), ("distances_pred_to_gt", "surfel_areas_pred"))

if __name__ == "__main__":
    serve("surface_distance", version("Surface-Distance-Based-Measures"), opener)
