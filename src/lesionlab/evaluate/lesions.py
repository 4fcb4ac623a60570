"""Every lesion of an evaluation as a row: how large, where, found or not, and how well.

The matching itself is `detection.py`; a lesion's uptake and shape are measured in `measure/`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lesionlab.core.components import Box
from lesionlab.core.volume import Geometry
from lesionlab.evaluate.detection import IntArray, Matching, SizeBin, sensitivity_by_size

HEAD: Final = (
    *("case", "side", "lesion", "volume_ml", "found", "partners", "touching", "iou"),
    *("x_mm", "y_mm", "z_mm"),
)
"""The columns of lesions.csv.

`side` says whose lesion it is, `lesion` its number in that mask (the largest first); `found` is 1 where the
rule gives it a partner; `partners` are those lesions of the other mask, `touching` how many it shares
voxels with, `iou` the highest IoU with any of them (0 without); x, y, z are the centroid in LPS.
"""
TRUTH, PREDICTION = "truth", "prediction"


def lesion_records(case_id: str, matching: Matching, geometry: Geometry) -> list[dict[str, Any]]:
    """A record with the keys of `HEAD` for each true lesion, then for each predicted one; none for no lesion.

    `geometry` is that of the masks that were matched.
    """
    sides = matching.overlaps
    rows = []
    for side, own, labels, voxels, found in (
        (TRUTH, 0, sides.true_labels, sides.true_voxels, matching.found),
        (PREDICTION, 1, sides.predicted_labels, sides.predicted_voxels, ~matching.false),
    ):
        places = geometry.to_world(_centroids(labels, sides.box, len(voxels)))
        best = np.zeros(len(voxels))
        np.maximum.at(best, sides.pairs[:, own] - 1, sides.iou)
        touching = np.bincount(sides.pairs[:, own] - 1, minlength=len(voxels))
        partners = _partners(sides.pairs[matching.matched], own)
        for i in range(len(voxels)):
            x, y, z = (round(float(v), 3) for v in places[i])
            rows.append(
                {
                    "case": case_id,
                    "side": side,
                    "lesion": i + 1,
                    "volume_ml": float(voxels[i]) * sides.voxel_ml,
                    "found": int(found[i]),
                    "partners": " ".join(map(str, partners.get(i + 1, []))),
                    "touching": int(touching[i]),
                    "iou": float(best[i]),
                    "x_mm": x,
                    "y_mm": y,
                    "z_mm": z,
                }
            )
    return rows


def sensitivity_of_records(records: Iterable[Mapping[str, Any]]) -> tuple[SizeBin, ...]:
    """Sensitivity by lesion size over the true lesions among the records of many cases."""
    true = [record for record in records if record["side"] == TRUTH]
    return sensitivity_by_size([r["volume_ml"] for r in true], [bool(r["found"]) for r in true])


def lesions_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """The records as CSV text with a header, which is all there is without lesions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=HEAD, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def _centroids(labels: IntArray, box: Box, count: int) -> NDArray[np.float64]:
    """The mean voxel index (z, y, x) in the whole array of each lesion, shape (count, 3)."""
    flat = np.flatnonzero(labels)
    at, numbers = np.unravel_index(flat, labels.shape), labels.ravel()[flat]
    voxels = np.maximum(np.bincount(numbers, minlength=count + 1)[1:], 1)
    means = [np.bincount(numbers, weights=axis, minlength=count + 1)[1:] / voxels for axis in at]
    corner = np.array([float(s.start) for s in box])
    return np.asarray(np.stack(means, axis=1) + corner, dtype=np.float64)


def _partners(pairs: IntArray, own: int) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for pair in pairs.tolist():
        found.setdefault(pair[own], []).append(pair[1 - own])
    return found
