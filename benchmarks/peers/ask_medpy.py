"""Serves MedPy: its surface metrics between border voxels."""

from __future__ import annotations

from importlib.metadata import version

from masks import pair_of
from medpy.metric import binary
from protocol import Lesion, Measure, serve


def opener(case: Lesion) -> Measure:
    """HD, HD95 and ASSD, of which the part `hd95` is the second; MedPy has no surface Dice."""
    mask, truth, spacing = pair_of(case)

    def surface() -> dict[str, float]:
        names = {"hd_mm": binary.hd, "hd95_mm": binary.hd95, "assd_mm": binary.assd}
        if case["part"] == "hd95":
            names = {"hd95_mm": binary.hd95}
        return {name: float(of(mask, truth, voxelspacing=spacing)) for name, of in names.items()}

    def overlap() -> dict[str, float]:
        names = {"dice": binary.dc, "iou": binary.jc, "ppv": binary.precision, "sensitivity": binary.recall}
        return {name: float(of(mask, truth)) for name, of in names.items()}

    return overlap if case["part"] == "overlap" else surface


if __name__ == "__main__":
    serve("medpy", version("MedPy"), opener)
