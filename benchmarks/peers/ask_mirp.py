"""Serves MIRP: all families in 3D, averaged and merged, without approximations where `exact` asks for it.

MIRP takes paths, so its time includes reading two small files.
"""

from __future__ import annotations

import logging
import math
from importlib.metadata import version

import mirp
from protocol import VOLUME_HISTOGRAM_BINS, Lesion, Measure, serve

POOLED = ["3d_average", "3d_volume_merge"]


def opener(lesion: Lesion) -> Measure:
    """The settings of one lesion; the lower end of the range is the origin of the bins."""
    settings = {
        "base_feature_families": "all",
        "base_discretisation_method": "fixed_bin_size",
        "base_discretisation_bin_width": lesion["bin_size"],
        "resegmentation_intensity_range": [lesion["bin_origin"], math.nan],
        "ivh_discretisation_method": "fixed_bin_number",
        "ivh_discretisation_n_bins": VOLUME_HISTOGRAM_BINS,
        "glcm_spatial_method": POOLED,
        "glrlm_spatial_method": POOLED,
        "no_approximation": bool(lesion.get("exact", False)),
    }
    for family in ("glszm", "gldzm", "ngtdm", "ngldm"):
        settings[f"{family}_spatial_method"] = "3d"

    def measure() -> dict[str, float]:
        table = mirp.extract_features(image=lesion["image"], mask=lesion["mask"], **settings)[0]
        first = table.iloc[0]
        return {k: float(v) for k, v in first.items() if not k.startswith(("image_", "sample_"))}

    return measure


if __name__ == "__main__":
    logging.disable(logging.INFO)
    serve("mirp", version("mirp"), opener)
